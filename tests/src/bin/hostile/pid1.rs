//! Attacks on PID 1 itself, as only root can try them.

use crate::{Outcome, sockets, sys};
use rustix::process::{Pid, Signal, kill_process};

/// Send PID 1 a signal that means a fault in its own program, so many times; after each one, wait until it
/// answers again.
pub(crate) fn signal(name: &str, count: u32) -> Outcome {
    let signal = named(name)?;
    for n in 1..=count {
        println!("hostile: signal: SIG{name} to PID 1, {n} of {count}");
        kill_process(Pid::INIT, signal)?;
        let begun = std::time::Instant::now();
        // While it executes itself anew, a connection may end without an answer.
        let answered = (0..1000).find_map(|_| sockets::time_of_answer().ok());
        let after = begun.elapsed().as_millis();
        println!("hostile: signal: it answered again after {after} ms: {}", answered.is_some());
    }
    println!("hostile: signal: done");
    Ok(())
}

fn named(name: &str) -> std::io::Result<Signal> {
    match name {
        "SEGV" => Ok(Signal::SEGV),
        "ABRT" => Ok(Signal::ABORT),
        "BUS" => Ok(Signal::BUS),
        "KILL" => Ok(Signal::KILL),
        "STOP" => Ok(Signal::STOP),
        _ => Err(std::io::Error::other("no such signal here")),
    }
}

/// Send a signal to the process that makes processes for PID 1. As a privileged service, of which nothing keeps
/// it; what that is like comes first.
pub(crate) fn spawner(name: &str) -> Outcome {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let same = |kind: &str| {
        let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}")).ok();
        of("self").is_some() && of("self") == of("1")
    };
    println!(
        "hostile: privileged: seccomp {}, capabilities {}, namespaces of init {}",
        field("Seccomp").unwrap_or_default().trim(),
        field("CapEff").unwrap_or_default().trim(),
        ["mnt", "ipc", "net", "pid"].into_iter().all(same)
    );
    let signal = named(name)?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let is = std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm == "spawner\n");
        let pid = entry.file_name().to_str().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        if let Some(pid) = pid.filter(|_| is) {
            kill_process(pid, signal)?;
            println!("hostile: spawner: SIG{name} to process {}", pid.as_raw_nonzero());
        }
    }
    Ok(())
}

/// Hold PID 1 fast for ever.
pub(crate) fn seize() -> Outcome {
    println!("hostile: seize: PID 1 stands still from now on");
    sys::seize(1)?;
    sys::pause();
    Ok(())
}
