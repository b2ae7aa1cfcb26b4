//! `fs.stat`

use super::shared::{Kind, mode_text, modified};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::file;
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::FileType;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Look up the facts of one file or directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path.
    path: String,
    /// Follow a symbolic link at the end of the path.
    #[serde(default)]
    follow: bool,
}

/// The facts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Facts {
    /// The real path.
    path: String,
    /// What it is.
    kind: Kind,
    /// Bytes.
    size: u64,
    /// Bytes that it takes on the disk.
    on_disk: u64,
    /// Permission bits, such as `0644`.
    mode: String,
    /// Owner's user id.
    uid: u32,
    /// Group id.
    gid: u32,
    /// Names that it has (hard links).
    links: u64,
    /// When the content was last changed, RFC 3339.
    modified: String,
    /// Where a symbolic link points.
    link_to: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 3,
    name: "fs.stat",
    summary: "Show size, owner, permissions and time of a file or directory",
    effect: Effect::Read,
    touches: &["facts of the file named"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("how big is the file /models/text.gguf?", r#"{"path":"/models/text.gguf"}"#),
        ("who owns /data/notes.txt?", r#"{"path":"/data/notes.txt"}"#),
        ("what are the permissions of /tmp?", r#"{"path":"/tmp"}"#),
        ("when was /etc/os-release last modified?", r#"{"path":"/etc/os-release"}"#),
        ("does /data/config exist?", r#"{"path":"/data/config"}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Facts, CallError> {
    let found = file::find(&args.path, args.follow)?;
    ctx.may_see(&found.path)?;
    let stat = &found.stat;
    let is_link = found.kind() == FileType::Symlink;
    Ok(Facts {
        link_to: is_link
            .then(|| std::fs::read_link(&found.path).ok())
            .flatten()
            .map(|to| to.display().to_string()),
        path: found.path.display().to_string(),
        kind: found.kind().into(),
        size: stat.st_size.cast_unsigned(),
        on_disk: stat.st_blocks.cast_unsigned() * 512,
        mode: mode_text(stat.st_mode),
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink,
        modified: modified(stat),
    })
}

fn summary(facts: &Facts) -> String {
    format!(
        "{}: {:?}, {} bytes, mode {}, owner {}:{}, changed {}",
        facts.path, facts.kind, facts.size, facts.mode, facts.uid, facts.gid, facts.modified
    )
}
