//! What a question contains, the only place that arguments may be taken from, and the arguments that it is for.

#![forbid(unsafe_code)]

mod mask;
mod numbers;
pub mod reading;
pub mod schema;

pub use mask::mask;

use schema::Pattern;
use std::ops::Range;

/// Words of a question that can become arguments; a longer question loses its end.
const MAX_WORDS: usize = 64;
/// Pieces of a text of a given form: a key in base64 may have forty.
const MAX_PIECES: usize = 48;
/// A question in pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    question: String,
    lower: String,
    /// The words, in order.
    pub words: Vec<Word>,
    /// The whole numbers that it says, each once: `2 hours` says 2, 120, 7,200 and 7,200,000.
    pub numbers: Vec<i64>,
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without the punctuation around it.
    pub core: String,
    /// What stands between it and the next word: punctuation and space.
    pub gap: String,
}

impl Words {
    /// Take a question apart.
    pub fn of(question: &str) -> Self {
        let mut words: Vec<Word> = Vec::new();
        let mut gap = String::new();
        for part in question.split_inclusive(char::is_whitespace) {
            let bare = part.trim_end();
            let tail = part.get(bare.len()..).unwrap_or_default();
            let core = core(bare);
            let (before, after) = match bare.find(core) {
                Some(at) if !core.is_empty() => (bare.get(..at), bare.get(at + core.len()..)),
                _ => (Some(bare), None),
            };
            gap.push_str(before.unwrap_or_default());
            if !core.is_empty() {
                if let Some(last) = words.last_mut() {
                    last.gap = std::mem::take(&mut gap);
                }
                gap.clear();
                words.push(Word { core: core.to_owned(), gap: String::new() });
            }
            gap.push_str(after.unwrap_or_default());
            gap.push_str(tail);
        }
        words.truncate(MAX_WORDS);
        let lower = question.to_lowercase();
        let numbers = numbers::said(question);
        Self { question: question.to_owned(), lower, words, numbers }
    }

    /// The question in pieces that a value can begin or end with: runs of letters and figures, and each other
    /// character by itself.
    pub fn pieces(&self) -> Vec<&str> {
        pieces(&self.question)
    }

    /// The texts of this form that the question contains, each once.
    pub fn of_form(&self, pattern: &Pattern) -> Vec<&str> {
        let mut found = Vec::new();
        for place in of_form(&self.question, pattern) {
            let text = self.question.get(place).unwrap_or_default();
            if !found.contains(&text) {
                found.push(text);
            }
        }
        found
    }

    /// Whether the question contains this text; upper and lower case are the same.
    pub fn contains(&self, text: &str) -> bool {
        !text.trim().is_empty() && self.lower.contains(&text.to_lowercase())
    }
}

fn pieces(question: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = question;
    while let Some(first) = rest.chars().next() {
        let length = match first.is_alphanumeric() {
            true => rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Where texts of this form stand in a question, in bytes: pieces in a row that are no part of a longer such row.
fn of_form(question: &str, pattern: &Pattern) -> Vec<Range<usize>> {
    let mut ends = Vec::new();
    let mut length = 0;
    for piece in pieces(question) {
        length += piece.len();
        ends.push(length);
    }
    let mut found = Vec::new();
    let (mut from, mut reached) = (0, 0);
    for (n, end) in ends.iter().enumerate() {
        let fits = |until: &usize| question.get(from..*until).is_some_and(|text| pattern.fits(text));
        let longest = ends.iter().skip(n).take(MAX_PIECES).copied().rev().find(fits);
        if let Some(until) = longest.filter(|until| *until > reached) {
            reached = until;
            found.push(from..until);
        }
        from = *end;
    }
    found
}

/// A word without the punctuation of the sentence; `/etc/hosts`, `-v` and `~` keep theirs.
fn core(word: &str) -> &str {
    word.trim_start_matches(['"', '\'', '`', '(', '[', '<', '“', '‘', '„', '«', ',', ';']).trim_end_matches([
        '"', '\'', '`', ')', ']', '>', '”', '’', '“', '»', ',', ';', ':', '.', '?', '!', '…',
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cores(question: &str) -> Vec<String> {
        Words::of(question).words.into_iter().map(|w| w.core).collect()
    }

    #[test]
    fn words_lose_the_punctuation_of_the_sentence_and_nothing_else() {
        assert_eq!(cores("what is in \"/etc/hosts\"?"), ["what", "is", "in", "/etc/hosts"]);
        assert_eq!(cores("resolve gateway.lan, please."), ["resolve", "gateway.lan", "please"]);
        assert_eq!(cores(" ... "), [""; 0]);
        assert_eq!(cores("a - b"), ["a", "-", "b"]);
    }

    #[test]
    fn pieces_are_words_and_what_stands_between_them() {
        assert_eq!(Words::of("rm web/blue-2?").pieces(), ["rm", " ", "web", "/", "blue", "-", "2", "?"]);
    }

    fn pattern(text: &str) -> Pattern {
        let schema =
            serde_json::json!({"type": "object", "properties": {"x": {"type": "string", "pattern": text}}});
        match schema::Arguments::parse(&schema.to_string()).expect("is a schema").fields.remove(0).shape {
            schema::Shape::Pattern(pattern) => pattern,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn texts_of_a_form_are_as_long_as_they_can_be_and_named_once() {
        use aios_abi::netconf::{ENDPOINT_FORM, KEY_FORM, PREFIX_FORM};
        let (key, secret) =
            ("O0bR2Ik77hniSNgKl5z+ti9qcneYoNqV7ff2dtmKK1o=", "dcssOmolq8gX1mJjhY45gKijBVY00oR1K8Ag/BpwhW0=");
        let question = format!(
            "at 9:30: wg0 is 10.7.0.2/24, peer {key} at [2001:db8::1]:51820, psk {secret}; 10.7.0.0/24,fd00::/8 behind {key} 24/7"
        );
        let words = Words::of(&question);
        assert_eq!(words.of_form(&pattern(KEY_FORM)), [key, secret]);
        assert_eq!(words.of_form(&pattern(PREFIX_FORM)), ["10.7.0.2/24", "10.7.0.0/24", "fd00::/8"]);
        assert_eq!(words.of_form(&pattern(ENDPOINT_FORM)), ["9:30", "[2001:db8::1]:51820"]);
        assert!(Words::of("").of_form(&pattern("")).is_empty());
    }

    #[test]
    fn what_the_question_does_not_say_is_not_in_it() {
        let words = Words::of("Restart the Console");
        assert!(words.contains("console"));
        assert!(!words.contains("agentd"));
        assert!(!words.contains(""), "nothing is nowhere");
    }

    proptest! {
        #[test]
        fn the_pieces_together_are_the_question(question in "\\PC{0,60}") {
            prop_assert_eq!(Words::of(&question).pieces().concat(), question);
        }

        #[test]
        fn texts_of_a_form_are_in_the_question_and_have_it(question in "[a-c0-2./: ]{0,80}") {
            let form = pattern("^[ab]+/[0-9]+$");
            for text in Words::of(&question).of_form(&form) {
                prop_assert!(question.contains(text) && form.fits(text), "{:?}", text);
            }
        }

        #[test]
        fn any_run_of_words_is_part_of_the_question(question in "\\PC{0,60}", from in 0usize..9, count in 1usize..9) {
            let words = Words::of(&question);
            let run: Vec<&Word> = words.words.iter().skip(from).take(count).collect();
            let mut text = String::new();
            for (n, word) in run.iter().enumerate() {
                text.push_str(&word.core);
                if n + 1 < run.len() {
                    text.push_str(&word.gap);
                }
            }
            prop_assert!(question.contains(&text), "{:?} in {:?}", text, question);
        }
    }
}
