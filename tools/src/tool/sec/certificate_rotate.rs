//! `sec.certificate_rotate`

use super::certificates::of_console;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::users::shared::unexpected;
use crate::undo::Kept;
use crate::x509::Certificate;
use aios_abi::accounts::{AccountChange, AccountsReply, AccountsRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Give the console a new key and a certificate for it. Connections that are open go on; each new one gets the new certificate,
/// by whose fingerprint people and `aiosctl` have to know the machine from then on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Host names and addresses that it is for, at most 32; those of the present one if there are none.
    #[serde(default)]
    names: Vec<String>,
}

/// What is so now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rotated {
    /// SHA-256 of the certificate before.
    before: String,
    /// The certificate now.
    certificate: Certificate,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 211,
    name: "sec.certificate_rotate",
    summary: "Give the console a new key and certificate",
    effect: Effect::Reversible,
    touches: &["the console's certificate"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("rotate the certificate of the console", "{}"),
        ("make a new TLS key for this machine", "{}"),
        (
            "renew the console's certificate for box.lan and 192.168.1.20",
            r#"{"names":["box.lan","192.168.1.20"]}"#,
        ),
        ("the certificate shall also be for appliance.example", r#"{"names":["appliance.example"]}"#),
        ("replace the certificate, its key may be known to others", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::AccountsToAct]),
    code: &Make {
        paths: no_paths,
        prepare,
        summary,
        undo: Some(Undo { paths: |_| Ok(Vec::new()), run: undo }),
    },
};

struct Rotation {
    names: Vec<String>,
    before: Certificate,
    number: u64,
}

/// What undo has to know; the console keeps the key.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    number: u64,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Rotation, CallError> {
    let names = args.names;
    let before = of_console(ctx, Timestamp::now().as_second())?;
    match ctx.accounts(AccountsRequest::Check(AccountChange::Certificate { names: names.clone() }))? {
        AccountsReply::Fits { number, .. } => Ok(Rotation { names, before, number }),
        _ => Err(unexpected()),
    }
}

impl Change for Rotation {
    type Output = Rotated;

    fn target(&self) -> Target {
        Target::Console
    }

    fn preview(&self) -> Preview {
        let names = if self.names.is_empty() { &self.before.names } else { &self.names };
        let would = format!(
            "give the console a new key and certificate for {}; its fingerprint will not be {} any more",
            names.join(", "),
            self.before.fingerprint
        );
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { number: self.number }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Rotated, CallError> {
        let change = AccountChange::Certificate { names: self.names.clone() };
        match ctx.accounts(AccountsRequest::Change { number: self.number, change })? {
            AccountsReply::Changed { .. } => {}
            _ => return Err(unexpected()),
        }
        let certificate = of_console(ctx, Timestamp::now().as_second())?;
        Ok(Rotated { before: self.before.fingerprint.clone(), certificate })
    }

    fn verify(&self, _ctx: &Ctx, rotated: &Rotated) -> Result<(), CallError> {
        match rotated.certificate.fingerprint != rotated.before {
            true => Ok(()),
            false => Err(CallError::failed("the console still has the certificate from before")),
        }
    }
}

fn summary(rotated: &Rotated) -> String {
    let now = &rotated.certificate.fingerprint;
    format!(
        "new connections get the certificate SHA-256 {now}; log in with it (aiosctl login … --fingerprint)"
    )
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    match ctx.accounts(AccountsRequest::TakeBack { number: note.number })? {
        AccountsReply::TakenBack(what) => Ok(what),
        _ => Err(unexpected()),
    }
}
