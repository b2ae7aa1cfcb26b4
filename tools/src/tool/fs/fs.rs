//! What the file tools share.

use crate::ctx::Ctx;
use crate::file::{self, Place};
use crate::reach::Needs;
use aios_abi::{CallError, ErrorCode};
use aios_unit::SyscallGroup;
use jiff::Timestamp;
use rustix::fs::{FileType, Stat};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// Bytes of a diff that is shown.
const MAX_DIFF: usize = 64 * 1024;
/// How long two texts are compared before the rest counts as changed.
const COMPARING: Duration = Duration::from_secs(2);

/// What it takes to change a file of anybody's and leave it to its owner.
pub(crate) const CHANGES: Needs = Needs::NOTHING
    .capabilities(
        CapabilitySet::CHOWN
            .union(CapabilitySet::DAC_OVERRIDE)
            .union(CapabilitySet::DAC_READ_SEARCH)
            .union(CapabilitySet::FOWNER),
    )
    .calls(&[SyscallGroup::Ownership]);

/// Where something is to be changed; a directory may be named with a slash at the end.
pub(crate) fn place(ctx: &Ctx, path: &str) -> Result<Place, CallError> {
    file::place(&ctx.policy, path.trim_end_matches('/'))
}

/// Undoing would destroy what somebody did since.
pub(crate) fn changed_since(path: &str, what: &str) -> CallError {
    let text = format!("{path} was {what} since; undoing would destroy that, so nothing was done");
    CallError::new(ErrorCode::Conflict, text)
}

/// Permission bits from octal digits. Bits that give away the owner's rights are refused.
pub(crate) fn mode_from(text: &str) -> Result<u32, CallError> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        Ok(mode) if mode <= 0o7777 => Err(CallError::denied(format!(
            "mode {text} gives more than reading, writing and executing; leave out the bits 7000"
        ))),
        _ => Err(CallError::invalid(format!("`{text}` is no mode; write octal digits such as 0644"))),
    }
}

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, pipe or device.
    Other,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }
}

/// Permission bits as people write them: `0644`.
pub(crate) fn mode_text(mode: u32) -> String {
    format!("{:04o}", mode & 0o7777)
}

/// When the content was last changed, in RFC 3339, UTC.
pub(crate) fn modified(stat: &Stat) -> String {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Timestamp::new(stat.st_mtime, nanoseconds).map(|t| t.to_string()).unwrap_or_default()
}

/// Bytes as base64 (RFC 4648).
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The inverse of [`base64`].
pub(crate) fn unbase64(text: &str) -> Result<Vec<u8>, CallError> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|e| CallError::invalid(format!("`content` is not base64: {e}")))
}

/// A unified diff of two texts with their names, with so many lines around each change; how many lines are gone and
/// how many are new; and whether there is more than is shown.
pub(crate) fn difference(old: (&str, &str), new: (&str, &str), around: usize) -> (String, [u64; 2], bool) {
    let diff = similar::TextDiff::configure().timeout(COMPARING).diff_lines(old.1, new.1);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count() as u64;
    let counts = [count(similar::ChangeTag::Delete), count(similar::ChangeTag::Insert)];
    let mut text = diff.unified_diff().context_radius(around).header(old.0, new.0).to_string();
    let long = text.len() > MAX_DIFF;
    if long {
        text.truncate(text.floor_char_boundary(MAX_DIFF));
        text.push_str("\n… the diff is longer than is shown\n");
    }
    (text, counts, long)
}
