//! `aios-rescue`: the console of recovery mode. Init starts it on `/dev/console` instead of everything
//! else; it asks init alone and reads what else it shows from the kernel, so it works with every daemon dead.

#![forbid(unsafe_code)]

use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::service::{Init, InitReply, InitRequest, MachineStatus};
use aios_rescue::challenge::Challenge;
use aios_rescue::session::{Action, Change, HELP, Session};
use aios_rescue::{key, order};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const CONSOLE: &str = "/dev/console";
/// Init makes it when it starts in recovery mode.
const MODE: &str = "/run/aios/recovery";
/// What a terminal gives at once (termios(3), canonical mode).
const LINE: u64 = 4096;
/// Lines of a log on one screen.
const LINES: u32 = 40;
/// How long init may take, in milliseconds.
const PATIENCE: u32 = 60_000;

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("<3>{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if !Path::new(MODE).exists() {
        return Err("this machine did not start in recovery mode; aios.rescue on the kernel's command line starts it so".into());
    }
    let at = |e: std::io::Error| format!("{CONSOLE}: {e}");
    // Who stands before the machine has this terminal; no other way leads here.
    let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    let mut console =
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(CONSOLE).map_err(at)?;
    let mut lines = BufReader::new(console.try_clone().map_err(at)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let rescue = Rescue { runtime: runtime.map_err(|e| format!("no runtime: {e}"))?, after: Cell::new(None) };
    let machine = rescue.machine()?;
    let id = first_line("/data/machine-id").unwrap_or_default();
    let challenge = Challenge::new(&id).map_err(|e| format!("no random numbers: {e}"))?;
    let (key, faults) = key::trusted();
    let mut greeting = format!("\naiOS {} recovery mode on {}\n{HELP}\n", machine.version, machine.hostname);
    faults.iter().for_each(|fault| greeting += &format!("{}\n", clean(fault)));
    greeting += &match key {
        Some(_) => format!("challenge: {challenge}\n"),
        None => "This machine knows no recovery key: one may look, but nothing can be unlocked.\n".to_owned(),
    };
    let mut session = Session::new(challenge, key, &machine.hostname);
    write!(console, "{greeting}rescue> ").map_err(at)?;
    loop {
        let mut line = Vec::new();
        if (&mut lines).take(LINE).read_until(b'\n', &mut line).map_err(at)? == 0 {
            return Err(format!("{CONSOLE} was closed"));
        }
        let action = session.line(&String::from_utf8_lossy(&line));
        let said = rescue.act(action, &session, &machine).unwrap_or_else(|why| format!("Failed: {why}"));
        let said = said.trim_end();
        let end = if said.is_empty() { "" } else { "\n" };
        write!(console, "{said}{end}rescue> ").map_err(at)?;
        // Said before it is done: init stops this console as well.
        if let Some(Err(why)) = rescue.after.take().map(|request| rescue.ask(request)) {
            write!(console, "Failed: {why}\nrescue> ").map_err(at)?;
        }
    }
}

struct Rescue {
    runtime: tokio::runtime::Runtime,
    /// What is asked of init when the person has read the answer.
    after: Cell<Option<InitRequest>>,
}

impl Rescue {
    fn ask(&self, request: InitRequest) -> Result<InitReply> {
        let meta = Meta::why("recovery mode").deadline_ms(PATIENCE);
        let asked = self.runtime.block_on(async { Client::<Init>::default().call(meta, request).await });
        asked.map_err(|e| clean(&e.to_string()))
    }

    fn machine(&self) -> Result<MachineStatus> {
        match self.ask(InitRequest::Machine)? {
            InitReply::Machine(machine) => Ok(machine),
            _ => Err("init gave another answer than was asked for".to_owned()),
        }
    }

    fn act(&self, action: Action, session: &Session, machine: &MachineStatus) -> Result<String> {
        match action {
            Action::Say(text) => Ok(text),
            Action::Status => self.status(),
            Action::Services => self.services(),
            Action::Logs(unit) => self.logs(unit),
            Action::Network => Ok(network()),
            Action::Disks => Ok(disks()),
            Action::Service(change, name) => self.change(change, name),
            Action::CheckData => self.order(order::CHECK, String::new(), machine),
            Action::FactoryReset => {
                let record = record(session, machine).ok_or("it is not unlocked")?;
                self.order(order::RESET, record, machine)
            }
            Action::Reboot => Ok(self.soon(InitRequest::Reboot, "Restarting.".to_owned())),
            Action::PowerOff => Ok(self.soon(InitRequest::PowerOff, "Switching off.".to_owned())),
        }
    }

    fn soon(&self, request: InitRequest, text: String) -> String {
        self.after.set(Some(request));
        text
    }

    fn status(&self) -> Result<String> {
        let m = self.machine()?;
        let seconds = m.uptime_ms / 1000;
        Ok(format!(
            "{} · aiOS {} · Linux {} · up {seconds} s · /data is in {}",
            clean(&m.hostname),
            m.version,
            m.kernel,
            if m.data == "disk" { "its place on the disk" } else { "memory: nothing will survive" }
        ))
    }

    fn services(&self) -> Result<String> {
        let InitReply::List { services, refused } = self.ask(InitRequest::List)? else {
            return Err("init gave another answer than was asked for".to_owned());
        };
        let mut text = String::new();
        for service in services {
            let why = service.last_exit.map(|why| format!(" ({why})")).unwrap_or_default();
            text += &format!(
                "{:<12} {:<10} {}{}\n",
                service.name,
                service.state.as_str(),
                service.description,
                clean(&why)
            );
        }
        refused.iter().for_each(|sentence| text += &format!("refused: {}\n", clean(sentence)));
        Ok(text)
    }

    fn logs(&self, unit: Option<String>) -> Result<String> {
        let request = InitRequest::Logs { unit, contains: None, limit: LINES, follow: false };
        let InitReply::Logs { lines, .. } = self.ask(request)? else {
            return Err("init gave another answer than was asked for".to_owned());
        };
        let shown = lines.iter().map(|line| format!("{}: {}\n", clean(&line.unit), clean(&line.text)));
        let text: String = shown.collect();
        Ok(if text.is_empty() { "Nothing was logged.".to_owned() } else { text })
    }

    fn change(&self, change: Change, name: String) -> Result<String> {
        let request = match change {
            Change::Start => InitRequest::Start { name },
            Change::Stop => InitRequest::Stop { name },
            Change::Restart => InitRequest::Restart { name },
        };
        match self.ask(request)? {
            InitReply::Status(service) => Ok(format!("{} is {}.", service.name, service.state.as_str())),
            _ => Err("init gave another answer than was asked for".to_owned()),
        }
    }

    fn order(&self, kind: &str, record: String, machine: &MachineStatus) -> Result<String> {
        if machine.data != "disk" {
            return Err("there is no data disk; the log of init says why".to_owned());
        }
        order::write(Path::new(order::ORDER), kind, &record).map_err(|e| format!("{}: {e}", order::ORDER))?;
        let text = format!("Restarting; {kind} is done before /data is used again.");
        Ok(self.soon(InitRequest::Reboot, text))
    }
}

/// What is kept of a factory reset: enough to prove later who ordered it.
fn record(session: &Session, machine: &MachineStatus) -> Option<String> {
    let (challenge, signature) = session.proof()?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let record = serde_json::json!({
        "time_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        "hostname": machine.hostname,
        "boot_id": machine.boot_id,
        "challenge": challenge,
        "signature": signature,
        "key": key::trusted().0.map(|key| key::public_line(&key).trim_end().to_owned()),
    });
    Some(record.to_string())
}

fn network() -> String {
    each("/sys/class/net", |at| {
        let read = |name: &str| first_line(&format!("{at}/{name}")).unwrap_or_else(|| "?".to_owned());
        format!("{:<8} address {}", read("operstate"), read("address"))
    })
}

fn disks() -> String {
    each("/sys/class/block", |at| {
        let sectors = first_line(&format!("{at}/size")).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
        let serial = first_line(&format!("{at}/serial")).map(|s| format!(" SERIAL={s}")).unwrap_or_default();
        format!("{:>8} MiB{serial}", sectors / 2048)
    })
}

fn each(folder: &str, show: impl Fn(&str) -> String) -> String {
    let mut lines: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let at = entry.path().to_string_lossy().into_owned();
            format!("{:<10} {}\n", entry.file_name().to_string_lossy(), clean(&show(&at)))
        })
        .collect();
    lines.sort();
    lines.concat()
}

fn first_line(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LINE).read_to_string(&mut text).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Without what a terminal would take for a command.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
