//! `users.key_remove`

use super::shared::{self, KeyChange};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::ssh_keys;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::Deserialize;

/// Take an SSH public key from a person's account. Connections that are open go on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Login name.
    name: String,
    /// Which key: its fingerprint (`SHA256:…`), its comment, or the key itself.
    key: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 207,
    name: "users.key_remove",
    summary: "Remove an SSH public key from a person's account",
    effect: Effect::Reversible,
    touches: &["/data/config/ssh/keys"],
    role: who::Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("remove the SSH key bob@laptop of bob", r#"{"name":"bob","key":"bob@laptop"}"#),
        ("carol has lost the laptop, take the key carol@old away", r#"{"name":"carol","key":"carol@old"}"#),
        (
            "delete the key SHA256:0hF5RWZ4rVYgA2sBnbGmTyJXb4eMxLhVo0Fzg7kTc5U from dave",
            r#"{"name":"dave","key":"SHA256:0hF5RWZ4rVYgA2sBnbGmTyJXb4eMxLhVo0Fzg7kTc5U"}"#,
        ),
        ("the public key backup of erin shall not be let in any more", r#"{"name":"erin","key":"backup"}"#),
        ("revoke the ssh key ci of the user frank", r#"{"name":"frank","key":"ci"}"#),
    ],
    needs: shared::KEY_NEEDS,
    code: &Make { paths: shared::paths, prepare, summary: shared::key_summary, undo: Some(shared::KEY_UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<KeyChange, CallError> {
    KeyChange::prepare(ctx, args.name, "had", |text| ssh_keys::without(text, &args.key))
}
