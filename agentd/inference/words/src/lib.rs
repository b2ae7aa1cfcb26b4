//! What a question contains, the only place that arguments may be taken from, and the arguments that it is for.

#![forbid(unsafe_code)]

mod mask;
mod numbers;
pub mod reading;
pub mod schema;

pub use mask::mask;

/// Words of a question that can become arguments; a longer question loses its end.
const MAX_WORDS: usize = 64;
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
        let mut pieces = Vec::new();
        let mut rest = self.question.as_str();
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

    /// Whether the question contains this text; upper and lower case are the same.
    pub fn contains(&self, text: &str) -> bool {
        !text.trim().is_empty() && self.lower.contains(&text.to_lowercase())
    }
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
