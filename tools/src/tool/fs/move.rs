//! `fs.move`

use super::shared::{CHANGES, changed_since, place};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::Place;
use crate::policy::Target;
use crate::reach::{Paths, directory_of};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Move or rename a file or a directory, on the same disk. Nothing is replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of what is there.
    from: String,
    /// Absolute path that it gets; nothing must be there.
    to: String,
}

/// What was moved.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Moved {
    /// The real path that it had.
    from: String,
    /// The real path that it has.
    to: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 9,
    name: "fs.move",
    summary: "Move or rename a file or a directory",
    effect: Effect::Reversible,
    touches: &["both paths, below /data, /tmp or /run; below /data/config only for an admin"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("move /data/a.txt to /data/b.txt", r#"{"from":"/data/a.txt","to":"/data/b.txt"}"#),
        ("rename /data/draft.md to /data/final.md", r#"{"from":"/data/draft.md","to":"/data/final.md"}"#),
        ("mv /tmp/in.csv /tmp/out.csv", r#"{"from":"/tmp/in.csv","to":"/tmp/out.csv"}"#),
        ("give the folder /data/new the name /data/archive", r#"{"from":"/data/new","to":"/data/archive"}"#),
        ("put the file /data/log.1 at /data/old/log.1", r#"{"from":"/data/log.1","to":"/data/old/log.1"}"#),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: undo_paths, run: undo }) },
};

fn paths(args: &Args) -> Paths {
    [directory_of(&args.from), directory_of(&args.to)].concat()
}

struct Move {
    from: Place,
    to: Place,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    from: String,
    to: String,
    /// Device and inode of what was moved.
    identity: (u64, u64),
}

fn identity(place: &Place) -> Result<Option<(u64, u64)>, CallError> {
    Ok(place.stat()?.map(|stat| (stat.st_dev, stat.st_ino)))
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Move, CallError> {
    let (from, to) = (place(ctx, &args.from)?, place(ctx, &args.to)?);
    from.present()?;
    if to.stat()?.is_some() {
        let text = format!("{} exists; move or remove it first", to.path.display());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    Ok(Move { from, to })
}

impl Change for Move {
    type Output = Moved;

    fn target(&self) -> Target {
        Target::File(self.from.path.clone())
    }

    fn preview(&self) -> Preview {
        let would = format!("move {} to {}", self.from.path.display(), self.to.path.display());
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let identity = identity(&self.from).ok().flatten()?;
        let (from, to) = (self.from.path.display().to_string(), self.to.path.display().to_string());
        Some(Kept::new(&Note { from, to, identity }, None))
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Moved, CallError> {
        self.from.rename(&self.to)?;
        Ok(Moved { from: self.from.path.display().to_string(), to: self.to.path.display().to_string() })
    }
}

fn summary(moved: &Moved) -> String {
    format!("moved {} to {}", moved.from, moved.to)
}

fn undo_paths(data: &Kept) -> Result<Paths, CallError> {
    data.read::<Note>().map(|note| [directory_of(&note.from), directory_of(&note.to)].concat())
}

fn undo(ctx: &Ctx, data: &Kept) -> Result<String, CallError> {
    let note: Note = data.read()?;
    let (from, to) = (place(ctx, &note.from)?, place(ctx, &note.to)?);
    match (identity(&from)?, identity(&to)?) {
        // It was interrupted before it was made, or this undo was, after it was carried out.
        (Some(there), None) if there == note.identity => Ok(format!("{} is where it was", note.from)),
        (None, Some(there)) if there == note.identity => {
            to.rename(&from)?;
            Ok(format!("moved {} back to {}", note.to, note.from))
        }
        (Some(_), _) => Err(changed_since(&note.from, "made anew")),
        (None, _) => Err(changed_since(&note.to, "moved or replaced")),
    }
}
