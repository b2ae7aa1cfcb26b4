//! `run.stop`

use super::shared::{Running, all};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::run::RunInfo;
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// End a command that runs, with all that it started.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Its number, as `run.list` has it.
    #[schemars(range(min = 1))]
    number: u32,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 153,
    name: "run.stop",
    summary: "End a command that runs, with all that it started",
    effect: Effect::Irreversible,
    touches: &["the processes of the command"],
    role: Role::Operator,
    timeout_ms: 5_000,
    examples: &[
        ("stop the command with the number 3", r#"{"number":3}"#),
        ("end the running command 12", r#"{"number":12}"#),
        ("abort command number 5", r#"{"number":5}"#),
        ("cancel run 7", r#"{"number":7}"#),
        ("the command 2 takes too long, kill it", r#"{"number":2}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Stop(RunInfo);

fn prepare(ctx: &Ctx, Args { number }: Args) -> Result<Stop, CallError> {
    let (_, running) = all(ctx)?;
    let found = running.into_iter().find(|running| running.number == number);
    let none = || CallError::not_found(format!("no command with the number {number} runs; see run.list"));
    found.map(Stop).ok_or_else(none)
}

impl Change for Stop {
    type Output = Running;

    fn target(&self) -> Target {
        Target::Service(self.0.service.clone())
    }

    fn preview(&self) -> Preview {
        let RunInfo { number, service, command, .. } = &self.0;
        Preview {
            would: format!("kill {command} {number} of {service} with all that it started"),
            diff: None,
        }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Running, CallError> {
        match ask(ctx, InitRequest::EndRun { number: self.0.number })? {
            InitReply::Running(info) => Ok(info.into()),
            _ => Err(unexpected()),
        }
    }
}

fn summary(_: &Running) -> String {
    "it was killed with all that it started".into()
}
