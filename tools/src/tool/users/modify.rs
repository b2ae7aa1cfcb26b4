//! `users.modify`

use super::shared::{self, Amend, NEEDS, Role, UNDO};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use aios_abi::accounts::AccountChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::Deserialize;

/// Change a person's account: its role, whether it is disabled, or give it a new password for one login. The name stays: by it
/// the audit log knows the person.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Login name.
    name: String,
    /// What this person may do; as it is if nothing is said.
    #[serde(default)]
    role: Option<Role>,
    /// Nobody can log in with the account, and its SSH keys are out of use; whoever is logged in is logged out at once.
    #[serde(default)]
    disabled: Option<bool>,
    /// Make a new password, which is said once in the result and must be changed at the next login. Whoever is logged in is
    /// logged out at once.
    #[serde(default)]
    new_password: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 203,
    name: "users.modify",
    summary: "Change a person's account: role, disabled or not, a new password for one login",
    effect: Effect::Reversible,
    touches: &["the account named", "/data/config/ssh/keys"],
    role: who::Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("disable the account of bob", r#"{"name":"bob","disabled":true}"#),
        ("let carol log in again", r#"{"name":"carol","disabled":false}"#),
        ("dave has forgotten the password, make a new one", r#"{"name":"dave","new_password":true}"#),
        ("reset the password of erin", r#"{"name":"erin","new_password":true}"#),
        ("change the account frank to the role approver", r#"{"name":"frank","role":"approver"}"#),
        ("lock the user grace out at once", r#"{"name":"grace","disabled":true}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: shared::paths, prepare, summary: shared::summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Amend, CallError> {
    let Args { name, role, disabled, new_password } = args;
    let role = role.map(who::Role::from);
    let mut what = Vec::new();
    what.extend(role.map(|role| format!("is {}", role.as_str())));
    what.extend(
        disabled.map(|disabled| if disabled { "is disabled and logged out" } else { "may log in" }.into()),
    );
    what.extend(new_password.then(|| "is logged out and has a new password for one login".into()));
    let what = what.join(", ");
    let (would, done) =
        (format!("change the account of {name}, so that it {what}"), format!("{name} {what}"));
    Amend::prepare(ctx, AccountChange::Modify { name, role, disabled, new_password }, would, done)
}
