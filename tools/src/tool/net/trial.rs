//! `net.trial`

use super::shared::unexpected;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::net::{NetReply, NetRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, netconf, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show whether a change of the network is on trial.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What is on trial.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OnTrial {
    /// The change; none if every change was confirmed or taken back.
    trial: Option<Trial>,
}

/// A change that is taken back by itself unless somebody confirms it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trial {
    /// What is tried.
    pub(crate) what: String,
    /// Seconds until it is taken back.
    seconds_left: u16,
}

impl From<netconf::Trial> for Trial {
    fn from(netconf::Trial { what, seconds_left }: netconf::Trial) -> Self {
        Self { what, seconds_left }
    }
}

impl Trial {
    /// What a person is to do now.
    pub(crate) fn words(&self) -> String {
        let Self { what, seconds_left } = self;
        format!(
            "on trial: {what}; confirm with `aiosctl net confirm --why …` within {seconds_left} s, or it is taken back"
        )
    }
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 120,
    name: "net.trial",
    summary: "Show which change of the network waits for a confirmation, and for how long",
    effect: Effect::Read,
    touches: &["the network daemon"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("is a network change on trial?", "{}"),
        ("which network change still has to be confirmed?", "{}"),
        ("how long until the network settings are rolled back?", "{}"),
        ("does the new address wait for a confirmation?", "{}"),
        ("pending network change", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, _args: Args) -> Result<OnTrial, CallError> {
    Ok(OnTrial { trial: running(ctx)? })
}

/// What is on trial.
pub(crate) fn running(ctx: &Ctx) -> Result<Option<Trial>, CallError> {
    match ctx.net(NetRequest::Trial)? {
        NetReply::Trial(trial) => Ok(trial.map(Trial::from)),
        _ => Err(unexpected()),
    }
}

fn summary(found: &OnTrial) -> String {
    match &found.trial {
        Some(trial) => trial.words(),
        None => "no change of the network is on trial".into(),
    }
}
