//! `backup.verify`

use super::shared::default_folder;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::reach::{Needs, Paths, Way};
use crate::snapshot::{self, read};
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Between two words about how far it is, in bytes.
const STRIDE: u64 = 64 << 20;

/// Read a whole snapshot and compare each byte with its hash.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the snapshot.
    name: String,
    /// Absolute path of the directory that it is in.
    #[serde(default = "default_folder")]
    folder: String,
}

/// A snapshot that is whole; one that is not is an error that names the first file which differs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Whole {
    /// Its name.
    name: String,
    /// Files that are what their hashes say.
    files: u64,
    /// Directories and links.
    others: u64,
    /// Bytes of the files.
    bytes: u64,
    /// BLAKE3 of the snapshot's file, hexadecimal, to be compared with what backup.snapshot said.
    blake3: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 172,
    name: "backup.verify",
    summary: "Check that a snapshot is whole: every byte against its hash",
    effect: Effect::Read,
    touches: &["the snapshot's file"],
    role: Role::Viewer,
    timeout_ms: 1_800_000,
    examples: &[
        ("is the backup before-upgrade intact?", r#"{"name":"before-upgrade"}"#),
        ("verify the snapshot nightly", r#"{"name":"nightly"}"#),
        ("check the backup projects-may for damage", r#"{"name":"projects-may"}"#),
        (
            "is the snapshot nightly on the stick in /run/usb still good?",
            r#"{"name":"nightly","folder":"/run/usb"}"#,
        ),
        ("test whether weekly could be restored", r#"{"name":"weekly"}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Read, args.folder.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Whole, CallError> {
    let name = snapshot::plain(&args.name)?.to_owned();
    let (folder, place) = snapshot::folder(&args.folder)?;
    ctx.may_see(&place)?;
    let open = snapshot::open(&folder, &place, &name)?;
    let all = open.metadata()?.len();
    let source = Watched { ctx, source: open, all, read: 0 };
    let read::Whole { files, others, bytes, blake3 } = read::read(source, &mut Nothing)?;
    Ok(Whole { name, files, others, bytes, blake3 })
}

/// It is only compared.
struct Nothing;

impl read::Take for Nothing {}

/// Says how far it is, and stops in time.
struct Watched<'a, R> {
    ctx: &'a Ctx,
    source: R,
    all: u64,
    read: u64,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.ctx.check().map_err(std::io::Error::other)?;
        let read = self.source.read(buffer)?;
        let before = self.read;
        self.read += read as u64;
        if before / STRIDE != self.read / STRIDE {
            let percent = self.read.saturating_mul(100) / self.all.max(1);
            let text = format!("{} compared", human_bytes(self.read));
            self.ctx.progress(text, u8::try_from(percent).ok());
        }
        Ok(read)
    }
}

fn summary(whole: &Whole) -> String {
    format!(
        "{} is whole: {} files, {}; BLAKE3 {}",
        whole.name,
        whole.files,
        human_bytes(whole.bytes),
        whole.blake3
    )
}
