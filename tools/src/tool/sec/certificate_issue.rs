//! `sec.certificate_issue`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview};
use crate::file::{self, Facts};
use crate::policy::Target;
use crate::reach::{Asks, Paths, directory_of};
use crate::tool::fs::shared::CHANGES;
use crate::tool::fs::write::{UNDO, Write};
use crate::tool::users::shared::unexpected;
use crate::undo::Kept;
use crate::x509::{self, Certificate};
use aios_abi::accounts::{AccountsReply, AccountsRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Days that a certificate counts where nothing is said.
const DAYS: u32 = 90;

/// Make a key and a certificate for it, which the machine's own authority signs, in a file that servers such as nginx take for
/// both. Who trusts the authority's certificate once trusts all that it signs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Host names and addresses that it is for, 1 to 32.
    names: Vec<String>,
    /// The file that key and certificate are written to, such as `/data/nginx/tls/site.pem`; only its owner can read it. What
    /// is there is replaced.
    path: String,
    /// Days that it counts, 1 to 397; 90 if nothing is said.
    days: Option<u32>,
}

/// What was issued.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Issued {
    /// The file with the key and the certificate.
    path: String,
    /// The certificate.
    certificate: Certificate,
    /// The authority's certificate in PEM, for those who are to trust it.
    authority: String,
    /// SHA-256 of the authority's certificate.
    authority_fingerprint: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 217,
    name: "sec.certificate_issue",
    summary: "Issue a key and a certificate for a service, signed by the machine's own authority",
    effect: Effect::Reversible,
    touches: &["the file named, below /data, /tmp or /run"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        (
            "issue a certificate for site.lan into /data/nginx/tls/site.pem",
            r#"{"names":["site.lan"],"path":"/data/nginx/tls/site.pem"}"#,
        ),
        (
            "make a TLS certificate for shop.example and www.shop.example in /data/nginx/tls/shop.pem",
            r#"{"names":["shop.example","www.shop.example"],"path":"/data/nginx/tls/shop.pem"}"#,
        ),
        (
            "create a certificate for 192.168.1.20 that counts 30 days as /data/web/box.pem",
            r#"{"names":["192.168.1.20"],"path":"/data/web/box.pem","days":30}"#,
        ),
        (
            "the web server needs a certificate for docs.lan, write it to /data/nginx/tls/docs.pem",
            r#"{"names":["docs.lan"],"path":"/data/nginx/tls/docs.pem"}"#,
        ),
        (
            "sign a certificate for db.internal with the machine's authority, one year, in /data/db/tls.pem",
            r#"{"names":["db.internal"],"path":"/data/db/tls.pem","days":365}"#,
        ),
    ],
    needs: CHANGES.asks(&[Asks::AccountsToAct]),
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

fn paths(args: &Args) -> Paths {
    directory_of(&args.path)
}

/// A file that gets a key and a certificate.
struct Issue {
    write: Write,
    names: Vec<String>,
    days: u32,
    issued: Option<Issued>,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Issue, CallError> {
    let Args { names, path, days } = args;
    let days = days.unwrap_or(DAYS);
    let place = file::place(&ctx.policy, &path)?;
    let before = place.existing()?;
    // Made now, because undo has to know what is written; nobody keeps it when it is not.
    let asked = AccountsRequest::Issue { names: names.clone(), days };
    let AccountsReply::Issued { key, certificate, authority } = ctx.accounts(asked)? else {
        return Err(unexpected());
    };
    let now = Timestamp::now().as_second();
    let one = |pem: &str, found: &str| {
        let all = x509::of_file(pem.as_bytes(), found, now, 0);
        all.into_iter().next().ok_or_else(|| CallError::failed("the console sent no certificate"))
    };
    let path = place.path.display().to_string();
    let issued = Issued {
        certificate: one(&certificate, &path)?,
        authority_fingerprint: one(&authority, "the authority")?.fingerprint,
        path,
        authority,
    };
    let facts = match &before {
        Some(before) => Facts { mode: 0o600, ..before.facts.clone() },
        None => Facts::new(0o600, place.owner()?),
    };
    let content = format!("{certificate}{}", key.expose()).into_bytes();
    let write = Write::new(place, before, content, facts)?;
    Ok(Issue { write, names, days, issued: Some(issued) })
}

impl Change for Issue {
    type Output = Issued;

    fn target(&self) -> Target {
        self.write.target()
    }

    fn preview(&self) -> Preview {
        let (names, target) = (self.names.join(", "), self.write.target());
        Preview {
            would: format!("issue a certificate for {names} that counts {} days into {target}", self.days),
            diff: None,
        }
    }

    fn save(&self) -> Option<Kept> {
        self.write.save()
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Issued, CallError> {
        let written = self.write.apply(ctx)?;
        self.write.verify(ctx, &written)?;
        self.issued.take().ok_or_else(|| CallError::failed("it was issued before"))
    }
}

fn summary(issued: &Issued) -> String {
    let Issued { path, certificate, authority_fingerprint, .. } = issued;
    format!(
        "{path} is for {} until {}; trust the authority SHA-256 {authority_fingerprint}",
        certificate.names.join(", "),
        certificate.expires
    )
}
