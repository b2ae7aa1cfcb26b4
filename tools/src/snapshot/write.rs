//! Writing a snapshot.

use super::{ABOUT, About, FORMAT, MAX_ENTRIES, STRIDE, SUMS, file_name, room};
use crate::attributes::Attributes;
use crate::ctx::Ctx;
use crate::file::{self, kind_name};
use crate::tool::process::shared::human_bytes;
use aios_abi::{CallError, ErrorCode, who::Role};
use flate2::{Compression, write::GzEncoder};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, Stat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// The draft: always the same, so that one whose writer was killed is overwritten by the next.
const PART: &str = ".aios-backup.part";
/// The hashes, until they are appended.
const PART_SUMS: &str = ".aios-backup.sums";
/// Sentences about what was left out.
const MAX_SAID: usize = 20;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) files: u64,
    pub(crate) others: u64,
    /// Of the files' contents.
    pub(crate) bytes: u64,
    /// Of the archive.
    pub(crate) archive_bytes: u64,
    /// Of the archive.
    pub(crate) blake3: String,
    /// What was not saved: some of it in words, and how much.
    pub(crate) said: Vec<String>,
    pub(crate) left_out: u64,
}

/// What is to be saved, and where.
pub(crate) struct Job<'a> {
    /// The directory that the snapshot is put in, held, and its path.
    pub(crate) folder: &'a OwnedFd,
    pub(crate) place: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) id: &'a str,
    pub(crate) paths: &'a [PathBuf],
    /// Bytes that are to be read, for those who wait.
    pub(crate) expected: u64,
}

/// Save it.
pub(crate) fn write(ctx: &Ctx, job: &Job<'_>) -> Result<Written, CallError> {
    let &Job { folder, place, name, paths, .. } = job;
    let at = |e: Errno| file::error(place, e);
    let own = |name, flags| {
        let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600)).map_err(at)
    };
    let part = own(PART, OFlags::empty())?;
    rustix::fs::flock(&part, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
        Errno::WOULDBLOCK => CallError::new(
            ErrorCode::Conflict,
            format!("another snapshot is being written in {}; wait until it is done", place.display()),
        ),
        e => at(e),
    })?;
    let cleanup = Cleanup(folder);
    rustix::fs::ftruncate(&part, 0).map_err(at)?;
    let sums: File = own(PART_SUMS, OFlags::TRUNC)?.into();
    // It has no name from here on.
    rustix::fs::unlinkat(folder, PART_SUMS, AtFlags::empty()).map_err(at)?;
    let sink = Sink { ctx, folder, file: BufWriter::new(part.into()), hash: blake3::Hasher::new(), bytes: 0 };
    let tar = Builder::new(GzEncoder::new(sink, Compression::fast()));
    let mut writer = Writer {
        ctx,
        job,
        tar,
        sums: BufWriter::new(sums),
        said: 0,
        entries: 0,
        written: Written::default(),
    };
    writer.about()?;
    for path in paths {
        writer.tree(path)?;
    }
    let (written, part) = writer.finish()?;
    part.sync_all().map_err(|e| file::named(place, &e))?;
    rustix::fs::renameat_with(folder, PART, folder, file_name(name), RenameFlags::NOREPLACE).map_err(
        |e| match e {
            Errno::EXIST => exists(name),
            e => at(e),
        },
    )?;
    std::mem::forget(cleanup);
    rustix::fs::fsync(folder).map_err(at)?;
    Ok(written)
}

/// A snapshot is never replaced.
pub(crate) fn exists(name: &str) -> CallError {
    CallError::new(ErrorCode::Conflict, format!("there is a snapshot {name} already; choose another name"))
}

struct Cleanup<'a>(&'a OwnedFd);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.0, PART, AtFlags::empty());
    }
}

/// The draft, its hash, and an eye on the disk.
struct Sink<'a> {
    ctx: &'a Ctx,
    folder: &'a OwnedFd,
    file: BufWriter<File>,
    hash: blake3::Hasher,
    bytes: u64,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        let before = self.bytes;
        self.bytes += written as u64;
        if before == 0 || before / STRIDE != self.bytes / STRIDE {
            self.ctx.check().and_then(|()| room(self.folder, STRIDE)).map_err(std::io::Error::other)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

struct Writer<'a> {
    ctx: &'a Ctx,
    job: &'a Job<'a>,
    tar: Builder<GzEncoder<Sink<'a>>>,
    sums: BufWriter<File>,
    /// Up to here the one who waits knows.
    said: u64,
    entries: u64,
    written: Written,
}

impl<'a> Writer<'a> {
    fn about(&mut self) -> Result<(), CallError> {
        let by = match &self.ctx.caller.person {
            Some(person) => format!("{} ({})", person.name, self.ctx.caller.by),
            None => self.ctx.caller.by.clone(),
        };
        let paths = self.job.paths.iter().map(|path| path.display().to_string()).collect();
        let made = jiff::Timestamp::now().to_string();
        let about = About { format: FORMAT, id: self.job.id.into(), made, by, paths };
        let text = serde_json::to_vec_pretty(&about).map_err(|e| CallError::failed(e.to_string()))?;
        own(&mut self.tar, ABOUT, text.len() as u64, text.as_slice()).map_err(|e| failed(self.job.place, e))
    }

    /// A path and all below it, each directory before what is in it, names in order.
    fn tree(&mut self, root: &Path) -> Result<(), CallError> {
        let device = rustix::fs::lstat(root).map_err(|e| file::error(root, e))?.st_dev;
        let mut open = vec![root.to_path_buf()];
        while let Some(path) = open.pop() {
            self.ctx.check()?;
            if self.ctx.policy.may_see(&path).is_err() {
                self.leave_out(&path, "holds secrets");
            } else if path == self.job.place || path == Path::new(aios_abi::paths::BACKUP) {
                self.leave_out(&path, "holds snapshots");
            } else {
                self.entry(&path, device, &mut open)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, device: u64, open: &mut Vec<PathBuf>) -> Result<(), CallError> {
        // What has gone meanwhile is not there to be saved.
        let stat = match rustix::fs::lstat(path) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|e| file::error(path, e))?,
        };
        if stat.st_dev != device {
            self.leave_out(path, "is on another disk");
            return Ok(());
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            let text = format!("there are more than {MAX_ENTRIES} files; save fewer paths at once");
            return Err(CallError::invalid(text));
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Symlink => self.link(path, &stat),
            FileType::Directory => {
                let Some(folder) = opened(path, OFlags::DIRECTORY)? else { return Ok(()) };
                let stat = rustix::fs::fstat(&folder).map_err(|e| file::error(path, e))?;
                if self.append(path, &stat, EntryType::Directory, &folder)? {
                    let mut names = names(&folder, path)?;
                    names.sort_unstable_by(|a, b| b.cmp(a));
                    open.extend(names);
                }
                Ok(())
            }
            FileType::RegularFile => {
                let Some(open) = opened(path, OFlags::NONBLOCK)? else { return Ok(()) };
                let stat = rustix::fs::fstat(&open).map_err(|e| file::error(path, e))?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                if kind != FileType::RegularFile {
                    self.leave_out(path, "became something else while it was read");
                } else if stat.st_mode & 0o6000 != 0 {
                    self.leave_out(path, "gives whoever starts it its owner's power");
                } else if stat.st_nlink > 1 && file::is_secret(self.ctx, &stat) {
                    self.leave_out(path, "is another name of a file that holds secrets");
                } else if let Err(why) = self.may_be_carried_away(&stat) {
                    self.leave_out(path, &why.message);
                } else {
                    self.append(path, &stat, EntryType::Regular, &open)?;
                }
                Ok(())
            }
            kind => {
                self.leave_out(path, &format!("is a {}", kind_name(kind)));
                Ok(())
            }
        }
    }

    /// In `/data/backup` a snapshot is for administrators to read. Elsewhere it is carried away.
    fn may_be_carried_away(&self, stat: &Stat) -> Result<(), CallError> {
        let private = stat.st_mode & 0o004 == 0;
        match private && self.job.place != Path::new(aios_abi::paths::BACKUP) {
            true => self.ctx.caller.must_be(Role::Admin, "is not readable for everyone: to carry it away"),
            false => Ok(()),
        }
    }

    fn link(&mut self, path: &Path, stat: &Stat) -> Result<(), CallError> {
        let target = std::fs::read_link(path).map_err(|e| file::named(path, &e))?;
        let mut pax = Vec::new();
        let mut header = header(stat, EntryType::Symlink, path, &mut pax);
        if header.set_link_name_literal(target.as_os_str().as_bytes()).is_err() {
            pax.push(("linkpath".to_owned(), target.as_os_str().as_bytes().to_vec()));
        }
        self.put(path, &mut header, &pax, std::io::empty())?;
        self.written.others += 1;
        Ok(())
    }

    /// A file or a directory, unless it has what could not be put back.
    fn append(
        &mut self,
        path: &Path,
        stat: &Stat,
        kind: EntryType,
        open: &OwnedFd,
    ) -> Result<bool, CallError> {
        let mut pax = Vec::new();
        let mut header = header(stat, kind, path, &mut pax);
        let attributes = match Attributes::of(open, path) {
            Ok(attributes) => attributes,
            Err(why) if why.code == ErrorCode::Denied => {
                self.leave_out(path, &format!("cannot be put back: {}", why.message));
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        for (name, value) in attributes.all()? {
            if name.contains('=') {
                self.leave_out(path, "has an extended attribute with `=` in its name");
                return Ok(false);
            }
            pax.push((format!("SCHILY.xattr.{name}"), value));
        }
        if kind == EntryType::Directory {
            self.put(path, &mut header, &pax, std::io::empty())?;
            self.written.others += 1;
            return Ok(true);
        }
        let bytes = stat.st_size.cast_unsigned();
        let duplicate = rustix::io::fcntl_dupfd_cloexec(open, 0).map_err(std::io::Error::from)?;
        let mut content = Content { file: duplicate.into(), left: bytes, hash: blake3::Hasher::new() };
        self.put(path, &mut header, &pax, &mut content)?;
        let sum = sum_line(&content.hash.finalize(), path);
        self.sums.write_all(&sum).map_err(|e| failed(self.job.place, e))?;
        self.written.files += 1;
        self.written.bytes += bytes;
        if self.written.bytes - self.said >= STRIDE {
            self.said = self.written.bytes;
            let percent =
                self.said.saturating_mul(100).checked_div(self.job.expected.max(1)).map(|p| p.min(99));
            let text = format!("{} saved", human_bytes(self.said));
            self.ctx.progress(text, percent.and_then(|percent| u8::try_from(percent).ok()));
        }
        Ok(true)
    }

    fn put(
        &mut self,
        path: &Path,
        header: &mut Header,
        pax: &[(String, Vec<u8>)],
        content: impl Read,
    ) -> Result<(), CallError> {
        let records = pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        header.set_cksum();
        let done = self.tar.append_pax_extensions(records).and_then(|()| self.tar.append(header, content));
        done.map_err(|e| failed(path, e))
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.written.left_out += 1;
        if self.written.said.len() < MAX_SAID {
            self.written.said.push(format!("{} {why}", path.display()));
        }
    }

    fn finish(self) -> Result<(Written, File), CallError> {
        let Self { job: Job { place, .. }, mut tar, sums, mut written, .. } = self;
        let mut sums = sums.into_inner().map_err(|e| file::named(place, e.error()))?;
        let bytes = sums.stream_position()?;
        sums.rewind()?;
        let end =
            own(&mut tar, SUMS, bytes, sums).and_then(|()| tar.into_inner()).and_then(GzEncoder::finish);
        let sink = end.map_err(|e| failed(place, e))?;
        written.archive_bytes = sink.bytes;
        written.blake3 = sink.hash.finalize().to_hex().to_string();
        let part = sink.file.into_inner().map_err(|e| file::named(place, e.error()))?;
        Ok((written, part))
    }
}

/// An entry that is about the snapshot.
fn own<W: Write>(tar: &mut Builder<W>, name: &str, bytes: u64, content: impl Read) -> std::io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
    header.set_size(bytes);
    tar.append_data(&mut header, name, content)
}

/// What came out of a library that only knows errors of reading and writing.
fn failed(place: &Path, e: std::io::Error) -> CallError {
    e.downcast::<CallError>().unwrap_or_else(|e| file::named(place, &e))
}

/// Open what is there; none when it has gone or changed its kind.
fn opened(path: &Path, flags: OFlags) -> Result<Option<OwnedFd>, CallError> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), links) {
        Ok(open) => Ok(Some(open)),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(file::error(path, e)),
    }
}

fn names(folder: &OwnedFd, path: &Path) -> Result<Vec<PathBuf>, CallError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(|e| file::error(path, e))? {
        let entry = entry.map_err(|e| file::error(path, e))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if names.len() as u64 >= MAX_ENTRIES {
            return Err(CallError::invalid(format!("{} holds too many files", path.display())));
        }
        names.push(path.join(OsStr::from_bytes(name.to_bytes())));
    }
    Ok(names)
}

/// The header of an entry. What does not fit into it goes to the records before it.
fn header(stat: &Stat, kind: EntryType, path: &Path, pax: &mut Vec<(String, Vec<u8>)>) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    header.set_mtime(seconds);
    let regular = kind == EntryType::Regular;
    header.set_size(if regular { stat.st_size.cast_unsigned() } else { 0 });
    let relative = path.strip_prefix("/").unwrap_or(path);
    if header.set_path(relative).is_err() {
        let _ = header.set_path("long");
        pax.push(("path".into(), relative.as_os_str().as_bytes().to_vec()));
    }
    if stat.st_mtime_nsec != 0 {
        pax.push(("mtime".into(), format!("{seconds}.{:09}", stat.st_mtime_nsec).into_bytes()));
    }
    header
}

/// A line as b3sum(1) writes it: hash, two spaces, path; one with a line end or a backslash in its path begins with a
/// backslash.
pub(super) fn sum_line(hash: &blake3::Hash, path: &Path) -> Vec<u8> {
    let path = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
    let mut line = Vec::with_capacity(path.len() + 80);
    if path.iter().any(|byte| matches!(byte, b'\\' | b'\n')) {
        line.push(b'\\');
    }
    line.extend_from_slice(hash.to_hex().as_bytes());
    line.extend_from_slice(b"  ");
    for byte in path {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

/// As many bytes of a file as its header promised.
struct Content {
    file: File,
    left: u64,
    hash: blake3::Hasher,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self.file.read(buffer)?;
        if read == 0 {
            return Err(std::io::Error::other(CallError::new(
                ErrorCode::Conflict,
                "a file became shorter while it was read; stop the service that writes it, or try again",
            )));
        }
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.left -= read as u64;
        Ok(read)
    }
}
