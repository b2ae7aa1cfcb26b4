//! `users.list`

use super::shared::{self, Account};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::ssh_keys::{self, Key, Keys};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// List the people who have an account on this machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this person.
    #[serde(default)]
    name: Option<String>,
}

/// The accounts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// By name.
    accounts: Vec<One>,
}

/// An account with its keys.
#[derive(Debug, Serialize, JsonSchema)]
pub struct One {
    #[serde(flatten)]
    account: Account,
    /// SSH keys, which let this person in as long as the account is not disabled.
    keys: Vec<Key>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 200,
    name: "users.list",
    summary: "List the people who have an account: role, state, logins and SSH keys",
    effect: Effect::Read,
    touches: &["accounts", "/data/config/ssh/keys"],
    role: who::Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("who has an account on this machine?", "{}"),
        ("list all users", "{}"),
        ("which people can log in, and with which role?", "{}"),
        ("show the account of ada", r#"{"name":"ada"}"#),
        ("which SSH keys does bob have?", r#"{"name":"bob"}"#),
        ("who is an administrator here?", "{}"),
    ],
    needs: Needs::NOTHING
        .read(&["/data/config"])
        .capabilities(CapabilitySet::DAC_READ_SEARCH)
        .asks(&[Asks::AccountsToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Listed, CallError> {
    let accounts = match &args.name {
        Some(name) => vec![shared::one(ctx, name)?],
        None => shared::all(ctx)?,
    };
    let keys = Keys::of(ctx);
    let with_keys = |account: Account| {
        // A file that is none of keys lets nobody in.
        let keys = keys.rewrite(&Keys::file_of(&account.name, account.disabled), None);
        let keys = keys.map(|file| ssh_keys::keys(file.before())).unwrap_or_default();
        One { account, keys }
    };
    Ok(Listed { accounts: accounts.into_iter().map(with_keys).collect() })
}

fn summary(listed: &Listed) -> String {
    let words = |one: &One| {
        let Account { name, role, disabled, .. } = &one.account;
        let off = if *disabled { ", disabled" } else { "" };
        format!("{name} ({}{off})", who::Role::from(*role).as_str())
    };
    listed.accounts.iter().map(words).collect::<Vec<_>>().join(", ")
}
