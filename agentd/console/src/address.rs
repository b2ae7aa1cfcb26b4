//! Where people reach the console: asked of the kernel, and asked again when the network daemon says that
//! something has changed.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::net::unix::pipe;

/// The address under which the machine is likely to be reached: the one that the kernel would send from,
/// or the host name while there is no network. Nothing is sent for this.
pub fn current(port: u16) -> String {
    let towards = |to: &str, from: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let host = match towards("192.0.2.1:9", "0.0.0.0:0").or_else(|| towards("[2001:db8::1]:9", "[::]:0")) {
        Some(IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => crate::machine::hostname(),
    };
    if port == 443 { host } else { format!("{host}:{port}") }
}

/// Call `changed` whenever a file of this folder was replaced, for ever. The folder may come later.
pub async fn follow(folder: &Path, mut changed: impl FnMut()) -> std::io::Result<()> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    // It is read like a pipe, and tokio waits for it like for one.
    let events = pipe::Receiver::from_file_unchecked(File::from(watch.try_clone()?))?;
    let mut there = false;
    loop {
        if !there {
            there = add(&watch, folder)?;
        }
        // What happened before the watch stood is not announced.
        changed();
        events.readable().await?;
        let mut buffer = [0; 4096];
        loop {
            match events.try_read(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Watch a folder or, while it is not there, the one that it will be in. True when it is there.
fn add(watch: &OwnedFd, folder: &Path) -> std::io::Result<bool> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    match inotify::add_watch(watch, folder, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR) {
        Ok(_) => return Ok(true),
        Err(Errno::NOENT) => inotify::add_watch(watch, parent, WatchFlags::CREATE | WatchFlags::ONLYDIR)?,
        Err(error) => return Err(error.into()),
    };
    // It may have come in between.
    match inotify::add_watch(watch, folder, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_file_that_is_replaced_is_noticed_and_one_that_is_only_read_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, new) = (folder.path().join("resolv.conf"), folder.path().join("new"));
        std::fs::write(&file, "old").expect("written");
        let (seen, mut changes) = mpsc::unbounded_channel();
        let path = folder.path().to_owned();
        let following = tokio::spawn(async move { follow(&path, move || seen.send(()).unwrap_or(())).await });
        changes.recv().await.expect("the first look");
        let _ = std::fs::read(&file).expect("read");
        std::fs::write(&new, "new").expect("written");
        std::fs::rename(&new, &file).expect("renamed");
        changes.recv().await.expect("the change");
        following.abort();
        assert!(changes.try_recv().is_err(), "one change, one call");
    }

    #[tokio::test]
    async fn a_folder_may_come_later_but_not_from_nowhere() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("later");
        let (seen, mut changes) = mpsc::unbounded_channel();
        let path = folder.clone();
        let following = tokio::spawn(async move { follow(&path, move || seen.send(()).unwrap_or(())).await });
        changes.recv().await.expect("the first look");
        std::fs::create_dir(&folder).expect("made");
        changes.recv().await.expect("it is there");
        std::fs::write(parent.path().join("new"), "new").expect("written");
        std::fs::rename(parent.path().join("new"), folder.join("resolv.conf")).expect("renamed");
        changes.recv().await.expect("the change");
        following.abort();
        assert!(follow(Path::new("/nonexistent/later"), || {}).await.is_err());
    }

    #[test]
    fn the_port_is_told_when_it_is_not_the_usual_one() {
        assert!(!current(443).ends_with(":443"));
        assert!(current(8443).ends_with(":8443"));
    }
}
