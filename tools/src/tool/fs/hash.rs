//! `fs.hash`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use aios_abi::audit::hex;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Read;

/// Bytes between two looks at the clock.
const PIECE: usize = 1 << 20;

/// Compute the checksum of a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file.
    path: String,
}

/// The checksums.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Hashes {
    /// The file's real path.
    path: String,
    /// Bytes that were read.
    size: u64,
    /// SHA-256 (FIPS 180-4), hexadecimal.
    sha256: String,
    /// BLAKE3, hexadecimal.
    blake3: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 6,
    name: "fs.hash",
    summary: "Compute the SHA-256 checksum of a file",
    effect: Effect::Read,
    touches: &["the file named, if it holds no secrets"],
    role: Role::Viewer,
    timeout_ms: 60_000,
    examples: &[
        ("what is the sha256 of /data/update.img?", r#"{"path":"/data/update.img"}"#),
        ("compute the checksum of the file /models/text.gguf", r#"{"path":"/models/text.gguf"}"#),
        ("sha256sum /data/backup.tar", r#"{"path":"/data/backup.tar"}"#),
        ("hash the file /etc/os-release", r#"{"path":"/etc/os-release"}"#),
        ("which checksum does /data/image.iso have?", r#"{"path":"/data/image.iso"}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Read, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Hashes, CallError> {
    let (mut file, found) = file::open_for_reading(ctx, &args.path)?;
    let (mut sha256, mut blake3, mut size) = (Sha256::new(), blake3::Hasher::new(), 0);
    let whole = found.stat.st_size.cast_unsigned();
    let mut piece = vec![0; PIECE];
    loop {
        ctx.check()?;
        let length = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        sha256.update(bytes);
        blake3.update(bytes);
        size += length as u64;
        let percent = u8::try_from(size.saturating_mul(100).checked_div(whole).unwrap_or(0)).ok();
        ctx.progress("reading", percent.filter(|percent| *percent <= 100));
    }
    Ok(Hashes {
        path: found.path.display().to_string(),
        size,
        sha256: hex(&sha256.finalize()),
        blake3: blake3.finalize().to_hex().to_string(),
    })
}

fn summary(hashes: &Hashes) -> String {
    format!("{}: {} bytes, sha256 {}", hashes.path, hashes.size, hashes.sha256)
}
