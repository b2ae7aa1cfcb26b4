//! `container.cleanup`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview};
use crate::policy::Target;
use crate::reach::Paths;
use crate::shelf::Shelf;
use crate::tool::pkg::shared::{NEEDS, changed};
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Remove images of containers that are in no use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only those of this container.
    #[serde(default)]
    name: Option<String>,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// Names of the files.
    images: Vec<String>,
    /// Bytes of them together.
    bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 162,
    name: "container.cleanup",
    summary: "Remove images of containers that are neither in use nor the version before the present one",
    effect: Effect::Irreversible,
    touches: &["/data/extensions"],
    role: Role::Admin,
    timeout_ms: 60_000,
    examples: &[
        ("clean up old container images", "{}"),
        ("docker image prune", "{}"),
        ("remove the unused images of the container shop", r#"{"name":"shop"}"#),
        ("free the space that old versions of containers take", "{}"),
        ("delete outdated versions of the container blog", r#"{"name":"blog"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: None },
};

fn paths(_: &Args) -> Paths {
    changed()
}

struct Cleanup {
    shelf: Shelf,
    /// Whose images these are, for the policy.
    name: String,
    files: Vec<String>,
    bytes: u64,
}

fn prepare(ctx: &Ctx, Args { name }: Args) -> Result<Cleanup, CallError> {
    let shelf = Shelf::of(ctx);
    let (mut files, mut bytes) = (Vec::new(), 0);
    for file in shelf.unused()? {
        ctx.check()?;
        // What is no image of a container, or cannot be read, is not ours to judge.
        let Ok((_, image)) = shelf.stored(&file) else { continue };
        let wanted = name.as_ref().is_none_or(|name| *name == image.manifest.name);
        if image.manifest.container && wanted {
            bytes += image.seal.file_bytes();
            files.push(file);
        }
    }
    Ok(Cleanup { shelf, name: name.unwrap_or_else(|| "containers".into()), files, bytes })
}

impl Change for Cleanup {
    type Output = Removed;

    fn target(&self) -> Target {
        Target::Package(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let would = match self.files.as_slice() {
            [] => "remove nothing: no image of a container is unused".into(),
            files => format!("remove {} ({})", files.join(", "), human_bytes(self.bytes)),
        };
        Preview { would, diff: None }
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Removed, CallError> {
        // One that came into use meanwhile is left where it is.
        self.files.iter().try_for_each(|file| self.shelf.discard(file))?;
        Ok(Removed { images: self.files.clone(), bytes: self.bytes })
    }
}

fn summary(done: &Removed) -> String {
    match done.images.len() {
        0 => "no image of a container is unused".into(),
        count => format!("removed {count} images, {}", human_bytes(done.bytes)),
    }
}
