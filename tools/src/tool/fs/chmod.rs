//! `fs.chmod`

use super::shared::{CHANGES, changed_since, mode_from, place};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::Place;
use crate::policy::Target;
use crate::reach::{Paths, directory_of};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::Stat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Set the permissions and the owner of a file or a directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path; a symbolic link is not followed.
    path: String,
    /// Permission bits in octal, such as `0640`; as they are if nothing is said.
    #[serde(default)]
    mode: Option<String>,
    /// User id of the owner; as it is if nothing is said.
    #[serde(default)]
    uid: Option<u32>,
    /// Group id; as it is if nothing is said.
    #[serde(default)]
    gid: Option<u32>,
}

/// What is so now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Set {
    /// The real path.
    path: String,
    /// Permission bits, such as `0640`.
    mode: String,
    /// Owner's user id.
    uid: u32,
    /// Group id.
    gid: u32,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 100,
    name: "fs.chmod",
    summary: "Set the permissions or the owner of a file or directory",
    effect: Effect::Reversible,
    touches: &["the file named, below /data, /tmp or /run; below /data/config only for an admin"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("set the mode of /data/run.sh to 0755", r#"{"path":"/data/run.sh","mode":"0755"}"#),
        ("chmod 0600 /data/key.txt", r#"{"path":"/data/key.txt","mode":"0600"}"#),
        ("change the permissions of /data/web to 0750", r#"{"path":"/data/web","mode":"0750"}"#),
        (
            "make the file /data/notes.txt readable for everyone, mode 0644",
            r#"{"path":"/data/notes.txt","mode":"0644"}"#,
        ),
        ("give /data/app to user 1000", r#"{"path":"/data/app","uid":1000}"#),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: undo_paths, run: undo }) },
};

fn paths(args: &Args) -> Paths {
    // Opening the thing itself takes a right to what is in its directory as well.
    directory_of(args.path.trim_end_matches('/'))
}

/// Mode, owner and group.
type Facts = (u32, u32, u32);

struct Chmod {
    place: Place,
    before: Facts,
    after: Facts,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    path: String,
    before: Facts,
    after: Facts,
}

fn facts(stat: &Stat) -> Facts {
    (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Chmod, CallError> {
    if args.mode.is_none() && args.uid.is_none() && args.gid.is_none() {
        return Err(CallError::invalid("nothing is to be changed; give `mode`, `uid` or `gid`"));
    }
    let mode = args.mode.as_deref().map(mode_from).transpose()?;
    let place = place(ctx, &args.path)?;
    let before = facts(&place.present()?);
    if args.uid.is_some() || args.gid.is_some() {
        // A new owner takes something away with which an undo could not give it back: then this refuses.
        place.attributes()?;
    }
    let after = (mode.unwrap_or(before.0), args.uid.unwrap_or(before.1), args.gid.unwrap_or(before.2));
    Ok(Chmod { place, before, after })
}

fn words((mode, uid, gid): Facts) -> String {
    format!("mode {mode:04o}, owner {uid}:{gid}")
}

impl Change for Chmod {
    type Output = Set;

    fn target(&self) -> Target {
        Target::File(self.place.path.clone())
    }

    fn preview(&self) -> Preview {
        let path = self.place.path.display();
        Preview {
            would: format!("change {path} from {} to {}", words(self.before), words(self.after)),
            diff: None,
        }
    }

    fn save(&self) -> Option<Kept> {
        let path = self.place.path.display().to_string();
        Some(Kept::new(&Note { path, before: self.before, after: self.after }, None))
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Set, CallError> {
        let (mode, uid, gid) = self.after;
        self.place.set_facts(mode, uid, gid)?;
        Ok(Set { path: self.place.path.display().to_string(), mode: format!("{mode:04o}"), uid, gid })
    }
}

fn summary(set: &Set) -> String {
    format!("{} has mode {}, owner {}:{}", set.path, set.mode, set.uid, set.gid)
}

fn undo_paths(data: &Kept) -> Result<Paths, CallError> {
    data.read::<Note>().map(|note| directory_of(&note.path))
}

fn undo(ctx: &Ctx, data: &Kept) -> Result<String, CallError> {
    let note: Note = data.read()?;
    let place = place(ctx, &note.path)?;
    match place.stat()?.as_ref().map(facts) {
        None => Err(changed_since(&note.path, "removed")),
        Some(now) if now == note.before => Ok(format!("{} has {}, as before", note.path, words(now))),
        Some(now) if now == note.after => {
            let (mode, uid, gid) = note.before;
            place.set_facts(mode, uid, gid)?;
            Ok(format!("{} has {} again", note.path, words(note.before)))
        }
        Some(_) => Err(changed_since(&note.path, "changed")),
    }
}
