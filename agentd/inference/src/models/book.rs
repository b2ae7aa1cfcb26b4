//! Which model each tier uses: a small file, and what may become of its entries.
//!
//! An entry that is on trial when the file is read belongs to a machine that did not survive its model: the one before
//! counts again. So whatever stops in the middle of a change, the next start uses what worked.

use aios_abi::infer::{ModelChoice, Tier, TierModel, model_name_is_plain};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The tiers whose models people choose.
pub const TIERS: [Tier; 2] = [Tier::Operational, Tier::Tactical];
/// A longer file is none of ours.
const MAX_TEXT: u64 = 64 << 10;
/// Bytes of a sentence that is kept.
const MAX_NOTE: usize = 1_000;

/// What one tier uses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The model in use.
    pub current: ModelChoice,
    /// The one before it.
    pub previous: Option<ModelChoice>,
    /// It is on trial.
    pub trial: Option<Trial>,
    /// What went wrong the last time.
    pub note: Option<String>,
}

/// A model on trial.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// What was before the one before.
    pub older: Option<ModelChoice>,
}

impl Entry {
    /// Another model begins its trial. The image's own has none: there is nothing better to go back to.
    pub fn taking(self, to: ModelChoice) -> Self {
        let Self { current, previous, .. } = self;
        let trial = (to != ModelChoice::Image).then_some(Trial { older: previous });
        Self { current: to, previous: Some(current), trial, note: None }
    }

    /// The trial is over, and it worked.
    pub fn passed(self) -> Self {
        Self { trial: None, ..self }
    }

    /// It does not work: the one before counts again.
    pub fn failed(self, why: &str) -> Self {
        let Self { current: bad, previous, trial, .. } = self;
        // One that is broken is nothing to come back to.
        let keeps = |other: &ModelChoice| *other != bad;
        let current = previous.filter(keeps).unwrap_or_default();
        let previous = trial.and_then(|trial| trial.older).filter(keeps).filter(|older| *older != current);
        let mut note = format!("{bad} is not used any more: {why}; {current} is used again");
        note.truncate(note.floor_char_boundary(MAX_NOTE));
        Self { current, previous, trial: None, note: Some(note) }
    }

    /// As others are told.
    pub fn told(&self, tier: Tier) -> TierModel {
        let Self { current, previous, trial, note } = self.clone();
        TierModel { tier, current, previous, trial: trial.is_some(), note }
    }

    fn is_sound(&self) -> bool {
        let older = self.trial.as_ref().and_then(|trial| trial.older.as_ref());
        let named = [Some(&self.current), self.previous.as_ref(), older];
        named.into_iter().flatten().all(|choice| match choice {
            ModelChoice::Image => true,
            ModelChoice::Imported(name) => model_name_is_plain(name),
        })
    }
}

/// The entries of all tiers, and their file.
#[derive(Debug, Default)]
pub struct Book {
    path: Option<PathBuf>,
    entries: BTreeMap<Tier, Entry>,
}

impl Book {
    /// One that remembers nothing.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Read it. The sentences say what is wrong with it; the image's models count then.
    pub fn open(path: &Path) -> (Self, Vec<String>) {
        let mut said = Vec::new();
        let mut entries = read(path).unwrap_or_else(|why| {
            said.push(format!("{}: {why}; the models of the image are used", path.display()));
            BTreeMap::new()
        });
        for (tier, entry) in &mut entries {
            if entry.trial.is_some() {
                *entry = std::mem::take(entry).failed("the machine stopped while it was on trial");
                let note = entry.note.clone().unwrap_or_default();
                said.push(format!("the {} tier: {note}", tier.name()));
            }
        }
        let book = Self { path: Some(path.into()), entries };
        if !said.is_empty() && !book.entries.is_empty() {
            book.save().unwrap_or_else(|why| said.push(why));
        }
        (book, said)
    }

    /// What a tier uses.
    pub fn entry(&self, tier: Tier) -> Entry {
        self.entries.get(&tier).cloned().unwrap_or_default()
    }

    /// Put down what a tier uses. When it cannot be written nothing has changed.
    ///
    /// # Errors
    /// Why it cannot be written, with the file's name.
    pub fn put(&mut self, tier: Tier, entry: Entry) -> Result<(), String> {
        let before = self.entries.insert(tier, entry);
        self.save().inspect_err(|_| {
            match before {
                Some(before) => self.entries.insert(tier, before),
                None => self.entries.remove(&tier),
            };
        })
    }

    fn save(&self) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_string(&self.entries).map_err(|e| e.to_string())?;
        write(path, &text).map_err(|e| format!("{}: {e}", path.display()))
    }
}

fn read(path: &Path) -> Result<BTreeMap<Tier, Entry>, String> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(|e| e.to_string())?,
    };
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text).map_err(|e| e.to_string())?;
    parse(&text)
}

/// What stands in the file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<BTreeMap<Tier, Entry>, String> {
    let entries: BTreeMap<Tier, Entry> =
        serde_json::from_str(text).map_err(|e| format!("it is damaged ({e})"))?;
    match entries.iter().all(|(tier, entry)| TIERS.contains(tier) && entry.is_sound()) {
        true => Ok(entries),
        false => Err("it names a tier or a model that cannot be".into()),
    }
}

/// The old text or the new one, whenever the power goes.
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(name: &str) -> ModelChoice {
        ModelChoice::Imported(name.into())
    }

    #[test]
    fn a_model_that_passes_stays_and_one_that_fails_leaves_everything_as_it_was() {
        let one = Entry::default().taking(named("one"));
        assert!(one.trial.is_some());
        let one = one.passed();
        assert_eq!((one.current.clone(), one.previous.clone()), (named("one"), Some(ModelChoice::Image)));
        let back = one.clone().taking(named("two")).failed("it died");
        assert_eq!(Entry { note: None, ..back.clone() }, one);
        assert_eq!(back.note.as_deref(), Some("two is not used any more: it died; one is used again"));
        // Later, after its trial, too.
        let later = one.clone().taking(named("two")).passed().failed("its file is gone");
        assert_eq!((later.current, later.previous), (named("one"), None));
        let image = one.taking(ModelChoice::Image);
        assert_eq!((image.trial, image.previous), (None, Some(named("one"))));
    }

    #[test]
    fn a_machine_that_stops_in_a_trial_starts_with_the_model_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("models.json");
        let (mut book, said) = Book::open(&path);
        assert_eq!(said, Vec::<String>::new());
        book.put(Tier::Tactical, Entry::default().taking(named("one")).passed()).expect("writes");
        let (mut book, said) = Book::open(&path);
        assert_eq!((book.entry(Tier::Tactical).current, said.len()), (named("one"), 0));
        let entry = book.entry(Tier::Tactical).taking(named("two"));
        book.put(Tier::Tactical, entry).expect("writes");
        for _ in 0..2 {
            let (book, _) = Book::open(&path);
            assert_eq!(book.entry(Tier::Tactical).current, named("one"));
            assert!(book.entry(Tier::Tactical).note.is_some_and(|note| note.contains("two is not used")));
            assert_eq!(book.entry(Tier::Operational), Entry::default());
        }
    }

    #[test]
    fn a_damaged_file_is_said_and_the_images_models_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("models.json");
        for text in [
            "",
            "{",
            "[]",
            r#"{"strategic":{"current":"image","previous":null,"trial":null,"note":null}}"#,
            r#"{"tactical":{"current":{"imported":"../x"},"previous":null,"trial":null,"note":null}}"#,
            r#"{"tactical":{"current":"image"},"x":1}"#,
        ] {
            std::fs::write(&path, text).expect("written");
            let (book, said) = Book::open(&path);
            assert_eq!(book.entry(Tier::Tactical), Entry::default(), "{text}");
            assert!(matches!(&said[..], [why] if why.contains("the models of the image")), "{said:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_has_not_changed() {
        let mut book = Book { path: Some("/no/such/folder/x".into()), entries: BTreeMap::new() };
        let why = book.put(Tier::Tactical, Entry::default().taking(named("one"))).expect_err("no folder");
        assert!(why.starts_with("/no/such/folder/x: "), "{why}");
        assert_eq!(book.entry(Tier::Tactical), Entry::default());
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in ".{0,300}") {
            let _ = parse(&text);
        }

        /// Whatever is tried, and however it ends: what is in use worked before, or is the image's.
        #[test]
        fn whatever_fails_something_that_worked_is_in_use(
            steps in prop::collection::vec((0..4u8, any::<bool>()), 0..30)
        ) {
            let mut entry = Entry::default();
            let mut good = vec![ModelChoice::Image];
            for (name, works) in steps {
                let to = match name {
                    0 => ModelChoice::Image,
                    n => named(&n.to_string()),
                };
                let before = entry.current.clone();
                if to == before {
                    continue;
                }
                entry = entry.taking(to.clone());
                let on_trial = entry.trial.is_some();
                entry = match works || !on_trial {
                    true => entry.passed(),
                    false => entry.failed("x"),
                };
                if works || !on_trial {
                    good.push(to);
                } else {
                    prop_assert_eq!(&entry.current, &before);
                }
                prop_assert!(good.contains(&entry.current));
                prop_assert!(entry.previous.as_ref() != Some(&entry.current));
                prop_assert_eq!(parse(&serde_json::to_string(&BTreeMap::from([(Tier::Tactical, entry.clone())])).expect("json")).map(|all| all[&Tier::Tactical].clone()), Ok(entry.clone()));
            }
        }
    }
}
