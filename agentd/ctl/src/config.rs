//! The machines that were logged into: `$XDG_CONFIG_HOME/aios/config.toml`, readable by its owner only.

use crate::error::{Failure, Outcome};
use crate::pin::Fingerprint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One machine and the login on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The console's address.
    pub url: String,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// Login name.
    pub user: String,
    /// Stands for the login.
    pub token: String,
}

/// All machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The one that is meant when none is named.
    #[serde(default)]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Config {
    /// Read the file; an empty configuration when there is none.
    pub(crate) fn load() -> Outcome<Self> {
        read(&path()?)
    }

    /// Write the file.
    pub(crate) fn save(&self) -> Outcome {
        write(&path()?, self)
    }

    /// The machine that is meant, and its name.
    pub(crate) fn context(&self, wanted: Option<&str>) -> Outcome<(&str, &Context)> {
        let from_environment = std::env::var("AIOS_CONTEXT").ok().filter(|name| !name.is_empty());
        self.pick(wanted.or(from_environment.as_deref()))
    }

    fn pick(&self, wanted: Option<&str>) -> Outcome<(&str, &Context)> {
        let Some(name) = wanted.or(self.current.as_deref()) else {
            return Err(Failure::api(
                "unauthenticated",
                "no machine was logged into yet; begin with `aiosctl claim URL` (a new machine) or `aiosctl login URL`",
            ));
        };
        match self.contexts.get_key_value(name) {
            Some((name, context)) => Ok((name, context)),
            None => {
                let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
                Err(Failure::not_found(format!(
                    "no machine is remembered as {name:?}; {}",
                    match known.is_empty() {
                        true => "log in to one with `aiosctl login URL`".to_owned(),
                        false => format!("remembered are {}", known.join(", ")),
                    }
                )))
            }
        }
    }
}

fn path() -> Outcome<PathBuf> {
    Ok(directory()?.join("config.toml"))
}

/// Our directory of logins.
pub(crate) fn directory() -> Outcome<PathBuf> {
    xdg("XDG_CONFIG_HOME", ".config").ok_or_else(|| {
        Failure::failed("neither XDG_CONFIG_HOME nor HOME is set: there is no place to remember the login in")
    })
}

/// Where the tools of this machine are kept.
pub(crate) fn cache(context: &str) -> Outcome<PathBuf> {
    let directory = xdg("XDG_CACHE_HOME", ".cache").ok_or_else(|| {
        Failure::failed(
            "neither XDG_CACHE_HOME nor HOME is set: there is no place to keep the list of tools in",
        )
    })?;
    // A name is one part of a path, whatever is in it.
    Ok(directory.join("tools").join(format!("{}.json", context.replace('%', "%25").replace('/', "%2F"))))
}

/// Our directory after the XDG Base Directory Specification; relative values are to be ignored.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)));
    base.map(|base| base.join("aios"))
}

/// Read a TOML file; the default when there is none.
pub(crate) fn read<T: DeserializeOwned + Default>(path: &Path) -> Outcome<T> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(Failure::failed(format!("{} cannot be read: {error}", path.display()))),
    };
    toml::from_str(&text).map_err(|error| {
        Failure::failed(format!(
            "{}: {}; mend the file, or remove it and log in again",
            path.display(),
            error.message()
        ))
    })
}

/// Write a TOML file.
pub(crate) fn write(path: &Path, item: &impl Serialize) -> Outcome {
    let text = toml::to_string(item)
        .map_err(|e| Failure::failed(format!("{} cannot be written: {e}", path.display())))?;
    write_whole(path, &text)
}

/// Write a file whole or not at all, for its owner's eyes only.
pub(crate) fn write_whole(path: &Path, text: &str) -> Outcome {
    let failed = |what: &dyn std::fmt::Display| {
        Failure::failed(format!("{} cannot be written: {what}", path.display()))
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| failed(&e))?;
    // The process id keeps two commands at the same time apart; the last rename stands.
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&partial)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&partial);
        failed(&e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config() -> Config {
        let context = Context {
            url: "https://box".into(),
            fingerprint: Fingerprint::parse(&"0a".repeat(32)).expect("fingerprint"),
            user: "admin".into(),
            token: "secret".into(),
        };
        Config { current: Some("box".into()), contexts: [("box".to_owned(), context)].into() }
    }

    #[test]
    fn what_is_written_is_read_again_and_private() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("aios/config.toml");
        assert_eq!(read::<Config>(&path), Ok(Config::default()));
        write(&path, &config()).expect("writes");
        write(&path, &config()).expect("writes again");
        assert_eq!(read::<Config>(&path), Ok(config()));
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("aios")), 0o700);
        assert_eq!(std::fs::read_dir(folder.path().join("aios")).expect("lists").count(), 1);
    }

    #[test]
    fn a_file_that_is_not_understood_is_named_with_a_cure() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "current = 7").expect("writes");
        let said = read::<Config>(&path).expect_err("refused").message;
        assert!(said.contains("config.toml") && said.contains("log in again"), "{said}");
    }

    #[test]
    fn the_machine_is_the_named_one_or_the_last_one() {
        let config = config();
        assert_eq!(config.pick(None).expect("current").0, "box");
        assert_eq!(config.pick(Some("box")).expect("named").0, "box");
        assert!(config.pick(Some("other")).expect_err("unknown").message.contains("remembered are box"));
        assert_eq!(Config::default().pick(None).expect_err("none").exit, crate::error::Exit::Denied);
    }
}
