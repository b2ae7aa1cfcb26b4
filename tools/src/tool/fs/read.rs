//! `fs.read`

use super::shared::{base64, mode_text};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom};

/// Bytes in one answer.
const MAX: u32 = 256 * 1024;

/// Read a file, or a part of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file.
    path: String,
    /// First byte to read.
    #[serde(default)]
    offset: u64,
    /// At most this many bytes.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 262_144))]
    limit: u32,
}

fn default_limit() -> u32 {
    64 * 1024
}

/// What was read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Content {
    /// The file's real path.
    path: String,
    /// What is in `content`: `text` or `base64`.
    encoding: Encoding,
    /// The bytes that were read.
    content: String,
    /// How many bytes were read.
    bytes: u64,
    /// First byte that was read.
    offset: u64,
    /// Size of the whole file in bytes (0 for files that the kernel makes up).
    size: u64,
    /// Permission bits, such as `0644`.
    mode: String,
    /// The file goes on after what was read.
    truncated: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    /// UTF-8.
    Text,
    /// Any bytes (RFC 4648).
    Base64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 1,
    name: "fs.read",
    summary: "Read the content of a file",
    effect: Effect::Read,
    touches: &["the file named, if it holds no secrets"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("show me /etc/os-release", r#"{"path":"/etc/os-release"}"#),
        ("what is in the file /data/notes.txt?", r#"{"path":"/data/notes.txt"}"#),
        ("read /proc/meminfo", r#"{"path":"/proc/meminfo"}"#),
        (
            "print the contents of the config file /etc/aios/services/netd.toml",
            r#"{"path":"/etc/aios/services/netd.toml"}"#,
        ),
        ("cat the first 100 bytes of /etc/passwd", r#"{"path":"/etc/passwd","limit":100}"#),
        (
            "open the file /run/aios-netd/resolv.conf and display it",
            r#"{"path":"/run/aios-netd/resolv.conf"}"#,
        ),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Read, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Content, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} bytes")));
    }
    let (mut file, found) = file::open_for_reading(ctx, &args.path)?;
    if args.offset > 0 {
        file.seek(SeekFrom::Start(args.offset))?;
    }
    // One byte more tells whether there is more; the size of a file in /proc says nothing.
    let size = usize::try_from(found.stat.st_size).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size.min(args.limit as usize) + 1);
    file.take(u64::from(args.limit) + 1).read_to_end(&mut bytes)?;
    let truncated = bytes.len() > args.limit as usize;
    bytes.truncate(args.limit as usize);
    let (encoding, content, read) = encode(bytes, truncated);
    Ok(Content {
        path: found.path.display().to_string(),
        encoding,
        content,
        bytes: read as u64,
        offset: args.offset,
        size: found.stat.st_size.cast_unsigned(),
        mode: mode_text(found.stat.st_mode),
        truncated,
    })
}

/// Text if it is UTF-8, where a character that the limit cut in two is left for the next read.
fn encode(bytes: Vec<u8>, cut: bool) -> (Encoding, String, usize) {
    match String::from_utf8(bytes) {
        Ok(text) => {
            let length = text.len();
            (Encoding::Text, text, length)
        }
        Err(e) => {
            let whole = e.utf8_error();
            let valid = whole.valid_up_to();
            let only_cut = cut && whole.error_len().is_none() && valid > 0;
            let mut bytes = e.into_bytes();
            if only_cut {
                bytes.truncate(valid);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return (Encoding::Text, text, valid);
            }
            (Encoding::Base64, base64(&bytes), bytes.len())
        }
    }
}

fn summary(content: &Content) -> String {
    let more = if content.truncated { ", there is more" } else { "" };
    match content.encoding {
        Encoding::Text => {
            format!(
                "{}: {} bytes, {} lines{more}",
                content.path,
                content.bytes,
                content.content.lines().count()
            )
        }
        Encoding::Base64 => format!("{}: {} bytes that are no text{more}", content.path, content.bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_the_limit_cuts_is_left_for_the_next_read() {
        let (encoding, text, read) = encode(vec![b'a', 0xc3], true);
        assert_eq!((encoding, text.as_str(), read), (Encoding::Text, "a", 1));
        assert_eq!(encode(vec![b'a', 0xc3], false).0, Encoding::Base64);
        assert_eq!(encode(vec![0xff, 0xfe], true).0, Encoding::Base64);
    }
}
