//! All open files of the machine.

use crate::{Outcome, sys};
use std::fs::File;
use std::io::{PipeWriter, Read};

/// Open files with so many processes, each as many as it may, and hold them.
pub(crate) fn open_all(processes: u32) -> Outcome {
    let (mut done, said) = std::io::pipe()?;
    // Later there is no descriptor for it.
    let mut count = File::open("/proc/sys/fs/file-nr")?;
    for _ in 0..processes {
        if sys::fork()?.is_none() {
            return hold(said);
        }
    }
    drop(said);
    // Ends when the last of them has all it can get.
    let _ = done.read(&mut [0])?;
    let mut total = String::new();
    count.read_to_string(&mut total)?;
    println!("hostile: open: all hold what they could get; file-nr: {}", total.trim().replace('\t', " "));
    sys::pause();
    Ok(())
}

fn hold(done: PipeWriter) -> Outcome {
    let mut held = Vec::new();
    let error = open_until_refused(&mut held);
    // Of those that only reached their own limit there is nothing to tell.
    if error.raw_os_error() == Some(libc::ENFILE) {
        println!("hostile: open: {} files, then: {error}", held.len());
    }
    drop(done);
    sys::pause();
    Ok(())
}

fn open_until_refused(held: &mut Vec<File>) -> std::io::Error {
    loop {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => return error,
        }
    }
}
