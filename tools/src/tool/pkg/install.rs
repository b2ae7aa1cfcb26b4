//! `pkg.install`

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

/// Install an extension from a signed image file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the image file (`.aiosx`), on a USB stick or where it was uploaded to.
    path: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 72,
    name: "pkg.install",
    summary: "Install an extension from a signed image file, and start its services",
    effect: Effect::Reversible,
    touches: &["/data/extensions", "/data/config/services", "the services that come with it"],
    role: Role::Admin,
    timeout_ms: 240_000,
    examples: &[
        ("install the extension /data/upload/nginx.aiosx", r#"{"path":"/data/upload/nginx.aiosx"}"#),
        ("install /run/usb/postgresql.aiosx", r#"{"path":"/run/usb/postgresql.aiosx"}"#),
        ("add the program in /data/upload/redis.aiosx", r#"{"path":"/data/upload/redis.aiosx"}"#),
        ("set up the package /data/upload/wireguard.aiosx", r#"{"path":"/data/upload/wireguard.aiosx"}"#),
        ("put the image /tmp/hello.aiosx on this machine", r#"{"path":"/tmp/hello.aiosx"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

fn paths(args: &Args) -> Paths {
    [changed(), vec![(Way::Read, args.path.clone().into())]].concat()
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    let shelf = Shelf::of(ctx);
    let (open, found) = file::open_for_reading(ctx, &args.path)?;
    let image = shelf.image(&open, &found.path)?;
    shelf.fits(&image, &image_version())?;
    aios_extension::check(&open, &image.seal, |_| Ok(()))
        .map_err(|flaw| CallError::denied(format!("{} {flaw}", found.path.display())))?;
    let name = image.manifest.name.clone();
    let before = shelf.state(&name)?;
    if before.record.current.as_ref().is_some_and(|current| *current != image.file) {
        let was =
            Switch::version_of(&shelf, &before).unwrap_or_else(|| "a version that cannot be read".into());
        let text = format!("{name} {was} is installed; pkg.update replaces it");
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    let record = Record { current: Some(image.file.clone()), previous: before.record.previous.clone() };
    let after = State { record, services: shelf.texts(&image) };
    let was = Switch::version_of(&shelf, &before);
    let source = Some(Source::new(&shelf, &image, open, found.path));
    let ran = Switch::running(ctx, &before);
    Ok(Switch { shelf, name, before, after, ran, image: Some(image), source, was })
}
