//! SSH keys of people: which lines are keys that may be kept, and the files of them, where the OpenSSH extension reads them.

use crate::ctx::Ctx;
use crate::file::{self, Facts, Place};
use crate::policy::Policy;
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ssh_key::authorized_keys::ConfigOpts;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PublicKey};
use std::path::Path;

/// The configuration, in which the keys lie.
pub(crate) const CONFIG: &str = "/data/config";
/// Directory of the files of keys below it, one a person: `authorized_keys` (sshd(8)).
const FOLDER: &str = "ssh/keys";
/// What is added to the name of the file of somebody who is disabled: no account has such a name.
pub(crate) const OFF: &str = ".off";
/// Bytes of a file of keys at most.
const MAX_BYTES: usize = 64 << 10;
/// Keys of one person at most.
const MAX_KEYS: usize = 64;
/// Bits of an RSA key at least (NIST SP 800-57 part 1, section 5.6.3).
const LEAST_RSA: usize = 2048;
/// Options of a key that take something away, and none that gives: what is run, and as whom, sshd's configuration says.
const OPTIONS: [&str; 6] =
    ["restrict", "no-agent-forwarding", "no-port-forwarding", "no-pty", "no-user-rc", "no-X11-forwarding"];
/// The same with a value in quotes.
const OPTIONS_WITH_VALUE: [&str; 2] = ["from", "expiry-time"];

/// The files of keys.
pub(crate) struct Keys<'a> {
    policy: &'a Policy,
    config: &'a Path,
}

/// A file that gets another content, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rewrite {
    /// Its name in the directory of keys.
    file: String,
    before: Option<(String, Facts)>,
    after: Option<String>,
}

impl Rewrite {
    /// The keys before.
    pub(crate) fn before(&self) -> &str {
        self.before.as_ref().map_or("", |(text, _)| text)
    }

    /// The keys after.
    pub(crate) fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// The login name of whoever comes with these keys.
    pub(crate) fn whose(&self) -> &str {
        self.file.trim_end_matches(OFF)
    }

    /// The same file with another content.
    pub(crate) fn to(self, after: String) -> Self {
        Self { after: (!after.is_empty()).then_some(after), ..self }
    }
}

impl<'a> Keys<'a> {
    /// Those of the machine.
    pub(crate) fn of(ctx: &'a Ctx) -> Self {
        Self { policy: &ctx.policy, config: Path::new(CONFIG) }
    }

    /// The file of somebody.
    pub(crate) fn file_of(name: &str, disabled: bool) -> String {
        format!("{name}{}", if disabled { OFF } else { "" })
    }

    fn place(&self, file: &str) -> Result<Option<Place>, CallError> {
        let path = self.config.join(FOLDER).join(file);
        match file::place(self.policy, &path.display().to_string()) {
            Ok(place) => Ok(Some(place)),
            // Nobody has had a key yet.
            Err(error) if error.code == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, file: &str) -> Result<Option<(String, Facts)>, CallError> {
        let Some(place) = self.place(file)? else { return Ok(None) };
        let Some(found) = place.existing()? else { return Ok(None) };
        let text = String::from_utf8(found.content).ok().filter(|text| text.len() <= MAX_BYTES);
        let text = text.ok_or_else(|| {
            let path = place.path.display();
            CallError::invalid(format!(
                "{path} is no file of keys (text of at most {MAX_BYTES} bytes); move it away"
            ))
        })?;
        Ok(Some((text, found.facts)))
    }

    /// This file with another content than it has now.
    pub(crate) fn rewrite(&self, file: &str, after: Option<String>) -> Result<Rewrite, CallError> {
        Ok(Rewrite { file: file.into(), before: self.read(file)?, after })
    }

    /// Put somebody's keys out of use, or in use again.
    pub(crate) fn switch(&self, name: &str, off: bool) -> Result<Vec<Rewrite>, CallError> {
        let (on_file, off_file) = (name.to_owned(), format!("{name}{OFF}"));
        let (from, to) = if off { (on_file, off_file) } else { (off_file, on_file) };
        let from = self.rewrite(&from, None)?;
        let mut to = self.rewrite(&to, None)?;
        match (&from.before, &to.before) {
            // There are none, or they are so already.
            (None, _) => return Ok(Vec::new()),
            (Some((text, _)), None) => to.after = Some(text.clone()),
            // What was left behind is older.
            (Some((text, _)), Some(_)) if off => to.after = Some(text.clone()),
            (Some(_), Some(_)) => {
                return Err(CallError::new(
                    ErrorCode::Conflict,
                    format!(
                        "{name} has keys in use and others out of use; remove one of the files in {CONFIG}/{FOLDER}"
                    ),
                ));
            }
        }
        Ok(vec![to, from])
    }

    /// Give all of these files their new content, or none of them.
    pub(crate) fn make(&self, files: &[Rewrite]) -> Result<(), CallError> {
        for (index, file) in files.iter().enumerate() {
            let before = file.before.as_ref().map(|(text, _)| text.as_str());
            if let Err(error) = self.put(&file.file, before, file.after.as_deref(), None) {
                self.take_back(files.get(..index).unwrap_or_default())?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether nobody else has changed them since.
    pub(crate) fn can_be_taken_back(&self, files: &[Rewrite]) -> Result<(), CallError> {
        for file in files {
            let now = self.read(&file.file)?.map(|(text, _)| text);
            let before = file.before.as_ref().map(|(text, _)| text);
            if now.as_ref() != before && now != file.after {
                let (file, text) =
                    (&file.file, "were changed since; undoing would destroy that, so nothing was done");
                return Err(CallError::new(
                    ErrorCode::Conflict,
                    format!("the keys in {FOLDER}/{file} {text}"),
                ));
            }
        }
        Ok(())
    }

    /// Give them the content that they had.
    pub(crate) fn take_back(&self, files: &[Rewrite]) -> Result<(), CallError> {
        self.can_be_taken_back(files)?;
        for file in files.iter().rev() {
            let now = self.read(&file.file)?.map(|(text, _)| text);
            let (text, facts) = file.before.as_ref().map(|(text, facts)| (text.as_str(), facts)).unzip();
            self.put(&file.file, now.as_deref(), text, facts)?;
        }
        Ok(())
    }

    /// Another content, if it is what was found before.
    fn put(
        &self,
        file: &str,
        before: Option<&str>,
        after: Option<&str>,
        facts: Option<&Facts>,
    ) -> Result<(), CallError> {
        if before == after && facts.is_none() {
            return Ok(());
        }
        let place = match (self.place(file)?, after) {
            (Some(place), _) => place,
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                self.make_folder()?;
                self.place(file)?.ok_or_else(|| CallError::failed("the directory of keys cannot be made"))?
            }
        };
        let found = place.existing()?;
        if found.as_ref().map(|found| found.content.as_slice()) != before.map(str::as_bytes) {
            return Err(place.moved());
        }
        match (found, after) {
            (None, None) => Ok(()),
            (Some(found), None) => place.remove(&found),
            (found, Some(text)) => {
                // sshd takes keys only from a file that nobody but root and its owner can write (StrictModes).
                let owner = place.owner()?;
                let as_found = found.as_ref().map(|found| found.facts.clone());
                let given = facts.cloned().or(as_found).unwrap_or_else(|| Facts::new(0o644, owner));
                place.replace(found.as_ref(), text.as_bytes(), &given, facts.is_some())
            }
        }
    }

    fn make_folder(&self) -> Result<(), CallError> {
        let mut path = self.config.to_path_buf();
        for part in Path::new(FOLDER) {
            path.push(part);
            let place = file::place(self.policy, &path.display().to_string())?;
            if place.stat()?.is_none() {
                place.make_directory(0o755)?;
            }
        }
        Ok(())
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Key {
    /// Kind of key, such as `ssh-ed25519`.
    pub(crate) kind: String,
    /// SHA-256 of the key, as `ssh-keygen -l` shows it.
    pub(crate) fingerprint: String,
    /// What stands behind it: mostly whose it is.
    comment: String,
    /// What is taken away from whoever comes with it.
    options: Vec<String>,
}

/// A line that is a key, as it is kept and as it is shown. What gives a key more than to log in is refused, and so is what is
/// too weak. Errors: `Invalid`, `Denied`.
pub(crate) fn parse(line: &str) -> Result<(String, Key), CallError> {
    let line = line.trim();
    if line.len() > 16 << 10 || line.chars().any(char::is_control) {
        return Err(CallError::invalid(
            "the key must be one line of at most 16384 bytes, as `id_ed25519.pub` has it",
        ));
    }
    if line.contains("PRIVATE KEY") {
        return Err(CallError::denied(
            "this is a private key: keep it to yourself and give the one in the file .pub",
        ));
    }
    let (options, key) = split(line).map_err(|e| {
        CallError::invalid(format!(
            "this is no SSH public key ({e}); give the line of a file such as id_ed25519.pub"
        ))
    })?;
    let options: Vec<String> = options.iter().map(str::to_owned).collect();
    options.iter().try_for_each(|option| harmless(option))?;
    match key.key_data() {
        KeyData::Rsa(rsa) => {
            let bits = rsa.n.as_positive_bytes().map_or(0, |bytes| {
                let zeros = bytes.first().map_or(0, |first| first.leading_zeros() as usize);
                bytes.len().saturating_mul(8).saturating_sub(zeros)
            });
            if bits < LEAST_RSA {
                return Err(CallError::denied(format!(
                    "an RSA key of {bits} bits is too weak; make one with `ssh-keygen -t ed25519`"
                )));
            }
        }
        KeyData::Dsa(_) => {
            return Err(CallError::denied(
                "DSA keys are not taken any more; make one with `ssh-keygen -t ed25519`",
            ));
        }
        _ => {}
    }
    if matches!(key.algorithm(), Algorithm::Other(_)) {
        return Err(CallError::invalid(format!("keys of the kind {} are not known here", key.algorithm())));
    }
    let shown = Key {
        kind: key.algorithm().to_string(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        comment: key.comment().to_owned(),
        options,
    };
    let text =
        key.to_openssh().map_err(|e| CallError::invalid(format!("this key cannot be written down: {e}")))?;
    let kept = match shown.options.is_empty() {
        true => text,
        false => format!("{} {text}", shown.options.join(",")),
    };
    Ok((kept, shown))
}

/// Whether an option is one of those that are taken, written in the one way that leaves no doubt where it ends.
fn harmless(option: &str) -> Result<(), CallError> {
    let known = |list: &[&str], name: &str| list.iter().any(|known| known.eq_ignore_ascii_case(name));
    let plain = |value: &str| {
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.is_some_and(|inner| !inner.contains(['"', '\\']))
    };
    let fits = match option.split_once('=') {
        None => known(&OPTIONS, option),
        Some((name, value)) => known(&OPTIONS_WITH_VALUE, name) && plain(value),
    };
    match fits {
        true => Ok(()),
        false => Err(CallError::denied(format!(
            "the option {option} is not for a key here; there are {}, and {} with a value in quotes",
            OPTIONS.join(", "),
            OPTIONS_WITH_VALUE.join(" and ")
        ))),
    }
}

/// Options and key of a line of `authorized_keys`. Options end at the first blank that is not in quotes.
fn split(line: &str) -> Result<(ConfigOpts, PublicKey), ssh_key::Error> {
    if let Ok(key) = PublicKey::from_openssh(line) {
        return Ok((ConfigOpts::default(), key));
    }
    let mut quoted = false;
    let end = line.find(|c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    });
    let (options, key) = line.split_at_checked(end.unwrap_or(line.len())).unwrap_or((line, ""));
    Ok((ConfigOpts::new(options)?, PublicKey::from_openssh(key.trim())?))
}

/// The keys of a file. Lines that are none are passed over.
pub(crate) fn keys(text: &str) -> Vec<Key> {
    text.lines().filter_map(|line| parse(line).ok()).map(|(_, key)| key).take(MAX_KEYS).collect()
}

/// The file with one key more.
pub(crate) fn with(text: &str, line: &str) -> Result<(String, Key), CallError> {
    let (kept, key) = parse(line)?;
    let there = keys(text);
    if there.iter().any(|other| other.fingerprint == key.fingerprint) {
        return Err(CallError::new(
            ErrorCode::Conflict,
            format!("the key {} is there already", key.fingerprint),
        ));
    }
    if there.len() >= MAX_KEYS {
        return Err(CallError::invalid(format!("there are {MAX_KEYS} keys already; remove one first")));
    }
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let after = format!("{text}{end}{kept}\n");
    match after.len() <= MAX_BYTES {
        true => Ok((after, key)),
        false => Err(CallError::invalid(format!("the file would have more than {MAX_BYTES} bytes"))),
    }
}

/// The file without a key: that with this fingerprint or comment, or the same key.
pub(crate) fn without(text: &str, which: &str) -> Result<(String, Key), CallError> {
    let given = parse(which).ok().map(|(_, key)| key.fingerprint);
    let fits = |key: &Key| {
        let which = which.trim();
        given.as_deref() == Some(&key.fingerprint) || key.fingerprint == which || key.comment == which
    };
    let found: Vec<Key> = keys(text).into_iter().filter(fits).collect();
    let [key] = found.as_slice() else {
        let text = match found.is_empty() {
            true => format!("there is no key `{}`; users.list shows all", which.trim()),
            false => format!("{} keys are called so; name one by its fingerprint", found.len()),
        };
        return Err(CallError::not_found(text));
    };
    let stays = |line: &&str| parse(line).map_or(true, |(_, other)| other.fingerprint != key.fingerprint);
    let after = text.lines().filter(stays).map(|line| format!("{line}\n")).collect();
    Ok((after, key.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made with ssh-keygen; nobody has the private keys.
    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ bob@laptop";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTPzd2t27+t0DEHBPt7iOD23TspYLrm";

    fn policy(root: &Path) -> Policy {
        Policy {
            writable: vec![root.into()],
            secret: Vec::new(),
            kept: Vec::new(),
            guarded: Vec::new(),
            own_pid: std::process::id(),
        }
    }

    #[test]
    fn a_key_is_taken_with_options_that_take_away_and_no_others() {
        let (kept, key) = parse(&format!("  {ED25519}\n")).expect("a key");
        assert_eq!(kept, ED25519);
        assert_eq!((key.kind.as_str(), key.comment.as_str()), ("ssh-ed25519", "bob@laptop"));
        assert!(key.fingerprint.starts_with("SHA256:"));
        let bare = ED25519.trim_end_matches(" bob@laptop");
        assert_eq!(parse(&format!("restrict {bare}")).expect("a key").0, format!("restrict {bare}"));
        let limited = format!(r#"restrict,from="10.0.0.0/8,192.0.2.7",no-pty {ED25519}"#);
        assert_eq!(parse(&limited).expect("a key").0, limited);
        for option in [
            r#"command="/bin/sh""#,
            r#"environment="LD_PRELOAD=x""#,
            "cert-authority",
            r#"permitopen="*:*""#,
            r#"tunnel="0""#,
            "agent-forwarding",
            r#"restrict,command="x""#,
            r#"from="a\",command="x""#,
            r#"from="a"#,
            "from=a",
            r#"no-pty="a""#,
        ] {
            let error = parse(&format!("{option} {ED25519}")).expect_err(option);
            assert!(matches!(error.code, ErrorCode::Denied | ErrorCode::Invalid), "{option}: {error}");
        }
    }

    #[test]
    fn what_is_no_public_key_or_a_weak_one_is_refused() {
        for bad in [
            "",
            "#",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "ssh-dss AAAAB3NzaC1kc3MAAAABAAAAAAAAAAAAAAA=",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ a\nssh-rsa x",
            // 512 bits.
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7VJTUt9Us8cKjMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvuNMoSfm75",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_added_once_and_removed_by_what_it_is_known_by() {
        let (one, key) = with("", ED25519).expect("is added");
        assert_eq!(with(&one, ED25519).expect_err("twice").code, ErrorCode::Conflict);
        let commented = format!("# by hand\n{}", one.trim_end());
        let (two, other) = with(&commented, OTHER).expect("is added");
        assert_eq!(keys(&two).len(), 2);
        for which in ["bob@laptop", key.fingerprint.as_str(), ED25519] {
            let (left, gone) = without(&two, which).expect("is removed");
            assert_eq!((left.as_str(), &gone), (format!("# by hand\n{OTHER}\n").as_str(), &key));
        }
        assert_eq!(without(&two, &other.fingerprint).expect("is removed").0, format!("{commented}\n"));
        assert_eq!(without(&two, "nobody").expect_err("none").code, ErrorCode::NotFound);
    }

    /// All files of keys.
    fn seen(root: &Path) -> std::collections::BTreeMap<String, String> {
        let folder = std::fs::read_dir(root.join(FOLDER)).into_iter().flatten().flatten();
        let file = |entry: std::fs::DirEntry| {
            let text = std::fs::read_to_string(entry.path()).expect("reads");
            (entry.file_name().to_string_lossy().into_owned(), text)
        };
        folder.map(file).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn files_of_keys_are_taken_back_in_turn(steps in proptest::collection::vec(0..5_u8, 1..8)) {
            let folder = tempfile::tempdir().expect("folder");
            let root = folder.path().canonicalize().expect("a path");
            let policy = policy(&root);
            let keys = Keys { policy: &policy, config: &root };
            let mut done = Vec::new();
            for step in steps {
                let before = seen(&root);
                let files = match step {
                    0 | 1 => {
                        let file = keys.rewrite("bob", None).expect("reads");
                        match with(file.before(), if step == 0 { ED25519 } else { OTHER }) {
                            Ok((after, _)) => vec![file.to(after)],
                            Err(_) => continue,
                        }
                    }
                    2 | 3 => match keys.switch("bob", step == 2) {
                        Ok(files) => files,
                        Err(_) => continue,
                    },
                    _ => vec![
                        keys.rewrite("bob", None).expect("reads"),
                        keys.rewrite("bob.off", None).expect("reads"),
                    ],
                };
                keys.make(&files).expect("is made");
                done.push((before, files));
            }
            for (before, files) in done.into_iter().rev() {
                keys.take_back(&files).expect("is taken back");
                prop_assert_eq!(seen(&root), before);
            }
        }

        #[test]
        fn no_text_makes_the_reader_of_keys_panic(text in ".{0,200}", which in ".{0,40}") {
            let line = format!("ssh-ed25519 {text}");
            let _ = (parse(&text), parse(&line), with(&text, &line), without(&text, &which), keys(&text));
        }
    }

    #[test]
    fn keys_of_somebody_disabled_are_out_of_use_and_what_others_changed_since_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().canonicalize().expect("a path");
        let policy = policy(&root);
        let keys = Keys { policy: &policy, config: &root };
        let (text, _) = with("", ED25519).expect("is added");
        keys.make(&[keys.rewrite("bob", None).expect("reads").to(text.clone())]).expect("is made");
        let off = keys.switch("bob", true).expect("is switched");
        keys.make(&off).expect("is made");
        assert_eq!(seen(&root), [("bob.off".to_owned(), text)].into());
        std::fs::write(root.join(FOLDER).join("bob"), OTHER).expect("writes");
        assert_eq!(keys.take_back(&off).expect_err("somebody's").code, ErrorCode::Conflict);
        assert_eq!(seen(&root).len(), 2);
    }
}
