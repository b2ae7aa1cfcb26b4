//! `backup.restore`

use super::shared::{NEEDS, default_folder, staging};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::policy::Target;
use crate::reach::{Asks, Paths, Way, directory_of};
use crate::snapshot::{self, Chosen, Note, identity, read, whole};
use crate::tool::process::shared::human_bytes;
use crate::tool::service::shared::one;
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use aios_policy::Area;
use aios_unit::Users;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where PID 1 takes service files from.
const SERVICES: [&str; 2] = ["/etc/aios/services", "/data/config/services"];

/// Bring back what a snapshot holds, in place of what is there now. Undo brings back what was there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the snapshot.
    name: String,
    /// Only this file or directory of it, by its absolute path.
    path: Option<String>,
    /// Absolute path of the directory that the snapshot is in.
    #[serde(default = "default_folder")]
    folder: String,
}

/// What was brought back.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Restored {
    /// Name of the snapshot.
    name: String,
    /// The paths that are now as they were then.
    paths: Vec<String>,
    /// Files in them.
    files: u64,
    /// Bytes of those files.
    bytes: u64,
    /// BLAKE3 of the snapshot's file, hexadecimal.
    blake3: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 174,
    name: "backup.restore",
    summary: "Bring back files and directories from a snapshot",
    effect: Effect::Reversible,
    touches: &[
        "the paths that the snapshot holds, below /data; configuration only for an admin",
        "/data/backup",
    ],
    role: Role::Operator,
    timeout_ms: 1_800_000,
    examples: &[
        ("restore the backup before-upgrade", r#"{"name":"before-upgrade"}"#),
        ("bring back /data/www from the snapshot nightly", r#"{"name":"nightly","path":"/data/www"}"#),
        (
            "I deleted /data/notes.txt by mistake, get it from the backup weekly",
            r#"{"name":"weekly","path":"/data/notes.txt"}"#,
        ),
        (
            "recover everything in nightly from the stick at /run/usb",
            r#"{"name":"nightly","folder":"/run/usb"}"#,
        ),
        ("roll /data/projects back to projects-may", r#"{"name":"projects-may","path":"/data/projects"}"#),
    ],
    needs: NEEDS
        .read(&["/etc/aios", "/etc/passwd", "/etc/group", "/data/config/services"])
        .asks(&[Asks::InitToLook]),
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: undo_paths, run: undo }) },
};

/// What the snapshot holds is not known yet: without a path it may be anything in `/data`.
fn paths(args: &Args) -> Paths {
    let folder = PathBuf::from(&args.folder);
    let change = match &args.path {
        Some(path) => {
            let aside = directory_of(staging(&args.folder, Path::new(path)));
            [directory_of(path.trim_end_matches('/')), aside].concat()
        }
        None => [directory_of(&folder), vec![(Way::Change, aios_abi::paths::DATA.into())]].concat(),
    };
    [change, vec![(Way::Read, folder)]].concat()
}

struct Restore {
    open: File,
    name: String,
    made: String,
    archive_bytes: u64,
    note: Note,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Restore, CallError> {
    let name = snapshot::plain(&args.name)?.to_owned();
    let (folder, place) = snapshot::folder(&args.folder)?;
    let open = snapshot::open(&folder, &place, &name)?;
    let archive_bytes = open.metadata()?.len();
    let about = read::about(snapshot::open(&folder, &place, &name)?)?;
    let wanted = match &args.path {
        Some(path) => vec![whole(Path::new(path))?],
        None => about.paths.iter().map(PathBuf::from).collect(),
    };
    let mut chosen = Vec::new();
    for path in wanted {
        may_come_back(ctx, &path)?;
        snapshot::parent(&path)?;
        chosen.push(Chosen { before: identity(&path)?, path });
    }
    let first = chosen.first().map(|one| one.path.clone()).unwrap_or_default();
    let stage = staging(&args.folder, &first).join(snapshot::new_id());
    Ok(Restore { open, name, made: about.made, archive_bytes, note: Note { stage, chosen } })
}

/// Whether this path may change places with one from a snapshot, whoever wrote that.
fn may_come_back(ctx: &Ctx, path: &Path) -> Result<(), CallError> {
    ctx.policy.may_write(path)?;
    let below = |place: &&PathBuf| place.starts_with(path);
    if let Some(place) = ctx.policy.secret.iter().chain(&ctx.policy.kept).find(below) {
        return Err(CallError::denied(format!(
            "{} is not brought back: {} belongs to the appliance itself",
            path.display(),
            place.display()
        )));
    }
    let guarded = ctx.policy.area(path) == Area::Guarded || ctx.policy.guarded.iter().any(|one| below(&one));
    if guarded {
        let what = format!("{}: to bring back configuration", path.display());
        ctx.caller.must_be(Role::Admin, what)?;
    }
    if path.starts_with(aios_abi::paths::BACKUP) {
        return Err(CallError::denied("snapshots are not brought back from a snapshot"));
    }
    // A service that has this directory to write has it mounted: it would go on with what was there before.
    let loaded = aios_unit::load(&SERVICES.map(Path::new), &Users::read(Path::new("/")));
    for unit in &loaded.units {
        let own = unit.sandbox.write.iter().chain(&unit.state_directory);
        if own.into_iter().any(|place| place.starts_with(path)) && one(ctx, &unit.name)?.pid.is_some() {
            return Err(CallError::new(
                ErrorCode::Conflict,
                format!(
                    "{} runs and has {} open; stop it (service.stop), restore, and start it again",
                    unit.name,
                    path.display()
                ),
            ));
        }
    }
    Ok(())
}

impl Restore {
    fn paths(&self) -> Vec<String> {
        self.note.chosen.iter().map(|one| one.path.display().to_string()).collect()
    }
}

impl Change for Restore {
    type Output = Restored;

    fn target(&self) -> Target {
        match self.note.chosen.as_slice() {
            [one] => Target::File(one.path.clone()),
            _ => Target::Backup(self.name.clone()),
        }
    }

    fn preview(&self) -> Preview {
        let new = |one: &&Chosen| one.before.is_none();
        let lines: String = self
            .note
            .chosen
            .iter()
            .map(|one| format!("{} {}\n", if new(&one) { "+" } else { "~" }, one.path.display()))
            .collect();
        let bytes = human_bytes(self.archive_bytes);
        let (name, made) = (&self.name, &self.made);
        let would = format!("bring back {} from {name} of {made} ({bytes})", self.paths().join(", "));
        Preview { would, diff: Some(lines) }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&self.note, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Restored, CallError> {
        let source = self.open.try_clone()?;
        let snapshot::Restored { whole, files, bytes } = snapshot::stage(ctx, source, &self.note)?;
        Ok(Restored { name: self.name.clone(), paths: self.paths(), files, bytes, blake3: whole.blake3 })
    }

    fn verify(&self, _ctx: &Ctx, _done: &Restored) -> Result<(), CallError> {
        for one in &self.note.chosen {
            if matches!(identity(&one.path)?, now if now.is_none() || now == one.before) {
                return Err(CallError::failed(format!(
                    "{} is not what was brought back",
                    one.path.display()
                )));
            }
        }
        Ok(())
    }
}

fn summary(restored: &Restored) -> String {
    format!(
        "{} is as it was in {}: {} files, {}",
        restored.paths.join(", "),
        restored.name,
        restored.files,
        human_bytes(restored.bytes)
    )
}

fn undo_paths(kept: &Kept) -> Result<Paths, CallError> {
    let note: Note = kept.read()?;
    let aside = note.stage.parent().map(directory_of).unwrap_or_default();
    Ok(note.chosen.iter().flat_map(|one| directory_of(&one.path)).chain(aside).collect())
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    snapshot::put_back(ctx, &kept.read()?)
}
