//! `memory.swap`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Lines of `/proc/swaps` that are read.
const MAX: usize = 64;

/// Show where memory is swapped to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// Swap.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Swap {
    /// Files and devices that are in use as swap.
    areas: Vec<Area>,
    /// Bytes of all together.
    total: u64,
    /// Bytes in use.
    used: u64,
    /// How readily the kernel swaps, 0 to 200.
    swappiness: Option<u32>,
}

/// One file or device.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Area {
    /// Its path.
    path: String,
    /// `partition` or `file`.
    kind: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes in use.
    used: u64,
    /// The higher one is filled first.
    priority: i32,
    /// If it is compressed memory (zram): what comes of that.
    zram: Option<Zram>,
}

/// Compressed memory (Documentation/admin-guide/blockdev/zram.rst).
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Zram {
    /// How it is compressed.
    algorithm: Option<String>,
    /// Bytes that are stored in it.
    stored: u64,
    /// Bytes that they have when they are compressed.
    compressed: u64,
    /// Memory in bytes that all this takes.
    memory: u64,
    /// How many bytes are stored in one byte of memory.
    ratio: Option<f64>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 55,
    name: "memory.swap",
    summary: "Show swap space and zram, and how much of it is used",
    effect: Effect::Read,
    touches: &["the kernel's memory counters"],
    role: Role::Viewer,
    timeout_ms: 2_000,
    examples: &[
        ("how much swap is there?", "{}"),
        ("show the state of zram", "{}"),
        ("swapon --show", "{}"),
        ("how well does zram compress?", "{}"),
        ("where does the machine swap to?", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/sys"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, _args: Args) -> Result<Swap, CallError> {
    // A kernel without swap has no such file.
    let areas = areas(&std::fs::read_to_string("/proc/swaps").unwrap_or_default(), Path::new("/sys/block"));
    let sum = |of: fn(&Area) -> u64| areas.iter().map(of).fold(0, u64::saturating_add);
    let swappiness =
        std::fs::read_to_string("/proc/sys/vm/swappiness").ok().and_then(|text| text.trim().parse().ok());
    Ok(Swap { total: sum(|area| area.size), used: sum(|area| area.used), areas, swappiness })
}

/// The area of compressed memory that is in use.
pub(crate) fn compressed() -> Option<Area> {
    let text = std::fs::read_to_string("/proc/swaps").ok()?;
    areas(&text, Path::new("/sys/block")).into_iter().find(|area| area.path.ends_with("/zram0"))
}

/// `/proc/swaps`: a heading, then path, kind, size and use in KiB, and priority.
pub(crate) fn areas(text: &str, blocks: &Path) -> Vec<Area> {
    let area = |line: &str| {
        let mut words = line.split_whitespace();
        let (path, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut kib = || words.next()?.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024));
        let (size, used) = (kib()?, kib()?);
        let priority = words.next()?.parse().ok()?;
        // Who turned it on saw the device where nobody else does (swapon(2) keeps that path).
        let path = if path == "/" && is_zram(blocks, size) { "/dev/zram0".to_owned() } else { path };
        let zram = Path::new(&path).file_name().filter(|name| name.to_string_lossy().starts_with("zram"));
        let zram = zram.and_then(|name| self::zram(&blocks.join(name)));
        Some(Area { path, kind, size, used, priority, zram })
    };
    text.lines().skip(1).take(MAX).filter_map(area).collect()
}

/// Whether an area of so many bytes is the device of compressed memory: its first page describes it.
fn is_zram(blocks: &Path, bytes: u64) -> bool {
    let size = std::fs::read_to_string(blocks.join("zram0/disksize")).ok();
    size.and_then(|text| text.trim().parse::<u64>().ok())
        .is_some_and(|size| size == bytes.saturating_add(4096))
}

fn zram(folder: &Path) -> Option<Zram> {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let numbers: Vec<u64> = text("mm_stat")?.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [stored, compressed, memory, ..] = *numbers.as_slice() else { return None };
    // The one in use stands in brackets.
    let algorithm = text("comp_algorithm")
        .and_then(|all| Some(all.split_once('[')?.1.split_once(']')?.0.chars().take(40).collect()));
    let ratio = (memory > 0).then(|| (stored as f64 / memory as f64 * 100.0).round() / 100.0);
    Some(Zram { algorithm, stored, compressed, memory, ratio })
}

fn summary(swap: &Swap) -> String {
    let words: Vec<_> = swap
        .areas
        .iter()
        .take(8)
        .map(|area| {
            let ratio = area.zram.as_ref().and_then(|zram| zram.ratio);
            let ratio = ratio.map(|ratio| format!(", compressed to 1/{ratio}")).unwrap_or_default();
            format!("{} {} of {}{ratio}", area.path, human_bytes(area.used), human_bytes(area.size))
        })
        .collect();
    if words.is_empty() { "there is no swap".into() } else { words.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_read_as_the_kernel_writes_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let zram = dir.path().join("zram0");
        std::fs::create_dir(&zram).expect("made");
        std::fs::write(zram.join("mm_stat"), "  8192 2000 4096 0 5000 0 0 0 0\n").expect("written");
        std::fs::write(zram.join("comp_algorithm"), "lzo [zstd] lz4\n").expect("written");
        let text = "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 1024 8 100\n/swap file 4 0 -2\nbroken\n";
        let found = areas(text, dir.path());
        let expected = Zram {
            algorithm: Some("zstd".into()),
            stored: 8192,
            compressed: 2000,
            memory: 4096,
            ratio: Some(2.0),
        };
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].size, found[0].used, found[0].zram.as_ref()), (1 << 20, 8192, Some(&expected)));
        assert_eq!((found[1].priority, &found[1].zram), (-2, &None));
        assert!(areas("", dir.path()).is_empty());
        // Turned on in a sandbox, whose paths nobody else has.
        std::fs::write(zram.join("disksize"), "1048576\n").expect("written");
        let hidden = areas("Filename\n/ partition 1020 0 100\n/ partition 4 0 1\n", dir.path());
        assert_eq!((hidden[0].path.as_str(), hidden[0].zram.is_some()), ("/dev/zram0", true));
        assert_eq!((hidden[1].path.as_str(), hidden[1].zram.is_some()), ("/", false));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = areas(&text, Path::new("/nowhere"));
        }
    }
}
