//! What the tools share that run commands of services: what can be run is what service files declare.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview};
use crate::policy::Target;
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::CallError;
use aios_abi::run::{CommandInfo, RunHow, RunInfo, RunOutcome, RunRequest};
use aios_abi::service::{InitReply, InitRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which command.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `nginx`.
    service: String,
    /// Name of the command, as `run.list` has it.
    command: String,
    /// Words that are added to the command's own, each as it is: there is no shell.
    #[serde(default)]
    #[schemars(length(max = 64))]
    arguments: Vec<String>,
}

impl Args {
    /// A command without additional words.
    pub(crate) fn of(service: String, command: String) -> Self {
        Self { service, command, arguments: Vec::new() }
    }

    pub(crate) fn request(self, how: RunHow) -> RunRequest {
        let Self { service, command, arguments } = self;
        RunRequest { service, command, arguments, how }
    }
}

impl Ran {
    /// That it did what it is for; the error has how it ended.
    pub(crate) fn succeeded(&self) -> Result<(), CallError> {
        match self.exit {
            Some(0) => Ok(()),
            _ => Err(CallError::failed(summary(self))),
        }
    }
}

/// What a command came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran {
    /// Its exit status; none when it was killed.
    exit: Option<i32>,
    /// How it ended, in words.
    end: String,
    /// What it wrote to its standard output and error.
    output: String,
    /// Bytes of output that were left out after these.
    omitted_bytes: u64,
    /// Milliseconds that it took.
    duration_ms: u64,
}

impl From<RunOutcome> for Ran {
    fn from(outcome: RunOutcome) -> Self {
        let RunOutcome { end, output, omitted_bytes, duration_ms } = outcome;
        let (exit, end) = (end.status(), end.to_string());
        Self { exit, end, output, omitted_bytes, duration_ms }
    }
}

/// Run it and wait for its end.
pub(crate) fn wait(ctx: &Ctx, request: RunRequest) -> Result<Ran, CallError> {
    match ask(ctx, InitRequest::Run(request))? {
        InitReply::Ran(outcome) => Ok(outcome.into()),
        _ => Err(unexpected()),
    }
}

/// The result in one line.
pub(crate) fn summary(ran: &Ran) -> String {
    let last = ran.output.trim_end().lines().next_back().unwrap_or_default();
    let last: String = last.chars().take(200).collect();
    let omitted = match ran.omitted_bytes {
        0 => String::new(),
        bytes => format!("; {bytes} bytes of its output are left out"),
    };
    match last.is_empty() {
        true => format!("it {} after {} ms{omitted}", ran.end, ran.duration_ms),
        false => format!("it {} after {} ms: {last}{omitted}", ran.end, ran.duration_ms),
    }
}

/// A command that runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Running {
    /// Its number, which `run.stop` takes.
    number: u32,
    /// Name of the service.
    service: String,
    /// Name of the command.
    command: String,
    /// What was added to its words.
    arguments: Vec<String>,
    /// Its main process.
    pid: Option<u32>,
    /// Seconds since it began.
    running_seconds: u64,
    /// Nobody waits for it; its output is in the log of its service.
    background: bool,
}

impl From<RunInfo> for Running {
    fn from(info: RunInfo) -> Self {
        let RunInfo { number, service, command, arguments, pid, running_ms, background } = info;
        Self { number, service, command, arguments, pid, running_seconds: running_ms / 1000, background }
    }
}

/// What can be run, and what runs.
pub(crate) fn all(ctx: &Ctx) -> Result<(Vec<CommandInfo>, Vec<RunInfo>), CallError> {
    match ask(ctx, InitRequest::Commands)? {
        InitReply::Commands { commands, running } => Ok((commands, running)),
        _ => Err(unexpected()),
    }
}

/// A command that is to be run.
pub(crate) struct Begin {
    request: RunRequest,
    /// Program and words.
    line: Vec<String>,
}

/// Find it.
pub(crate) fn prepare(ctx: &Ctx, args: Args, how: RunHow) -> Result<Begin, CallError> {
    let request = args.request(how);
    let (commands, _) = all(ctx)?;
    let of_service = || commands.iter().filter(|known| known.service == request.service);
    let Some(found) = of_service().find(|known| known.command == request.command) else {
        let known: Vec<&str> = of_service().map(|known| known.command.as_str()).collect();
        let known = match known.as_slice() {
            [] => "no command at all; run.list shows which services have some".to_owned(),
            known => format!("no command {}; it has: {}", request.command, known.join(", ")),
        };
        return Err(CallError::not_found(format!("{} has {known}", request.service)));
    };
    if !found.arguments && !request.arguments.is_empty() {
        let text = format!("{} of {} takes no arguments", request.command, request.service);
        return Err(CallError::invalid(text));
    }
    let line = found.exec.iter().chain(&request.arguments).cloned().collect();
    Ok(Begin { request, line })
}

impl Begin {
    /// What init is asked.
    pub(crate) fn request(&self) -> RunRequest {
        self.request.clone()
    }

    /// What is to be run belongs to the service.
    pub(crate) fn target(&self) -> Target {
        Target::Service(self.request.service.clone())
    }

    /// In words.
    pub(crate) fn preview(&self) -> Preview {
        Preview { would: format!("run {:?} as {} is run", self.line, self.request.service), diff: None }
    }
}

/// Run, and wait for the end.
pub(crate) struct Wait(pub(crate) Begin);

impl Change for Wait {
    type Output = Ran;

    fn target(&self) -> Target {
        self.0.target()
    }

    fn preview(&self) -> Preview {
        self.0.preview()
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Ran, CallError> {
        wait(ctx, self.0.request())
    }
}

/// Run, and do not wait.
pub(crate) struct Spawn(pub(crate) Begin);

impl Change for Spawn {
    type Output = Running;

    fn target(&self) -> Target {
        self.0.target()
    }

    fn preview(&self) -> Preview {
        self.0.preview()
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Running, CallError> {
        match ask(ctx, InitRequest::Run(self.0.request()))? {
            InitReply::Running(info) => Ok(info.into()),
            _ => Err(unexpected()),
        }
    }
}

/// In one line.
pub(crate) fn running_summary(running: &Running) -> String {
    let Running { number, service, command, pid, .. } = running;
    let pid = pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
    format!("{command} of {service} runs{pid} with the number {number}")
}
