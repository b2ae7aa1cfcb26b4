//! `power.cancel`

use super::shared::{NEEDS, Planned, planned};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::tool::service::shared::unexpected;
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Call off a restart or a switching off that is planned.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What was called off.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cancelled {
    /// What would have come.
    cancelled: Planned,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 92,
    name: "power.cancel",
    summary: "Call off a restart or power-off that is planned",
    effect: Effect::Irreversible,
    touches: &["what is planned for the whole machine"],
    // Harmless, but it is an administrator's plan.
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("cancel the reboot", "{}"),
        ("do not switch the machine off after all", "{}"),
        ("shutdown -c", "{}"),
        ("call off the planned restart", "{}"),
        ("stop the countdown to the power-off", "{}"),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Cancel(Planned);

fn prepare(ctx: &Ctx, _args: Args) -> Result<Cancel, CallError> {
    planned(ctx)?.map(Cancel).ok_or_else(nothing)
}

fn nothing() -> CallError {
    CallError::not_found("neither a restart nor a power-off is planned")
}

impl Change for Cancel {
    type Output = Cancelled;

    fn target(&self) -> Target {
        Target::Machine
    }

    fn preview(&self) -> Preview {
        Preview { would: format!("call off what is planned: {}", self.0.words()), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Cancelled, CallError> {
        match ctx.init(InitRequest::CallOff)? {
            InitReply::Planned(Some(planned)) => Ok(Cancelled { cancelled: planned.into() }),
            InitReply::Planned(None) => Err(nothing()),
            _ => Err(unexpected()),
        }
    }
}

fn summary(done: &Cancelled) -> String {
    format!("called off: {}", done.cancelled.words())
}
