//! `pkg.verify`

use super::shared::LOOKS;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::shelf::Shelf;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Compare installed extensions with what their makers signed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this extension, such as `nginx`.
    #[serde(default)]
    name: Option<String>,
}

/// What was compared.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verified {
    /// Each extension.
    packages: Vec<Package>,
    /// Whether all are as they were signed.
    good: bool,
}

/// One extension.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Package {
    /// Its name.
    name: String,
    /// Its version, if that could be read.
    version: Option<String>,
    /// What is wrong with it; nothing when it is as its maker signed it.
    fault: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 76,
    name: "pkg.verify",
    summary: "Compare installed extensions with what their makers signed: image and service files",
    effect: Effect::Read,
    touches: &["/data/extensions", "/data/config/services"],
    role: Role::Viewer,
    timeout_ms: 120_000,
    examples: &[
        ("are the installed extensions intact?", "{}"),
        ("verify the package nginx", r#"{"name":"nginx"}"#),
        ("has somebody tampered with postgresql's image?", r#"{"name":"postgresql"}"#),
        ("check the signatures of all installed packages", "{}"),
        ("is the extension redis still what was signed?", r#"{"name":"redis"}"#),
    ],
    needs: Needs::NOTHING.read(LOOKS),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Verified, CallError> {
    let shelf = Shelf::of(ctx);
    let names = match args.name {
        Some(name) => vec![name],
        None => shelf.names()?,
    };
    let mut packages = Vec::new();
    for name in names {
        let state = shelf.state(&name)?;
        let Some(file) = &state.record.current else { continue };
        ctx.check()?;
        let judged = shelf.stored(file).map(|(open, image)| {
            let fault = match aios_extension::check(&open, &image.seal, |_| Ok(())) {
                Err(flaw) => Some(format!("{} {flaw}", shelf.path(file).display())),
                Ok(()) => {
                    let texts = shelf.texts(&image);
                    let changed =
                        texts.iter().find(|(service, text)| state.services.get(*service) != Some(text));
                    changed.map(|(service, _)| {
                        format!("the service file of {service} was changed or removed here")
                    })
                }
            };
            (Some(image.manifest.version), fault)
        });
        let (version, fault) = judged.unwrap_or_else(|e| (None, Some(e.message)));
        packages.push(Package { name, version, fault });
    }
    let good = packages.iter().all(|package| package.fault.is_none());
    Ok(Verified { packages, good })
}

fn summary(found: &Verified) -> String {
    let bad: Vec<&str> =
        found.packages.iter().filter(|p| p.fault.is_some()).map(|package| package.name.as_str()).collect();
    match (found.packages.len(), bad.is_empty()) {
        (0, _) => "no extension is installed".into(),
        (count, true) => format!("{count} extensions are as they were signed"),
        (count, false) => {
            format!("{} of {count} extensions are not as they were signed: {}", bad.len(), bad.join(", "))
        }
    }
}
