//! The process that holds a running machine for a person.

use aios_qemu::{Accel, Claim, Machine, MachineConfig, Ready, detached};
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BOOT_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(45);
/// The last line that a detached keeper writes to the process that started it.
const DETACHED: &str = "detached";

/// The command line client, from the checkout.
const AIOSCTL: &str = "target/x86_64-unknown-linux-gnu/release/aiosctl";

/// One machine for one run folder. The file holds the keeper's process id and is locked while it lives.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    fn path(run: &Path) -> PathBuf {
        run.join("aios-qemu.pid")
    }

    /// Take it, or say that the machine runs already.
    pub(crate) fn take(run: &Path) -> Result<Self> {
        let path = Self::path(run);
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(&path)?;
        if file.try_lock().is_err() {
            bail!("the machine runs already; `make stop` switches it off");
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }

    /// Who holds it, and the file that can be locked when they do not any more.
    fn holder(run: &Path) -> Result<Option<(Pid, File)>> {
        let path = Self::path(run);
        let Ok(mut file) = File::open(&path) else { return Ok(None) };
        if file.try_lock().is_ok() {
            return Ok(None);
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        Ok(Some((pid.with_context(|| format!("{} holds no process id", path.display()))?, file)))
    }
}

/// Boot the machine, say how to reach it, and keep it until somebody ends it.
pub(crate) fn keep(config: MachineConfig, detaches: bool, lock: Lock) -> Result<()> {
    // From here on these signals are told to the socket instead of ending the process.
    let (mut asked, asking) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, asking.try_clone()?)?;
    }
    let begun = Instant::now();
    let mut machine = Machine::start(config)?;
    println!(
        "Booting the appliance ({}) …",
        match machine.probe().accel {
            Accel::Kvm => "with KVM",
            Accel::Tcg => "emulated: this takes some seconds more",
        }
    );
    let mut progress = Progress { begun, shown: 0 };
    let ready = machine.wait_ready_and_tell(BOOT_LIMIT, |line| progress.line(line));
    let ready = ready.with_context(|| format!("see {}", machine.config().serial_log().display()))?;
    print(&machine, &ready, begun.elapsed(), detaches)?;
    if detaches {
        println!("{DETACHED}");
        let log = File::create(machine.config().run.join("aios-qemu.log"))?;
        rustix::stdio::dup2_stdout(&log)?;
        rustix::stdio::dup2_stderr(&log)?;
    }
    if !wait(&machine, &asked, None)? {
        println!("\nThe machine switched itself off.");
        return Ok(());
    }
    asked.read_exact(&mut [0])?;
    println!("\nSwitching the machine off … (once more: pull the plug)");
    machine.qmp()?.power_button()?;
    let off = !wait(&machine, &asked, Some(STOP_LIMIT))? && machine.wait_exit(Duration::ZERO)?;
    drop(machine);
    drop(lock);
    if !off {
        bail!("it did not switch itself off in time; the plug was pulled, nothing that was stored is lost");
    }
    println!("The machine is off. `make run` starts it again with everything that it remembers.");
    Ok(())
}

/// Wait until the machine ends (false) or a signal asks for something, or the time is up (true).
fn wait(machine: &Machine, asked: &UnixStream, limit: Option<Duration>) -> Result<bool> {
    let limit = limit.map(TryInto::try_into).transpose()?;
    let ended = machine.ended();
    loop {
        let mut fds = [PollFd::new(&ended, PollFlags::IN), PollFd::new(asked, PollFlags::IN)];
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => return Ok(fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Tells a person what a boot has come to.
struct Progress {
    begun: Instant,
    shown: usize,
}

impl Progress {
    /// Marks on the way, in their order, and what is said about them.
    const STEPS: [(&'static str, &'static str); 2] =
        [("aios: aiOS ", "PID 1 runs"), ("aios: toold is ready", "services start")];

    fn line(&mut self, line: &str) {
        if let Some((mark, what)) = Self::STEPS.get(self.shown)
            && line.contains(mark)
        {
            println!("  {:>5.1} s  {what}", self.begun.elapsed().as_secs_f32());
            self.shown += 1;
        }
    }
}

fn print(machine: &Machine, ready: &Ready, took: Duration, detaches: bool) -> Result<()> {
    let probe = machine.probe();
    let url = machine.console_url();
    println!("  {:>5.1} s  the console answers\n", took.as_secs_f32());
    println!("  Console      {url}/");
    println!("  Certificate  SHA-256 {}", ready.fingerprint);
    match &ready.claim {
        Claim::Code(code) => println!("  Claim code   {code}  (once, for the machine's first person)"),
        Claim::Claimed => println!("  Claimed      log in with your name and password"),
    }
    match probe.accel {
        Accel::Kvm => println!("  Model        inside the machine; {}", probe.why),
        Accel::Tcg => {
            println!("  Model        beside QEMU, where it runs at the processor's own speed:");
            println!("               {}", probe.why);
        }
    }
    println!("  Serial log   {}\n", absolute(machine.config().serial_log())?.display());
    println!("Open the console in a browser and compare the certificate before you accept it.");
    println!("On the command line:\n\n  {}\n", command_line(&url, ready));
    let how = if detaches { "`make stop`" } else { "Ctrl-C or `make stop`" };
    println!("{how} switches the machine off.");
    Ok(std::io::stdout().flush()?)
}

/// What to type to get in: once the machine is claimed its name and password are enough.
fn command_line(url: &str, ready: &Ready) -> String {
    let verb = match ready.claim {
        Claim::Code(_) => "claim",
        Claim::Claimed => "login",
    };
    let code = ready.claim_code().map_or_else(String::new, |code| format!(" --code {code}"));
    format!("{AIOSCTL} {verb} {url}{code} --fingerprint {}", ready.fingerprint)
}

/// Start a keeper that outlives us, and pass on what it says until its machine is ready.
pub(crate) fn detach() -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--stays").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = detached(&mut command).spawn().context("the keeper cannot be started")?;
    let said = child.stdout.take().context("the keeper has no output")?;
    for line in BufReader::new(said).lines() {
        match line?.as_str() {
            DETACHED => return Ok(()),
            line => println!("{line}"),
        }
    }
    let status = child.wait()?;
    bail!("the machine was not started ({status})");
}

/// Switch the machine off that another process keeps.
pub(crate) fn stop(run: &Path) -> Result<()> {
    let Some((pid, file)) = Lock::holder(run)? else {
        println!("No machine runs.");
        return Ok(());
    };
    println!("Switching the machine off …");
    kill_process(pid, Signal::TERM)?;
    file.lock()?;
    println!("The machine is off.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_that_is_shown_claims_a_new_machine_and_logs_in_to_a_claimed_one() {
        let line = |claim| {
            let ready = Ready { fingerprint: "AA:BB".into(), claim };
            command_line("https://127.0.0.1:8443", &ready).replace(AIOSCTL, "aiosctl")
        };
        assert_eq!(
            line(Claim::Code("ABCD-EFGH-IJKL".into())),
            "aiosctl claim https://127.0.0.1:8443 --code ABCD-EFGH-IJKL --fingerprint AA:BB"
        );
        assert_eq!(line(Claim::Claimed), "aiosctl login https://127.0.0.1:8443 --fingerprint AA:BB");
    }
}
