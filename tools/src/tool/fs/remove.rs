//! `fs.remove`

use super::shared::{CHANGES, changed_since, place};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::{Existing, Facts, Place};
use crate::policy::Target;
use crate::reach::{Paths, directory_of};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::FileType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Remove a file of at most 16 MiB, or an empty directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path.
    path: String,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// The real path.
    path: String,
    /// It was a directory.
    directory: bool,
    /// Bytes that it had.
    bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 8,
    name: "fs.remove",
    summary: "Remove a file or an empty directory",
    effect: Effect::Reversible,
    touches: &["the file named, below /data, /tmp or /run; below /data/config only for an admin"],
    role: Role::Operator,
    timeout_ms: 20_000,
    examples: &[
        ("remove the file /data/old.txt", r#"{"path":"/data/old.txt"}"#),
        ("delete /tmp/cache.bin", r#"{"path":"/tmp/cache.bin"}"#),
        ("rm /data/notes.txt", r#"{"path":"/data/notes.txt"}"#),
        ("get rid of the empty folder /data/empty", r#"{"path":"/data/empty"}"#),
        ("erase the file /data/report.csv", r#"{"path":"/data/report.csv"}"#),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: undo_paths, run: undo }) },
};

fn paths(args: &Args) -> Paths {
    directory_of(&args.path)
}

enum What {
    File(Existing),
    Directory(Facts),
}

struct Remove {
    place: Place,
    what: What,
}

/// What undo has to know beside the content.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    path: String,
    directory: bool,
    facts: Facts,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Remove, CallError> {
    let place = place(ctx, &args.path)?;
    let stat = place.present()?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => What::Directory(Facts::of(&stat, place.attributes()?)),
        _ => What::File(place.existing()?.ok_or_else(|| place.moved())?),
    };
    Ok(Remove { place, what })
}

impl Change for Remove {
    type Output = Removed;

    fn target(&self) -> Target {
        Target::File(self.place.path.clone())
    }

    fn preview(&self) -> Preview {
        let path = self.place.path.display();
        let would = match &self.what {
            What::File(file) => format!("remove {path}, {} bytes", file.content.len()),
            What::Directory(_) => format!("remove the directory {path}, if it is empty"),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let path = self.place.path.display().to_string();
        Some(match &self.what {
            What::File(file) => Kept::new(
                &Note { path, directory: false, facts: file.facts.clone() },
                Some(file.content.clone()),
            ),
            What::Directory(facts) => Kept::new(&Note { path, directory: true, facts: facts.clone() }, None),
        })
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Removed, CallError> {
        let bytes = match &self.what {
            What::File(file) => {
                self.place.remove(file)?;
                file.content.len() as u64
            }
            What::Directory(_) => {
                self.place.remove_directory()?;
                0
            }
        };
        let directory = matches!(self.what, What::Directory(_));
        Ok(Removed { path: self.place.path.display().to_string(), directory, bytes })
    }
}

fn summary(removed: &Removed) -> String {
    match removed.directory {
        true => format!("removed the directory {}", removed.path),
        false => format!("removed {}, {} bytes", removed.path, removed.bytes),
    }
}

fn undo_paths(data: &Kept) -> Result<Paths, CallError> {
    data.read::<Note>().map(|note| directory_of(&note.path))
}

fn undo(ctx: &Ctx, data: &Kept) -> Result<String, CallError> {
    let note: Note = data.read()?;
    let place = place(ctx, &note.path)?;
    if note.directory {
        return match place.stat()?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            None => {
                place.make_directory(note.facts.mode)?;
                place.restore(&note.facts)?;
                Ok(format!("made the directory {} again", note.path))
            }
            Some(FileType::Directory) => Ok(format!("the directory {} is there, as before", note.path)),
            Some(_) => Err(changed_since(&note.path, "made anew")),
        };
    }
    let content = data
        .content
        .as_ref()
        .ok_or_else(|| CallError::failed("the undo data holds no content; nothing was undone"))?;
    match place.stat()? {
        None => {
            place.replace(None, content, &note.facts, true)?;
            Ok(format!("{} is there again, {} bytes", note.path, content.len()))
        }
        // It was interrupted before it was made.
        Some(_) if place.existing()?.is_some_and(|now| now.content == *content) => {
            Ok(format!("{} is there, as before", note.path))
        }
        Some(_) => Err(changed_since(&note.path, "made anew")),
    }
}
