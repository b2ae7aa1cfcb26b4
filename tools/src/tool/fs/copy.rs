//! `fs.copy`

use super::shared::CHANGES;
use super::write::{UNDO, Write, Written};
use crate::attributes::Attributes;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview};
use crate::file::{self, Facts};
use crate::policy::Target;
use crate::reach::{Paths, Way, directory_of};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Copy a file of at most 16 MiB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file that is copied.
    from: String,
    /// Absolute path of the copy; its directory must exist.
    to: String,
    /// Replace a file that is there; it keeps its owner and its permissions.
    #[serde(default)]
    overwrite: bool,
}

/// What was copied.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Copied {
    /// The real path of the file.
    from: String,
    /// The real path of the copy.
    to: String,
    /// Nothing was there before.
    created: bool,
    /// Bytes that were copied.
    bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 111,
    name: "fs.copy",
    summary: "Copy a file",
    effect: Effect::Reversible,
    touches: &[
        "the file named, if it holds no secrets",
        "the copy, below /data, /tmp or /run; below /data/config only for an admin",
    ],
    role: Role::Operator,
    timeout_ms: 20_000,
    examples: &[
        ("copy /data/a.txt to /data/b.txt", r#"{"from":"/data/a.txt","to":"/data/b.txt"}"#),
        (
            "cp /etc/aios/net.toml /data/config/net.toml",
            r#"{"from":"/etc/aios/net.toml","to":"/data/config/net.toml"}"#,
        ),
        (
            "make a copy of /data/plan.md named /data/plan.old",
            r#"{"from":"/data/plan.md","to":"/data/plan.old"}"#,
        ),
        (
            "duplicate /data/list.csv as /tmp/list.csv and replace what is there",
            r#"{"from":"/data/list.csv","to":"/tmp/list.csv","overwrite":true}"#,
        ),
        (
            "back up the file /data/site.conf to /data/site.conf.bak",
            r#"{"from":"/data/site.conf","to":"/data/site.conf.bak"}"#,
        ),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

fn paths(args: &Args) -> Paths {
    let mut paths = directory_of(&args.to);
    paths.push((Way::Read, args.from.clone().into()));
    paths
}

struct Copy {
    from: String,
    /// The copy is written as any other file.
    write: Write,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Copy, CallError> {
    let (file, found) = file::open_for_reading(ctx, &args.from)?;
    let place = file::place(&ctx.policy, &args.to)?;
    let from = found.path.display().to_string();
    if found.path == place.path {
        return Err(CallError::invalid(format!("{from} cannot be copied to itself")));
    }
    let before = place.existing()?;
    if before.is_some() && !args.overwrite {
        let text = format!("{} exists; overwrite = true replaces it", place.path.display());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    let facts = match &before {
        Some(before) => before.facts.clone(),
        None => Facts {
            attributes: Some(Attributes::of(&file, &found.path)?),
            // The bits that give away the owner's rights are not copied: the copy may have another owner.
            ..Facts::new(found.stat.st_mode & 0o777, place.owner()?)
        },
    };
    let mut content = Vec::new();
    file.take(file::MAX_CHANGED + 1).read_to_end(&mut content)?;
    Ok(Copy { from, write: Write::new(place, before, content, facts)? })
}

impl Change for Copy {
    type Output = Copied;

    fn target(&self) -> Target {
        self.write.target()
    }

    fn preview(&self) -> Preview {
        let Preview { would, diff } = self.write.preview();
        Preview { would: format!("copy {}: {would}", self.from), diff }
    }

    fn save(&self) -> Option<Kept> {
        self.write.save()
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Copied, CallError> {
        let written = self.write.apply(ctx)?;
        self.write.verify(ctx, &written)?;
        let Written { path, created, bytes, .. } = written;
        Ok(Copied { from: self.from.clone(), to: path, created, bytes })
    }
}

fn summary(copied: &Copied) -> String {
    let replaced = if copied.created { "" } else { ", which was there before" };
    format!("copied {} to {}{replaced}: {} bytes", copied.from, copied.to, copied.bytes)
}
