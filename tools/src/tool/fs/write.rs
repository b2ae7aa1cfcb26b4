//! `fs.write`

use super::shared::{CHANGES, changed_since, difference, mode_from, unbase64};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::{self, Existing, Facts, Place};
use crate::policy::Target;
use crate::reach::{Paths, directory_of};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Write a file. The directory must exist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file.
    path: String,
    /// What to write.
    content: String,
    /// Whether the file may, must or must not exist.
    #[serde(default)]
    how: How,
    /// How `content` is written down.
    #[serde(default)]
    encoding: Encoding,
    /// Permission bits in octal, such as `0644`; those of the file if it exists.
    #[serde(default)]
    mode: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    /// Replace what is there, or create it.
    #[default]
    Overwrite,
    /// The file must not exist.
    Create,
    /// Add to the end of what is there, or create it.
    Append,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    /// As it is.
    #[default]
    Text,
    /// Any bytes (RFC 4648).
    Base64,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Written {
    /// The file's real path.
    pub(crate) path: String,
    /// It did not exist before.
    pub(crate) created: bool,
    /// Size in bytes before.
    bytes_before: u64,
    /// Size in bytes now.
    pub(crate) bytes: u64,
    /// BLAKE3 of the content now, hexadecimal.
    blake3: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 4,
    name: "fs.write",
    summary: "Write text to a file: create, overwrite or append",
    effect: Effect::Reversible,
    touches: &["the file named, below /data, /tmp or /run; below /data/config only for an admin"],
    role: Role::Operator,
    timeout_ms: 20_000,
    examples: &[
        ("write hello to /data/notes.txt", r#"{"path":"/data/notes.txt","content":"hello"}"#),
        (
            "create the file /tmp/todo with the text buy milk",
            r#"{"path":"/tmp/todo","content":"buy milk","how":"create"}"#,
        ),
        (
            "append the line done to /data/log.txt",
            r#"{"path":"/data/log.txt","content":"done\n","how":"append"}"#,
        ),
        (
            "replace the content of /data/motd with welcome",
            r#"{"path":"/data/motd","content":"welcome","how":"overwrite"}"#,
        ),
        (
            "save the text reboot on Friday in /data/plan.txt",
            r#"{"path":"/data/plan.txt","content":"reboot on Friday"}"#,
        ),
        (
            "make a script /data/run.sh with mode 0755 that says hi",
            r#"{"path":"/data/run.sh","content":"hi","mode":"0755"}"#,
        ),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

/// It is written beside the file and renamed, so the directory is what is changed.
fn paths(args: &Args) -> Paths {
    directory_of(&args.path)
}

/// A file that gets a content; fs.copy makes the same change.
pub(crate) struct Write {
    place: Place,
    before: Option<Existing>,
    content: Vec<u8>,
    facts: Facts,
}

/// Takes it back.
pub(crate) const UNDO: Undo = Undo { paths: undo_paths, run: undo };

/// What undo has to know beside the old content.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    path: String,
    /// The file's facts before; none if it did not exist.
    before: Option<Facts>,
    /// BLAKE3 of what was written.
    after: String,
    /// Permission bits, owner and group of what was written.
    after_facts: (u32, u32, u32),
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Write, CallError> {
    let place = file::place(&ctx.policy, &args.path)?;
    let before = place.existing()?;
    let new = match args.encoding {
        Encoding::Text => args.content.into_bytes(),
        Encoding::Base64 => unbase64(&args.content)?,
    };
    let content = match (args.how, &before) {
        (How::Create, Some(_)) => {
            return Err(CallError::new(
                ErrorCode::Conflict,
                format!("{} exists; how = overwrite or append changes it", place.path.display()),
            ));
        }
        (How::Append, Some(before)) => [before.content.as_slice(), &new].concat(),
        _ => new,
    };
    // Who has the directory has what is new in it.
    let owner = place.owner()?;
    let asked = args.mode.as_deref().map(mode_from).transpose()?;
    let facts = match &before {
        Some(before) => Facts { mode: asked.unwrap_or(before.facts.mode), ..before.facts.clone() },
        None => Facts::new(asked.unwrap_or(0o644), owner),
    };
    Write::new(place, before, content, facts)
}

impl Write {
    /// This content instead of what was found.
    pub(crate) fn new(
        place: Place,
        before: Option<Existing>,
        content: Vec<u8>,
        facts: Facts,
    ) -> Result<Self, CallError> {
        if content.len() as u64 > file::MAX_CHANGED {
            return Err(CallError::invalid(format!(
                "the file would have more than {} bytes; files of that size are not written here",
                file::MAX_CHANGED
            )));
        }
        Ok(Self { place, before, content, facts })
    }
}

impl Change for Write {
    type Output = Written;

    fn target(&self) -> Target {
        Target::File(self.place.path.clone())
    }

    fn preview(&self) -> Preview {
        let verb = if self.before.is_some() { "change" } else { "create" };
        let old = self.before.as_ref().map_or(&[][..], |before| &before.content);
        Preview {
            would: format!(
                "{verb} {}: {} bytes before, {} after",
                self.place.path.display(),
                old.len(),
                self.content.len()
            ),
            diff: unified(&self.place.path.display().to_string(), old, &self.content),
        }
    }

    fn save(&self) -> Option<Kept> {
        let note = Note {
            path: self.place.path.display().to_string(),
            before: self.before.as_ref().map(|before| before.facts.clone()),
            after: hash(&self.content),
            after_facts: (self.facts.mode, self.facts.uid, self.facts.gid),
        };
        Some(Kept::new(&note, self.before.as_ref().map(|before| before.content.clone())))
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Written, CallError> {
        self.place.replace(self.before.as_ref(), &self.content, &self.facts, false)?;
        Ok(Written {
            path: self.place.path.display().to_string(),
            created: self.before.is_none(),
            bytes_before: self.before.as_ref().map_or(0, |before| before.content.len() as u64),
            bytes: self.content.len() as u64,
            blake3: hash(&self.content),
        })
    }

    fn verify(&self, _ctx: &Ctx, written: &Written) -> Result<(), CallError> {
        match self.place.existing()? {
            Some(now) if hash(&now.content) == written.blake3 => Ok(()),
            _ => Err(CallError::new(
                ErrorCode::Conflict,
                format!("{} was written and changed again by someone else at once", written.path),
            )),
        }
    }
}

fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// A unified diff of two texts; nothing for other bytes.
fn unified(path: &str, old: &[u8], new: &[u8]) -> Option<String> {
    let (old, new) = (std::str::from_utf8(old).ok()?, std::str::from_utf8(new).ok()?);
    Some(difference((path, old), (path, new), 3).0)
}

fn summary(written: &Written) -> String {
    if written.created {
        format!("created {} with {} bytes", written.path, written.bytes)
    } else {
        format!("changed {}: {} bytes before, {} now", written.path, written.bytes_before, written.bytes)
    }
}

fn undo_paths(data: &Kept) -> Result<Paths, CallError> {
    data.read::<Note>().map(|note| directory_of(&note.path))
}

fn undo(ctx: &Ctx, data: &Kept) -> Result<String, CallError> {
    let note: Note = data.read()?;
    let place = file::place(&ctx.policy, &note.path)?;
    let now = place.existing()?;
    let changed = |what: &str| Err(changed_since(&note.path, what));
    let as_written = |now: &Existing| {
        let before = note.before.as_ref().and_then(|before| before.attributes.as_ref());
        let attributes = now.facts.attributes.as_ref().zip(before);
        hash(&now.content) == note.after
            && (now.facts.mode, now.facts.uid, now.facts.gid) == note.after_facts
            && attributes.is_none_or(|(now, before)| !now.differ(before))
    };
    match (now, &note.before, &data.content) {
        // It was interrupted before it was made, or this undo was, after it was carried out.
        (None, None, _) => Ok(format!("{} does not exist, as before", note.path)),
        (Some(now), Some(before), Some(content))
            if now.content == *content && now.facts.mode == before.mode =>
        {
            place.replace(Some(&now), content, before, true)?;
            Ok(format!("{} is as it was before", note.path))
        }
        (Some(now), _, _) if !as_written(&now) => changed("changed"),
        (Some(now), None, _) => {
            place.remove(&now)?;
            Ok(format!("removed {}, which had not existed before", note.path))
        }
        (Some(now), Some(before), Some(content)) => {
            place.replace(Some(&now), content, before, true)?;
            Ok(format!("restored {} as it was: {} bytes", note.path, content.len()))
        }
        (None, Some(_), _) => changed("removed"),
        (Some(_), Some(_), None) => {
            Err(CallError::failed("the undo data holds no content; nothing was undone"))
        }
    }
}
