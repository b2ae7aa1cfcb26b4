//! The data disk: checked when it asks for it, mounted, and grown to the size of its disk.
//!
//! Nothing here formats a disk, and e2fsck (the distribution's static build, in the image) is only let
//! loose on what is known to be our ext4 file system.

use super::child::{self, End};
use super::ext4::{self, Superblock};
use super::{mounts, sys};
use crate::clock;
use crate::device::line;
use crate::logs::{INIT, Logs};
use crate::power::Watchdog;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FSCK: &str = "/usr/sbin/e2fsck";
/// The name that the data disk's file system is given when it is made.
const LABEL: &str = "aios-data";
/// How long all checks of one boot may take: a machine without its data is better than none.
const LIMIT: Duration = Duration::from_secs(600);
/// Lines of e2fsck that go into the log.
const LINES: usize = 200;

/// Mount this disk on `at`. The error says why that is not possible, and what was tried.
pub(super) fn mount(
    device: &Path,
    at: &str,
    logs: &mut Logs,
    watchdog: &mut Option<Watchdog>,
) -> Result<(), String> {
    let name = device.display();
    let found = superblock(device).map_err(|e| format!("{name} cannot be read: {e}"))?;
    let mut doctor = Doctor { device, at, until: clock::now() + LIMIT, logs, watchdog };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let need = match &found {
        Some(found) => {
            fits(found, device)?;
            found.needs_check(since_1970).map(|need| need.to_string())
        }
        None if is_ours_without_superblock(device) => Some("had lost its superblock".to_owned()),
        None => {
            return Err(format!(
                "{name} holds no ext4 file system, and init formats nothing; make one there with the label {LABEL}"
            ));
        }
    };
    let checked = need.is_some();
    if let Some(need) = need {
        doctor.check(&need, "-p")?;
    }
    if let Err(why) = mounts::data(device, at) {
        if checked {
            return Err(why);
        }
        // It calls itself clean, and the kernel says that it is not.
        doctor.logs.warn(&why);
        doctor.check("called itself clean but cannot be mounted", "-fp")?;
        mounts::data(device, at)?;
    }
    grow(device, at, logs);
    Ok(())
}

fn superblock(device: &Path) -> std::io::Result<Option<Superblock>> {
    superblock_at(device, ext4::OFFSET)
}

fn superblock_at(device: &Path, offset: u64) -> std::io::Result<Option<Superblock>> {
    let mut bytes = [0; ext4::LENGTH];
    File::open(device)?.read_exact_at(&mut bytes, offset)?;
    Ok(Superblock::parse(&bytes))
}

/// Whether this is our file system although the start of it was overwritten: the room before the
/// superblock is empty, as in every ext4 (no partition table, no other file system begins there), and a
/// copy of the superblock has our label.
fn is_ours_without_superblock(device: &Path) -> bool {
    let mut first = [0; ext4::OFFSET as usize];
    let empty = File::open(device).and_then(|file| file.read_exact_at(&mut first, 0)).is_ok()
        && first.iter().all(|byte| *byte == 0);
    let ours = |offset: &u64| matches!(superblock_at(device, *offset), Ok(Some(copy)) if copy.label == LABEL);
    empty && ext4::COPIES.iter().any(ours)
}

/// Length of a disk or partition in bytes; the kernel counts in sectors of 512 whatever the disk does.
fn size(device: &Path) -> Option<u64> {
    let entry = Path::new("/sys/class/block").join(device.file_name()?).join("size");
    line(&entry)?.parse::<u64>().ok()?.checked_mul(512)
}

/// A disk that was cut off cannot be repaired, only made worse.
fn fits(found: &Superblock, device: &Path) -> Result<(), String> {
    match size(device) {
        Some(size) if size < found.bytes() => Err(format!(
            "the file system on {} has {} MiB but the disk only {} MiB; nothing was changed on it; give it its size back",
            device.display(),
            mebibytes(found.bytes()),
            mebibytes(size)
        )),
        _ => Ok(()),
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

/// Use what the disk has become larger by. A file system that cannot grow is used as it is.
fn grow(device: &Path, at: &str, logs: &mut Logs) {
    let blocks = || superblock(device).ok().flatten().map(|s| (s.blocks, s.block_size));
    let Some((before, block_size)) = blocks() else { return };
    let Some(room) = size(device).map(|bytes| bytes / block_size).filter(|room| *room > before) else {
        return;
    };
    let grown = File::open(at)
        .map_err(|e| e.to_string())
        .and_then(|directory| sys::grow_ext4(directory.as_fd(), room).map_err(|e| e.to_string()));
    let mebibytes = |blocks: u64| mebibytes(blocks.saturating_mul(block_size));
    match (grown, blocks()) {
        (Err(why), _) => logs.warn(&format!(
            "{at} stays at {} MiB of the disk's {}: it cannot grow: {why}",
            mebibytes(before),
            mebibytes(room)
        )),
        (Ok(()), Some((after, _))) if after > before => {
            logs.info(&format!(
                "{at} grew from {} to {} MiB, as its disk did",
                mebibytes(before),
                mebibytes(after)
            ));
        }
        // What is left over is too little for one more group of blocks.
        _ => {}
    }
}

/// Who repairs the file system of a disk, within a time for all that is done to it.
struct Doctor<'a> {
    device: &'a Path,
    at: &'a str,
    until: Duration,
    logs: &'a mut Logs,
    watchdog: &'a mut Option<Watchdog>,
}

impl Doctor<'_> {
    /// Check and repair what can be repaired without a decision; then, if something is left, answer
    /// every question with yes, once: there is nobody to ask. The error says why it must not be mounted.
    fn check(&mut self, need: &str, mode: &str) -> Result<(), String> {
        let at = self.at;
        if !Path::new(FSCK).exists() {
            self.logs.warn(&format!("{at} {need}, and this image has no {FSCK}: it is used unchecked"));
            return Ok(());
        }
        self.logs.info(&format!("{at} {need}: checking it, for {} s at most", LIMIT.as_secs()));
        let begun = clock::now();
        let mut verdict = self.fsck(mode)?;
        let badly = verdict == Verdict::Decisions;
        if badly {
            verdict = self.fsck("-fy")?;
        }
        let took = (clock::now() - begun).as_millis();
        match (verdict, badly) {
            (Verdict::Sound, _) => self.logs.info(&format!("{at} {need}: it is sound (checked in {took} ms)")),
            (Verdict::Repaired, false) => self.logs.info(&format!("{at} {need}: repaired in {took} ms")),
            (Verdict::Repaired, true) => self.logs.warn(&format!(
                "{at} {need}: repaired in {took} ms, but the damage was beyond the ordinary; files without a name are in {at}/lost+found"
            )),
            (Verdict::Decisions, _) => {
                return Err(format!(
                    "{} {need} and e2fsck cannot repair it; what it said is in the log of init",
                    self.device.display()
                ));
            }
        }
        Ok(())
    }

    fn fsck(&mut self, mode: &str) -> Result<Verdict, String> {
        let mut command = Command::new(FSCK);
        command.arg(mode).arg(self.device);
        let ran = child::run(command, self.until, self.watchdog);
        let (end, said) = ran.map_err(|e| format!("{FSCK} cannot be run: {e}"))?;
        for line in said.lines().filter(|line| !line.trim().is_empty()).take(LINES) {
            self.logs.push(INIT, 5, &format!("e2fsck: {line}"));
        }
        verdict(&end).map_err(|why| format!("{FSCK} {mode} on {} {why}", self.device.display()))
    }
}

/// What e2fsck found.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing that is wrong.
    Sound,
    /// Errors, which are gone now.
    Repaired,
    /// Errors, which are still there: somebody has to decide, or they are beyond repair.
    Decisions,
}

/// The exit code is a sum of bits (e2fsck(8)). The error is the second half of a sentence.
fn verdict(end: &End) -> Result<Verdict, String> {
    const REPAIRED: i32 = 1;
    /// The repaired file system was in use: not so here.
    const REBOOT: i32 = 2;
    const LEFT: i32 = 4;
    match end {
        End::Late => Err(format!("was stopped: it had not ended after {} s", LIMIT.as_secs())),
        End::Exit(None) => Err("was killed by a signal".to_owned()),
        End::Exit(Some(code)) if code & !(REPAIRED | REBOOT | LEFT) != 0 => {
            Err(format!("failed with exit code {code}; what it said is in the log of init"))
        }
        End::Exit(Some(code)) if code & LEFT != 0 => Ok(Verdict::Decisions),
        End::Exit(Some(0)) => Ok(Verdict::Sound),
        End::Exit(Some(_)) => Ok(Verdict::Repaired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_the_exit_code_are_told_apart() {
        assert_eq!(verdict(&End::Exit(Some(0))), Ok(Verdict::Sound));
        assert_eq!(verdict(&End::Exit(Some(1))), Ok(Verdict::Repaired));
        assert_eq!(verdict(&End::Exit(Some(3))), Ok(Verdict::Repaired));
        assert_eq!(verdict(&End::Exit(Some(4))), Ok(Verdict::Decisions));
        assert_eq!(verdict(&End::Exit(Some(5))), Ok(Verdict::Decisions));
        assert!(verdict(&End::Exit(Some(12))).is_err(), "an operational error counts more");
        assert!(verdict(&End::Exit(Some(8))).is_err_and(|why| why.contains("exit code 8")));
        assert!(verdict(&End::Exit(None)).is_err() && verdict(&End::Late).is_err());
    }

    /// A disk in a file with a file system of 64 MiB and our label.
    fn disk(folder: &Path) -> std::path::PathBuf {
        let disk = folder.join("disk");
        File::create(&disk).and_then(|file| file.set_len(64 << 20)).expect("a file");
        let made = Command::new("mkfs.ext4")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(["-q", "-F", "-b", "1024", "-L", LABEL])
            .arg(&disk)
            .status();
        assert!(made.expect("mkfs.ext4 is there (scripts/deps.sh)").success());
        disk
    }

    #[test]
    fn a_lost_superblock_is_known_by_its_copy_but_a_foreign_disk_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(folder.path());
        let write = |offset, bytes: &[u8]| {
            let file = File::options().write(true).open(&disk).expect("opens");
            file.write_all_at(bytes, offset).expect("writes");
        };
        assert!(superblock(&disk).expect("reads").is_some());
        write(1024, &[0; 1024]);
        assert!(superblock(&disk).expect("reads").is_none());
        assert!(is_ours_without_superblock(&disk));
        write(512, b"EFI PART");
        assert!(!is_ours_without_superblock(&disk), "somebody made partitions there");
        write(512, &[0; 8]);
        write(ext4::COPIES[2], &[0; 1024]);
        assert!(!is_ours_without_superblock(&disk), "nothing says that it is ours");
    }
}
