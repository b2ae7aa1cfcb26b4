//! `net.revert`

use super::confirm::{Over, Way, prepare};
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::who::Role;
use schemars::JsonSchema;
use serde::Deserialize;

/// Take back the change of the network that is on trial, without waiting for the end of its time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 122,
    name: "net.revert",
    summary: "Take back the network change that is on trial at once",
    effect: Effect::Irreversible,
    touches: &["the network change that is on trial"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("take the network change back now", "{}"),
        ("roll the new network settings back at once", "{}"),
        ("abort the trial of the network change", "{}"),
        ("the new address was wrong, do not wait for the timeout", "{}"),
        ("go back to the network settings from before the trial", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare: |ctx, Args {}| prepare(ctx, Way::TakeBack), summary, undo: None },
};

fn summary(over: &Over) -> String {
    format!("taken back: {}", over.what)
}
