//! Installed extensions as they lie on the disk.
//!
//! `/data/extensions` holds images, which are never written again once they have their name, and for each extension
//! `NAME.json`, which says which of them counts. Service files in `/data/config/services` name the image by its path, so
//! another version is a few small files that are replaced; what undo needs are these texts. Images that nobody counts on
//! stay until room is needed: undo and rollback find them there.

use crate::ctx::Ctx;
use crate::file::{self, Facts};
use crate::policy::Policy;
use aios_abi::{CallError, ErrorCode};
use aios_extension::{Keys, Manifest, Seal};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where people's service files are.
pub(crate) const SERVICES: &str = "/data/config/services";
/// Where those of the machine's image are.
const MACHINES_SERVICES: &str = "/etc/aios/services";
/// An image while it is copied.
const PART: &str = "part";
/// Bytes that stay free on the disk.
const SPARE: u64 = 32 << 20;
/// A service file or a record that is longer is none of ours.
const MAX_TEXT: u64 = 256 << 10;

/// Which images count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The file that is in use; none after a removal.
    pub(crate) current: Option<String>,
    /// The one that was before.
    pub(crate) previous: Option<String>,
}

/// All that says what is installed under a name: this is what changes and what is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) record: Record,
    /// Texts of service files by name.
    pub(crate) services: BTreeMap<String, String>,
}

/// An image whose seal and manifest are good.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Name of its file.
    pub(crate) file: String,
    pub(crate) seal: Seal,
    pub(crate) manifest: Manifest,
}

/// The directories, and in whose name they are changed.
pub(crate) struct Shelf {
    images: PathBuf,
    services: PathBuf,
    machines: PathBuf,
    pub(crate) keys: Keys,
    policy: Policy,
}

impl Shelf {
    /// That of the machine.
    pub(crate) fn of(ctx: &Ctx) -> Self {
        let images = PathBuf::from(aios_extension::DIRECTORY);
        // For all other tools this directory is closed.
        let mut policy = Policy::clone(&ctx.policy);
        policy.kept.retain(|place| *place != images);
        Self {
            images,
            services: SERVICES.into(),
            machines: MACHINES_SERVICES.into(),
            keys: Keys::read(&aios_extension::KEY_FILES.map(Path::new)),
            policy,
        }
    }

    /// Where an image is.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.images.join(file)
    }

    /// The seal and the manifest of a file, whose maker is trusted.
    pub(crate) fn image(&self, open: &File, place: &Path) -> Result<Image, CallError> {
        let refused = |flaw| CallError::denied(format!("{} {flaw}", place.display()));
        let seal = aios_extension::read_seal(open, &self.keys).map_err(refused)?;
        let manifest = aios_extension::read_manifest(open, &seal).map_err(refused)?;
        let mark = blake3::hash(&seal.to_bytes()).to_hex();
        let (name, version) = (&manifest.name, &manifest.version);
        let mark = mark.get(..12).unwrap_or_default();
        let file = format!("{name}_{version}_{mark}.{}", aios_extension::SUFFIX);
        Ok(Image { file, seal, manifest })
    }

    /// An image on the shelf.
    pub(crate) fn stored(&self, file: &str) -> Result<(File, Image), CallError> {
        let path = self.path(file);
        let open =
            OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(&path);
        let open = open.map_err(|e| match e.kind() {
            ErrorKind::NotFound => CallError::not_found(format!("{} is not there any more", path.display())),
            _ => CallError::failed(format!("{}: {e}", path.display())),
        })?;
        let image = self.image(&open, &path)?;
        match image.file == file {
            true => Ok((open, image)),
            false => {
                Err(CallError::denied(format!("{} is another image than its name says", path.display())))
            }
        }
    }

    /// The names of all extensions that are or were installed.
    pub(crate) fn names(&self) -> Result<Vec<String>, CallError> {
        let entries = match std::fs::read_dir(&self.images) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let name =
            |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned);
        let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
        names.retain(|name| aios_extension::name_is_plain(name));
        names.sort();
        Ok(names)
    }

    /// What is installed under this name.
    pub(crate) fn state(&self, name: &str) -> Result<State, CallError> {
        if !aios_extension::name_is_plain(name) {
            return Err(CallError::invalid(format!("`{name}` is no name of an extension")));
        }
        let record: Record = match text(&self.record_path(name))? {
            None => Record::default(),
            Some(text) => serde_json::from_str(&text).map_err(|e| {
                CallError::failed(format!("{} is damaged: {e}", self.record_path(name).display()))
            })?,
        };
        let mut services = BTreeMap::new();
        if let Some(file) = &record.current {
            let names = match self.stored(file) {
                Ok((_, image)) => image.manifest.services.into_keys().collect(),
                Err(_) => self.services_that_name(file),
            };
            for service in names {
                if let Some(text) = text(&self.service_path(&service))? {
                    services.insert(service, text);
                }
            }
        }
        Ok(State { record, services })
    }

    /// The services that run from an image which cannot be read any more.
    fn services_that_name(&self, file: &str) -> Vec<String> {
        let place = self.path(file).display().to_string();
        let entries = std::fs::read_dir(&self.services).into_iter().flatten().flatten();
        let files =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "toml"));
        let ours =
            files.filter(|path| text(path).is_ok_and(|text| text.is_some_and(|text| text.contains(&place))));
        ours.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    }

    /// The service files of an image on the shelf.
    pub(crate) fn texts(&self, image: &Image) -> BTreeMap<String, String> {
        let path = self.path(&image.file);
        let all = image.manifest.services.keys();
        all.filter_map(|name| Some((name.clone(), image.manifest.service_text(name, &path)?))).collect()
    }

    /// Whether this image can be installed beside all that is there.
    pub(crate) fn fits(&self, image: &Image, version: &str) -> Result<(), CallError> {
        let Manifest { name, architecture, least_aios, users, services, .. } = &image.manifest;
        let own = std::env::consts::ARCH;
        if architecture != own {
            return Err(CallError::invalid(format!("{name} is for {architecture}; this machine is {own}")));
        }
        if let Some(least) =
            least_aios.as_ref().filter(|least| aios_extension::compare(version, least).is_lt())
        {
            return Err(CallError::invalid(format!(
                "{name} needs aiOS {least}; this is {version}, so update the machine first"
            )));
        }
        let conflict = |text: String| CallError::new(ErrorCode::Conflict, text);
        let (data, run) = (Path::new("/data").join(name), Path::new("/run").join(name));
        let taken = self
            .policy
            .secret
            .iter()
            .chain(&self.policy.kept)
            .find(|place| **place == data || **place == run);
        if let Some(place) = taken {
            return Err(conflict(format!("{} belongs to the appliance itself", place.display())));
        }
        // Its data may be there from an earlier time.
        if let Ok(found) = std::fs::symlink_metadata(&data)
            && !users.values().any(|uid| *uid == found.uid())
        {
            return Err(conflict(format!("{} is there and belongs to somebody else", data.display())));
        }
        let ours = self.state(name)?.services;
        for service in services.keys() {
            let file = format!("{service}.toml");
            let there = [&self.machines, &self.services].map(|place| place.join(&file)).into_iter();
            if let Some(path) = there.filter(|path| path.exists()).find(|_| !ours.contains_key(service)) {
                return Err(conflict(format!("there is a service {service} already ({})", path.display())));
            }
        }
        for other in self.names()?.iter().filter(|other| *other != name) {
            let Some(file) = self.state(other)?.record.current else { continue };
            let taken: BTreeSet<u32> = self.stored(&file)?.1.manifest.users.into_values().collect();
            if let Some(uid) = users.values().find(|uid| taken.contains(uid)) {
                return Err(conflict(format!("{other} has a user with the number {uid} already")));
            }
        }
        Ok(())
    }

    /// Copy an image onto the shelf. What is written is what was compared with the signature.
    pub(crate) fn store(&self, from: &File, place: &Path, image: &Image) -> Result<(), CallError> {
        if self
            .stored(&image.file)
            .is_ok_and(|(open, there)| aios_extension::check(&open, &there.seal, |_| Ok(())).is_ok())
        {
            return Ok(());
        }
        let refused = |flaw| CallError::denied(format!("{} {flaw}", place.display()));
        let part = self.path(PART);
        let at = |e: std::io::Error| CallError::failed(format!("{}: {e}", part.display()));
        self.make_room(image.seal.file_bytes())?;
        let _ = std::fs::remove_file(&part);
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(at)?;
        let cleanup = Cleanup(&part);
        aios_extension::check(from, &image.seal, |bytes| to.write_all(bytes)).map_err(refused)?;
        let mut manifest = vec![0; image.seal.manifest_bytes as usize];
        from.read_exact_at(&mut manifest, image.seal.image_bytes).map_err(at)?;
        if *blake3::hash(&manifest).as_bytes() != image.seal.manifest_hash {
            return Err(refused(aios_extension::Flaw::Altered));
        }
        to.write_all(&manifest).map_err(at)?;
        to.write_all(&image.seal.to_bytes()).map_err(at)?;
        let root = rustix::fs::Uid::from_raw(0);
        if rustix::fs::fstat(&to).map_err(std::io::Error::from)?.st_uid != 0 {
            rustix::fs::fchown(&to, Some(root), Some(rustix::fs::Gid::from_raw(0)))
                .map_err(std::io::Error::from)?;
        }
        rustix::fs::fchmod(&to, Mode::from_raw_mode(0o444)).map_err(std::io::Error::from)?;
        to.sync_all().map_err(at)?;
        std::fs::rename(&part, self.path(&image.file)).map_err(at)?;
        std::mem::forget(cleanup);
        Ok(File::open(&self.images)?.sync_all()?)
    }

    /// Remove images that no record names until so many bytes are free.
    fn make_room(&self, wanted: u64) -> Result<(), CallError> {
        let free = || -> Result<u64, CallError> {
            let disk = rustix::fs::statvfs(&self.images).map_err(std::io::Error::from)?;
            Ok(disk.f_bavail * disk.f_frsize)
        };
        let needed = wanted + SPARE;
        if free()? < needed {
            for file in self.unused()? {
                std::fs::remove_file(self.path(&file))?;
            }
        }
        let free = free()?;
        if free < needed {
            return Err(CallError::unavailable(format!(
                "the disk has {} MiB free and {} MiB are needed; remove something first",
                free >> 20,
                needed >> 20
            )));
        }
        Ok(())
    }

    /// Files of images that no record names: neither used nor there for a rollback.
    pub(crate) fn unused(&self) -> Result<Vec<String>, CallError> {
        let mut used = BTreeSet::new();
        for name in self.names()? {
            let Record { current, previous } = self.state(&name)?.record;
            used.extend([current, previous].into_iter().flatten());
        }
        let entries = std::fs::read_dir(&self.images)?.flatten();
        let files = entries.filter_map(|entry| entry.file_name().into_string().ok());
        Ok(files.filter(|file| file.ends_with(aios_extension::SUFFIX) && !used.contains(file)).collect())
    }

    /// Remove an image, if no record names it.
    pub(crate) fn discard(&self, file: &str) -> Result<(), CallError> {
        if self.unused()?.iter().any(|unused| unused == file) {
            std::fs::remove_file(self.path(file))?;
        }
        Ok(())
    }

    /// Whether all that is there is as it was before or after a change, each part for itself: it may have been cut off.
    pub(crate) fn is_between(&self, name: &str, before: &State, after: &State) -> Result<bool, CallError> {
        let record: Record = match text(&self.record_path(name))? {
            None => Record::default(),
            Some(text) => serde_json::from_str(&text).unwrap_or_default(),
        };
        let mut all = record == before.record || record == after.record;
        for service in before.services.keys().chain(after.services.keys()) {
            let now = text(&self.service_path(service))?;
            all &=
                now.as_ref() == before.services.get(service) || now.as_ref() == after.services.get(service);
        }
        Ok(all)
    }

    /// Make it so. `from` names the service files that are there now.
    pub(crate) fn put(&self, name: &str, from: &State, to: &State) -> Result<(), CallError> {
        for (service, text) in &to.services {
            self.write(&self.service_path(service), Some(text))?;
        }
        for service in from.services.keys().filter(|service| !to.services.contains_key(*service)) {
            self.write(&self.service_path(service), None)?;
        }
        let record = serde_json::to_string(&to.record).map_err(|e| CallError::failed(e.to_string()))?;
        let record = (to.record != Record::default()).then_some(record);
        self.write(&self.record_path(name), record.as_deref())
    }

    fn write(&self, path: &Path, text: Option<&str>) -> Result<(), CallError> {
        let place = file::place(&self.policy, &path.display().to_string())?;
        let before = place.existing()?;
        match (text, &before) {
            (None, None) => Ok(()),
            (None, Some(there)) => place.remove(there),
            (Some(text), Some(there)) if there.content == text.as_bytes() => Ok(()),
            (Some(text), _) => {
                let facts = Facts::new(0o644, (0, 0));
                place.replace(before.as_ref(), text.as_bytes(), &facts, false)
            }
        }
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.images.join(format!("{name}.json"))
    }

    fn service_path(&self, service: &str) -> PathBuf {
        self.services.join(format!("{service}.toml"))
    }
}

/// A text of sensible length; none where there is no file.
fn text(path: &Path) -> Result<Option<String>, CallError> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text)?;
    Ok(Some(text))
}

struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    struct World {
        shelf: Shelf,
        folder: tempfile::TempDir,
    }

    const OURS: [u8; 32] = [1; 32];

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let at = |name: &str| folder.path().join(name);
            for name in ["images", "services", "machine"] {
                std::fs::create_dir(at(name)).expect("made");
            }
            let mut policy = Policy::appliance(Path::new("/data/toold"), 1);
            policy.writable = vec![folder.path().into()];
            let mut keys = Keys::default();
            keys.add(aios_extension::public_line(&SigningKey::from_bytes(&OURS)).as_bytes());
            let (images, services, machines) = (at("images"), at("services"), at("machine"));
            Self { shelf: Shelf { images, services, machines, keys, policy }, folder }
        }

        /// A file as a maker would give it away.
        fn file(
            &self,
            name: &str,
            version: &str,
            change: impl Fn(String) -> String,
            key: [u8; 32],
        ) -> PathBuf {
            let text = change(format!(
                "name = \"{name}\"\nversion = \"{version}\"\ndescription = \"d\"\narchitecture = \"{}\"\n\
                 [users]\n{name} = 2001\n[services]\n{name} = \"\"\"\ndescription = '{version}'\nexec = ['/x']\n\
                 user = '2001'\nroot_image = '{{image}}'\n\"\"\"\n",
                std::env::consts::ARCH
            ));
            let image = vec![version.len() as u8; 4096];
            let hash = *blake3::hash(&image).as_bytes();
            let seal = Seal::sign(4096, hash, text.as_bytes(), &SigningKey::from_bytes(&key));
            let path = self.folder.path().join(format!("{name}-{version}.aiosx"));
            std::fs::write(&path, [&image, text.as_bytes(), &seal.to_bytes()].concat()).expect("written");
            path
        }

        fn good(&self, name: &str, version: &str) -> (File, PathBuf, Image) {
            let path = self.file(name, version, |text| text, OURS);
            let open = File::open(&path).expect("opens");
            let image = self.shelf.image(&open, &path).expect("is good");
            (open, path, image)
        }

        /// What a tool would make of it.
        fn change(&self, name: &str, to: Option<&str>) -> (State, State) {
            let before = self.shelf.state(name).expect("a state");
            let image = to.map(|version| {
                let (open, path, image) = self.good(name, version);
                self.shelf.store(&open, &path, &image).expect("stored");
                image
            });
            let record = Record {
                current: image.as_ref().map(|image| image.file.clone()),
                previous: before.record.current.clone(),
            };
            let services = image.map(|image| self.shelf.texts(&image)).unwrap_or_default();
            let after = State { record, services };
            self.shelf.put(name, &before, &after).expect("put");
            assert_eq!(self.shelf.state(name).expect("a state"), after);
            (before, after)
        }
    }

    #[test]
    fn only_what_a_trusted_maker_signed_for_this_machine_is_taken() {
        let world = World::new();
        let judge = |path: &Path| {
            let open = File::open(path).expect("opens");
            let image = world.shelf.image(&open, path)?;
            world.shelf.fits(&image, "0.1.0")?;
            world.shelf.store(&open, path, &image).map(|()| image)
        };
        let image = judge(&world.file("hello", "1.0", |text| text, OURS)).expect("is good");
        let stored = std::fs::metadata(world.shelf.path(&image.file)).expect("is there");
        assert_eq!((stored.mode() & 0o7777, stored.len()), (0o444, image.seal.file_bytes()));
        let refused = |path: PathBuf| judge(&path).expect_err("must be refused").message;
        assert!(refused(world.file("hello", "1.1", |t| t, [2; 32])).contains("not signed by anyone"));
        let arm = |text: String| text.replace(std::env::consts::ARCH, "aarch64");
        assert!(refused(world.file("hello", "1.1", arm, OURS)).contains("for aarch64"));
        let newer = |text: String| text.replace("[users]", "least_aios = \"9\"\n[users]");
        assert!(refused(world.file("hello", "1.1", newer, OURS)).contains("needs aiOS 9"));
        let greedy = |text: String| text.replace("exec", "state_directory = '/data/toold'\nexec");
        assert!(refused(world.file("hello", "1.1", greedy, OURS)).contains("its directories are"));
        assert!(refused(world.file("netd", "1.1", |t| t, OURS)).contains("belongs to the appliance"));
        std::fs::write(world.folder.path().join("machine/web.toml"), "").expect("written");
        assert!(refused(world.file("web", "1.1", |t| t, OURS)).contains("there is a service web already"));
        let path = world.file("hello", "1.2", |t| t, OURS);
        let whole = std::fs::read(&path).expect("read");
        for (at, expected) in [(100, "altered"), (4100, "altered"), (whole.len() - 3, "altered")] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).expect("written");
            assert!(refused(path.clone()).contains(expected), "{at}");
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
        assert!(refused(path).contains("only a part"));
        assert!(!world.shelf.path(PART).exists(), "nothing half is left behind");
    }

    #[test]
    fn one_that_was_damaged_can_still_be_removed_with_its_services() {
        let world = World::new();
        let (_, installed) = world.change("hello", Some("1"));
        let file = world.shelf.path(installed.record.current.as_deref().expect("a file"));
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, b"not what it was").expect("written");
        assert_eq!(world.shelf.state("hello").expect("a state"), installed);
        world.shelf.put("hello", &installed, &State::default()).expect("put");
        assert_eq!(world.shelf.names().expect("listed"), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(world.folder.path().join("services")).expect("read").count(), 0);
    }

    #[test]
    fn two_extensions_with_one_user_are_not_installed_together() {
        let world = World::new();
        world.change("one", Some("1"));
        let (_, _, image) = world.good("two", "1");
        let why = world.shelf.fits(&image, "1").expect_err("must be refused");
        assert!(why.message.contains("one has a user with the number 2001"), "{why}");
    }

    #[test]
    fn what_nobody_counts_on_is_removed_and_nothing_else() {
        let world = World::new();
        let files: Vec<String> = ["1", "22", "333"]
            .iter()
            .map(|version| world.change("hello", Some(version)).1.record.current.expect("a file"))
            .collect();
        assert_eq!(world.shelf.unused().expect("listed"), [files[0].clone()]);
        files.iter().for_each(|file| world.shelf.discard(file).expect("asked"));
        let there: Vec<bool> = files.iter().map(|file| world.shelf.path(file).exists()).collect();
        assert_eq!(there, [false, true, true]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Installing, updating and removing in any order, taken back in turn, leaves what was there.
        #[test]
        fn changes_that_are_taken_back_leave_what_was_before(steps in prop::collection::vec(0usize..4, 1..8)) {
            let world = World::new();
            let versions = [Some("1"), Some("22"), Some("333"), None];
            let mut done = Vec::new();
            for step in steps {
                let (before, after) = world.change("hello", versions[step]);
                done.push((before, after));
            }
            for (before, after) in done.into_iter().rev() {
                prop_assert!(world.shelf.is_between("hello", &before, &after).expect("read"));
                world.shelf.put("hello", &after, &before).expect("put");
                prop_assert_eq!(world.shelf.state("hello").expect("read"), before);
            }
            prop_assert_eq!(std::fs::read_dir(world.folder.path().join("services")).expect("read").count(), 0);
        }

        /// A change that was cut off at any file is taken back; one of somebody else's is noticed.
        #[test]
        fn a_change_that_was_cut_off_is_told_from_one_of_somebody_else(cut in 0usize..3) {
            let world = World::new();
            let (_, one) = world.change("hello", Some("1"));
            let (_, two) = world.change("hello", Some("22"));
            let half = match cut {
                0 => State { record: one.record.clone(), services: two.services.clone() },
                1 => State { record: two.record.clone(), services: BTreeMap::new() },
                _ => one.clone(),
            };
            world.shelf.put("hello", &two, &half).expect("put");
            let own = world.shelf.is_between("hello", &one, &two).expect("read");
            prop_assert_eq!(own, cut != 1);
            std::fs::write(world.folder.path().join("services/hello.toml"), "somebody").expect("written");
            prop_assert!(!world.shelf.is_between("hello", &one, &two).expect("read"));
        }
    }
}
