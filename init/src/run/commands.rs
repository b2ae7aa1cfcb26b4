//! Commands of services: a process beside the service's own, made as that is made, in a cgroup of its own.
//!
//! The supervisor knows nothing of it: a command has no state but that it runs, nothing depends on it, and it is over
//! with its time, with its caller's interest, and with init itself. What init executed anew finds of it is ended like
//! all that nobody looks after.

use super::Machine;
use crate::cgroup::Cgroup;
use crate::clock::{self, milliseconds};
use crate::logs::{self, INIT, Lines, Logs};
use crate::poll::Token;
use crate::sys::{self, Change, REPORT_BYTES};
use crate::{notify, spawn};
use aios_abi::run::{
    CommandInfo, MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, MAX_OUTPUT, RunEnd, RunHow, RunInfo, RunOutcome,
    RunRequest,
};
use aios_abi::service::InitReply;
use aios_abi::who::Peer;
use aios_abi::{CallError, ErrorCode};
use aios_unit::{Arguments, Command, Readiness, Unit};
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Commands that run at once.
const MOST: usize = 16;
/// What was killed and has not gone so long after that waits for a device; who asked does not.
const GRACE: Duration = Duration::from_secs(10);

/// The commands that run.
#[derive(Debug, Default)]
pub(super) struct Commands {
    running: BTreeMap<u32, Running>,
    last: u32,
}

/// A command that runs, or of which something is left.
#[derive(Debug)]
struct Running {
    service: String,
    command: String,
    arguments: Vec<String>,
    cgroup: Cgroup,
    /// The main process, until it is collected.
    pid: Option<Pid>,
    output: Option<OwnedFd>,
    report: OwnedFd,
    /// How the main process ended.
    ended: Option<Change>,
    began: Duration,
    /// When it is killed, and after that when nobody waits for it any more.
    until: Option<Duration>,
    /// Why it was killed.
    fate: Option<RunEnd>,
    to: To,
}

/// Where its output goes.
#[derive(Debug)]
enum To {
    /// To somebody who waits for it.
    Caller { connection: u32, request: u64, kept: Vec<u8>, omitted: u64 },
    /// To the service's log.
    Log(Lines),
    /// Nowhere: who waited has gone.
    Nobody,
}

impl Commands {
    /// When something has to be done if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.running.values().filter_map(|running| running.until).min()
    }

    fn of(&mut self, connection: u32, id: u64) -> Option<&mut Running> {
        let asked = |running: &&mut Running| match running.to {
            To::Caller { connection: c, request, .. } => (c, request) == (connection, id),
            _ => false,
        };
        self.running.values_mut().find(asked)
    }

    /// Kill what runs: the machine goes down.
    pub(super) fn end_all(&mut self) {
        self.running.values_mut().for_each(|running| running.end(RunEnd::Ended));
    }

    /// Nobody waits for this request any more.
    pub(super) fn cancel(&mut self, connection: u32, id: u64) {
        if let Some(running) = self.of(connection, id) {
            running.to = To::Nobody;
            running.end(RunEnd::Ended);
        }
    }
}

impl Running {
    /// Kill it with all that it started; one that is killed already stays so for the first reason.
    fn end(&mut self, why: RunEnd) {
        if self.fate.is_none() && self.ended.is_none() {
            self.fate = Some(why);
            self.until = Some(clock::now() + GRACE);
        }
        self.kill();
    }

    fn kill(&self) {
        // An empty cgroup does not mind; one that cannot be killed has no process either.
        let _ = self.cgroup.kill();
    }

    fn read(&mut self, number: u32, logs: &mut Logs) {
        let Self { service, command, output, to, .. } = self;
        logs::drain(output, |piece| match to {
            To::Caller { kept, omitted, .. } => {
                let (taken, rest) = piece.split_at(piece.len().min(MAX_OUTPUT - kept.len()));
                kept.extend_from_slice(taken);
                *omitted += rest.len() as u64;
            }
            To::Log(lines) => {
                lines.feed(piece, |line| logs.push(service, 6, &said(command, number, line)));
            }
            To::Nobody => {}
        });
    }

    fn info(&self, number: u32) -> RunInfo {
        RunInfo {
            number,
            service: self.service.clone(),
            command: self.command.clone(),
            arguments: self.arguments.clone(),
            pid: self.pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()),
            running_ms: milliseconds(clock::now().saturating_sub(self.began)),
            background: matches!(self.to, To::Log(_)),
        }
    }

    /// How it ended. The error is that it could not begin.
    fn outcome(&self) -> Result<RunEnd, String> {
        let mut report = [0; REPORT_BYTES];
        if rustix::io::read(&self.report, &mut report[..]) == Ok(REPORT_BYTES) {
            return Err(sys::read_report(report));
        }
        if let Some(fate) = &self.fate {
            return Ok(fate.clone());
        }
        if self.cgroup.oom_kills() > 0 {
            return Ok(RunEnd::OutOfMemory);
        }
        Ok(match self.ended {
            Some(Change::Exited(status)) => RunEnd::Exited(status),
            Some(Change::Killed(signal)) => RunEnd::Killed(aios_unit::signal_name(signal)),
            _ => RunEnd::Ended,
        })
    }
}

/// A line of a command in the log of its service.
fn said(command: &str, number: u32, line: &[u8]) -> String {
    format!("{command} {number}: {}", String::from_utf8_lossy(line).trim_end())
}

/// The service as it is started for a command: what is its own alone is left out.
fn as_service(unit: &Unit, command: &Command, arguments: &[String], number: u32) -> Unit {
    let mut unit = unit.clone();
    // No service has a point in its name.
    unit.name = format!("{}.{number}", unit.name);
    unit.exec = command.exec.iter().chain(arguments).cloned().collect();
    unit.ready = Readiness::Started;
    (unit.watchdog, unit.timer, unit.standby) = (None, None, false);
    (unit.sockets, unit.open) = (Vec::new(), Vec::new());
    (unit.resources.memory_min, unit.resources.delegate) = (None, false);
    unit
}

fn check(request: &RunRequest, command: &Command) -> Result<(), CallError> {
    let RunRequest { service, command: name, arguments, how } = request;
    if *how == RunHow::Look && command.changes {
        let text = format!("{name} of {service} may change something; run it with run.command");
        return Err(CallError::denied(text));
    }
    if !arguments.is_empty() && command.arguments == Arguments::None {
        return Err(CallError::invalid(format!("{name} of {service} takes no arguments")));
    }
    let bytes: usize = arguments.iter().map(String::len).sum();
    if arguments.len() > MAX_ARGUMENTS || bytes > MAX_ARGUMENT_BYTES {
        let text = format!(
            "{} arguments with {bytes} bytes are more than {MAX_ARGUMENTS} with {MAX_ARGUMENT_BYTES}",
            arguments.len()
        );
        return Err(CallError::invalid(text));
    }
    match arguments.iter().any(|argument| argument.contains('\0')) {
        true => Err(CallError::invalid("an argument holds a NUL character; remove it")),
        false => Ok(()),
    }
}

impl Machine {
    /// What can be run, and what runs.
    pub(super) fn commands_reply(&self) -> InitReply {
        let of = |unit: &Unit| {
            let info = |command: &Command| CommandInfo {
                service: unit.name.clone(),
                command: command.name.clone(),
                description: command.description.clone(),
                exec: command.exec.clone(),
                arguments: command.arguments == Arguments::Any,
                changes: command.changes,
                time_limit_ms: milliseconds(command.time_limit),
            };
            unit.commands.iter().map(info).collect::<Vec<_>>()
        };
        let commands =
            self.services.iter().filter(|held| !held.gone).flat_map(|held| of(&held.unit)).collect();
        let running = &self.commands.running;
        let running = running.iter().filter(|(_, r)| r.ended.is_none()).map(|(n, r)| r.info(*n)).collect();
        InitReply::Commands { commands, running }
    }

    /// Begin a command. Who waits is answered later.
    pub(super) fn run_command(
        &mut self,
        peer: Peer,
        (connection, id): (u32, u64),
        deadline_ms: u32,
        request: RunRequest,
    ) -> Result<Option<InitReply>, CallError> {
        let index = self.find(&request.service)?.0;
        let Some(held) = self.services.get(index) else { return Ok(None) };
        let found = held.unit.commands.iter().find(|command| command.name == request.command);
        let command = found.ok_or_else(|| unknown(&held.unit, &request.command))?;
        check(&request, command)?;
        if self.supervisor.shutting_down() {
            return Err(CallError::unavailable("the machine goes down; nothing is started any more"));
        }
        if self.commands.running.len() >= MOST {
            return Err(CallError::new(
                ErrorCode::Busy,
                format!("{MOST} commands run already; wait for one"),
            ));
        }
        self.commands.last = self.commands.last.wrapping_add(1);
        let number = self.commands.last;
        let unit = as_service(&held.unit, command, &request.arguments, number);
        let limit = match (request.how, deadline_ms) {
            (RunHow::Background, _) | (_, 0) => command.time_limit,
            // Who asked hears of it in time.
            (_, ms) => command.time_limit.min(Duration::from_millis(ms.into()).mul_f32(0.9)),
        };
        let to = match request.how {
            RunHow::Background => To::Log(Lines::default()),
            RunHow::Look | RunHow::Wait => {
                To::Caller { connection, request: id, kept: Vec::new(), omitted: 0 }
            }
        };
        let (cgroup, mut faults) = Cgroup::make(&unit).map_err(CallError::failed)?;
        let spawned =
            match spawn::spawn(&mut self.spawner, &unit, &cgroup, &mut Vec::new(), notify::SOCKET, false) {
                Ok(spawned) => spawned,
                Err(why) => {
                    cgroup.remove();
                    return Err(CallError::failed(format!("could not be started: {why}")));
                }
            };
        faults.extend(spawned.faults);
        if let Err(e) = self.poller.readable(&spawned.output, Token::Command(number)) {
            faults.push(format!("its output cannot be read: {e}"));
        }
        let RunRequest { service, command, arguments, how } = request;
        for fault in faults {
            self.logs.push(INIT, 4, &format!("{service}: {command} {number}: {fault}"));
        }
        let text = format!("{service}: {command} {number} begins, asked for by process {}", peer.pid);
        self.logs.push(INIT, 5, &text);
        let began = clock::now();
        let running = Running {
            service,
            command,
            arguments,
            cgroup,
            pid: Some(spawned.pid),
            output: Some(spawned.output),
            report: spawned.report,
            ended: None,
            began,
            until: Some(began + limit),
            fate: None,
            to,
        };
        let info = running.info(number);
        self.commands.running.insert(number, running);
        Ok((how == RunHow::Background).then_some(InitReply::Running(info)))
    }

    /// End a command on request.
    pub(super) fn end_command(&mut self, number: u32) -> Result<InitReply, CallError> {
        let running = self.commands.running.get_mut(&number).filter(|running| running.ended.is_none());
        let running = running
            .ok_or_else(|| CallError::not_found(format!("no command with the number {number} runs")))?;
        let info = running.info(number);
        running.end(RunEnd::Ended);
        Ok(InitReply::Running(info))
    }

    /// A command wrote something.
    pub(super) fn command_output(&mut self, number: u32) {
        if let Some(running) = self.commands.running.get_mut(&number) {
            running.read(number, &mut self.logs);
        }
    }

    /// News of a process that may be the main process of a command.
    pub(super) fn command_changed(&mut self, pid: Pid, change: Change) -> bool {
        let mut all = self.commands.running.values_mut();
        let Some(running) = all.find(|running| running.pid == Some(pid)) else { return false };
        if matches!(change, Change::Exited(_) | Change::Killed(_)) {
            running.pid = None;
            running.ended = Some(change);
            running.until = Some(clock::now() + GRACE);
            // What it left behind has nobody to answer to.
            running.kill();
        }
        true
    }

    /// Kill what has had its time or its caller, and answer for what has ended.
    pub(super) fn tend_commands(&mut self) {
        let now = clock::now();
        let mut over = Vec::new();
        for (number, running) in &mut self.commands.running {
            let gone = matches!(running.to, To::Caller { connection, .. } if !self.control.knows(connection));
            if gone {
                running.to = To::Nobody;
                running.end(RunEnd::Ended);
            }
            let late = running.until.is_some_and(|until| until <= now);
            if late && running.fate.is_none() && running.ended.is_none() {
                running.end(RunEnd::TimedOut);
            } else if late {
                running.until = None;
                over.push(*number);
            }
            // The last of its processes is init's child by then, so its end is a reason to look.
            if running.ended.is_some() && !running.cgroup.populated() {
                over.push(*number);
            }
        }
        over.dedup();
        for number in over {
            self.command_over(number);
        }
    }

    /// Answer for a command, and forget it when nothing of it is left.
    fn command_over(&mut self, number: u32) {
        let Some(running) = self.commands.running.get_mut(&number) else { return };
        running.read(number, &mut self.logs);
        let (service, command) = (&running.service, &running.command);
        let end = running.outcome();
        let words = match &end {
            Ok(end) => end.to_string(),
            Err(why) => format!("could not begin: it {why}"),
        };
        match std::mem::replace(&mut running.to, To::Nobody) {
            To::Caller { connection, request, kept, omitted } => {
                let reply = end.map_err(|why| CallError::failed(format!("{service}: {command} {why}")));
                let reply = reply.map(|end| {
                    InitReply::Ran(RunOutcome {
                        end,
                        output: String::from_utf8_lossy(&kept).into_owned(),
                        omitted_bytes: omitted,
                        duration_ms: milliseconds(clock::now().saturating_sub(running.began)),
                    })
                });
                self.control.reply(connection, request, reply, &self.poller);
            }
            To::Log(mut lines) => {
                lines.finish(|line| self.logs.push(service, 6, &said(command, number, line)));
            }
            To::Nobody => {}
        }
        let left = running.ended.is_none() || running.cgroup.populated();
        let text = match left {
            true => format!("{service}: {command} {number} does not go away; it is forgotten until it does"),
            false => format!("{service}: {command} {number} {words}"),
        };
        self.logs.push(INIT, 5, &text);
        if !left && let Some(running) = self.commands.running.remove(&number) {
            running.cgroup.remove();
        }
    }
}

fn unknown(unit: &Unit, name: &str) -> CallError {
    let names: Vec<&str> = unit.commands.iter().map(|command| command.name.as_str()).collect();
    let known = match names.as_slice() {
        [] => "its service file declares none".to_owned(),
        names => format!("it has: {}", names.join(", ")),
    };
    CallError::not_found(format!("the service {} has no command \"{name}\"; {known}", unit.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const FILE: &str = "description = \"d\"\nexec = [\"/bin/web\"]\nuser = \"web\"\nready = \"notify\"\n\
        watchdog = \"5s\"\n[[socket]]\nname = \"a\"\nkind = \"stream\"\npath = \"/run/a\"\n\
        [resources]\nmemory_min = \"1M\"\nmemory_max = \"8M\"\ndelegate = true\n\
        [commands.test]\ndescription = \"t\"\nexec = [\"/bin/web\", \"-t\"]\n\
        [commands.any]\ndescription = \"t\"\nexec = [\"/bin/web\"]\narguments = \"any\"\nchanges = false\n";

    fn unit() -> Unit {
        let users = aios_unit::Users::parse("web:x:5:6::/:\n", "");
        aios_unit::parse(Path::new("/x/web.toml"), FILE, &users).expect("is valid")
    }

    fn asked(command: &str, arguments: &[&str], how: RunHow) -> Result<(), CallError> {
        let unit = unit();
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        let request = RunRequest { service: "web".into(), command: command.into(), arguments, how };
        let found = unit.commands.iter().find(|known| known.name == command);
        found.ok_or_else(|| unknown(&unit, command)).and_then(|command| check(&request, command))
    }

    #[test]
    fn a_command_has_the_limits_of_its_service_and_none_of_its_sockets() {
        let unit = unit();
        let any = unit.commands.iter().find(|command| command.name == "any").expect("is there");
        let made = as_service(&unit, any, &["x".into()], 7);
        assert_eq!((made.name.as_str(), made.exec.join(" ")), ("web.7", "/bin/web x".into()));
        assert!(made.sockets.is_empty() && made.watchdog.is_none() && !made.resources.delegate);
        assert_eq!((made.resources.memory_min, made.resources.memory_max), (None, Some(8 << 20)));
        assert_eq!((&made.user, &made.sandbox), (&unit.user, &unit.sandbox));
    }

    #[test]
    fn only_what_the_file_says_is_run() {
        assert_eq!(asked("test", &[], RunHow::Wait), Ok(()));
        assert_eq!(asked("any", &["a", ""], RunHow::Look), Ok(()));
        let said =
            |command, arguments: &[&str], how| asked(command, arguments, how).expect_err("refused").message;
        assert!(said("sh", &[], RunHow::Wait).contains("has no command \"sh\"; it has: any, test"));
        assert!(said("test", &["-s"], RunHow::Wait).contains("takes no arguments"));
        assert!(said("test", &[], RunHow::Look).contains("may change something"));
        assert!(said("any", &["a\0b"], RunHow::Wait).contains("NUL"));
        assert!(said("any", &["a"; MAX_ARGUMENTS + 1], RunHow::Wait).contains("are more than"));
        assert!(
            said("any", &["a".repeat(MAX_ARGUMENT_BYTES + 1).as_str()], RunHow::Wait).contains("are more")
        );
    }
}
