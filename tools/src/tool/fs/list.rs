//! `fs.list`

use super::shared::{Kind, mode_text, modified};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries in one answer.
const MAX: u32 = 2_000;
/// Entries that are looked at, so that a huge directory cannot keep toold busy.
const MAX_SEEN: usize = 100_000;

/// List a directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the directory.
    path: String,
    /// At most this many entries, by name.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 2_000))]
    limit: u32,
}

fn default_limit() -> u32 {
    500
}

/// What is in a directory.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing {
    /// The directory's real path.
    path: String,
    /// Its entries, by name.
    entries: Vec<Entry>,
    /// How many there are in all.
    total: u64,
    /// There are more than are listed.
    truncated: bool,
}

/// One name in a directory.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Entry {
    /// The name; bytes that are no UTF-8 are replaced.
    name: String,
    /// What it is.
    kind: Kind,
    /// Bytes.
    size: u64,
    /// Permission bits, such as `0644`.
    mode: String,
    /// Owner's user id.
    uid: u32,
    /// When the content was last changed, RFC 3339.
    modified: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 2,
    name: "fs.list",
    summary: "List the files in a directory",
    effect: Effect::Read,
    touches: &["names and facts of the files in the directory"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("list the files in /data", r#"{"path":"/data"}"#),
        ("what is in the directory /etc/aios?", r#"{"path":"/etc/aios"}"#),
        ("show the folder /models", r#"{"path":"/models"}"#),
        ("ls /tmp", r#"{"path":"/tmp"}"#),
        ("which files are stored under /usr/bin?", r#"{"path":"/usr/bin"}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::List, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Listing, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} entries")));
    }
    let found = file::find(&args.path, true)?;
    ctx.may_see(&found.path)?;
    if found.kind() != FileType::Directory {
        return Err(CallError::invalid(format!(
            "{} is a {}, not a directory",
            found.path.display(),
            file::kind_name(found.kind())
        )));
    }
    let folder = found.open(OFlags::DIRECTORY)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder).map_err(std::io::Error::from)? {
        let entry = entry.map_err(std::io::Error::from)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        names.push(name.to_owned());
        if names.len() % 1024 == 0 {
            ctx.check()?;
        }
        if names.len() >= MAX_SEEN {
            break;
        }
    }
    names.sort_unstable();
    let total = names.len();
    let mut entries = Vec::new();
    for name in names.into_iter().take(args.limit as usize) {
        // A name that has gone meanwhile is no error.
        let Ok(stat) = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        entries.push(Entry {
            name: name.to_string_lossy().into_owned(),
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            size: stat.st_size.cast_unsigned(),
            mode: mode_text(stat.st_mode),
            uid: stat.st_uid,
            modified: modified(&stat),
        });
    }
    Ok(Listing {
        path: found.path.display().to_string(),
        truncated: total > args.limit as usize,
        total: total as u64,
        entries,
    })
}

fn summary(listing: &Listing) -> String {
    let more =
        if listing.truncated { format!(", {} are shown", listing.entries.len()) } else { String::new() };
    let s = if listing.total == 1 { "entry" } else { "entries" };
    format!("{}: {} {s}{more}", listing.path, listing.total)
}
