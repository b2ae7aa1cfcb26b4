//! One file a command.

mod ask;
mod audit;
mod lint;
mod login;
mod logs;
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
use clap::CommandFactory;

/// The machine that a command is for.
struct Machine {
    api: Api,
    fingerprint: Fingerprint,
    /// What `--context` said; a command line that is shown must say it too.
    context: Option<String>,
}

impl Machine {
    fn of(wanted: Option<&str>) -> Outcome<Self> {
        let config = Config::load()?;
        let (_, context) = config.context(wanted)?;
        let api = Api::of(context)?;
        Ok(Self { api, fingerprint: context.fingerprint, context: wanted.map(str::to_owned) })
    }
}

/// Do what the command line says.
pub(crate) async fn run(cli: Cli, output: &Output) -> Outcome {
    let wanted = cli.context.as_deref();
    let machine = || Machine::of(wanted);
    match cli.command {
        Command::Login(login) => login::login(login, wanted, output).await,
        Command::Claim(claim) => login::claim(claim, wanted, output).await,
        Command::Logout => login::logout(wanted, output).await,
        Command::Ask { text } => ask::run(&machine()?, &text.join(" "), output).await,
        Command::Tools(command) => tools::run(&machine()?, command, output).await,
        Command::Services(Service::Lint(files)) => lint::run(&files, output),
        Command::Services(Service::Security { name }) => security::run(&machine()?, name, output).await,
        Command::Services(Service::Running(command)) => services::run(&machine()?, command, output).await,
        Command::Logs(logs) => logs::run(&machine()?, logs, output).await,
        Command::Audit(command) => audit::run(machine, command, output).await,
        Command::Undo { audit, why } => tools::undo(&machine()?, audit, why, output).await,
        Command::Status => status::run(&machine()?, output).await,
        Command::Recovery(command) => recovery::run(command, output),
        Command::Completion(completion) => complete(&completion, output),
    }
}

fn complete(completion: &Completion, output: &Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(completion.shell, &mut Cli::command(), "aiosctl", &mut script);
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
