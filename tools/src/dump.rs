//! Backups of databases: files that the server's own programs write and read, beside the service and in its sandbox.
//!
//! A backup is a file `NAME` in `/data/postgresql/backup`, made by `pg_dump` in its own format, and `NAME.blake3` with its
//! hash, so that what is restored is what was saved. Changes of a database's structure are files too: the same programs
//! apply each of them once.

use crate::ctx::Ctx;
use crate::file::{self, Facts};
use crate::tool::db::shared::{SOCKET, ask};
use crate::tool::service::shared::{ask as ask_init, unexpected};
use aios_abi::run::{RunEnd, RunHow, RunRequest};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::{CallError, ErrorCode};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The service whose commands write and read backups.
const SERVICE: &str = "postgresql";
/// Where backups are.
pub(crate) const BACKUPS: &str = "/data/postgresql/backup";
/// Where the files are that change databases, in a folder for each.
pub(crate) const MIGRATIONS: &str = "/data/postgresql/migrations";
/// Files that change one database.
const MOST_FILES: usize = 1_000;
/// Bytes of each.
const MAX_FILE: u64 = 16 << 20;
/// Characters of what a program says that are passed on.
const MAX_SAID: usize = 300;

/// A server and the backups of its databases.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    pub(crate) backups: PathBuf,
    pub(crate) migrations: PathBuf,
}

impl Server {
    /// That of the extension.
    pub(crate) fn machines() -> Self {
        Self { socket: SOCKET.into(), backups: BACKUPS.into(), migrations: MIGRATIONS.into() }
    }

    /// Where a backup is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.backups.join(name)
    }

    /// A database that one can connect to must have this name.
    pub(crate) fn has_database(&self, ctx: &Ctx, database: &str) -> Result<(), CallError> {
        const QUERY: &str = "SELECT datname::text FROM pg_database WHERE datallowconn ORDER BY 1";
        if database.contains('=') || database.contains("://") {
            return Err(CallError::invalid(format!(
                "\"{database}\" would mean more than a name to the database's programs; rename it first"
            )));
        }
        let names: Vec<String> = ask(ctx, &self.socket, |client| async move {
            client.query(QUERY, &[]).await?.iter().map(|row| row.try_get(0)).collect()
        })?;
        match names.iter().any(|name| name == database) {
            true => Ok(()),
            false => Err(CallError::not_found(format!(
                "there is no database \"{database}\"; there are: {}",
                names.join(", ")
            ))),
        }
    }

    /// A name of no backup yet: what it is for, the database, the time.
    pub(crate) fn new_name(&self, prefix: &str, database: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let database: String = database.chars().map(plain).take(64).collect();
        let stem = format!("{prefix}{database}-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
        let numbered = |number: u32| match number {
            0 => format!("{stem}.dump"),
            number => format!("{stem}-{number}.dump"),
        };
        (0..).map(numbered).find(|name| self.path(name).symlink_metadata().is_err()).unwrap_or(stem)
    }

    /// Write a database into a new backup; its bytes and their BLAKE3.
    pub(crate) fn dump(&self, ctx: &Ctx, database: &str, name: &str) -> Result<(u64, String), CallError> {
        run(ctx, "dump", &[database, name])?;
        let done = self.hash(ctx, name).and_then(|(bytes, hash)| {
            let mark = self.mark(name);
            let place = file::place(&ctx.policy, &mark.display().to_string())?;
            let before = place.existing()?;
            let text = format!("{hash}  {name}\n");
            place.replace(before.as_ref(), text.as_bytes(), &Facts::new(0o600, place.owner()?), false)?;
            Ok((bytes, hash))
        });
        if done.is_err() {
            let _ = self.remove(name);
        }
        done
    }

    /// Replace all that is in a database by a backup, or nothing.
    pub(crate) fn restore(&self, ctx: &Ctx, database: &str, name: &str) -> Result<(), CallError> {
        run(ctx, "restore", &[database, name]).map(drop)
    }

    /// The files that were applied to a database: names and hashes.
    pub(crate) fn applied(&self, ctx: &Ctx, database: &str) -> Result<BTreeMap<String, String>, CallError> {
        let said = run(ctx, "migrate", &[database])?;
        let pairs = said.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect())
    }

    /// The files that are there for a database, in the order of their names, and their SHA-256.
    pub(crate) fn files(&self, ctx: &Ctx, database: &str) -> Result<Vec<(String, String)>, CallError> {
        if database.starts_with('.') || database.contains('/') {
            return Err(CallError::invalid(format!("\"{database}\" is no name of a folder")));
        }
        let folder = self.migrations.join(database);
        let entries = std::fs::read_dir(&folder).map_err(|e| match e.kind() {
            ErrorKind::NotFound => CallError::not_found(format!(
                "there is no folder {}; put files such as 001-first.sql there",
                folder.display()
            )),
            _ => CallError::failed(format!("{}: {e}", folder.display())),
        })?;
        let named = |name: &String| name.ends_with(".sql") && name.starts_with(|c: char| c.is_ascii_digit());
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(named).take(MOST_FILES + 1).collect();
        if names.len() > MOST_FILES {
            return Err(CallError::invalid(format!(
                "{} holds more than {MOST_FILES} files",
                folder.display()
            )));
        }
        names.sort();
        let hash = |name: String| {
            ctx.check()?;
            check_name(&name)?;
            let path = folder.join(&name);
            let at = |e: std::io::Error| CallError::failed(format!("{}: {e}", path.display()));
            let facts = path.symlink_metadata().map_err(at)?;
            if !facts.is_file() || facts.len() > MAX_FILE {
                let text = format!("{} is no regular file of at most {} MiB", path.display(), MAX_FILE >> 20);
                return Err(CallError::invalid(text));
            }
            let mut bytes = Vec::new();
            File::open(&path).map_err(at)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(at)?;
            let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            Ok((name, hash))
        };
        names.into_iter().map(hash).collect()
    }

    /// Apply one of these files, or nothing of it.
    pub(crate) fn migrate(&self, ctx: &Ctx, database: &str, name: &str, hash: &str) -> Result<(), CallError> {
        run(ctx, "migrate", &[database, name, hash]).map(drop)
    }

    /// That a backup is what was written, if that is known; its bytes.
    pub(crate) fn check(&self, ctx: &Ctx, name: &str) -> Result<u64, CallError> {
        let (bytes, hash) = self.hash(ctx, name)?;
        let mut text = String::new();
        match File::open(self.mark(name)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(bytes),
            other => drop(other?.take(1024).read_to_string(&mut text)?),
        }
        match text.split_ascii_whitespace().next() == Some(hash.as_str()) {
            true => Ok(bytes),
            false => Err(CallError::new(
                ErrorCode::Conflict,
                format!("{} is not what was written into it any more", self.path(name).display()),
            )),
        }
    }

    /// Remove a backup and its hash.
    pub(crate) fn remove(&self, name: &str) -> Result<(), CallError> {
        for path in [self.path(name), self.mark(name)] {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(CallError::failed(format!("{}: {e}", path.display())));
                }
                _ => {}
            }
        }
        Ok(File::open(&self.backups)?.sync_all()?)
    }

    fn mark(&self, name: &str) -> PathBuf {
        self.backups.join(format!("{name}.blake3"))
    }

    fn hash(&self, ctx: &Ctx, name: &str) -> Result<(u64, String), CallError> {
        let path = self.path(name);
        let none = || CallError::not_found(format!("there is no backup {}", path.display()));
        let facts = path.symlink_metadata().map_err(|_| none())?;
        if !facts.is_file() {
            return Err(none());
        }
        let mut open =
            File::open(&path).map_err(|e| CallError::failed(format!("{}: {e}", path.display())))?;
        let (bytes, hash) = file::hash_of(ctx, &mut open)?;
        Ok((bytes, hash.to_hex().to_string()))
    }
}

/// What a backup may be called: what its programs take for a name, and not the file of a hash.
pub(crate) fn check_name(name: &str) -> Result<(), CallError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let suffix = [".blake3", ".part"].iter().any(|suffix| name.ends_with(suffix));
    if name.is_empty() || name.len() > 120 || name.starts_with('.') || suffix || !name.chars().all(good) {
        return Err(CallError::invalid(format!(
            "\"{name}\" is no name of a backup; use up to 120 letters, digits, dots, _ and -, such as shop-before-update.dump"
        )));
    }
    Ok(())
}

/// Run a command of the service, which says in its output what went wrong.
fn run(ctx: &Ctx, command: &str, arguments: &[&str]) -> Result<String, CallError> {
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    let request =
        RunRequest { service: SERVICE.into(), command: command.into(), arguments, how: RunHow::Wait };
    let InitReply::Ran(outcome) = ask_init(ctx, InitRequest::Run(request))? else {
        return Err(unexpected());
    };
    let why = match outcome.end {
        RunEnd::Exited(0) => return Ok(outcome.output),
        RunEnd::Exited(_) => format!("failed: {}", said(&outcome.output)),
        end => end.to_string(),
    };
    Err(CallError::failed(format!("{command} of {SERVICE} {why}")))
}

/// The first line that names an error; others may quote what is in tables.
fn said(output: &str) -> String {
    let names_one = |line: &&str| ["error:", "ERROR:", "FATAL:"].iter().any(|word| line.contains(word));
    let line = output.lines().find(names_one).or(output.lines().next()).unwrap_or("it said nothing");
    line.chars().take(MAX_SAID).collect()
}

/// The directory in which backups are made and removed.
pub(crate) fn changed() -> crate::reach::Paths {
    vec![(crate::reach::Way::Change, Path::new(BACKUPS).into())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_backup_names_nothing_else() {
        for good in ["a", "shop-20260101T000000Z.dump", "A_b.c-1"] {
            check_name(good).expect("a name");
        }
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/x",
            ".hidden",
            "a b",
            "a\n",
            "ä",
            "a.blake3",
            "a.part",
            &"a".repeat(121),
        ] {
            check_name(bad).expect_err(bad);
        }
        let nowhere = || PathBuf::from("/nowhere");
        let server = Server { socket: nowhere(), backups: nowhere(), migrations: nowhere() };
        let name = server.new_name("", "größe/../x y");
        assert!(name.starts_with("gr__e_.._x_y-20") && name.ends_with("Z.dump"), "{name}");
        check_name(&name).expect("a name");
    }

    #[test]
    fn of_what_a_program_says_the_error_is_told() {
        let output = "psql:<stdin>:12: NOTICE: x\npsql:<stdin>:13: ERROR:  relation \"a\" exists\nDETAIL:  Key (x)=(S3CRET)";
        assert_eq!(said(output), "psql:<stdin>:13: ERROR:  relation \"a\" exists");
        assert_eq!(said(""), "it said nothing");
    }
}
