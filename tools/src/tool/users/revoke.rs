//! `users.revoke`

use super::shared::{self, Amend, NEEDS, Role, UNDO};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use aios_abi::accounts::AccountChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::Deserialize;

/// Take a role away from a person. It counts at once, also for whoever is logged in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Login name.
    name: String,
    /// The role that is left.
    #[serde(default = "least")]
    to: Role,
}

fn least() -> Role {
    Role::Viewer
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 205,
    name: "users.revoke",
    summary: "Revoke a person's role, so that a lower one is left",
    effect: Effect::Reversible,
    touches: &["the account named"],
    role: who::Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("revoke the role of bob", r#"{"name":"bob"}"#),
        ("carol shall only look from now on", r#"{"name":"carol"}"#),
        (
            "take the administrator's rights from dave, operator is enough",
            r#"{"name":"dave","to":"operator"}"#,
        ),
        ("demote erin to viewer", r#"{"name":"erin","to":"viewer"}"#),
        ("frank is no approver any more but an operator", r#"{"name":"frank","to":"operator"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: shared::paths, prepare, summary: shared::summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Amend, CallError> {
    let Args { name, to } = args;
    let now = shared::one(ctx, &name)?.role;
    let (was, word) = (who::Role::from(now).as_str(), who::Role::from(to).as_str());
    if to >= now {
        let text =
            format!("{name} is {was}, there is nothing to take away down to {word}; users.grant gives roles");
        return Err(CallError::invalid(text));
    }
    let (would, done) = (
        format!("leave {name} the role {word}, who is {was} now"),
        format!("{name} is {word}, and was {was}"),
    );
    let change = AccountChange::Modify { name, role: Some(to.into()), disabled: None, new_password: false };
    Amend::prepare(ctx, change, would, done)
}
