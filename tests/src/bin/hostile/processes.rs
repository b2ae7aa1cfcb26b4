//! Too many processes, processes that nobody waits for, and processes that stand still.

use crate::{Outcome, sockets, sys};
use rustix::process::{Signal, getpid, kill_process};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Every process makes processes for ever.
pub(crate) fn fork_bomb() -> Outcome {
    println!("hostile: fork-bomb: begins");
    let first = getpid();
    let (mut made, mut said) = (0_u64, false);
    loop {
        match sys::fork() {
            Ok(_) => made += 1,
            Err(error) => {
                if !said && getpid() == first {
                    println!("hostile: fork-bomb: the first process made {made}, then: {error}");
                    said = true;
                }
                std::thread::yield_now();
            }
        }
    }
}

/// Make so many processes whose parent has gone, and let all of them end in one moment.
pub(crate) fn orphans(count: u32) -> Outcome {
    let (mut never, writer) = std::io::pipe()?;
    let cgroup = std::fs::read_to_string("/proc/self/cgroup")?;
    let cgroup = cgroup.trim().trim_start_matches("0::").to_owned();
    let mut made = 0;
    for _ in 0..count {
        match sys::fork() {
            Ok(Some(_)) => made += 1,
            Err(error) => {
                println!("hostile: orphans: no more than {made}: {error}");
                break;
            }
            Ok(None) => {
                // The parent of the process that stays ends at once.
                if sys::fork()?.is_none() {
                    drop(writer);
                    let _ = never.read(&mut [0]);
                }
                std::process::exit(0);
            }
        }
        // Its first child is no orphan.
        rustix::process::wait(rustix::process::WaitOptions::empty())?;
    }
    let begun = Instant::now();
    drop(writer);
    let answered = sockets::time_of_answer()?;
    let left = || -> std::io::Result<u32> {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup{cgroup}/pids.current"))?;
        Ok(text.trim().parse().unwrap_or(u32::MAX))
    };
    // A process that was collected is no longer counted; nothing tells of that by itself.
    while left()? > 1 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!(
        "hostile: orphans: {made} ended at once, PID 1 answered after {} ms, {} were left after {} ms",
        answered.as_millis(),
        left()? - 1,
        begun.elapsed().as_millis()
    );
    Ok(())
}

/// Stop as with Ctrl-Z, and never go on by itself.
pub(crate) fn stop_itself() -> Outcome {
    println!("hostile: stop: now");
    std::io::stdout().flush()?;
    kill_process(getpid(), Signal::STOP)?;
    println!("hostile: stop: somebody let it go on");
    sys::pause();
    Ok(())
}

/// Tell the watchdog in time a few times, then stop.
pub(crate) fn stop_while_watched() -> Outcome {
    aios_abi::sys::notify("READY=1");
    for _ in 0..4 {
        aios_abi::sys::notify("WATCHDOG=1");
        std::thread::sleep(Duration::from_millis(500));
    }
    stop_itself()
}
