//! `users.grant`

use super::shared::{self, Amend, NEEDS, Role, UNDO};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use aios_abi::accounts::AccountChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::Deserialize;

/// Give a person a higher role. It counts at once, also for whoever is logged in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Login name.
    name: String,
    /// The role; not above that of whoever calls this.
    role: Role,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 204,
    name: "users.grant",
    summary: "Grant a person a higher role",
    effect: Effect::Reversible,
    touches: &["the account named"],
    role: who::Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("make bob an operator", r#"{"name":"bob","role":"operator"}"#),
        ("grant carol the role admin", r#"{"name":"carol","role":"admin"}"#),
        ("dave may approve changes from now on", r#"{"name":"dave","role":"approver"}"#),
        ("give erin the rights of an administrator", r#"{"name":"erin","role":"admin"}"#),
        ("promote frank to operator", r#"{"name":"frank","role":"operator"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: shared::paths, prepare, summary: shared::summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Amend, CallError> {
    let Args { name, role } = args;
    let now = shared::one(ctx, &name)?.role;
    let (was, word) = (who::Role::from(now).as_str(), who::Role::from(role).as_str());
    if role <= now {
        let text = format!("{name} is {was} and has the role {word} already; users.revoke takes roles away");
        return Err(CallError::invalid(text));
    }
    let (would, done) =
        (format!("make {name} {word}, who is {was} now"), format!("{name} is {word}, and was {was}"));
    let change = AccountChange::Modify { name, role: Some(role.into()), disabled: None, new_password: false };
    Amend::prepare(ctx, change, would, done)
}
