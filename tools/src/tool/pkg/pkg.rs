//! What the package tools share: a change of what is installed under a name.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::file;
use crate::policy::Target;
use crate::reach::{Asks, Needs, Paths, Way};
use crate::shelf::{Image, SERVICES, Shelf, State};
use crate::tool::fs::shared::CHANGES;
use crate::tool::image_version;
use crate::tool::process::shared::human_bytes;
use crate::tool::service::shared::{ask, one, unexpected};
use crate::undo::Kept;
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::{CallError, ErrorCode};
use aios_unit::Start;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;

/// Image files of one directory that are looked at.
const MAX_FILES: usize = 1_000;

/// What reading what is installed takes.
pub(crate) const LOOKS: &[&str] = &[
    "/etc/aios",
    "/etc/os-release",
    "/data/extensions",
    "/data/config/extension-keys",
    "/data/config/services",
];

/// What a change takes: images and service files are root's.
pub(crate) const NEEDS: Needs = CHANGES.read(LOOKS).asks(&[Asks::InitToAct]);

/// Where every change writes.
pub(crate) fn changed() -> Paths {
    [aios_extension::DIRECTORY, SERVICES].map(|path| (Way::Change, PathBuf::from(path))).into()
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Switched {
    /// Name of the extension.
    name: String,
    /// The version that is installed now; none after a removal.
    version: Option<String>,
    /// The version that was installed before.
    before: Option<String>,
    /// Its services, and the state that each is in.
    services: Vec<Service>,
}

/// A service of an extension.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Service {
    /// Its name.
    name: String,
    /// `running`, `stopped` and so on.
    state: String,
}

/// An image that is to be copied onto the shelf first.
pub(crate) struct Source {
    open: File,
    path: PathBuf,
    /// It is not on the shelf; one that is may be what an earlier change is taken back to.
    new: bool,
}

impl Source {
    pub(crate) fn new(shelf: &Shelf, image: &Image, open: File, path: PathBuf) -> Self {
        Self { open, path, new: shelf.stored(&image.file).is_err() }
    }
}

/// From one state of an extension to another one.
pub(crate) struct Switch {
    pub(crate) shelf: Shelf,
    pub(crate) name: String,
    pub(crate) before: State,
    pub(crate) after: State,
    /// Its services that run before.
    pub(crate) ran: BTreeSet<String>,
    /// The image that is in use afterwards.
    pub(crate) image: Option<Image>,
    /// Where it comes from, when it is not there yet.
    pub(crate) source: Option<Source>,
    /// Versions before and after, for people.
    pub(crate) was: Option<String>,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    name: String,
    before: State,
    after: State,
    ran: BTreeSet<String>,
    /// The image that came with the change.
    brought: Option<String>,
}

impl Switch {
    /// The image that comes with the change.
    fn brings(&self) -> Option<&Image> {
        self.source.as_ref().filter(|source| source.new).and(self.image.as_ref())
    }

    /// What taking it back has to know.
    pub(crate) fn note(&self) -> Note {
        let brought = self.brings().map(|image| image.file.clone());
        let Self { name, before, after, ran, .. } = self;
        Note { name: name.clone(), before: before.clone(), after: after.clone(), ran: ran.clone(), brought }
    }

    /// The services of what is installed that run now: what is taken back does not start what somebody had stopped.
    pub(crate) fn running(ctx: &Ctx, state: &State) -> BTreeSet<String> {
        let runs = |name: &&String| one(ctx, name).is_ok_and(|service| !is_idle(&service.state));
        state.services.keys().filter(runs).cloned().collect()
    }

    /// The version of what is installed, if that can still be read.
    pub(crate) fn version_of(shelf: &Shelf, state: &State) -> Option<String> {
        let file = state.record.current.as_ref()?;
        shelf.stored(file).ok().map(|(_, image)| image.manifest.version)
    }

    /// Take the files of `to` into force: init reads them, starts what is new and restarts what runs from another image. Of what
    /// was there before, that is started which ran.
    fn enforce(
        ctx: &Ctx,
        from: &State,
        to: &State,
        ran: Option<&BTreeSet<String>>,
    ) -> Result<Vec<Service>, CallError> {
        let InitReply::Rescanned { refused, .. } = ask(ctx, InitRequest::Rescan)? else {
            return Err(unexpected());
        };
        let mut services = Vec::new();
        for (name, text) in &to.services {
            let ours = |sentence: &&String| sentence.contains(&format!("/{name}.toml:"));
            if let Some(sentence) = refused.iter().find(ours) {
                return Err(CallError::failed(format!("init refuses a service file: {sentence}")));
            }
            let before = one(ctx, name)?.state;
            let anew = from.services.get(name).is_some_and(|old| old != text);
            let starts = ran.map_or_else(|| starts_at_boot(name, text), |ran| ran.contains(name));
            let request = match before.as_str() {
                "stopped" | "listening" | "scheduled" if from.services.contains_key(name) => None,
                _ if anew => Some(InitRequest::Restart { name: name.clone() }),
                _ if starts => Some(InitRequest::Start { name: name.clone() }),
                // init starts what is new to it.
                _ if ran.is_some() && !is_idle(&before) => Some(InitRequest::Stop { name: name.clone() }),
                _ => None,
            };
            if let Some(request) = request {
                // Answered when it is ready, or has failed.
                ask(ctx, request)?;
            }
            let now = one(ctx, name)?;
            if matches!(now.state.as_str(), "failed" | "backoff") {
                let why = now.last_exit.map(|why| format!(" ({why})")).unwrap_or_default();
                return Err(CallError::failed(format!("{name} is {}{why}; its log says more", now.state)));
            }
            services.push(Service { name: name.clone(), state: now.state });
        }
        Ok(services)
    }
}

/// Whether a service in this state does nothing and waits for nothing but somebody who starts it.
fn is_idle(state: &str) -> bool {
    matches!(state, "stopped" | "failed" | "listening" | "scheduled")
}

fn starts_at_boot(name: &str, text: &str) -> bool {
    let file = PathBuf::from(format!("{name}.toml"));
    aios_unit::parse(&file, text, &aios_unit::Users::default()).is_ok_and(|unit| unit.start == Start::Boot)
}

impl Change for Switch {
    type Output = Switched;

    fn target(&self) -> Target {
        Target::Package(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let name = &self.name;
        let old = self.was.as_deref().unwrap_or("an unreadable version");
        let would = match (&self.image, &self.before.record.current) {
            _ if self.before == self.after => format!("change nothing: {name} {old} is installed already"),
            (None, _) => format!("remove {name} {old}; /data/{name} stays"),
            (Some(image), current) => {
                let bytes = human_bytes(image.seal.file_bytes());
                let version = &image.manifest.version;
                let verb = match current {
                    None => format!("install {name} {version} ({bytes})"),
                    Some(_) => format!("replace {name} {old} by {version} ({bytes})"),
                };
                let units = image.manifest.units(&self.shelf.path(&image.file)).unwrap_or_default();
                let services: Vec<String> = units
                    .iter()
                    .map(|unit| {
                        format!(
                            "{} (exposure {:.1})",
                            unit.name,
                            f64::from(aios_unit::exposure(unit).tenths) / 10.0
                        )
                    })
                    .collect();
                match services.is_empty() {
                    true => format!("{verb}, which has no services"),
                    false => format!("{verb} with the services {}", services.join(", ")),
                }
            }
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&self.note(), None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Switched, CallError> {
        let brought = self.brings().map(|image| image.file.clone());
        let Self { shelf, name, before, after, ran, image, source, was } = self;
        if before != after {
            if let (Some(Source { open, path, .. }), Some(image)) = (source, &image) {
                shelf.store(open, path, image)?;
            }
            ctx.check()?;
        }
        let done = shelf.put(name, before, after).and_then(|()| Self::enforce(ctx, before, after, None));
        let services = match done {
            Ok(services) => services,
            Err(why) => {
                // Nobody is left with half of it.
                let back = shelf
                    .put(name, after, before)
                    .and_then(|()| Self::enforce(ctx, after, before, Some(&*ran)));
                let brought = brought.map_or(Ok(()), |file| shelf.discard(&file));
                let end = match back.map(drop).and(brought) {
                    Ok(()) => "everything is as it was before".to_owned(),
                    Err(e) => format!("and what was before could not be put back: {e}"),
                };
                return Err(CallError::new(why.code, format!("{}; {end}", why.message)));
            }
        };
        let version = image.as_ref().map(|image| image.manifest.version.clone());
        Ok(Switched { name: name.clone(), version, before: was.clone(), services })
    }
}

/// A newer version of what is installed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Newer {
    /// Name of the extension.
    pub(crate) name: String,
    /// The version that is installed.
    pub(crate) installed: String,
    /// The version that could be.
    pub(crate) version: String,
    /// Its file.
    pub(crate) path: String,
}

/// Where images are looked for, unless somebody says otherwise: uploads, a stick, and what an earlier change left on the shelf.
pub(crate) fn default_directories() -> Vec<String> {
    ["/data/upload", "/run/usb", aios_extension::DIRECTORY].map(str::to_owned).into()
}

/// The newest version in these directories of each extension that is installed in an older one, by the same maker; and files that
/// would be newer and cannot be installed, with the reason. A directory that is not there is empty.
pub(crate) fn newer(ctx: &Ctx, directories: &[String]) -> Result<(Vec<Newer>, Vec<String>), CallError> {
    let shelf = Shelf::of(ctx);
    let mut installed = BTreeMap::new();
    for name in shelf.names()? {
        let Some(current) = shelf.state(&name)?.record.current else { continue };
        if let Ok((_, image)) = shelf.stored(&current) {
            installed.insert(name, image);
        }
    }
    let (mut found, mut refused) = (BTreeMap::<String, Newer>::new(), Vec::new());
    for directory in directories {
        let folder = match file::find(directory, true) {
            Err(e) if e.code == ErrorCode::NotFound => continue,
            other => other?,
        };
        ctx.may_see(&folder.path)?;
        let entries = std::fs::read_dir(&folder.path).map_err(|e| file::named(&folder.path, &e))?;
        let image = |path: &PathBuf| path.extension().is_some_and(|end| end == aios_extension::SUFFIX);
        let mut images: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(image).take(MAX_FILES).collect();
        images.sort();
        for path in images {
            ctx.check()?;
            let path = path.display().to_string();
            let read = file::open_for_reading(ctx, &path)
                .and_then(|(open, found)| Ok((shelf.image(&open, &found.path)?, open)));
            // What is no good image is not an update of anything; pkg.search tells of it.
            let Ok((image, open)) = read else { continue };
            let Some(old) = installed.get(&image.manifest.name) else { continue };
            let (name, version) = (image.manifest.name.clone(), image.manifest.version.clone());
            let newest = found.get(&name).map_or(&old.manifest.version, |newer| &newer.version);
            if !aios_extension::compare(&version, newest).is_gt() {
                continue;
            }
            let fits = match image.seal.key == old.seal.key {
                true => shelf.fits(&image, &image_version()).map_err(|e| e.message),
                false => Err("it was signed by another maker than what is installed".into()),
            };
            // In full: a damaged file must not stand in the way of a good one.
            let good = fits.and_then(|()| {
                aios_extension::check(&open, &image.seal, |_| Ok(())).map_err(|flaw| format!("it {flaw}"))
            });
            match good {
                Ok(()) => {
                    let installed = old.manifest.version.clone();
                    found.insert(name.clone(), Newer { name, installed, version, path });
                }
                Err(why) => refused.push(format!("{name} {version} ({path}): {why}")),
            }
        }
    }
    Ok((found.into_values().collect(), refused))
}

/// The result in one line.
pub(crate) fn summary(done: &Switched) -> String {
    let what = match (&done.version, &done.before) {
        (Some(new), Some(old)) if new == old => format!("{} {new} is installed", done.name),
        (Some(new), Some(old)) => format!("{} is {new} now, was {old}", done.name),
        (Some(new), None) => format!("{} {new} is installed", done.name),
        (None, _) => format!("{} is removed; its data stays", done.name),
    };
    let services: Vec<String> = done.services.iter().map(|s| format!("{} is {}", s.name, s.state)).collect();
    match services.is_empty() {
        true => what,
        false => format!("{what}; {}", services.join(", ")),
    }
}

/// Takes it back.
pub(crate) const UNDO: Undo = Undo { paths: |_| Ok(changed()), run: undo };

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    take_back(ctx, kept.read()?)
}

/// Take back one change, if nobody has made another one since.
pub(crate) fn take_back(ctx: &Ctx, note: Note) -> Result<String, CallError> {
    let Note { name, before, after, ran, brought } = note;
    let shelf = Shelf::of(ctx);
    if !shelf.is_between(&name, &before, &after)? {
        let text = format!("{name} was changed since; undoing would destroy that, so nothing was done");
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    // Both have to be there: the one that is used, and the one that a rollback would find.
    for file in [&before.record.current, &before.record.previous].into_iter().flatten() {
        shelf.stored(file).map_err(|e| {
            CallError::new(
                ErrorCode::Conflict,
                format!("{e}; it made room for others, so nothing was undone"),
            )
        })?;
    }
    shelf.put(&name, &after, &before)?;
    Switch::enforce(ctx, &after, &before, Some(&ran))?;
    if let Some(file) = brought {
        shelf.discard(&file)?;
    }
    Ok(match Switch::version_of(&shelf, &before) {
        Some(version) => format!("{name} {version} is installed, as before"),
        None => format!("{name} is not installed, as before"),
    })
}
