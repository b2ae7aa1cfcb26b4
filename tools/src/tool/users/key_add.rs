//! `users.key_add`

use super::shared::{self, KeyChange};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::ssh_keys;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::Deserialize;

/// Let a person in over SSH with a public key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Login name; the account must exist.
    name: String,
    /// The public key: the line of a file such as `id_ed25519.pub`. Before it may stand options that take something away:
    /// `restrict`, `no-pty`, `no-port-forwarding`, `no-agent-forwarding`, `no-X11-forwarding`, `no-user-rc`, `from="…"`,
    /// `expiry-time="…"`.
    key: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 206,
    name: "users.key_add",
    summary: "Add an SSH public key to a person's account",
    effect: Effect::Reversible,
    touches: &["/data/config/ssh/keys"],
    role: who::Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        (
            "add the SSH key ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ bob@laptop to bob",
            r#"{"name":"bob","key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ bob@laptop"}"#,
        ),
        (
            "let carol in over ssh with this public key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ",
            r#"{"name":"carol","key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ"}"#,
        ),
        (
            "authorize the key restrict ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ backup for dave",
            r#"{"name":"dave","key":"restrict ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ backup"}"#,
        ),
        (
            "erin has a new public key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ erin",
            r#"{"name":"erin","key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ erin"}"#,
        ),
        (
            "store the ssh key ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ ci for the user frank",
            r#"{"name":"frank","key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ ci"}"#,
        ),
    ],
    needs: shared::KEY_NEEDS,
    code: &Make { paths: shared::paths, prepare, summary: shared::key_summary, undo: Some(shared::KEY_UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<KeyChange, CallError> {
    KeyChange::prepare(ctx, args.name, "has", |text| ssh_keys::with(text, &args.key))
}
