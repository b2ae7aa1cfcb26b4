//! `users.remove`

use super::shared::{self, Amend, NEEDS, UNDO};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use aios_abi::accounts::AccountChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::Deserialize;

/// Remove a person's account with its SSH keys. Whoever is logged in with it is logged out at once. Undo brings account,
/// password, role and keys back, but no login.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Login name. The only administrator who can log in stays.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 202,
    name: "users.remove",
    summary: "Remove a person's account, its logins and its SSH keys",
    effect: Effect::Reversible,
    touches: &["the account named", "/data/config/ssh/keys"],
    role: who::Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("remove the account of bob", r#"{"name":"bob"}"#),
        ("delete the user carol", r#"{"name":"carol"}"#),
        ("dave has left the company, take his account away", r#"{"name":"dave"}"#),
        ("erin shall not have a login here any more", r#"{"name":"erin"}"#),
        ("drop the login frank for good", r#"{"name":"frank"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: shared::paths, prepare, summary: shared::summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Amend, CallError> {
    let name = args.name;
    let (would, done) = (
        format!("remove the account of {name}, end its logins and remove its SSH keys"),
        format!("{name} has no account any more and is logged out"),
    );
    Amend::prepare(ctx, AccountChange::Remove { name }, would, done)
}
