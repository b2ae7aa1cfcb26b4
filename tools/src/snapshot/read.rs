//! Reading a snapshot that anybody may have written.

use super::write::sum_line;
use super::{ABOUT, About, FORMAT, MAX_ENTRIES, MAX_PATHS, SUMS, whole};
use crate::attributes::Attributes;
use crate::file::Facts;
use aios_abi::CallError;
use flate2::read::GzDecoder;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Archive, EntryType, Header};

/// Bytes of [`About`].
const MAX_ABOUT: u64 = 256 << 10;
/// Bytes of the records before an entry: attributes have 64 KiB together, a path 4 KiB.
const MAX_RECORDS: u64 = 256 << 10;
/// Bytes of a line of hashes: a path, each byte of it escaped.
const MAX_LINE: u64 = 16 << 10;

/// An entry of a snapshot.
#[derive(Debug)]
pub struct Item {
    /// Its absolute path, below one of those that were saved.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Owner, mode, time and attributes; of a link, owner and time.
    pub facts: Facts,
    /// Bytes of a file's content.
    pub bytes: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Link(PathBuf),
}

/// What a whole snapshot was.
#[derive(Debug, Default)]
pub struct Whole {
    /// Files, each of which is what its hash says.
    pub files: u64,
    /// Directories and links.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// BLAKE3 of the archive, hexadecimal.
    pub blake3: String,
}

/// Takes what a snapshot holds, in its order.
pub trait Take {
    /// What it says of itself.
    fn about(&mut self, _about: &About) -> Result<(), CallError> {
        Ok(())
    }
    /// One entry. What of a file's content is not read here is read and compared all the same.
    fn item(&mut self, _item: &Item, _content: &mut dyn Read) -> Result<(), CallError> {
        Ok(())
    }
    /// After a file: what its content was, read here or not.
    fn hashed(&mut self, _item: Item, _hash: blake3::Hash) {}
}

/// What it says of itself, and nothing else of it.
pub fn about(source: impl Read) -> Result<About, CallError> {
    let mut archive = Archive::new(GzDecoder::new(source));
    let first = archive.entries().map_err(|e| damaged(&e))?.raw(true).next();
    let mut first = first.ok_or_else(none)?.map_err(|_| none())?;
    if &*first.path_bytes() != ABOUT.as_bytes() || first.size() > MAX_ABOUT {
        return Err(none());
    }
    let mut text = Vec::new();
    first.read_to_end(&mut text).map_err(|e| damaged(&e))?;
    about_from(&text)
}

fn about_from(text: &[u8]) -> Result<About, CallError> {
    let about: About = serde_json::from_slice(text).map_err(|_| none())?;
    if about.format != FORMAT {
        let text = format!("the snapshot has format {}, this release reads {FORMAT}", about.format);
        return Err(CallError::invalid(text));
    }
    if about.paths.is_empty() || about.paths.len() > MAX_PATHS {
        return Err(CallError::invalid(format!("the snapshot names no path, or more than {MAX_PATHS}")));
    }
    for path in &about.paths {
        whole(Path::new(path))?;
    }
    Ok(about)
}

/// Read all of it, compare each file with its hash, and show what is there to `take`. It is whole only if this returns so:
/// what `take` was shown before may be forged.
pub fn read(source: impl Read, take: &mut dyn Take) -> Result<Whole, CallError> {
    let mut unpacked = GzDecoder::new(Hashing { source, hash: blake3::Hasher::new() });
    let whole = read_unpacked(&mut unpacked, take)?;
    let mut rest = unpacked.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(|e| damaged(&e))?;
    Ok(Whole { blake3: rest.hash.finalize().to_hex().to_string(), ..whole })
}

/// The same of the archive within.
pub fn read_unpacked(source: impl Read, take: &mut dyn Take) -> Result<Whole, CallError> {
    let mut archive = Archive::new(source);
    let mut whole = Whole::default();
    let mut about = None;
    let mut records: Option<Vec<u8>> = None;
    let mut sums: Vec<blake3::Hash> = Vec::new();
    let mut lines = blake3::Hasher::new();
    let mut ended = false;
    for entry in archive.entries().map_err(|e| damaged(&e))?.raw(true) {
        let mut entry = entry.map_err(|e| damaged(&e))?;
        if ended {
            return Err(damaged(&"something follows its end"));
        }
        let header = entry.header().clone();
        let kind = header.entry_type();
        if kind == EntryType::XHeader {
            if entry.size() > MAX_RECORDS || records.is_some() {
                return Err(damaged(&"an entry has too many records"));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
            records = Some(bytes);
            continue;
        }
        let Some(about) = &about else {
            if &*entry.path_bytes() != ABOUT.as_bytes() || entry.size() > MAX_ABOUT {
                return Err(none());
            }
            let mut text = Vec::new();
            entry.read_to_end(&mut text).map_err(|e| damaged(&e))?;
            let found = about_from(&text)?;
            take.about(&found)?;
            about = Some(found);
            continue;
        };
        if records.is_none() && &*entry.path_bytes() == SUMS.as_bytes() {
            compare(&mut entry, &sums, &lines.finalize())?;
            ended = true;
            continue;
        }
        let item = item(&header, entry.size(), records.take().as_deref().unwrap_or_default(), about)?;
        if whole.files + whole.others >= MAX_ENTRIES {
            return Err(CallError::invalid(format!("the snapshot has more than {MAX_ENTRIES} entries")));
        }
        if item.kind != Kind::File {
            take.item(&item, &mut std::io::empty())?;
            whole.others += 1;
            continue;
        }
        let mut content = Hashing { source: &mut entry, hash: blake3::Hasher::new() };
        take.item(&item, &mut content)?;
        std::io::copy(&mut content, &mut std::io::sink()).map_err(|e| damaged(&e))?;
        let hash = content.hash.finalize();
        lines.update(&sum_line(&hash, &item.path));
        sums.push(hash);
        whole.files += 1;
        whole.bytes += item.bytes;
        take.hashed(item, hash);
    }
    if !ended {
        return Err(damaged(&"it ends before its end"));
    }
    // What is behind the end is nothing but the rest of a block; a gzip that was cut says so here.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(|e| damaged(&e))?;
    Ok(whole)
}

/// Compare the hashes at the end with what was read. `all` is the hash of all lines as they should be.
fn compare(source: &mut dyn Read, sums: &[blake3::Hash], all: &blake3::Hash) -> Result<(), CallError> {
    let mut reader = BufReader::new(source);
    let mut lines = blake3::Hasher::new();
    let mut line = Vec::new();
    let mut index = 0;
    loop {
        line.clear();
        reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| damaged(&e))?;
        if line.is_empty() {
            break;
        }
        lines.update(&line);
        let text = line.strip_prefix(b"\\").unwrap_or(&line);
        let (hash, path) = text.split_at_checked(64).unwrap_or_default();
        let same = sums.get(index).is_some_and(|sum| sum.to_hex().as_bytes() == hash);
        if !same {
            let path = String::from_utf8_lossy(path);
            return Err(CallError::failed(format!(
                "the snapshot is damaged: /{} is not what its hash says",
                path.trim()
            )));
        }
        index += 1;
    }
    match lines.finalize() == *all {
        true => Ok(()),
        false => Err(damaged(&"its files are not those that its hashes name")),
    }
}

fn item(header: &Header, bytes: u64, records: &[u8], about: &About) -> Result<Item, CallError> {
    let bad = |what: &str| damaged(&what);
    let mut path = header.path_bytes().into_owned();
    let mut link = header.link_name_bytes().map(std::borrow::Cow::into_owned);
    let mut modified = (i64::try_from(header.mtime().map_err(|e| damaged(&e))?).unwrap_or(0), 0);
    let mut attributes = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let (key, value, after) = record(rest).ok_or_else(|| bad("a record is malformed"))?;
        rest = after;
        match key {
            "path" => path = value.to_vec(),
            "linkpath" => link = Some(value.to_vec()),
            "mtime" => modified = time(value).ok_or_else(|| bad("a time is malformed"))?,
            // Who overrides these means another archive than tar(1) shows.
            "size" | "uid" | "gid" => return Err(bad("a record overrides what the header says")),
            key => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    attributes.push((name, value));
                }
            }
        }
    }
    let kind = match header.entry_type() {
        EntryType::Regular => Kind::File,
        EntryType::Directory if bytes == 0 => Kind::Directory,
        EntryType::Symlink if bytes == 0 => {
            let link = link.filter(|link| !link.is_empty() && !link.contains(&0) && link.len() < 4096);
            let link = link.ok_or_else(|| bad("a link has no target"))?;
            Kind::Link(OsStr::from_bytes(&link).into())
        }
        _ => return Err(bad("it holds something else than files, directories and symbolic links")),
    };
    let number = |n: std::io::Result<u64>| -> Result<u32, CallError> {
        n.ok().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| bad("an owner is no number"))
    };
    let mode = header.mode().map_err(|e| damaged(&e))? & 0o7777;
    if kind == Kind::File && mode & 0o6000 != 0 {
        return Err(CallError::denied(
            "a file of the snapshot would give whoever starts it its owner's power",
        ));
    }
    let facts = Facts {
        mode,
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        accessed: modified,
        modified,
        attributes: Some(Attributes::from_all(attributes)?),
    };
    Ok(Item { path: placed(&path, about)?, kind, facts, bytes })
}

/// The absolute path of an entry; it must be one of those that were saved, or lie below one.
fn placed(path: &[u8], about: &About) -> Result<PathBuf, CallError> {
    let relative = Path::new(OsStr::from_bytes(path));
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let absolute: PathBuf = Path::new("/").join(relative.components().collect::<PathBuf>());
    let ours = about.paths.iter().any(|root| absolute.starts_with(root));
    match plain && ours && !path.is_empty() && !path.contains(&0) && path.len() < 4096 {
        true => Ok(absolute),
        false => Err(CallError::denied(format!(
            "the snapshot holds {}, which is not among the paths that it says it holds",
            relative.display()
        ))),
    }
}

/// The first of these records (`LENGTH KEY=VALUE\n`), and the rest.
fn record(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let key = std::str::from_utf8(body.get(..equals)?).ok()?;
    Some((key, body.get(equals + 1..)?, bytes.get(length..)?))
}

/// Seconds since 1970 with a fraction.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanoseconds = format!("{fraction:0<9}").parse().ok().filter(|_| digits)?;
    let seconds = seconds.parse().ok().filter(|seconds| (0..=1 << 40).contains(seconds))?;
    Some((seconds, nanoseconds))
}

/// Hashes what is read.
struct Hashing<R> {
    source: R,
    hash: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

fn none() -> CallError {
    CallError::invalid("it is no snapshot of this appliance: it does not begin with aios-backup.json")
}

fn damaged(why: &dyn std::fmt::Display) -> CallError {
    CallError::failed(format!("the snapshot is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    /// An archive with these entries after its beginning.
    fn archive(entries: &[(&str, EntryType, &[u8])], sums: bool) -> Vec<u8> {
        let about = About {
            format: 1,
            id: String::new(),
            made: String::new(),
            by: "x".into(),
            paths: vec!["/data/a".into()],
        };
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut add = |name: &str, kind: EntryType, content: &[u8]| {
            let mut header = Header::new_ustar();
            // Whatever the library thinks of it.
            let raw = &mut header.as_old_mut().name;
            raw[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o600);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(content.len() as u64);
            if kind == EntryType::Symlink {
                header.set_link_name_literal("/etc/shadow").expect("fits");
            }
            header.set_cksum();
            tar.append(&header, content).expect("is added");
        };
        add(ABOUT, EntryType::Regular, &serde_json::to_vec(&about).expect("JSON"));
        let mut lines = Vec::new();
        for (name, kind, content) in entries {
            add(name, *kind, content);
            if *kind == EntryType::Regular {
                lines.extend(sum_line(&blake3::hash(content), Path::new(name)));
            }
        }
        if sums {
            add(SUMS, EntryType::Regular, &lines);
        }
        tar.into_inner().and_then(GzEncoder::finish).expect("ends")
    }

    #[derive(Default)]
    struct Seen(Vec<PathBuf>);

    impl Take for Seen {
        fn item(&mut self, item: &Item, _: &mut dyn Read) -> Result<(), CallError> {
            self.0.push(item.path.clone());
            Ok(())
        }
    }

    fn paths(bytes: &[u8]) -> Result<Vec<PathBuf>, CallError> {
        let mut seen = Seen::default();
        read(bytes, &mut seen).map(|_| seen.0)
    }

    #[test]
    fn what_is_whole_is_read_and_what_lies_elsewhere_is_refused() {
        use EntryType as T;
        let good = archive(&[("data/a", T::Directory, b""), ("data/a/b", T::Regular, b"text")], true);
        assert_eq!(paths(&good).expect("reads"), [Path::new("/data/a"), Path::new("/data/a/b")]);
        assert_eq!(about(good.as_slice()).expect("reads").paths, ["/data/a"]);
        for name in ["/etc/passwd", "data/a/../../etc/passwd", "../x", "data/ab", "etc/passwd", "", "."] {
            let bad = archive(&[(name, T::Regular, b"x")], true);
            assert!(paths(&bad).is_err(), "{name}");
        }
        for kind in [T::Link, T::Char, T::Block, T::Fifo, T::GNULongName, T::XGlobalHeader, T::GNUSparse] {
            let bad = archive(&[("data/a", kind, b"")], true);
            assert!(paths(&bad).is_err(), "{kind:?}");
        }
        let cut = archive(&[("data/a", T::Regular, b"x")], false);
        assert!(paths(&cut).expect_err("no hashes").message.contains("before its end"));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&[0; 2048]).expect("written");
        assert!(about(gzip.finish().expect("ends").as_slice()).is_err());
    }

    #[test]
    fn a_file_that_is_not_what_its_hash_says_is_named() {
        let good = archive(&[("data/a", EntryType::Regular, b"aaaa")], true);
        let mut plain = Vec::new();
        GzDecoder::new(good.as_slice()).read_to_end(&mut plain).expect("reads");
        let at = plain.windows(4).position(|four| four == b"aaaa").expect("is there");
        plain[at] = b'b';
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain).expect("written");
        let error = paths(&gzip.finish().expect("ends")).expect_err("is altered");
        assert!(error.message.contains("/data/a is not what"), "{error}");
    }

    #[test]
    fn records_and_times_are_read_as_they_are_written() {
        let all = b"30 mtime=1000000000.007654321\n17 user.x=a\nb=\n\n\n";
        let (key, value, rest) = record(all).expect("a record");
        assert_eq!((key, time(value)), ("mtime", Some((1_000_000_000, 7_654_321))));
        assert_eq!(record(rest).map(|(key, value, _)| (key, value)), Some(("user.x", &b"a\nb=\n\n"[..])));
        for bad in ["", "5", "9 a=b\n", "99999999999999999999 a=b\n", "7 a=b\n", "4 ab\n", "0 a=b\n"] {
            assert!(record(bad.as_bytes()).is_none(), "{bad:?}");
        }
        for bad in ["-1", "x", "1.x", "1.0000000001", "99999999999999", "1.-5"] {
            assert!(time(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), at in 0..4000_usize) {
            let _ = paths(&bytes);
            let _ = about(bytes.as_slice());
            let _ = record(&bytes);
            // Tar that was altered anywhere, in gzip that is good.
            let good = archive(&[("data/a", EntryType::Directory, b""), ("data/a/b", EntryType::Regular, b"text")], true);
            let mut plain = Vec::new();
            GzDecoder::new(good.as_slice()).read_to_end(&mut plain).expect("reads");
            let length = plain.len();
            for (offset, byte) in bytes.iter().take(64).enumerate() {
                plain[(at + offset * 37) % length] = *byte;
            }
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&plain).expect("written");
            let altered = gzip.finish().expect("ends");
            if let Ok(paths) = paths(&altered) {
                prop_assert!(paths.iter().all(|path| path.starts_with("/data/a")));
            }
        }
    }
}
