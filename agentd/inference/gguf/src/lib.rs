//! Checks the structure of a GGUF file before an engine sees it.
//!
//! The engines trust a file's numbers; this reader trusts none. It reads the header once, with
//! bounded memory, and proves that every string, array and tensor lies inside the file. Layout:
//! the GGUF specification of the ggml project (`docs/gguf.md`), versions 2 and 3, little-endian.

#![forbid(unsafe_code)]

mod memory;
mod read;
pub mod shape;

pub use memory::{CONTEXT, Free, Measures, Memory};

use read::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Key-value pairs and tensors that a file may have; real models stay far below.
const MAX_COUNT: u64 = 1 << 20;
/// Length of a string that is kept, in bytes; chat templates are the longest.
const MAX_KEPT: u64 = 1 << 16;
/// Dimensions of a tensor (GGML_MAX_DIMS).
const MAX_DIMENSIONS: u32 = 4;

/// What is wrong with a file: one sentence with place and cure.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct Error {
    path: PathBuf,
    what: String,
}

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `general.architecture`: `llama`, `gemma3`, …
    pub architecture: String,
    /// `general.name`, or the file's name.
    pub name: String,
    /// Number of parameters: the sum over all tensors.
    pub parameters: u64,
    /// `ARCHITECTURE.context_length`, in tokens; 0 when it is not there.
    pub context: u64,
    /// `tokenizer.chat_template`, if there is one of at most 64 KiB.
    pub chat_template: Option<String>,
    /// The type that most weights have: `Q4_K`, `F16`, …
    pub quantisation: &'static str,
    /// What its memory is reckoned from.
    pub measures: Measures,
    /// `aios.tools` of an adapter: the names of the tools that it makes calls of, in order.
    pub tools: Vec<String>,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// Read the header of the file and prove that its parts lie inside of it.
pub fn check(path: &Path) -> Result<Summary, Error> {
    let fail = |what: String| Error { path: path.to_owned(), what };
    let file = std::fs::File::open(path).map_err(|e| fail(format!("cannot be opened: {e}")))?;
    let length = file.metadata().map_err(|e| fail(format!("cannot be examined: {e}")))?.len();
    let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    check_bytes(std::io::BufReader::with_capacity(1 << 16, file), length, &name).map_err(fail)
}

/// The same for any source of `length` bytes; `name` stands in when the file does not name itself.
pub fn check_bytes(source: impl std::io::Read, length: u64, name: &str) -> Result<Summary, String> {
    let mut reader = Reader::new(source, length);
    let (tensors, pairs) = begin(&mut reader)?;
    let mut values = BTreeMap::new();
    for _ in 0..pairs {
        let key = reader.text("a key", 65535)?;
        let kind = reader.u32(&key)?;
        if let Some(value) = reader.value(kind, &key, MAX_KEPT)? {
            values.insert(key, value);
        }
    }
    let alignment = values.get("general.alignment").and_then(|v| v.parse().ok()).unwrap_or(32u64);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(format!(
            "the key general.alignment is {alignment}, which is no power of two up to 1048576"
        ));
    }
    let mut parameters: u64 = 0;
    let mut end_of_tensors: u64 = 0;
    let (mut kinds, mut vocabulary) = (BTreeMap::<u32, u64>::new(), 0);
    for _ in 0..tensors {
        let Tensor { name, kind, elements, rows, end } = tensor(&mut reader, alignment)?;
        parameters = parameters.saturating_add(elements);
        let same = kinds.entry(kind).or_default();
        *same = same.saturating_add(elements);
        if name == "token_embd.weight" {
            vocabulary = rows;
        }
        end_of_tensors = end_of_tensors.max(end);
    }
    let start = reader.position().div_ceil(alignment).saturating_mul(alignment);
    let needed = start.saturating_add(end_of_tensors);
    if tensors > 0 && needed > length {
        return Err(format!(
            "is truncated: its tensors end at byte {needed}, the file at byte {length}; copy it again"
        ));
    }
    let architecture = values
        .get("general.architecture")
        .cloned()
        .ok_or("does not say its architecture (key general.architecture); it is no model")?;
    Ok(Summary {
        context: values
            .get(&format!("{architecture}.context_length"))
            .and_then(|v| v.parse().ok())
            .unwrap_or(0),
        name: values.get("general.name").cloned().unwrap_or_else(|| name.to_owned()),
        chat_template: values.get("tokenizer.chat_template").cloned(),
        quantisation: kinds
            .iter()
            .max_by_key(|(_, elements)| **elements)
            .map_or("none", |(kind, _)| type_name(*kind)),
        measures: Measures::of(&architecture, &values, vocabulary),
        tools: values
            .get("aios.tools")
            .map(|names| names.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        architecture,
        parameters,
        bytes: length,
    })
}

/// The beginning of a file: the number of tensors and of keys.
fn begin(reader: &mut Reader<impl std::io::Read>) -> Result<(u64, u64), String> {
    let magic = reader.array::<4>("the magic number")?;
    if &magic != b"GGUF" {
        return Err(
            "is no GGUF file: it does not begin with the letters GGUF; give a model in that format".into()
        );
    }
    let version = reader.u32("the version")?;
    if !(2..=3).contains(&version) {
        return Err(format!(
            "has GGUF version {version}; versions 2 and 3 (little-endian) are supported, convert it anew"
        ));
    }
    let tensors = reader.count("the number of tensors", MAX_COUNT)?;
    let pairs = reader.count("the number of keys", MAX_COUNT)?;
    Ok((tensors, pairs))
}

/// One tensor's description.
struct Tensor {
    name: String,
    kind: u32,
    elements: u64,
    rows: u64,
    /// Where its data end after the start of all data.
    end: u64,
}

fn tensor(reader: &mut Reader<impl std::io::Read>, alignment: u64) -> Result<Tensor, String> {
    let name = reader.text("a tensor's name", 65535)?;
    let dimensions = reader.u32(&name)?;
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(format!(
            "the tensor {name} has {dimensions} dimensions; 1 to {MAX_DIMENSIONS} are possible"
        ));
    }
    let mut elements: u64 = 1;
    let mut row = 1;
    for dimension in 0..dimensions {
        let size = reader.u64(&name)?;
        if dimension == 0 {
            row = size;
        }
        elements = elements
            .checked_mul(size)
            .filter(|&n| n > 0 && n <= i64::MAX.unsigned_abs())
            .ok_or_else(|| format!("the tensor {name} has an impossible size"))?;
    }
    let kind = reader.u32(&name)?;
    let offset = reader.u64(&name)?;
    if offset % alignment != 0 {
        return Err(format!(
            "the tensor {name} begins at {offset}, which is no multiple of the alignment {alignment}"
        ));
    }
    // Kinds that this table does not know are left to the engine; their beginning is checked at least.
    let found = |name, end| Tensor { name, kind, elements, rows: elements / row.max(1), end };
    let Some((block, bytes)) = block_of(kind) else { return Ok(found(name, offset)) };
    if row % block != 0 {
        return Err(format!(
            "the tensor {name} has rows of {row} elements, which is no multiple of its block of {block}"
        ));
    }
    let size = (elements / block)
        .checked_mul(bytes)
        .ok_or_else(|| format!("the tensor {name} is impossibly large"))?;
    let end = offset.checked_add(size).ok_or_else(|| format!("the tensor {name} ends beyond any file"))?;
    Ok(found(name, end))
}

/// What people call a tensor type.
fn type_name(kind: u32) -> &'static str {
    match kind {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16..=23 | 29 => "IQ",
        24..=28 => "numbers",
        30 => "BF16",
        _ => "another type",
    }
}

/// Elements and bytes of one block of a tensor type (`ggml_type` and the block structures of ggml).
fn block_of(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),      // F32, I32
        1 | 25 | 30 => (1, 2), // F16, I16, BF16
        2 => (32, 18),         // Q4_0
        3 => (32, 20),         // Q4_1
        6 => (32, 22),         // Q5_0
        7 => (32, 24),         // Q5_1
        8 => (32, 34),         // Q8_0
        10 => (256, 84),       // Q2_K
        11 => (256, 110),      // Q3_K
        12 => (256, 144),      // Q4_K
        13 => (256, 176),      // Q5_K
        14 => (256, 210),      // Q6_K
        15 => (256, 292),      // Q8_K
        24 => (1, 1),          // I8
        27 | 28 => (1, 8),     // I64, F64
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
