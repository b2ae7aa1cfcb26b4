//! What was learned on this machine, and what of it is used: a small file beside the files that were learned.

use aios_abi::infer::Adapted;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Letters of a name: the beginning of a BLAKE3 hash in hexadecimal.
const NAME: usize = 16;
/// A longer file is none of ours.
const MAX_TEXT: u64 = 64 << 10;
/// More bytes have not been learned.
const MAX_LEARNED: u64 = 64 << 20;

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Name of what the image had learned when it was written. What a machine learns goes on from there.
    pub(crate) base: String,
    pub(crate) adapted: Adapted,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Book {
    folder: PathBuf,
    pub(crate) page: Page,
}

impl Book {
    /// Read it. When something is wrong with it, or with what it names, only what the image has learned is used, and the note says why.
    pub(crate) fn open(folder: &Path, base: &str) -> Self {
        let fresh = |note| Page { base: base.into(), adapted: Adapted { note, ..Adapted::default() } };
        let page = read(&folder.join(FILE)).unwrap_or_else(|why| {
            Some(fresh(Some(format!("{FILE}: {why}; only what the image has learned is used"))))
        });
        let mut book = Self { folder: folder.into(), page: page.unwrap_or_else(|| fresh(None)) };
        if book.page.base != base {
            let lost = book.page.adapted.current.is_some();
            let note = "the image has learned something else since; what was learned here with the one before is not used";
            book.page = fresh(lost.then(|| note.to_owned()));
        } else if let Some(name) = book.page.adapted.current.clone()
            && let Err(why) = book.check(&name)
        {
            let adapted = &mut book.page.adapted;
            adapted.current = None;
            adapted.previous = None;
            adapted.note = Some(format!("{name}: {why}; only what the image has learned is used"));
        }
        book
    }

    /// The file of what was learned under a name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.safetensors"))
    }

    /// Whether the file is there and is what it was.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, name: &str) -> Result<(), String> {
        if name.len() != NAME || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("it is no name of something that was learned".into());
        }
        match name_of(&self.file(name))? == name {
            true => Ok(()),
            false => Err("its file is damaged".into()),
        }
    }

    /// Use this from now on. When it cannot be written nothing has changed.
    ///
    /// # Errors
    /// Why it cannot be written, with the file's name.
    pub(crate) fn put(&mut self, adapted: Adapted) -> Result<(), String> {
        let path = self.folder.join(FILE);
        let page = Page { adapted, ..self.page.clone() };
        let text = serde_json::to_string(&page).map_err(|e| e.to_string())?;
        crate::models::write(&path, &text).map_err(|e| format!("{}: {e}", path.display()))?;
        self.page = page;
        Ok(())
    }

    /// Remove what is neither used nor was used before.
    pub(crate) fn tidy(&self) {
        let Adapted { current, previous, .. } = &self.page.adapted;
        let named = [current.clone(), previous.clone()];
        let kept: Vec<PathBuf> = named.iter().flatten().map(|name| self.file(name)).collect();
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_some_and(|end| end == "safetensors") && !kept.contains(&path) {
                // What cannot be removed now is removed another time.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

const FILE: &str = "learned.json";

/// The name of what a file holds.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn name_of(path: &Path) -> Result<String, String> {
    let about = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if about.len() > MAX_LEARNED {
        return Err(format!("has {} bytes, at most {MAX_LEARNED} are read", about.len()));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    Ok(blake3::hash(&bytes).to_hex()[..NAME].to_owned())
}

fn read(path: &Path) -> Result<Option<Page>, String> {
    let about = match std::fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| e.to_string())?,
    };
    if about.len() > MAX_TEXT {
        return Err(format!("it has {} bytes, at most {MAX_TEXT} are read", about.len()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    serde_json::from_str(&text).map(Some).map_err(|e| format!("it is damaged ({e})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(book: &Book, bytes: &[u8]) -> String {
        let draft = book.folder.join("x");
        std::fs::write(&draft, bytes).expect("writes");
        let name = name_of(&draft).expect("is read");
        std::fs::rename(draft, book.file(&name)).expect("moves");
        name
    }

    #[test]
    fn what_was_learned_counts_while_it_is_whole_and_the_image_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut book = Book::open(folder.path(), "base");
        assert_eq!(book.page.adapted, Adapted::default());
        let (one, two) = (learned(&book, b"one"), learned(&book, b"two"));
        let adapted = Adapted { current: Some(one.clone()), previous: None, ..Adapted::default() };
        book.put(adapted.clone()).expect("writes");
        book.tidy();
        assert!(book.file(&one).exists() && !book.file(&two).exists());
        assert_eq!(Book::open(folder.path(), "base").page.adapted, adapted);
        let newer = Book::open(folder.path(), "another").page.adapted;
        assert!(newer.current.is_none() && newer.note.is_some_and(|note| note.contains("something else")));
        std::fs::write(book.file(&one), b"0ne").expect("writes");
        let damaged = Book::open(folder.path(), "base").page.adapted;
        assert_eq!(damaged.current, None);
        assert!(damaged.note.is_some_and(|note| note.contains("damaged")));
        for text in ["", "{", "[]", r#"{"base":"base"}"#] {
            std::fs::write(folder.path().join(FILE), text).expect("writes");
            let page = Book::open(folder.path(), "base").page;
            assert!(page.adapted.note.is_some_and(|note| note.starts_with("learned.json: ")), "{text}");
        }
        assert!(book.check("../../etc/passwd").is_err());
    }

    #[test]
    fn what_cannot_be_written_has_not_changed() {
        let mut book = Book { folder: "/no/such/folder".into(), page: Page::default() };
        let why = book.put(Adapted { current: Some("x".into()), ..Adapted::default() }).expect_err("cannot");
        assert!(why.starts_with("/no/such/folder/learned.json: "), "{why}");
        assert_eq!(book.page, Page::default());
    }
}
