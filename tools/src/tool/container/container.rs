//! What the tools of containers share: a container is an extension that was made from an OCI bundle, and runs as a
//! service with the extension's name. PID 1 keeps it up; there is no other daemon.

use crate::ctx::Ctx;
use crate::reach::{Asks, Needs};
use crate::shelf::{Image, Shelf};
use crate::tool::pkg::shared::LOOKS;
use aios_abi::CallError;
use schemars::JsonSchema;
use serde::Deserialize;

/// What looking at containers takes.
pub(crate) const LOOKS_AT: Needs = Needs::NOTHING.read(LOOKS).asks(&[Asks::InitToLook]);
/// And what starting and stopping them takes.
pub(crate) const ACTS_ON: Needs = Needs::NOTHING.read(LOOKS).asks(&[Asks::InitToAct]);

/// Which container.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Name of the container, as `container.list` has it.
    pub(crate) name: String,
}

/// The containers that are installed, by name.
pub(crate) fn all(ctx: &Ctx) -> Result<Vec<Image>, CallError> {
    let shelf = Shelf::of(ctx);
    let mut found = Vec::new();
    for name in shelf.names()? {
        let Some(file) = shelf.state(&name)?.record.current else { continue };
        // One that cannot be read any more is named by pkg.list, which knows nothing else of it either.
        if let Ok((_, image)) = shelf.stored(&file)
            && image.manifest.container
        {
            found.push(image);
        }
    }
    Ok(found)
}

/// That this is one.
pub(crate) fn check(ctx: &Ctx, name: &str) -> Result<Image, CallError> {
    let all = all(ctx)?;
    let known: Vec<&str> = all.iter().map(|image| image.manifest.name.as_str()).collect();
    let known = match known.as_slice() {
        [] => "none is installed; pkg.install installs one".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    };
    let found = all.iter().find(|image| image.manifest.name == name).cloned();
    found.ok_or_else(|| CallError::not_found(format!("there is no container {name}; {known}")))
}
