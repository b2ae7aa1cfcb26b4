//! The data disk: repaired when it is damaged, grown when it is larger, given up when it is hopeless.

use aios_qemu::{MachineConfig, disk};
use aios_tests::{Appliance, PATIENCE};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file that must survive.
const NOTE: (&str, &[u8]) = ("kept/note.txt", b"still here");

/// Bytes over the disk of a machine that is off.
fn overwrite(image: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(image).expect("the disk is there");
    file.write_all_at(bytes, offset).expect("written");
}

/// What init has said about /data.
fn said(appliance: &Appliance, wanted: &str) -> Result<String> {
    let line = appliance.machine.serial().wait_for_line(|line| line.contains(wanted), PATIENCE)?;
    println!("{line}");
    Ok(line)
}

#[test]
fn a_disk_that_was_enlarged_is_used_to_its_new_end() -> Result<()> {
    let enlarge = |config: &mut MachineConfig| {
        let file = File::options().write(true).open(&config.data).expect("the disk is there");
        file.set_len(3 << 30).expect("enlarged");
    };
    let mut appliance = Appliance::boot(&[NOTE], enlarge)?;
    said(&appliance, "aios: /data grew from 1024 to 3072 MiB")?;
    appliance.machine.power_off(PATIENCE)?;
    let image = appliance.machine.config().data.clone();
    disk::repair(&image)?;
    ensure!(disk::get(&image, NOTE.0)? == NOTE.1, "the file did not survive");
    appliance = appliance.cut_power()?;
    let text = appliance.machine.serial().text();
    ensure!(
        !text.contains("/data grew") && !text.contains("checking it"),
        "the next boot found work: {text}"
    );
    Ok(())
}

#[test]
fn a_damaged_disk_is_repaired_and_the_machine_comes_up_with_its_data() -> Result<()> {
    // Group descriptors that point nowhere, though the superblock says that all is well.
    let mut appliance = Appliance::boot(&[NOTE, ("lost/file.txt", b"nameless")], |config| {
        config.watchdog = true;
        overwrite(&config.data, 4096, &[0xa5; 4096]);
    })?;
    said(&appliance, "aios: /data had lost its group descriptors, of which there is a copy: repaired in")?;
    appliance.machine.power_off(PATIENCE)?;
    // A directory that is gone while its file is not, a wrong count, and the mark of a crash.
    let image = appliance.machine.config().data.clone();
    disk::debugfs(
        &image,
        "clri /lost\nset_inode_field /kept/note.txt links_count 7\nset_super_value state 0\n",
    )?;
    appliance = appliance.cut_power()?;
    let line = said(&appliance, "aios: /data was not clean: repaired in")?;
    ensure!(line.contains("/data/lost+found"), "the nameless file is not told: {line}");
    appliance.claim()?;
    let read = appliance.json(&["tools", "call", "fs.read", "path=/data/kept/note.txt"])?;
    ensure!(read["result"].to_string().contains("still here"), "not what was written: {read}");
    appliance.machine.power_off(PATIENCE).context("the power button")
}

#[test]
fn after_a_pulled_plug_the_disk_is_checked_and_sound() -> Result<()> {
    let appliance = Appliance::claimed()?;
    appliance.json(&[
        "tools",
        "call",
        "fs.write",
        "path=/data/note.txt",
        "content=hello",
        "--why",
        "test",
    ])?;
    let appliance = appliance.cut_power()?;
    said(&appliance, "aios: /data was in use when the machine went down: it is sound")?;
    let read = appliance.json(&["tools", "call", "fs.read", "path=/data/note.txt"])?;
    ensure!(read["result"].to_string().contains("hello"), "not what was written: {read}");
    Ok(())
}

#[test]
fn a_hopeless_disk_is_left_as_it_is_and_the_machine_comes_up_without_it() -> Result<()> {
    let mut damaged = Vec::new();
    let appliance = Appliance::boot(&[NOTE], |config| {
        // The superblock and every copy of it.
        for group in [0, 1, 3, 5, 7] {
            let start = group * 32768 * 4096;
            overwrite(&config.data, if group == 0 { 1024 } else { start }, &[0; 1024]);
        }
        damaged = std::fs::read(&config.data).expect("reads");
    })?;
    let line = said(&appliance, "NOTHING WILL SURVIVE A REBOOT")?;
    ensure!(line.contains("holds no ext4 file system"), "the reason is not told: {line}");
    ensure!(std::fs::read(&appliance.machine.config().data)? == damaged, "the disk was written to");
    Ok(())
}
