//! `sec.permissions_fix`

use super::permissions::{self, Finding, OWNERS};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::{self, Place};
use crate::policy::Target;
use crate::reach::{Needs, Paths, Way};
use crate::tool::fs::shared::{CHANGES, changed_since};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Set right what `sec.permissions` finds: nobody else may write, no file gives away its owner's rights, and what belongs to
/// nobody gets the owner of its directory. What belongs to a daemon is left alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Directory below /data, /tmp or /run, or one of these; with all below it on the same disk.
    #[serde(default = "permissions::usual")]
    path: String,
}

/// What was set right.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fixed {
    /// The directory's real path.
    path: String,
    /// Paths that were set right.
    fixed: Vec<String>,
    /// Paths that belong to a daemon and were left alone.
    left: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 216,
    name: "sec.permissions_fix",
    summary: "Set right permissions that nobody can want: writable for all, setuid, no owner",
    effect: Effect::Reversible,
    touches: &["modes and owners below the directory given, below /data, /tmp or /run"],
    role: Role::Admin,
    timeout_ms: 60_000,
    examples: &[
        ("fix the permissions in /data", "{}"),
        ("take the right to write away from everybody else in /data/www", r#"{"path":"/data/www"}"#),
        ("set the wrong modes and owners below /data/app right", r#"{"path":"/data/app"}"#),
        ("no file in /data/bin shall be setuid any more", r#"{"path":"/data/bin"}"#),
        ("repair the permissions that the audit complained about", "{}"),
    ],
    needs: Needs { read: &OWNERS, ..CHANGES },
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: undo_paths, run: undo }) },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Change, args.path.trim_end_matches('/').into())]
}

/// Mode, user and group.
type Facts = (u32, u32, u32);

struct Fixing {
    root: PathBuf,
    findings: Vec<Finding>,
    left: Vec<String>,
}

/// What undo has to know: of each file what it had and what it got.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    root: PathBuf,
    files: Vec<(String, [Facts; 2])>,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Fixing, CallError> {
    let (root, _, findings) = permissions::look(ctx, &args.path)?;
    let (findings, left): (Vec<_>, Vec<_>) = findings.into_iter().partition(Finding::is_fixable);
    let left = left.into_iter().map(|finding| finding.path).collect();
    for finding in &findings {
        let [before, after] = finding.facts;
        if (before.1, before.2) != (after.1, after.2) {
            // A new owner takes something away with which an undo could not give it back: then this refuses.
            place(ctx, &finding.path)?.attributes()?;
        }
    }
    Ok(Fixing { root, findings, left })
}

fn place(ctx: &Ctx, path: &str) -> Result<Place, CallError> {
    file::place(&ctx.policy, path)
}

fn facts(place: &Place) -> Result<Option<Facts>, CallError> {
    Ok(place.stat()?.map(|stat| (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)))
}

impl Change for Fixing {
    type Output = Fixed;

    fn target(&self) -> Target {
        Target::Below(self.root.clone())
    }

    fn preview(&self) -> Preview {
        let lines = self.findings.iter().map(|finding| {
            let [(mode, uid, gid), (new, new_uid, new_gid)] = finding.facts;
            format!("{}: {mode:04o} {uid}:{gid} → {new:04o} {new_uid}:{new_gid}\n", finding.path)
        });
        let diff: String = lines.take(100).collect();
        let would = format!("set {} files below {} right", self.findings.len(), self.root.display());
        Preview { would, diff: (!diff.is_empty()).then_some(diff) }
    }

    fn save(&self) -> Option<Kept> {
        let files = self.findings.iter().map(|finding| (finding.path.clone(), finding.facts)).collect();
        Some(Kept::new(&Note { root: self.root.clone(), files }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Fixed, CallError> {
        let files: Vec<_> = self.findings.iter().map(|one| (one.path.clone(), one.facts)).collect();
        let mut fixed = Vec::new();
        for (path, [before, after]) in &files {
            if let Err(error) = set(ctx, path, *before, *after) {
                // All of them or none.
                for (path, [before, after]) in files.get(..fixed.len()).unwrap_or_default() {
                    set(ctx, path, *after, *before)?;
                }
                return Err(error);
            }
            fixed.push(path.clone());
        }
        Ok(Fixed { path: self.root.display().to_string(), fixed, left: std::mem::take(&mut self.left) })
    }
}

/// Give these facts to a file that has those.
fn set(ctx: &Ctx, path: &str, from: Facts, to: Facts) -> Result<(), CallError> {
    let place = place(ctx, path)?;
    match facts(&place)? {
        Some(now) if now == from => place.set_facts(to.0, to.1, to.2),
        Some(now) if now == to => Ok(()),
        _ => Err(changed_since(path, "changed")),
    }
}

fn summary(fixed: &Fixed) -> String {
    let Fixed { path, fixed, left } = fixed;
    let left = match left.len() {
        0 => String::new(),
        left => format!("; {left} belong to a daemon and were left alone"),
    };
    format!("{} files below {path} have the permissions that they should have{left}", fixed.len())
}

fn undo_paths(kept: &Kept) -> Result<Paths, CallError> {
    kept.read::<Note>().map(|note| vec![(Way::Change, note.root)])
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    for (path, [before, after]) in &note.files {
        match facts(&place(ctx, path)?)? {
            None => return Err(changed_since(path, "removed")),
            Some(now) if now == *before || now == *after => {}
            Some(_) => return Err(changed_since(path, "changed")),
        }
    }
    for (path, [before, after]) in note.files.iter().rev() {
        set(ctx, path, *after, *before)?;
    }
    Ok(format!("{} files have the permissions that they had before", note.files.len()))
}
