//! `pkg.rollback`

use super::shared::{NEEDS, Switch, UNDO, changed, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::reach::Paths;
use crate::shelf::{Record, Shelf, State};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Go back to the version of an extension that was installed before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the extension, such as `nginx`.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 75,
    name: "pkg.rollback",
    summary: "Go back to the version of an extension that was installed before",
    effect: Effect::Reversible,
    touches: &["/data/extensions", "/data/config/services", "the services of the extension"],
    role: Role::Admin,
    timeout_ms: 120_000,
    examples: &[
        ("roll nginx back to the version before", r#"{"name":"nginx"}"#),
        ("go back to the previous postgresql", r#"{"name":"postgresql"}"#),
        ("the new redis is broken, use the old one again", r#"{"name":"redis"}"#),
        ("rollback the extension hello", r#"{"name":"hello"}"#),
        ("bring back the package nginx that I removed", r#"{"name":"nginx"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

fn paths(_: &Args) -> Paths {
    changed()
}

fn prepare(ctx: &Ctx, Args { name }: Args) -> Result<Switch, CallError> {
    let shelf = Shelf::of(ctx);
    let before = shelf.state(&name)?;
    let Some(previous) = before.record.previous.clone() else {
        return Err(CallError::not_found(format!("there is no version of {name} before the present one")));
    };
    let (_, image) = shelf.stored(&previous)?;
    shelf.fits(&image, &crate::tool::image_version())?;
    let record = Record { current: Some(previous), previous: before.record.current.clone() };
    let after = State { record, services: shelf.texts(&image) };
    let was = Switch::version_of(&shelf, &before);
    let ran = Switch::running(ctx, &before);
    Ok(Switch { shelf, name, before, after, ran, image: Some(image), source: None, was })
}
