//! `backup.snapshot`

use super::shared::{NEEDS, default_folder};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file;
use crate::policy::Target;
use crate::reach::{Paths, Way};
use crate::snapshot::{self, MAX_PATHS, Written, read};
use crate::tool::process::shared::human_bytes;
use crate::undo::Kept;
use crate::walk::walk;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use aios_policy::Area;
use rustix::fs::{AtFlags, FileType, Stat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Save files and directories as one `.tar.gz`. Keys, passwords and what would give power by being started stay out of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute paths of what is saved, each a file or a directory with all below it; at most 64.
    #[serde(default = "everything")]
    paths: Vec<String>,
    /// Name of the snapshot; the time if there is none.
    name: Option<String>,
    /// Absolute path of the directory that it is put in. Elsewhere than in `/data/backup`, files that not everybody may
    /// read are saved for an administrator only.
    #[serde(default = "default_folder")]
    folder: String,
}

fn everything() -> Vec<String> {
    vec![aios_abi::paths::DATA.into()]
}

/// What was saved.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Saved {
    /// Name of the snapshot.
    name: String,
    /// Its file.
    path: String,
    /// Bytes of that file.
    archive_bytes: u64,
    /// BLAKE3 of that file, hexadecimal; the audit chain keeps it.
    blake3: String,
    /// Files in it.
    files: u64,
    /// Directories and links in it.
    others: u64,
    /// Bytes of the files.
    bytes: u64,
    /// How much was not saved.
    left_out: u64,
    /// Some of that, with the reason.
    not_saved: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 170,
    name: "backup.snapshot",
    summary: "Save files and directories of /data as one snapshot",
    effect: Effect::Reversible,
    touches: &["the paths named, if they hold no secrets", "/data/backup or the directory named"],
    role: Role::Operator,
    timeout_ms: 1_800_000,
    examples: &[
        ("back up everything now", "{}"),
        ("take a snapshot of /data/www", r#"{"paths":["/data/www"]}"#),
        (
            "make a backup of /data/www and /data/config called before-upgrade",
            r#"{"paths":["/data/www","/data/config"],"name":"before-upgrade"}"#,
        ),
        (
            "save the configuration directory to the USB stick at /run/usb",
            r#"{"paths":["/data/config"],"folder":"/run/usb"}"#,
        ),
        ("archive /data/projects as projects-may", r#"{"paths":["/data/projects"],"name":"projects-may"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: undo_paths, run: undo }) },
};

fn paths(args: &Args) -> Paths {
    let read = args.paths.iter().map(|path| (Way::Read, path.into()));
    read.chain([(Way::Change, PathBuf::from(&args.folder))]).collect()
}

struct Snapshot {
    folder: OwnedFd,
    place: PathBuf,
    name: String,
    paths: Vec<PathBuf>,
    /// Names it among all that had or will have its name.
    id: String,
    files: u64,
    bytes: u64,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    folder: String,
    name: String,
    id: String,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Snapshot, CallError> {
    let name = args.name.unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string());
    let name = snapshot::plain(&name)?.to_owned();
    let (folder, place) = snapshot::folder(&args.folder)?;
    ctx.policy.may_write(&place.join(snapshot::file_name(&name)))?;
    if ctx.policy.area(&place) == Area::Guarded && place != Path::new(aios_abi::paths::BACKUP) {
        let text = format!("{} is no place for snapshots; put it into /data/backup", place.display());
        return Err(CallError::denied(text));
    }
    if rustix::fs::statat(&folder, snapshot::file_name(&name), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(snapshot::exists(&name));
    }
    let paths = chosen(ctx, &args.paths, &place)?;
    let (mut files, mut bytes) = (0, 0);
    for path in &paths {
        let mut add = |stat: &Stat| {
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                files += 1;
                bytes += stat.st_size.cast_unsigned();
            }
        };
        let found = file::find(&path.display().to_string(), false)?;
        add(&found.stat);
        if found.kind() == FileType::Directory {
            walk(ctx, &found, u32::MAX, |_, stat| add(stat))?;
        }
    }
    let id = snapshot::new_id();
    Ok(Snapshot { folder, place, name, paths, id, files, bytes })
}

/// The real paths of what is to be saved, in order, none below another.
fn chosen(ctx: &Ctx, asked: &[String], place: &Path) -> Result<Vec<PathBuf>, CallError> {
    // Nobody is shown what lies in `/data/backup`. What is put elsewhere is carried away: rules about files count.
    let may_see = |path: &Path| match place == Path::new(aios_abi::paths::BACKUP) {
        true => ctx.policy.may_see(path),
        false => ctx.may_see(path),
    };
    let mut paths = Vec::new();
    for path in asked.iter().take(MAX_PATHS + 1) {
        let found = file::find(path, true)?;
        let writable = &ctx.policy.writable;
        if !writable.iter().any(|root| found.path.starts_with(root)) {
            let roots: Vec<String> = writable.iter().map(|root| root.display().to_string()).collect();
            return Err(CallError::invalid(format!(
                "{} comes with the image and is not saved; snapshots are of what is below {}",
                found.path.display(),
                roots.join(", ")
            )));
        }
        may_see(&found.path)?;
        match writable.contains(&found.path) {
            false => paths.push(found.path),
            // A whole disk does not change places with anything, and what daemons keep there is theirs.
            true => {
                let entries = std::fs::read_dir(&found.path).map_err(|e| file::named(&found.path, &e))?;
                let may = |path: &PathBuf| ctx.policy.may_write(path).is_ok();
                let own = |path: &PathBuf| path != Path::new(aios_abi::paths::BACKUP);
                for path in entries.flatten().map(|entry| entry.path()).filter(own).filter(may) {
                    may_see(&path)?;
                    paths.push(path);
                }
            }
        }
    }
    paths.sort_unstable();
    paths.dedup_by(|path, before| path.starts_with(before));
    match paths.len() {
        0 => Err(CallError::invalid("there is nothing to save")),
        1..=MAX_PATHS => Ok(paths),
        more => Err(CallError::invalid(format!(
            "{more} paths are too many for one snapshot, at most {MAX_PATHS}"
        ))),
    }
}

impl Change for Snapshot {
    type Output = Saved;

    fn target(&self) -> Target {
        Target::Backup(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let names: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        let (files, bytes) = (self.files, human_bytes(self.bytes));
        let would = format!("save {}: {files} files, {bytes}, as {}", names.join(", "), self.name);
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let folder = self.place.display().to_string();
        Some(Kept::new(&Note { folder, name: self.name.clone(), id: self.id.clone() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Saved, CallError> {
        let job = snapshot::Job {
            folder: &self.folder,
            place: &self.place,
            name: &self.name,
            id: &self.id,
            paths: &self.paths,
            expected: self.bytes,
        };
        let Written { files, others, bytes, archive_bytes, blake3, said, left_out } =
            snapshot::write(ctx, &job)?;
        let path = self.place.join(snapshot::file_name(&self.name)).display().to_string();
        let name = self.name.clone();
        Ok(Saved { name, path, archive_bytes, blake3, files, others, bytes, left_out, not_saved: said })
    }

    fn verify(&self, _ctx: &Ctx, saved: &Saved) -> Result<(), CallError> {
        let open = snapshot::open(&self.folder, &self.place, &self.name)?;
        match open.metadata()?.len() == saved.archive_bytes && read::about(&open)?.id == self.id {
            true => Ok(()),
            false => Err(CallError::failed(format!("{} is not what was written", saved.path))),
        }
    }
}

fn summary(saved: &Saved) -> String {
    let left_out = match saved.left_out {
        0 => String::new(),
        n => format!("; {n} left out: {}", saved.not_saved.first().map_or("", String::as_str)),
    };
    format!(
        "saved {} files ({}) as {}, {}, BLAKE3 {}{left_out}",
        saved.files,
        human_bytes(saved.bytes),
        saved.name,
        human_bytes(saved.archive_bytes),
        saved.blake3
    )
}

fn undo_paths(kept: &Kept) -> Result<Paths, CallError> {
    kept.read::<Note>().map(|note| vec![(Way::Change, note.folder.into())])
}

fn undo(_ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { folder, name, id } = kept.read()?;
    let (folder, place) = snapshot::folder(&folder)?;
    let open = match snapshot::open(&folder, &place, &name) {
        Err(e) if e.code == ErrorCode::NotFound => {
            return Ok(format!("there is no snapshot {name}, as before"));
        }
        other => other?,
    };
    if read::about(&open)?.id != id {
        let text = format!("{name} is another snapshot than was made then; nothing was undone");
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    snapshot::remove(&folder, &place, &name)?;
    Ok(format!("the snapshot {name} is removed"))
}
