//! Settings are read again when one of their files changes: the kernel tells (inotify(7)), nobody looks now and then.

use crate::config::{self, Found};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::net::unix::pipe;

/// Give what the files say to `found`, and again after each change, for ever.
pub(crate) async fn follow(file: &Path, mut found: impl FnMut(Result<Found, String>)) -> std::io::Result<()> {
    loop {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // What the settings name is watched as well; it is known when they were read, and what changed until the watch
        // stood is not announced. So they are read once more, until nothing else is named.
        let mut watched: BTreeSet<PathBuf> = BTreeSet::new();
        add(&watch, file, &mut watched)?;
        let now = loop {
            let (others, now) = config::load(file);
            let before = watched.len();
            for other in &others {
                add(&watch, other, &mut watched)?;
            }
            if watched.len() == before {
                break now;
            }
        };
        found(now);
        // It is read like a pipe, and tokio waits for it like for one.
        let events = pipe::Receiver::from_file_unchecked(File::from(watch))?;
        events.readable().await?;
        settle(&events)?;
    }
}

/// Take in what has happened so far: one writing is several events.
fn settle(events: &pipe::Receiver) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match events.try_read(&mut buffer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Watch the folder of a file or, while it is not there, the next one above that is.
fn add(watch: &OwnedFd, file: &Path, watched: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    let flags = WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    for folder in file.ancestors().skip(1) {
        if watched.contains(folder) {
            return Ok(());
        }
        match inotify::add_watch(watch, folder, flags) {
            Ok(_) => {
                watched.insert(folder.to_owned());
                return Ok(());
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn settings_and_key_are_read_again_when_they_change_and_folders_may_come_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config");
        let (file, keys) = (config.join("strategic.toml"), config.join("keys"));
        let (seen, mut changes) = mpsc::unbounded_channel();
        let path = file.clone();
        let following = tokio::spawn(async move {
            follow(&path, move |found| {
                let _ = seen.send(found.map(|found| found.key.is_some()));
            })
            .await
        });
        let mut until = async |expected: Result<bool, &str>| loop {
            let now = changes.recv().await.expect("it goes on");
            let fits = match (&now, expected) {
                (Ok(now), Ok(expected)) => *now == expected,
                (Err(why), Err(expected)) => why.contains(expected),
                _ => false,
            };
            if fits {
                return;
            }
        };
        until(Err("there is no")).await;
        std::fs::create_dir(&config).expect("made");
        std::fs::write(&file, "kind = 7").expect("written");
        until(Err("strategic.toml:1")).await;
        let text = format!(
            "kind = \"openai\"\nurl = \"https://a.example\"\nmodel = \"m\"\ncontext = 9\nmax_tokens = 5\nkey_file = \"{}\"\n\
             [budget]\ncurrency = \"EUR\"\nper_month = \"1\"\nper_request = \"1\"\ninput_per_million = \"1\"\noutput_per_million = \"1\"\n",
            keys.join("key").display()
        );
        std::fs::write(config.join("new"), text).expect("written");
        std::fs::rename(config.join("new"), &file).expect("renamed");
        until(Err("keys/key cannot be read")).await;
        std::fs::create_dir(&keys).expect("made");
        std::fs::write(keys.join("key"), "secret").expect("written");
        until(Ok(true)).await;
        std::fs::write(keys.join("key"), "").expect("written");
        until(Err("is empty")).await;
        std::fs::remove_file(&file).expect("removed");
        until(Err("there is no")).await;
        following.abort();
    }
}
