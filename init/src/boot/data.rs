//! The data disk: checked when it asks for it, mounted, and grown to the size of its disk.
//!
//! Nothing here formats a disk, and e2fsck (the distribution's static build, in the image) is only let
//! loose on what is known to be our ext4 file system.

use super::child::{self, End};
use super::ext4::{self, Superblock};
use super::order::{self, Order};
use super::{groups, mounts, sys};
use crate::clock;
use crate::device::line;
use crate::logs::{INIT, Logs};
use crate::power::Watchdog;
use rustix::mount::{UnmountFlags, unmount};
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
    let found = examine(device).map_err(|e| format!("{} cannot be read: {e}", device.display()))?;
    let mut doctor = Doctor { device, at, until: clock::now() + LIMIT, logs, watchdog };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let checked = match found {
        Found::Whole(superblock) => {
            fits(&superblock, device)?;
            let need = superblock.needs_check(since_1970);
            need.map(|need| doctor.check(&need.to_string(), "-p", &[])).transpose()?.is_some()
        }
        Found::Copy { superblock, block, lost } => {
            fits(&superblock, device)?;
            let copy = ["-b", &block.to_string(), "-B", &superblock.block_size.to_string()];
            doctor.check(&format!("had lost its {lost}, of which there is a copy"), "-fp", &copy)?;
            true
        }
        Found::Foreign => {
            return Err(format!(
                "{} holds no ext4 file system, and init formats nothing; make one there with the label {LABEL}",
                device.display()
            ));
        }
    };
    if let Err(why) = mounts::data(device, at) {
        if checked {
            return Err(why);
        }
        // It calls itself clean, and the kernel says that it is not.
        doctor.logs.warn(&why);
        doctor.check("called itself clean but cannot be mounted", "-fp", &[])?;
        mounts::data(device, at)?;
    }
    doctor.obey()?;
    grow(device, at, logs);
    Ok(())
}

/// What is on a disk.
#[derive(Debug)]
enum Found {
    /// An ext4 file system whose start can be believed.
    Whole(Superblock),
    /// Ours, but something at its start is lost; the copy that begins with this block is whole.
    Copy { superblock: Superblock, block: u64, lost: &'static str },
    /// Nothing of ours, or nothing any more.
    Foreign,
}

/// Look at superblock and group descriptors, and at their copies where they are damaged.
fn examine(device: &Path) -> std::io::Result<Found> {
    let file = File::open(device)?;
    let Some(superblock) = superblock_at(&file, ext4::OFFSET)? else {
        // The room before the superblock is empty in every ext4: no partition table and no other file
        // system has begun there since. And the copy has our label.
        let mut first = [0; ext4::OFFSET as usize];
        file.read_exact_at(&mut first, 0)?;
        let ours = |(block, size)| {
            let found = superblock_at(&file, block * size).ok().flatten();
            let ours = |s: &Superblock| s.label == LABEL && s.block_size == size;
            let superblock = found.filter(ours).filter(|s| descriptors_are_sound(&file, s, groups::COPY))?;
            Some(Found::Copy { superblock, block, lost: "superblock" })
        };
        let copy =
            if first == [0; ext4::OFFSET as usize] { ext4::COPIES.into_iter().find_map(ours) } else { None };
        return Ok(copy.unwrap_or(Found::Foreign));
    };
    let whole = descriptors_are_sound(&file, &superblock, 0);
    let block = superblock.first_block.saturating_add(superblock.group_blocks);
    if !whole && descriptors_are_sound(&file, &superblock, groups::COPY) {
        return Ok(Found::Copy { superblock, block, lost: "group descriptors" });
    }
    // Where both are damaged, e2fsck has to make something of it.
    Ok(Found::Whole(superblock))
}

fn superblock_at(file: &File, offset: u64) -> std::io::Result<Option<Superblock>> {
    let mut bytes = [0; ext4::LENGTH];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Superblock::parse(&bytes))
}

/// Descriptors that are not there, or too many to look at, are taken for sound where they are read first.
fn descriptors_are_sound(file: &File, superblock: &Superblock, group: u64) -> bool {
    let Some((offset, length)) = groups::place(superblock, group) else { return group == 0 };
    let mut table = vec![0; length];
    file.read_exact_at(&mut table, offset).is_ok() && groups::sound(superblock, &table)
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
    let read = || superblock_at(&File::open(device).ok()?, ext4::OFFSET).ok()?;
    let blocks = || read().map(|s| (s.blocks, s.block_size));
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
    /// Do what the owner ordered on the console of recovery mode, if anything, while `/data` is mounted
    /// and nobody uses it yet.
    fn obey(&mut self) -> Result<(), String> {
        let data = Path::new(self.at);
        let failed = |e: std::io::Error| format!("what was ordered for {}: {e}", data.display());
        match order::waiting(data) {
            None => Ok(()),
            Some(Order::Reset(record)) => order::reset(data, &record, self.logs).or_else(|e| {
                self.logs.warn(&failed(e));
                Ok(())
            }),
            Some(Order::Check) => {
                order::forget(data).map_err(failed)?;
                unmount(data, UnmountFlags::empty()).map_err(|e| failed(e.into()))?;
                self.check("is to be checked, as its owner ordered", "-fp", &[])?;
                mounts::data(self.device, self.at)
            }
        }
    }

    /// Check and repair what can be repaired without a decision; then, if something is left, answer
    /// every question with yes, once: there is nobody to ask. The error says why it must not be mounted.
    fn check(&mut self, need: &str, mode: &str, copy: &[&str]) -> Result<(), String> {
        let at = self.at;
        if !Path::new(FSCK).exists() {
            self.logs.warn(&format!("{at} {need}, and this image has no {FSCK}: it is used unchecked"));
            return Ok(());
        }
        self.logs.info(&format!("{at} {need}: checking it, for {} s at most", LIMIT.as_secs()));
        let begun = clock::now();
        let mut verdict = self.fsck(mode, copy)?;
        let badly = verdict == Verdict::Decisions;
        if badly {
            verdict = self.fsck("-fy", copy)?;
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

    fn fsck(&mut self, mode: &str, copy: &[&str]) -> Result<Verdict, String> {
        let mut command = Command::new(FSCK);
        command.arg(mode).args(copy).arg(self.device);
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

    #[test]
    fn what_was_lost_at_the_start_is_found_in_the_copy_but_a_foreign_disk_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().join("disk");
        std::fs::write(&disk, ext4::tests::made(64, &["-b", "1024"])).expect("writes");
        let write = |offset, bytes: &[u8]| {
            let file = File::options().write(true).open(&disk).expect("opens");
            file.write_all_at(bytes, offset).expect("writes");
        };
        let lost = || match examine(&disk).expect("reads") {
            Found::Whole(_) => "nothing",
            Found::Copy { block: 8193, lost, .. } => lost,
            Found::Copy { .. } => "another copy",
            Found::Foreign => "all",
        };
        assert_eq!(lost(), "nothing");
        write(2048, &[0; 64]);
        assert_eq!(lost(), "group descriptors");
        write(1024, &[0; 1024]);
        assert_eq!(lost(), "superblock");
        write(512, b"EFI PART");
        assert_eq!(lost(), "all", "somebody made partitions there");
        write(512, &[0; 8]);
        write(8193 * 1024, &[0; 1024]);
        assert_eq!(lost(), "all", "nothing says that it is ours");
    }
}
