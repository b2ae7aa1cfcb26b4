//! Models on the machine: those of the image, and those that people imported.
//!
//! An imported model is `NAME.gguf` in `/data/models`, written under that name when it is whole and never again, and beside
//! it `NAME.json`: its hash, where it came from, when, and who signed it. Which of them is used, inferd keeps.

use crate::chat;
use crate::ctx::Ctx;
use crate::file;
use aios_abi::infer::{Adapted, InferReply, InferRequest, ModelChoice, Tier, TierModel, model_name_is_plain};
use aios_abi::{CallError, ErrorCode, paths};
use aios_extension::Keys;
use aios_gguf::{Free, Memory, Summary};
use rustix::fs::{AtFlags, Mode, OFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How a model's file ends.
pub(crate) const SUFFIX: &str = "gguf";
/// The image's text models, and whose they are.
const IMAGES: [(&str, Tier); 2] = [("text", Tier::Operational), ("tactical", Tier::Tactical)];
/// Names that mean something else.
const TAKEN: [&str; 5] = ["text", "tactical", "calls", "embed", "image"];
/// Bytes that stay free on the disk.
const SPARE: u64 = 64 << 20;
/// Bytes that are copied before they are flushed: what is told has been written then.
const FLUSH: u64 = 64 << 20;
/// A record or a signature that is longer is none.
const MAX_TEXT: u64 = 16 << 10;
/// Files of a directory that are looked at.
const MAX_FILES: usize = 1_000;
/// From so many parameters on a model is for the tactical tier.
const TACTICAL: u64 = 1_500_000_000;

/// Where models are.
pub(crate) struct Shelf {
    image: PathBuf,
    imported: PathBuf,
    pub(crate) keys: Keys,
}

/// What is known of an imported model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// SHA-256, hexadecimal.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    /// The path that it was imported from.
    pub(crate) from: String,
    /// When, in milliseconds since 1970.
    pub(crate) imported_ms: u64,
    /// Its SHA-256 was given, and was right.
    pub(crate) hash_was_given: bool,
    /// The public key of who signed it, hexadecimal.
    pub(crate) signed_by: Option<String>,
}

/// A model's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The tier whose model it is in the image; none for an imported one.
    pub(crate) images: Option<Tier>,
}

impl Model {
    /// What inferd calls it.
    pub(crate) fn choice(&self) -> ModelChoice {
        match self.images {
            Some(_) => ModelChoice::Image,
            None => ModelChoice::Imported(self.name.clone()),
        }
    }

    /// The header, read and proved.
    pub(crate) fn check(&self) -> Result<Summary, CallError> {
        aios_gguf::check(&self.path).map_err(|e| CallError::invalid(e.to_string()))
    }

    /// Whether this tier uses it.
    pub(crate) fn is_used_by(&self, tier: &TierModel) -> bool {
        tier.current == self.choice() && self.images.is_none_or(|images| images == tier.tier)
    }
}

/// Which local tier a model of this size is for.
pub(crate) fn tier_of(summary: &Summary) -> Tier {
    if summary.parameters < TACTICAL { Tier::Operational } else { Tier::Tactical }
}

impl Shelf {
    /// That of the machine.
    pub(crate) fn of_machine() -> Self {
        Self {
            image: paths::MODELS.into(),
            imported: paths::IMPORTED_MODELS.into(),
            keys: Keys::read(&aios_extension::KEY_FILES.map(Path::new)),
        }
    }

    /// All models: the image's first, then the imported ones by name.
    pub(crate) fn all(&self) -> Result<Vec<Model>, CallError> {
        let own = IMAGES.map(|(name, tier)| Model {
            name: name.into(),
            path: self.image.join(format!("{name}.{SUFFIX}")),
            images: Some(tier),
        });
        let mut all: Vec<Model> = own.into_iter().filter(|model| model.path.exists()).collect();
        let entries = match std::fs::read_dir(&self.imported) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(all),
            other => other.map_err(|e| file::named(&self.imported, &e))?,
        };
        let stem = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let name = name.strip_suffix(".gguf")?.to_owned();
            model_name_is_plain(&name).then_some(name)
        };
        let mut names: Vec<String> = entries.flatten().filter_map(stem).take(MAX_FILES).collect();
        names.sort_unstable();
        all.extend(names.into_iter().map(|name| Model { path: self.path(&name), name, images: None }));
        Ok(all)
    }

    /// The model of this name.
    pub(crate) fn find(&self, name: &str) -> Result<Model, CallError> {
        let all = self.all()?;
        let names: Vec<&str> = all.iter().map(|model| model.name.as_str()).collect();
        let missing = match names.as_slice() {
            [] => format!("there is no model {name}, nor any other"),
            names => format!("there is no model {name}; there are: {}", names.join(", ")),
        };
        all.into_iter().find(|model| model.name == name).ok_or_else(|| CallError::not_found(missing))
    }

    /// Where an imported model is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.imported.join(format!("{name}.{SUFFIX}"))
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.imported.join(format!("{name}.json"))
    }

    /// What was recorded of an imported model.
    pub(crate) fn record(&self, name: &str) -> Option<Record> {
        let text = text(&self.record_path(name)).ok().flatten()?;
        serde_json::from_str(&text).ok()
    }

    /// The name that a file's model gets.
    pub(crate) fn name_for(&self, wanted: Option<String>, path: &Path) -> Result<String, CallError> {
        let name = wanted.unwrap_or_else(|| name_of(path));
        if !model_name_is_plain(&name) {
            return Err(CallError::invalid(format!(
                "`{name}` is no name for a model; give one of at most 64 small letters, digits, `.`, `_` and `-`"
            )));
        }
        if TAKEN.contains(&name.as_str()) {
            return Err(CallError::invalid(format!(
                "{name} is the name of a model of the image; give another name"
            )));
        }
        match self.path(&name).symlink_metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(name),
            _ => Err(CallError::new(
                ErrorCode::Conflict,
                format!(
                    "there is a model {name} already; remove it first (model.remove) or give another name"
                ),
            )),
        }
    }

    /// Whether so many bytes can be written.
    pub(crate) fn has_room(&self, bytes: u64) -> Result<(), CallError> {
        let disk = rustix::fs::statvfs(&self.imported)
            .map_err(|e| file::named(&self.imported, &std::io::Error::from(e)))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = bytes.saturating_add(SPARE);
        match free >= needed {
            true => Ok(()),
            false => Err(CallError::unavailable(format!(
                "the disk has {} MiB free and the model needs {} MiB; remove something first",
                free >> 20,
                needed >> 20
            ))),
        }
    }

    /// Copy a file under this name. It has no name at all until it is whole, checked and on the disk: whoever is killed
    /// meanwhile leaves nothing.
    pub(crate) fn take(&self, ctx: &Ctx, from: &Incoming, name: &str) -> Result<Record, CallError> {
        let at = |e: std::io::Error| file::named(&self.imported, &e);
        let open = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let draft = rustix::fs::open(&self.imported, open, Mode::from_raw_mode(0o600))
            .map_err(|e| at(std::io::Error::from(e)))?;
        let mut draft = File::from(draft);
        let sha256 = self.copy(ctx, from, &mut draft)?;
        let digits = hex(&sha256);
        let path = from.path.display();
        if let Some(wanted) = &from.sha256
            && !wanted.eq_ignore_ascii_case(&digits)
        {
            return Err(CallError::denied(format!(
                "{path} has the SHA-256 {digits} and not {wanted}: it was altered or damaged; fetch it again"
            )));
        }
        let signed_by = self.signer(from, &sha256)?;
        // What was copied is looked at once more: the file may have been changed since the first look.
        use std::io::{Seek, SeekFrom};
        draft.seek(SeekFrom::Start(0))?;
        aios_gguf::check_bytes(std::io::BufReader::new(&draft), from.bytes, name)
            .map_err(|why| CallError::invalid(format!("{path} {why}")))?;
        let root = (rustix::fs::Uid::from_raw(0), rustix::fs::Gid::from_raw(0));
        if rustix::process::geteuid().as_raw() != 0 {
            // By hand there is nobody to give it to.
            let _ = rustix::fs::fchown(&draft, Some(root.0), Some(root.1));
        }
        rustix::fs::fchmod(&draft, Mode::from_raw_mode(0o444)).map_err(|e| at(e.into()))?;
        draft.sync_all().map_err(at)?;
        let record = Record {
            sha256: digits,
            bytes: from.bytes,
            from: path.to_string(),
            imported_ms: now_ms(),
            hash_was_given: from.sha256.is_some(),
            signed_by: signed_by.map(|key| hex(&key)),
        };
        self.write_record(name, &record)?;
        link(&draft, &self.path(name)).inspect_err(|_| {
            let _ = std::fs::remove_file(self.record_path(name));
        })?;
        File::open(&self.imported)?.sync_all().map_err(at)?;
        Ok(record)
    }

    fn copy(&self, ctx: &Ctx, from: &Incoming, to: &mut File) -> Result<[u8; 32], CallError> {
        let path = from.path.display();
        let (mut source, mut hasher) = (&from.open, Sha256::new());
        let (mut done, mut flushed, mut told) = (0u64, 0u64, None);
        let mut piece = vec![0; 1 << 20];
        loop {
            ctx.check()?;
            let length = source.read(&mut piece).map_err(|e| file::named(&from.path, &e))?;
            let Some(part @ [_, ..]) = piece.get(..length) else { break };
            done += length as u64;
            if done > from.bytes {
                return Err(CallError::new(
                    ErrorCode::Conflict,
                    format!("{path} grows while it is copied; try again"),
                ));
            }
            hasher.update(part);
            to.write_all(part).map_err(|e| file::named(&self.imported, &e))?;
            if done - flushed >= FLUSH {
                to.sync_data().map_err(|e| file::named(&self.imported, &e))?;
                flushed = done;
            }
            let percent = percent(done, from.bytes);
            if told != Some(percent) {
                told = Some(percent);
                ctx.progress(format!("copied {} of {} MiB", done >> 20, from.bytes >> 20), Some(percent));
            }
        }
        match done == from.bytes {
            true => Ok(hasher.finalize().into()),
            false => Err(CallError::new(
                ErrorCode::Conflict,
                format!("{path} shrinks while it is copied; try again"),
            )),
        }
    }

    /// Who signed it, if there is a signature beside it.
    fn signer(&self, from: &Incoming, sha256: &[u8; 32]) -> Result<Option<[u8; 32]>, CallError> {
        let Some((path, text)) = &from.signature else { return Ok(None) };
        aios_extension::detached(text, sha256, &self.keys)
            .map(Some)
            .map_err(|why| CallError::denied(format!("{} {why}", path.display())))
    }

    fn write_record(&self, name: &str, record: &Record) -> Result<(), CallError> {
        let path = self.record_path(name);
        let text = serde_json::to_string(record).map_err(|e| CallError::failed(e.to_string()))?;
        let write = || -> std::io::Result<()> {
            // One that was left without its model is nobody's.
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|e| file::named(&path, &e))
    }

    /// Remove an imported model.
    pub(crate) fn remove(&self, name: &str) -> Result<(), CallError> {
        let path = self.path(name);
        std::fs::remove_file(&path).map_err(|e| file::named(&path, &e))?;
        let _ = std::fs::remove_file(self.record_path(name));
        Ok(File::open(&self.imported)?.sync_all()?)
    }
}

/// A file that is to be imported.
pub(crate) struct Incoming {
    pub(crate) open: File,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// SHA-256 that it must have.
    pub(crate) sha256: Option<String>,
    /// The file beside it that signs it, and its text.
    pub(crate) signature: Option<(PathBuf, String)>,
}

/// The file beside a model that signs it.
pub(crate) fn signature_path(path: &str) -> String {
    format!("{path}.sig")
}

impl Incoming {
    /// Open it, and read its header.
    pub(crate) fn open(ctx: &Ctx, path: &str, sha256: Option<String>) -> Result<(Self, Summary), CallError> {
        if let Some(given) = &sha256
            && !(given.len() == 64 && given.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(CallError::invalid("sha256 is no SHA-256: 64 hexadecimal digits are needed"));
        }
        let (open, found) = file::open_for_reading(ctx, path)?;
        let bytes = open.metadata()?.len();
        let stem = found.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let copy = open.try_clone()?;
        let summary = aios_gguf::check_bytes(std::io::BufReader::with_capacity(1 << 16, copy), bytes, &stem)
            .map_err(|why| CallError::invalid(format!("{} {why}", found.path.display())))?;
        if !summary.tools.is_empty() || summary.parameters == 0 {
            let text = "is no model by itself but an adapter, or has no weights; import a whole model";
            return Err(CallError::invalid(format!("{} {text}", found.path.display())));
        }
        use std::io::Seek;
        (&open).rewind()?;
        let beside = signature_path(path);
        let signature = match file::open_for_reading(ctx, &beside) {
            Ok((sig, found)) => {
                let mut text = String::new();
                sig.take(MAX_TEXT).read_to_string(&mut text).map_err(|e| file::named(&found.path, &e))?;
                Some((found.path, text))
            }
            Err(e) if e.code == ErrorCode::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok((Self { open, path: found.path, bytes, sha256, signature }, summary))
    }
}

/// Give a file without a name this one.
fn link(draft: &File, path: &Path) -> Result<(), CallError> {
    let direct = rustix::fs::linkat(draft.as_fd(), "", rustix::fs::CWD, path, AtFlags::EMPTY_PATH);
    let linked = direct.or_else(|_| {
        // Without the capability for that, by the descriptor's own path (open(2), O_TMPFILE).
        use std::os::fd::AsRawFd;
        let own = format!("/proc/self/fd/{}", draft.as_raw_fd());
        rustix::fs::linkat(rustix::fs::CWD, own, rustix::fs::CWD, path, AtFlags::SYMLINK_FOLLOW)
    });
    linked.map_err(|e| file::named(path, &std::io::Error::from(e)))
}

/// The name of a file without its end, in letters that a name may have.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    name.trim_start_matches(['.', '_', '-']).chars().take(aios_abi::infer::LONGEST_MODEL_NAME).collect()
}

fn text(path: &Path) -> std::io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text)?;
    Ok(Some(text))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How much of the whole, 0 to 100.
pub(crate) fn percent(done: u64, all: u64) -> u8 {
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100).min(100);
    u8::try_from(percent).unwrap_or(100)
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// SHA-256 of a file, with progress.
pub(crate) fn sha256_of(ctx: &Ctx, path: &Path) -> Result<String, CallError> {
    let mut open = File::open(path).map_err(|e| file::named(path, &e))?;
    let all = open.metadata()?.len();
    let (mut hasher, mut done, mut told) = (Sha256::new(), 0u64, None);
    let mut piece = vec![0; 1 << 20];
    loop {
        ctx.check()?;
        let length = open.read(&mut piece).map_err(|e| file::named(path, &e))?;
        let Some(part @ [_, ..]) = piece.get(..length) else { return Ok(hex(&hasher.finalize())) };
        hasher.update(part);
        done += length as u64;
        let percent = percent(done, all);
        if told != Some(percent) {
            told = Some(percent);
            ctx.progress(format!("read {} of {} MiB", done >> 20, all >> 20), Some(percent));
        }
    }
}

/// The machine's memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Machine {
    /// All of it.
    pub(crate) total: u64,
    /// What can be had without pushing anything out.
    pub(crate) available: u64,
}

impl Machine {
    pub(crate) fn now() -> Result<Self, CallError> {
        let Free { total, available } =
            Free::now().map_err(|e| CallError::failed(format!("/proc/meminfo cannot be read: {e}")))?;
        Ok(Self { total, available })
    }

    /// Whether a model has room, beside the one before, which works on until the new one has passed.
    pub(crate) fn has_room_for(&self, name: &str, memory: &Memory) -> Result<(), String> {
        memory.has_room(name, Free { total: self.total, available: self.available })
    }
}

/// What is wrong with a model's chat template, if something is.
pub(crate) fn template_fault(summary: &Summary) -> Option<String> {
    match &summary.chat_template {
        None => Some("it has no chat template, so questions reach it in a form that it may not know".into()),
        Some(template) => chat::render(template).err(),
    }
}

/// What each tier uses, as inferd says.
pub(crate) fn tiers(ctx: &Ctx) -> Result<Vec<TierModel>, CallError> {
    match ctx.infer(InferRequest::Models)? {
        InferReply::Models(tiers) => Ok(tiers),
        _ => Err(CallError::failed(
            "inferd answered something else than was asked; use programs of one release",
        )),
    }
}

/// What was learned on this machine. inferd is asked for it, to learn, or to use something else of it.
pub(crate) fn adapted(ctx: &Ctx, request: InferRequest) -> Result<Adapted, CallError> {
    match ctx.infer(request)? {
        InferReply::Adapted(adapted) => Ok(adapted),
        _ => Err(CallError::failed(
            "inferd answered something else than was asked; use programs of one release",
        )),
    }
}

#[cfg(test)]
impl Shelf {
    pub(crate) fn at(folder: &Path) -> Self {
        let [image, imported] = ["image", "imported"].map(|name| folder.join(name));
        for place in [&image, &imported] {
            std::fs::create_dir_all(place).expect("made");
        }
        Self { image, imported, keys: Keys::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The header of a model with one tensor, and its data.
    pub(crate) fn gguf() -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        text(&mut bytes, "general.architecture");
        bytes.extend(8u32.to_le_bytes());
        text(&mut bytes, "llama");
        text(&mut bytes, "weight");
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(64u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(32) + 256, 0);
        bytes
    }

    fn incoming(folder: &Path, bytes: &[u8]) -> Incoming {
        let path = folder.join("new.gguf");
        std::fs::write(&path, bytes).expect("written");
        let open = File::open(&path).expect("opened");
        Incoming { open, path, bytes: bytes.len() as u64, sha256: None, signature: None }
    }

    fn names(shelf: &Shelf) -> Vec<String> {
        let entries = std::fs::read_dir(&shelf.imported).expect("read");
        entries.map(|entry| entry.expect("one").file_name().into_string().expect("text")).collect()
    }

    #[test]
    fn what_is_imported_is_whole_recorded_and_found_and_what_is_refused_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::at(folder.path());
        let ctx = crate::ctx::alone();
        let good = gguf();
        let digits = hex(&Sha256::digest(&good));
        let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
        let line = aios_extension::detached_line(&key, &Sha256::digest(&good).into());
        let sig = |text: &str| Some((PathBuf::from("/x.sig"), text.to_owned()));
        let whole = || incoming(folder.path(), &good);
        let table = [
            (incoming(folder.path(), &good[..good.len() - 1]), "truncated"),
            (Incoming { sha256: Some("0".repeat(64)), ..whole() }, "has the SHA-256"),
            (Incoming { signature: sig(&line), ..whole() }, "anyone whom this machine trusts"),
            (Incoming { signature: sig("x"), ..whole() }, "is no signature"),
            (Incoming { bytes: good.len() as u64 + 1, ..whole() }, "shrinks"),
            (Incoming { bytes: 10, ..whole() }, "grows"),
        ];
        for (bad, why) in table {
            // The files are written over each other.
            let bad = Incoming { open: File::open(&bad.path).expect("opened"), ..bad };
            if why == "truncated" {
                std::fs::write(&bad.path, &good[..good.len() - 1]).expect("written");
            } else {
                std::fs::write(&bad.path, &good).expect("written");
            }
            let error = shelf.take(&ctx, &bad, "tiny").expect_err(why);
            assert!(error.message.contains(why), "{error}");
            assert_eq!(names(&shelf), Vec::<String>::new(), "{why}");
        }
        let mut shelf = shelf;
        shelf.keys.add(aios_extension::public_line(&key).as_bytes());
        let from = Incoming { sha256: Some(digits.to_uppercase()), signature: sig(&line), ..whole() };
        let record = shelf.take(&ctx, &from, "tiny").expect("is taken");
        assert_eq!((&record.sha256, record.hash_was_given), (&digits, true));
        assert_eq!(record.signed_by.as_deref(), Some(hex(key.verifying_key().as_bytes()).as_str()));
        assert_eq!(shelf.record("tiny"), Some(record));
        let model = shelf.find("tiny").expect("is found");
        assert_eq!(std::fs::read(&model.path).expect("read"), good);
        assert_eq!(sha256_of(&ctx, &model.path).expect("read"), digits);
        assert!(
            shelf.name_for(Some("tiny".into()), Path::new("x")).is_err_and(|e| e.code == ErrorCode::Conflict)
        );
        shelf.remove("tiny").expect("removed");
        assert_eq!(names(&shelf), Vec::<String>::new());
    }

    #[test]
    fn a_name_is_made_of_a_files_name() {
        for (path, name) in [
            ("/data/upload/Qwen2.5 0.5B (Q4).gguf", "qwen2.5-0.5b--q4-"),
            ("/x/tiny.gguf", "tiny"),
            ("/x/.hidden.gguf", "hidden"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
            assert!(model_name_is_plain(name));
        }
        let shelf = Shelf::at(tempfile::tempdir().expect("a folder").path());
        for bad in ["text", "../x", "", "A"] {
            assert!(shelf.name_for(Some(bad.into()), Path::new("x")).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_files_name_becomes_a_models_name_or_nothing(name in "\\PC{0,80}") {
            let name = name_of(&Path::new("/x").join(name.replace('/', "_")));
            prop_assert!(name.is_empty() || model_name_is_plain(&name), "{}", name);
        }

        #[test]
        fn any_record_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = serde_json::from_str::<Record>(&text);
        }
    }
}
