//! `users.create`

use super::shared::{self, Amend, NEEDS, Role, UNDO};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use aios_abi::accounts::AccountChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::Deserialize;

/// Give a person an account. The result has a password for the first login, which is said this once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Login name: a letter, then at most 31 lower-case letters, digits and dashes.
    name: String,
    /// What this person may do; not more than whoever calls this may.
    #[serde(default = "least")]
    role: Role,
}

fn least() -> Role {
    Role::Viewer
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 201,
    name: "users.create",
    summary: "Give a person an account, with a password that must be changed at the first login",
    effect: Effect::Reversible,
    touches: &["the account named"],
    role: who::Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("create an account for bob", r#"{"name":"bob"}"#),
        ("add a user carol who is an operator", r#"{"name":"carol","role":"operator"}"#),
        ("make a new login dave with the role approver", r#"{"name":"dave","role":"approver"}"#),
        ("let erin log in, but only to look", r#"{"name":"erin","role":"viewer"}"#),
        ("add another administrator named frank", r#"{"name":"frank","role":"admin"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: shared::paths, prepare, summary: shared::summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Amend, CallError> {
    let Args { name, role } = args;
    let role = who::Role::from(role);
    let (would, done) = (
        format!("make an account for {name} as {}", role.as_str()),
        format!("{name} has an account as {}", role.as_str()),
    );
    Amend::prepare(ctx, AccountChange::Create { name, role }, would, done)
}
