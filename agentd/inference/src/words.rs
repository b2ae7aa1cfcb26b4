//! What a question contains: the only place that arguments may be taken from.

/// Words of a question that can become arguments; a longer question loses its end.
const MAX_WORDS: usize = 64;
/// Numbers that people write out.
const NUMBERS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
];

/// A question in pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    lower: String,
    /// The words, in order.
    pub words: Vec<Word>,
    /// The whole numbers, each once.
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
        let numbers = numbers(&lower);
        Self { lower, words, numbers }
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

fn numbers(lower: &str) -> Vec<i64> {
    let mut found = Vec::new();
    for word in lower.split(|c: char| !c.is_alphanumeric()) {
        let spelled = NUMBERS.iter().position(|n| *n == word).and_then(|n| i64::try_from(n).ok());
        if let Some(number) = spelled.or_else(|| word.parse().ok())
            && !found.contains(&number)
        {
            found.push(number);
        }
    }
    found
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
    fn numbers_are_found_in_figures_and_in_words() {
        assert_eq!(Words::of("the top five of 20, and process 4711").numbers, [5, 20, 4711]);
        assert_eq!(Words::of("99999999999999999999").numbers, [0_i64; 0]);
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
