//! What is mounted, and what is to be.

use crate::disks::Plugged;
use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Sticks that are mounted at once.
const MOST: usize = 8;
/// File systems, and how they are told that names are UTF-8.
const KINDS: [(&str, (&str, &str)); 2] = [("vfat", ("utf8", "1")), ("exfat", ("iocharset", "utf8"))];
/// Links are not followed: a stick cannot lead anybody elsewhere (mount_setattr(2)).
const NO_LINKS: MountAttrFlags = MountAttrFlags::from_bits_retain(0x0020_0000);
const FLAGS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC)
    .union(NO_LINKS);

/// Mounts a stick at a place, and says what it is formatted with.
pub(crate) type Enter = fn(&Plugged, &Path) -> Result<&'static str, Errno>;

/// The sticks of the machine.
#[derive(Debug)]
pub(crate) struct Sticks {
    run: PathBuf,
    enter: Enter,
    /// What is mounted, and where.
    mounted: Vec<(Plugged, PathBuf)>,
    /// What was tried in vain.
    refused: BTreeSet<Plugged>,
}

impl Sticks {
    /// Those of `run`. What is mounted there was mounted by a predecessor, and is mounted anew.
    pub(crate) fn take_over(run: &Path, enter: Enter) -> Self {
        for place in places(run) {
            while unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
            let _ = unlinkat(CWD, &place, AtFlags::REMOVEDIR);
        }
        Self { run: run.to_owned(), enter, mounted: Vec::new(), refused: BTreeSet::new() }
    }

    /// Leave what was pulled out, mount what came, unless it is not `there` any more after that was tried in vain: the kernel
    /// had not looked for partitions yet. Returns lines for the log, with their priority.
    pub(crate) fn compare(&mut self, plugged: &[Plugged], there: impl Fn(&Plugged) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        self.refused.retain(|old| plugged.contains(old));
        self.mounted.retain(|(stick, place)| {
            let stays = plugged.contains(stick);
            if !stays {
                let fault = leave(place).err();
                lines.push(match fault {
                    None => format!("<5>{} ({}) is gone", place.display(), stick.model),
                    Some(e) => format!("<4>{} is gone, but its place is not: {e}", place.display()),
                });
            }
            stays
        });
        for stick in plugged {
            if self.refused.contains(stick) || self.mounted.iter().any(|(known, _)| known == stick) {
                continue;
            }
            let mut free = places(&self.run);
            let Some(place) = free.find(|place| self.mounted.iter().all(|(_, taken)| taken != place)) else {
                self.refused.insert(stick.clone());
                lines.push(format!("<4>{}: {MOST} sticks are in use; pull one out", stick.model));
                continue;
            };
            match (self.enter)(stick, &place) {
                Ok(kind) => {
                    let (place_shown, size) = (place.display(), stick.size >> 20);
                    lines.push(format!(
                        "<5>{} ({kind}, {size} MiB, /dev/{}) can be read at {place_shown}",
                        stick.model, stick.name
                    ));
                    self.mounted.push((stick.clone(), place));
                }
                // The file system's module is not there yet; the kernel announces it.
                Err(Errno::NODEV) => {}
                Err(_) if !there(stick) => {}
                Err(e) => {
                    self.refused.insert(stick.clone());
                    lines.push(match e {
                        Errno::INVAL => format!(
                            "<4>{} (/dev/{}) is formatted neither with FAT nor exFAT, and is not mounted",
                            stick.model, stick.name
                        ),
                        e => format!("<4>{} (/dev/{}) cannot be mounted: {e}", stick.model, stick.name),
                    });
                }
            }
        }
        lines
    }
}

/// `/run/usb`, `/run/usb2`, …
fn places(run: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=MOST).map(|number| match number {
        1 => run.join("usb"),
        _ => run.join(format!("usb{number}")),
    })
}

/// Mount it; what it is formatted with. Of several errors the one that says most.
pub(crate) fn enter(stick: &Plugged, place: &Path) -> Result<&'static str, Errno> {
    let mut worst = Errno::INVAL;
    for (kind, names) in KINDS {
        match opened(stick, kind, names) {
            Ok(mount) => {
                // The directory is there while a stick is: nobody writes beside it by mistake.
                mkdirat(CWD, place, Mode::from_bits_retain(0o555))?;
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                return move_mount(mount.as_fd(), "", CWD, place, flags).map(|()| kind).inspect_err(|_| {
                    let _ = unlinkat(CWD, place, AtFlags::REMOVEDIR);
                });
            }
            Err(Errno::INVAL) => {}
            Err(e) => worst = e,
        }
    }
    Err(worst)
}

/// Its file system, attached nowhere yet. Everybody may read all of it (0444 and 0555).
fn opened(stick: &Plugged, kind: &str, names: (&str, &str)) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", format!("/dev/{}", stick.name))?;
    fsconfig_set_flag(context.as_fd(), "ro")?;
    fsconfig_set_string(context.as_fd(), "umask", "0222")?;
    fsconfig_set_string(context.as_fd(), names.0, names.1)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, FLAGS)
}

/// Unmount it, whoever still reads there, and take the directory away.
fn leave(place: &Path) -> Result<(), Errno> {
    match unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // The kernel never does so by itself, but a person may have.
        Ok(()) | Err(Errno::INVAL) => unlinkat(CWD, place, AtFlags::REMOVEDIR),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stick_has_no_number() {
        let all: Vec<PathBuf> = places(Path::new("/run")).collect();
        assert_eq!(
            (all.len(), all[0].to_str(), all[1].to_str()),
            (MOST, Some("/run/usb"), Some("/run/usb2"))
        );
    }

    #[test]
    fn what_cannot_be_mounted_is_said_once_and_forgotten_when_it_is_gone() {
        let run = tempfile::tempdir().expect("made");
        let mut sticks = Sticks::take_over(run.path(), |_, _| Err(Errno::IO));
        let stick = Plugged { number: 1, name: "sda".into(), size: 1 << 20, model: "Flash".into() };
        let plugged = [stick];
        assert!(sticks.compare(&plugged, |_| false).is_empty());
        let lines = sticks.compare(&plugged, |_| true);
        assert!(lines.len() == 1 && lines[0].starts_with("<4>Flash (/dev/sda) cannot"), "{lines:?}");
        assert!(sticks.compare(&plugged, |_| true).is_empty());
        assert!(sticks.compare(&[], |_| true).is_empty());
        assert_eq!(sticks.compare(&plugged, |_| true).len(), 1);
    }
}
