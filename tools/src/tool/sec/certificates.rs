//! `sec.certificates`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Asks, Needs, Paths, Way};
use crate::x509::{self, Certificate};
use aios_abi::accounts::{AccountsReply, AccountsRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use jiff::Timestamp;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Paths that are looked at in one call.
const MAX_PATHS: usize = 32;
/// Names below them that are looked at.
const MAX_FILES: usize = 5_000;
/// Bytes of a file of certificates.
const MAX_BYTES: u64 = 1 << 20;
/// Certificates that are shown.
const MAX_SHOWN: usize = 500;
/// How files of certificates are called.
const ENDINGS: [&str; 5] = ["pem", "crt", "cer", "cert", "der"];

/// Look at certificates: that of the console, and those in files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Files, and directories in which all files are looked at that are called `.pem`, `.crt`, `.cer`, `.cert` or `.der`. At
    /// most 32; without any, only the console's certificate is shown.
    #[serde(default)]
    paths: Vec<String>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Found {
    /// The console's first, then those in files.
    certificates: Vec<Certificate>,
    /// Files that could not be looked at: one sentence each.
    refused: Vec<String>,
    /// There are more than are shown.
    more: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 210,
    name: "sec.certificates",
    summary: "Show certificates with names, issuer, key and the days that are left",
    effect: Effect::Read,
    touches: &["the console's certificate", "files at the paths given"],
    role: Role::Viewer,
    timeout_ms: 20_000,
    examples: &[
        ("when does the certificate of the console expire?", "{}"),
        ("show the certificates of this machine", "{}"),
        ("which names is the TLS certificate for?", "{}"),
        ("which certificates in /data/config/nginx expire soon?", r#"{"paths":["/data/config/nginx"]}"#),
        ("how long is /data/web/server.crt valid?", r#"{"paths":["/data/web/server.crt"]}"#),
        ("list the certificates in /data/config", r#"{"paths":["/data/config"]}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH).asks(&[Asks::AccountsToLook]),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    args.paths.iter().take(MAX_PATHS).map(|path| (Way::Read, path.into())).collect()
}

fn run(ctx: &Ctx, args: Args) -> Result<Found, CallError> {
    if args.paths.len() > MAX_PATHS {
        return Err(CallError::invalid(format!("at most {MAX_PATHS} paths are looked at in one call")));
    }
    let now = Timestamp::now().as_second();
    let mut found = Found { certificates: vec![of_console(ctx, now)?], refused: Vec::new(), more: false };
    for path in &args.paths {
        let start = file::find(path, true)?;
        ctx.may_see(&start.path)?;
        for file in files(ctx, &start.path)? {
            match read(ctx, &file) {
                Ok(bytes) => found.certificates.extend(x509::of_file(
                    &bytes,
                    &file.display().to_string(),
                    now,
                    x509::SOON_DAYS,
                )),
                Err(error) if file == start.path => return Err(error),
                Err(error) => found.refused.push(error.message),
            }
        }
    }
    found.more = found.certificates.len() > MAX_SHOWN;
    found.certificates.truncate(MAX_SHOWN);
    found.refused.truncate(MAX_SHOWN);
    Ok(found)
}

/// The console's certificate.
pub(crate) fn of_console(ctx: &Ctx, now: i64) -> Result<Certificate, CallError> {
    match ctx.accounts(AccountsRequest::Certificate)? {
        AccountsReply::Certificate(der) => x509::of_der(&der, "console", now, x509::SOON_DAYS),
        _ => Err(crate::tool::users::shared::unexpected()),
    }
}

fn files(ctx: &Ctx, start: &Path) -> Result<Vec<PathBuf>, CallError> {
    if !start.is_dir() {
        return Ok(vec![start.into()]);
    }
    let (mut files, mut open, mut seen) = (Vec::new(), vec![start.to_path_buf()], 0);
    while let Some(folder) = open.pop() {
        ctx.check()?;
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MAX_FILES {
                return Err(CallError::new(
                    ErrorCode::Invalid,
                    format!(
                        "below {} are more than {MAX_FILES} files; name a smaller directory",
                        start.display()
                    ),
                ));
            }
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|end| ENDINGS.iter().any(|e| end == *e))
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(ctx: &Ctx, path: &Path) -> Result<Vec<u8>, CallError> {
    let (file, _) = file::open_for_reading(ctx, &path.display().to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn summary(found: &Found) -> String {
    let all = &found.certificates;
    let bad: Vec<_> = all
        .iter()
        .filter_map(|one| Some(format!("{}: {}", one.found, one.problem.as_ref()?)))
        .take(5)
        .collect();
    let soonest = all.iter().map(|one| one.days_left).min().unwrap_or(0);
    match bad.is_empty() {
        true => format!("{} certificates, the first expires in {soonest} days", all.len()),
        false => format!("{} certificates; {}", all.len(), bad.join("; ")),
    }
}
