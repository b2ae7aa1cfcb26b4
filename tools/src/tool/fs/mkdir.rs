//! `fs.mkdir`

use super::shared::{CHANGES, changed_since, mode_from, place};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::{self, Place};
use crate::policy::Target;
use crate::reach::{Paths, directory_of};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use rustix::fs::FileType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Make a directory. The one that it is in must exist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the new directory.
    path: String,
    /// Permission bits in octal, such as `0750`.
    #[serde(default = "default_mode")]
    mode: String,
}

fn default_mode() -> String {
    "0755".into()
}

/// What was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    /// The directory's real path.
    path: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 7,
    name: "fs.mkdir",
    summary: "Make a directory",
    effect: Effect::Reversible,
    touches: &["the directory named, below /data, /tmp or /run; below /data/config only for an admin"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("make the directory /data/reports", r#"{"path":"/data/reports"}"#),
        ("mkdir /data/shared", r#"{"path":"/data/shared"}"#),
        ("create a folder /tmp/work", r#"{"path":"/tmp/work"}"#),
        ("add a new directory /data/private with mode 0700", r#"{"path":"/data/private","mode":"0700"}"#),
        ("I need an empty folder at /data/incoming", r#"{"path":"/data/incoming"}"#),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: undo_paths, run: undo }) },
};

fn paths(args: &Args) -> Paths {
    directory_of(&args.path)
}

struct Mkdir {
    place: Place,
    mode: u32,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    path: String,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Mkdir, CallError> {
    let mode = mode_from(&args.mode)?;
    let place = place(ctx, &args.path)?;
    match place.stat()? {
        None => Ok(Mkdir { place, mode }),
        Some(there) => {
            let kind = file::kind_name(FileType::from_raw_mode(there.st_mode));
            let text = format!("{} exists already: a {kind}", place.path.display());
            Err(CallError::new(ErrorCode::Conflict, text))
        }
    }
}

impl Change for Mkdir {
    type Output = Made;

    fn target(&self) -> Target {
        Target::File(self.place.path.clone())
    }

    fn preview(&self) -> Preview {
        let would = format!("make the directory {} with mode {:04o}", self.place.path.display(), self.mode);
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { path: self.place.path.display().to_string() }, None))
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Made, CallError> {
        self.place.make_directory(self.mode)?;
        Ok(Made { path: self.place.path.display().to_string() })
    }
}

fn summary(made: &Made) -> String {
    format!("made the directory {}", made.path)
}

fn undo_paths(data: &Kept) -> Result<Paths, CallError> {
    data.read::<Note>().map(|note| directory_of(&note.path))
}

fn undo(ctx: &Ctx, data: &Kept) -> Result<String, CallError> {
    let note: Note = data.read()?;
    let place = place(ctx, &note.path)?;
    match place.stat()?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        None => Ok(format!("{} does not exist, as before", note.path)),
        Some(FileType::Directory) => {
            place.remove_directory()?;
            Ok(format!("removed the directory {}, which had not existed before", note.path))
        }
        Some(_) => Err(changed_since(&note.path, "replaced")),
    }
}
