//! `run.list`

use super::shared::{Running, all};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// List the commands of services, and those that run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only those of this service.
    #[serde(default)]
    service: Option<String>,
}

/// What can be run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Commands {
    /// What the service files declare; nothing else can be run.
    commands: Vec<Command>,
    /// What runs now.
    running: Vec<Running>,
}

/// A command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Command {
    /// Name of the service.
    service: String,
    /// Name of the command.
    command: String,
    /// What it does.
    description: String,
    /// Its program and words.
    exec: Vec<String>,
    /// Whether words can be added.
    arguments: bool,
    /// Whether it may change something: then it is for `run.command`, else for `run.look` too.
    changes: bool,
    /// Seconds after which it is killed.
    time_limit_seconds: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 150,
    name: "run.list",
    summary: "List the commands that services allow to be run, and those that run now",
    effect: Effect::Read,
    touches: &["the service files"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("which commands can I run?", "{}"),
        ("what commands does nginx have?", r#"{"service":"nginx"}"#),
        ("list the programs that may be executed here", "{}"),
        ("which commands are running right now?", "{}"),
        ("show what postgresql lets me run", r#"{"service":"postgresql"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Commands, CallError> {
    let (commands, running) = all(ctx)?;
    let wanted = |service: &str| args.service.as_deref().is_none_or(|wanted| wanted == service);
    let commands = commands.into_iter().filter(|command| wanted(&command.service)).map(|command| Command {
        service: command.service,
        command: command.command,
        description: command.description,
        exec: command.exec,
        arguments: command.arguments,
        changes: command.changes,
        time_limit_seconds: command.time_limit_ms.div_ceil(1000),
    });
    let running = running.into_iter().filter(|running| wanted(&running.service)).map(Running::from);
    Ok(Commands { commands: commands.collect(), running: running.collect() })
}

fn summary(found: &Commands) -> String {
    let names: Vec<String> =
        found.commands.iter().map(|command| format!("{} of {}", command.command, command.service)).collect();
    match names.len() {
        0 => "no service file declares a command".into(),
        1..=8 => format!("{}; {} run now", names.join(", "), found.running.len()),
        count => format!("{count} commands; {} run now", found.running.len()),
    }
}
