//! A disk without room, and a disk that is written to when the power goes.

use crate::Outcome;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

fn home() -> std::io::Result<PathBuf> {
    std::env::var_os("STATE_DIRECTORY").map(PathBuf::from).ok_or_else(|| std::io::Error::other("no home"))
}

/// Take the last byte of the data disk that this user can get, and give it back so many seconds later.
pub(crate) fn fill(seconds: u32) -> Outcome {
    let home = home()?;
    let file = OpenOptions::new().create(true).append(true).open(home.join("everything"))?;
    let mut at = 0;
    for step in [64 << 20, 1 << 20, 4096] {
        while fallocate(&file, FallocateFlags::empty(), at, step).is_ok() {
            at += step;
        }
    }
    let refused = (0..1024).find_map(|n| {
        let small = File::create(home.join(n.to_string())).and_then(|mut file| file.write_all(&[1; 4096]));
        small.err()
    });
    match refused {
        Some(error) => println!("hostile: fill: {} MiB, then: {error}", at >> 20),
        None => println!("hostile: fill: {} MiB, and still not full", at >> 20),
    }
    std::thread::sleep(Duration::from_secs(seconds.into()));
    for entry in std::fs::read_dir(home)? {
        std::fs::remove_file(entry?.path())?;
    }
    println!("hostile: fill: given back");
    Ok(())
}

/// Replace a file again and again, each time so that it survives the power, and only then say so where
/// somebody outside sees it; besides that write the log full.
pub(crate) fn scribble() -> Outcome {
    let home = home()?;
    let (new, kept) = (home.join("counter.new"), home.join("counter"));
    let begin: u64 = std::fs::read_to_string(&kept).ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    let name = home.file_name().unwrap_or_default().display();
    let mut terminal = OpenOptions::new().write(true).open("/dev/console")?;
    for n in begin + 1.. {
        let mut file = File::create(&new)?;
        file.write_all(format!("{n}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &kept)?;
        File::open(&home)?.sync_all()?;
        terminal.write_all(format!("hostile: {name} kept {n}\n").as_bytes())?;
        for line in 0..50 {
            println!(
                "hostile: scribble {n} {line} and some more text so that files are rotated now and then"
            );
        }
        // Of this priority the log keeper writes through to the disk.
        println!("<3>hostile: scribbled {n}");
    }
    Ok(())
}
