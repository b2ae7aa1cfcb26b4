//! `net.confirm`

use super::trial::{Trial, running};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::net::shared::unexpected;
use aios_abi::net::{NetReply, NetRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Confirm the change of the network that is on trial, so that it lasts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What is over.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Over {
    /// The change.
    pub(crate) what: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 121,
    name: "net.confirm",
    summary: "Confirm the network change that is on trial, so that it is kept",
    // What was confirmed is taken back by the undo of the change itself.
    effect: Effect::Irreversible,
    touches: &["the network change that is on trial"],
    // A person says that the machine can still be reached; one who is on the machine, as the agent is, cannot know.
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("confirm the network change", "{}"),
        ("keep the new network settings", "{}"),
        ("I can still reach the machine, keep its new address", "{}"),
        ("the new IP configuration works, make it permanent", "{}"),
        ("do not roll the network settings back", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare: |ctx, Args {}| prepare(ctx, Way::Keep), summary, undo: None },
};

/// How a trial ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Keep,
    TakeBack,
}

/// The end of a trial.
pub(crate) struct End {
    way: Way,
    trial: Trial,
}

/// Look what is on trial.
pub(crate) fn prepare(ctx: &Ctx, way: Way) -> Result<End, CallError> {
    let trial = running(ctx)?;
    let nothing = "no change of the network is on trial; it was confirmed or taken back already";
    Ok(End { way, trial: trial.ok_or_else(|| CallError::not_found(nothing))? })
}

impl Change for End {
    type Output = Over;

    fn target(&self) -> Target {
        Target::Network("trial".into())
    }

    fn preview(&self) -> Preview {
        let what = &self.trial.what;
        let would = match self.way {
            Way::Keep => format!("keep the change that is on trial ({what})"),
            Way::TakeBack => format!("take back the change that is on trial ({what})"),
        };
        Preview { would, diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Over, CallError> {
        let request = match self.way {
            Way::Keep => NetRequest::Confirm,
            Way::TakeBack => NetRequest::TakeBack,
        };
        match ctx.net(request)? {
            NetReply::TrialOver(what) => Ok(Over { what }),
            _ => Err(unexpected()),
        }
    }
}

fn summary(over: &Over) -> String {
    format!("confirmed, it lasts: {}", over.what)
}
