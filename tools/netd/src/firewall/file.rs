//! The firewall on disk: `firewall.toml`, whose first line holds the BLAKE3 hash of the rest. It is replaced in one step, so it
//! is the old one or the new one whenever power goes.

use super::state::State;
use aios_abi::firewall::{Ban, FirewallChange, Prefix, Rule};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// Bytes that are read at most; the most rules and bans that there can be take half of it.
const MAX_BYTES: u64 = 4 << 20;
/// Before the hash.
pub(crate) const MARK: &str = "# BLAKE3 ";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    next: u32,
    #[serde(default)]
    rules: Vec<StoredRule>,
    #[serde(default)]
    bans: Vec<StoredBan>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    id: u32,
    rule: Rule,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredBan {
    of: Prefix,
    ban: Ban,
}

/// What was written; none if nothing ever was. The error is one sentence.
pub(super) fn load(path: &Path, now_ms: u64) -> Result<Option<State>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        Ok(_) => parse(&bytes, now_ms).map(Some).map_err(|why| format!("{}: {why}", path.display())),
    }
}

/// The state that these bytes hold.
pub(crate) fn parse(bytes: &[u8], now_ms: u64) -> Result<State, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("the file is larger than any that was written".into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    let (mark, text) = text.split_once('\n').ok_or("it has no line with its hash")?;
    let hash = blake3::hash(text.as_bytes()).to_hex();
    if mark.strip_prefix(MARK) != Some(hash.as_str()) {
        return Err("it is not as it was written (its hash does not fit)".into());
    }
    let stored: Stored =
        toml::from_str(text).map_err(|error| error.message().trim_end().replace('\n', " "))?;
    // Made anew by the same changes, and so held to the same limits.
    let mut state = State { next: stored.next, ..State::open() };
    let changes = stored.rules.into_iter().map(|StoredRule { id, rule }| FirewallChange::Rule {
        id,
        before: None,
        after: Some(rule),
    });
    let bans = stored.bans.into_iter().map(|StoredBan { of, ban }| FirewallChange::Ban {
        of,
        before: None,
        after: Some(ban),
    });
    for change in changes.chain(bans) {
        state.apply(&change, now_ms).map_err(|error| error.message)?;
    }
    Ok(state)
}

/// As it is written down.
pub(crate) fn text(state: &State) -> Result<String, String> {
    let rules = state.rules.iter().map(|(id, rule)| StoredRule { id: *id, rule: rule.clone() }).collect();
    let bans = state.bans.iter().map(|(of, ban)| StoredBan { of: *of, ban: ban.clone() }).collect();
    let stored = Stored { next: state.next, rules, bans };
    let text = toml::to_string(&stored).map_err(|e| format!("the rules cannot be written down: {e}"))?;
    Ok(format!("{MARK}{}\n{text}", blake3::hash(text.as_bytes()).to_hex()))
}

/// Write it down for good.
pub(super) fn save(path: &Path, state: &State) -> Result<(), String> {
    let text = text(state)?;
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// Keep what cannot be understood for whoever can.
pub(super) fn set_aside(path: &Path) -> String {
    let aside = path.with_extension("toml.broken");
    match std::fs::rename(path, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it stays there ({error})"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use aios_abi::firewall::{Action, Ports, Transport};
    use proptest::prelude::*;

    pub(crate) fn some() -> State {
        let ports = Some(Ports { transport: Transport::Udp, first: 53, last: 60 });
        let from = Some("2001:db8::/32".parse().expect("a prefix"));
        let rule = Rule { action: Action::Deny, from, ports, interface: Some("eth0".into()) };
        let bare = Rule { action: Action::Allow, from: None, ports: None, interface: None };
        let ban = Ban { until_ms: 60_000, seconds: 60, reason: "knocked \"loudly\"".into() };
        let bans = [("192.0.2.0/24".parse().expect("a prefix"), ban)].into();
        State { next: 9, rules: [(3, bare), (7, rule)].into(), bans }
    }

    #[test]
    fn what_was_written_is_read_back_and_bans_end_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("firewall.toml");
        assert_eq!(load(&path, 0), Ok(None));
        save(&path, &some()).expect("writes");
        assert_eq!(load(&path, 1_000), Ok(Some(some())));
        let later = load(&path, 60_000).expect("reads").expect("is there");
        assert_eq!((later.bans.len(), later.rules.len(), later.next), (0, 2, 9));
        // A clock that was set back does not make a ban longer.
        let text = text(&State {
            bans: [(
                "192.0.2.1".parse().expect("a prefix"),
                Ban { until_ms: u64::from(u32::MAX), seconds: 5, reason: String::new() },
            )]
            .into(),
            ..State::open()
        })
        .expect("encodes");
        let bans = parse(text.as_bytes(), 1_000).expect("reads").bans;
        assert_eq!(bans.values().next().map(|ban| ban.until_ms), Some(6_000));
    }

    #[test]
    fn a_file_that_is_no_longer_as_it_was_written_is_refused_wherever_it_is_hurt() {
        let whole = text(&some()).expect("encodes").into_bytes();
        for place in 0..whole.len() {
            let mut hurt = whole.clone();
            hurt[place] ^= 1;
            assert!(parse(&hurt, 0).is_err(), "byte {place}");
            assert!(parse(&whole[..place], 0).is_err(), "cut at {place}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, 0);
        }

        #[test]
        fn any_text_with_a_right_hash_is_read_or_refused_in_one_line(
            text in "(next = [0-9]{1,11}\n|\\[\\[rules\\]\\]\n|\\[\\[bans\\]\\]\n|id = [0-9]{1,3}\n|of = \"[0-9./:]{0,9}\"\n|\\[rules.rule\\]\n|\\[bans.ban\\]\naction = \"deny\"\n|[a-z =\"]{0,9}\n){0,9}",
        ) {
            let whole = format!("{MARK}{}\n{text}", blake3::hash(text.as_bytes()).to_hex());
            if let Err(why) = parse(whole.as_bytes(), 0) {
                prop_assert!(!why.contains('\n'), "{why:?}");
            }
        }
    }
}
