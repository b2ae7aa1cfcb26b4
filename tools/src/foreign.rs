//! Texts that people and other programs wrote, and what is written anew from them: for the fuzzer and for property tests.

use crate::baseline::Baseline;
use crate::repository::{Branch, Status};
use crate::tool::{memory, sec, service, web};
use crate::{chat, nginx, ssh_keys, statement, stored, x509};
use aios_abi::run::{RunEnd, RunOutcome};
use aios_unit::Resources;
use std::path::Path;

/// Takes any bytes at all.
type Parser = fn(&[u8]);

/// Name and parser of each kind of text. None of them may panic, whatever it is given; what a tool makes of a text has to be read
/// back as what was meant.
pub const FOREIGN: &[(&str, Parser)] = &[
    ("nginx", |bytes| {
        let config = nginx::read_text(&text(bytes));
        assert!(config.directives.iter().all(|one| !one.words.is_empty()));
    }),
    ("keys", |bytes| keys(&text(bytes))),
    ("limits", |bytes| limits(&text(bytes))),
    ("policy", |bytes| drop(aios_policy::Document::read(&text(bytes), &[]))),
    ("baseline", |bytes| {
        if let Ok(baseline) = Baseline::read(&text(bytes)) {
            let again = baseline.write().and_then(|text| Baseline::read(&text));
            assert_eq!(again.ok(), Some(baseline));
        }
    }),
    ("statement", |bytes| drop(statement::without_values(&text(bytes)))),
    ("git", |bytes| {
        let text = text(bytes);
        let _ = Status::read("x", &text);
        text.lines().for_each(|line| drop(Branch::read(line)));
    }),
    ("log", |bytes| bytes.split(|byte| *byte == b'\n').for_each(|line| drop(stored::parse(line)))),
    ("certificate", |bytes| {
        x509::of_file(bytes, "x", 0, 0);
        let _ = x509::of_der(bytes, "x", 0, 0);
    }),
    ("sshd", |bytes| {
        assert!(sec::ssh_check::judge(&outcome(&text(bytes))).map_or(true, |judged| judged.score <= 100));
    }),
    ("nginx-test", |bytes| drop(web::shared::Tested::of(&outcome(&text(bytes))))),
    ("nginx-status", |bytes| {
        let _ = web::status::parse(&text(bytes));
    }),
    ("chat", |bytes| drop(chat::render(&text(bytes)))),
    ("swaps", |bytes| drop(memory::swap::areas(&text(bytes), Path::new("/nowhere")))),
];

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn outcome(output: &str) -> RunOutcome {
    RunOutcome { end: RunEnd::Exited(0), output: output.into(), omitted_bytes: 0, duration_ms: 0 }
}

/// A key, and on the lines after it a file of keys: with the key it has one more, and without it those of before.
fn keys(text: &str) {
    let (line, file) = text.split_once('\n').unwrap_or((text, ""));
    let before = ssh_keys::keys(file);
    let Ok((with, key)) = ssh_keys::with(file, line) else { return };
    let prints =
        |text: &str| -> Vec<String> { ssh_keys::keys(text).into_iter().map(|key| key.fingerprint).collect() };
    let had: Vec<String> = before.into_iter().map(|key| key.fingerprint).collect();
    assert_eq!(prints(&with), [&had[..], std::slice::from_ref(&key.fingerprint)].concat());
    let (without, _) = ssh_keys::without(&with, &key.fingerprint).expect("it is there");
    assert_eq!(prints(&without), had);
}

/// Arguments of `service.set_limits`, and on the lines after them a file of limits: if it is accepted with them, it says them,
/// and to set them once more changes nothing.
fn limits(text: &str) {
    let (args, file) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(args) = serde_json::from_str::<service::set_limits::Args>(args) else { return };
    let new = service::set_limits::text(file, &args);
    let place = Path::new("/data/config/services/x.limits");
    let count = |text: &str| aios_unit::limited("x", &Resources::default(), place, text);
    let Ok(all) = count(&new) else { return };
    assert_eq!(count(&service::set_limits::text(&new, &args)).as_ref(), Ok(&all), "{new}");
    // What the arguments alone say is said in the file with them, too.
    if let Ok(asked) = count(&service::set_limits::text("", &args)) {
        let says = |of: fn(&Resources) -> Option<u64>| of(&asked).is_none_or(|asked| of(&all) == Some(asked));
        assert!(says(|all| all.memory_max) && says(|all| all.memory_min), "{new}");
        assert!(says(|all| all.pids_max.map(u64::from)) && says(|all| all.cpu_max.map(u64::from)), "{new}");
        assert!(says(|all| all.cpu_weight.map(u64::from)), "{new}");
    }
}

#[cfg(test)]
mod tests {
    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            super::FOREIGN.iter().for_each(|(_, parse)| parse(&bytes));
        }
    }
}
