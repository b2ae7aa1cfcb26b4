//! `pkg.update`

use super::shared::{NEEDS, Source, Switch, UNDO, changed, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::file;
use crate::reach::{Paths, Way};
use crate::shelf::{Record, Shelf, State};
use crate::tool::image_version;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Replace an installed extension by another version; the one before is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the new image file (`.aiosx`).
    path: String,
    /// Take an older version than the installed one too: old versions have holes that are known.
    #[serde(default)]
    allow_downgrade: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 73,
    name: "pkg.update",
    summary: "Replace an installed extension by a newer signed image, and restart its services",
    effect: Effect::Reversible,
    touches: &["/data/extensions", "/data/config/services", "the services of the extension"],
    role: Role::Admin,
    timeout_ms: 240_000,
    examples: &[
        ("update nginx with /data/upload/nginx-2.aiosx", r#"{"path":"/data/upload/nginx-2.aiosx"}"#),
        ("upgrade the extension from /run/usb/postgresql.aiosx", r#"{"path":"/run/usb/postgresql.aiosx"}"#),
        ("replace the installed redis by /data/upload/redis.aiosx", r#"{"path":"/data/upload/redis.aiosx"}"#),
        ("bring the package up to date with /tmp/hello.aiosx", r#"{"path":"/tmp/hello.aiosx"}"#),
        (
            "go back to the older version in /data/upload/nginx-1.aiosx, downgrade it",
            r#"{"path":"/data/upload/nginx-1.aiosx","allow_downgrade":true}"#,
        ),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

fn paths(args: &Args) -> Paths {
    [changed(), vec![(Way::Read, args.path.clone().into())]].concat()
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    switch_to(ctx, &args.path, args.allow_downgrade)
}

/// The image at this path in place of the version that is installed.
pub(crate) fn switch_to(ctx: &Ctx, path: &str, allow_downgrade: bool) -> Result<Switch, CallError> {
    let shelf = Shelf::of(ctx);
    let (open, found) = file::open_for_reading(ctx, path)?;
    let image = shelf.image(&open, &found.path)?;
    shelf.fits(&image, &image_version())?;
    aios_extension::check(&open, &image.seal, |_| Ok(()))
        .map_err(|flaw| CallError::denied(format!("{} {flaw}", found.path.display())))?;
    let (name, new) = (image.manifest.name.clone(), image.manifest.version.clone());
    let before = shelf.state(&name)?;
    let Some(current) = before.record.current.clone() else {
        return Err(CallError::not_found(format!("{name} is not installed; pkg.install installs it")));
    };
    // One that is damaged is replaced by whatever its trusted maker signed.
    let installed = shelf.stored(&current).ok().map(|(_, installed)| installed);
    if let Some(installed) = &installed {
        let old = &installed.manifest.version;
        if installed.seal.key != image.seal.key {
            let text = format!("{name} was signed by another maker than what is installed; remove it first");
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        if aios_extension::compare(&new, old).is_lt() && !allow_downgrade {
            let text =
                format!("{new} is older than the installed {old}; `allow_downgrade` takes it all the same");
            return Err(CallError::denied(text));
        }
    }
    let previous = match current == image.file {
        true => before.record.previous.clone(),
        false => Some(current),
    };
    let record = Record { current: Some(image.file.clone()), previous };
    let after = State { record, services: shelf.texts(&image) };
    let was = installed.map(|installed| installed.manifest.version);
    let source = Some(Source::new(&shelf, &image, open, found.path));
    let ran = Switch::running(ctx, &before);
    Ok(Switch { shelf, name, before, after, ran, image: Some(image), source, was })
}
