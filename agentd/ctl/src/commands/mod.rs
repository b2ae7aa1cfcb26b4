//! One file a command.

mod ask;
mod audit;
mod eval;
mod lint;
mod login;
mod logs;
mod mcp;
mod recovery;
mod security;
mod services;
mod status;
mod tools;

use crate::api::Api;
use crate::cli::{Cli, Command, Completion, Service};
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::output::Output;
use crate::pin::Fingerprint;
use crate::prompt;
use clap_complete::env::Shells;

/// The machine that a command is for.
struct Machine {
    api: Api,
    fingerprint: Fingerprint,
    /// What it is remembered as.
    name: String,
    /// What `--context` said; a command line that is shown must say it too.
    context: Option<String>,
}

impl Machine {
    fn of(wanted: Option<&str>) -> Outcome<Self> {
        let config = Config::load()?;
        let (name, context) = config.context(wanted)?;
        let api = Api::of(context)?;
        let (fingerprint, name) = (context.fingerprint, name.to_owned());
        Ok(Self { api, fingerprint, name, context: wanted.map(str::to_owned) })
    }
}

/// Do what the command line says.
pub(crate) async fn run(cli: Cli, output: &Output) -> Outcome {
    let wanted = cli.context.as_deref();
    let machine = || Machine::of(wanted);
    match cli.command {
        Command::Login(login) => login::login(login, wanted, output).await,
        Command::Claim(claim) => login::claim(claim, wanted, output).await,
        Command::Password(password) => login::password(password, wanted, output).await,
        Command::Logout => login::logout(wanted, output).await,
        Command::Ask { text, dry_run: false } => ask::run(&machine()?, &text.join(" "), output).await,
        Command::Ask { text, dry_run: true } => ask::understand(&machine()?, &text.join(" "), output).await,
        Command::Eval(command) => eval::run(&machine()?, command, output).await,
        Command::Tools(command) => tools::run(&machine()?, command, output).await,
        Command::Service(Service::Lint(files)) => lint::run(&files, output),
        Command::Service(Service::Security { name }) => security::run(&machine()?, name, output).await,
        Command::Service(Service::List) => services::list(&machine()?, output).await,
        Command::Logs(logs) => logs::run(&machine()?, logs, output).await,
        Command::Audit(command) => audit::run(machine, command, output).await,
        Command::Undo { audit, why } => tools::undo(&machine()?, audit, why, output).await,
        Command::Status => status::run(&machine()?, output).await,
        Command::Mcp => mcp::run(machine()?).await,
        Command::Recovery(command) => recovery::run(command, output),
        Command::Completion(completion) => complete(&completion, output),
    }
}

/// Ask the machine for its tools and keep what they are.
pub(crate) async fn refresh(wanted: Option<&str>) -> Outcome {
    tools::list_of(&Machine::of(wanted)?).await.map(drop)
}

/// The script that makes a shell ask `aiosctl` itself, which knows the machine's tools.
fn complete(completion: &Completion, output: &Output) -> Outcome {
    let (shell, shells) = (completion.shell.to_string(), Shells::builtins());
    let mut script = Vec::new();
    if let Some(completer) = shells.completer(&shell) {
        completer.write_registration(crate::COMPLETE, "aiosctl", "aiosctl", "aiosctl", &mut script)?;
    }
    output.bytes(&script)
}

/// The reason for a change; whoever sits at a terminal is asked for it.
fn reason(why: Option<String>) -> Outcome<String> {
    let why = match why {
        Some(why) => why,
        None => prompt::line(
            "The reason, for the audit log",
            "a change needs a reason for the audit log: give --why REASON",
        )?,
    };
    match why.trim() {
        "" => Err(Failure::usage(
            "the reason is empty; every change is written to the audit log with one (--why REASON)",
        )),
        why => Ok(why.to_owned()),
    }
}
