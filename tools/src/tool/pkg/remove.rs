//! `pkg.remove`

use super::shared::{NEEDS, Switch, UNDO, changed, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::reach::Paths;
use crate::shelf::{Record, Shelf, State};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Remove an extension; its data stays, and so does its image until the room is needed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the extension, such as `nginx`.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 74,
    name: "pkg.remove",
    summary: "Remove an extension and its services; its data stays",
    effect: Effect::Reversible,
    touches: &["/data/extensions", "/data/config/services", "the services of the extension"],
    role: Role::Admin,
    timeout_ms: 120_000,
    examples: &[
        ("remove the extension nginx", r#"{"name":"nginx"}"#),
        ("uninstall postgresql", r#"{"name":"postgresql"}"#),
        ("delete the package redis", r#"{"name":"redis"}"#),
        ("take nginx off this machine", r#"{"name":"nginx"}"#),
        ("I do not need the program hello any more, uninstall it", r#"{"name":"hello"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

fn paths(_: &Args) -> Paths {
    changed()
}

fn prepare(ctx: &Ctx, Args { name }: Args) -> Result<Switch, CallError> {
    removal(ctx, name)
}

/// Look at what is installed.
pub(crate) fn removal(ctx: &Ctx, name: String) -> Result<Switch, CallError> {
    let shelf = Shelf::of(ctx);
    let before = shelf.state(&name)?;
    let Some(current) = before.record.current.clone() else {
        return Err(CallError::not_found(format!("{name} is not installed; pkg.list shows what is")));
    };
    let record = Record { current: None, previous: Some(current) };
    let after = State { record, services: BTreeMap::new() };
    let was = Switch::version_of(&shelf, &before);
    let ran = Switch::running(ctx, &before);
    Ok(Switch { shelf, name, before, after, ran, image: None, source: None, was })
}
