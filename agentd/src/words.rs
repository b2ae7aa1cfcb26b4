//! A sentence as a list of words.

/// A word of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// In lower case, without punctuation around it: for comparing.
    pub key: String,
    /// As it was written, without quotation marks and punctuation around it: for arguments.
    pub text: String,
    /// It stood in quotation marks; it may hold blanks then.
    pub quoted: bool,
    /// It is politeness and carries no meaning.
    pub idle: bool,
    /// First byte in the sentence and the one behind the last.
    span: (usize, usize),
}

impl Word {
    /// Where it begins in the sentence, its quotation mark included.
    pub fn start(&self) -> usize {
        self.span.0
    }

    /// Where what follows it begins.
    pub fn end(&self) -> usize {
        self.span.1
    }
}

/// Words that carry politeness and no meaning; a comparison may leave them out.
const IDLE: &[&str] = &[
    "please",
    "kindly",
    "hey",
    "the",
    "a",
    "an",
    "me",
    "my",
    "just",
    "could",
    "can",
    "would",
    "you",
    "tell",
    "now",
    "currently",
    "there",
    "exactly",
];

/// Longer forms of what people contract.
const CONTRACTED: &[(&str, &[&str])] = &[
    ("what's", &["what", "is"]),
    ("whats", &["what", "is"]),
    ("who's", &["who", "is"]),
    ("how's", &["how", "is"]),
    ("where's", &["where", "is"]),
    ("which's", &["which", "is"]),
    ("when's", &["when", "is"]),
    ("is'nt", &["is", "not"]),
    ("isn't", &["is", "not"]),
    ("i'm", &["i", "am"]),
];

/// Pairs of quotation marks.
const QUOTES: &[(char, char)] =
    &[('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('`', '`'), ('\'', '\''), ('‘', '’')];

/// Cut a sentence into words; text in quotation marks is one word.
pub fn split(sentence: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = sentence;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return words };
        let start = sentence.len() - rest.len();
        if let Some(inner) = quoted(rest, first) {
            let length = first.len_utf8()
                + inner.len()
                + rest[first.len_utf8() + inner.len()..].chars().next().map_or(0, char::len_utf8);
            words.push(Word {
                key: inner.to_lowercase(),
                text: inner.to_owned(),
                quoted: true,
                idle: false,
                span: (start, start + length),
            });
            rest = &rest[length..];
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        plain(&rest[..end], start, &mut words);
        rest = &rest[end..];
    }
}

/// The text up to the closing quotation mark, if `rest` begins with a quotation.
fn quoted(rest: &str, first: char) -> Option<&str> {
    let (open, close) = QUOTES.iter().find(|(open, _)| *open == first)?;
    let inner = &rest[open.len_utf8()..];
    inner.split_once(*close).map(|(text, _)| text)
}

fn plain(raw: &str, start: usize, words: &mut Vec<Word>) {
    let is_edge = |c: char| matches!(c, '?' | '!' | ',' | ';' | ':' | '.' | '(' | ')' | '"' | '…');
    // A leading dot may belong to a file's name, a trailing one ends a sentence.
    let text = raw.trim_end_matches(is_edge).trim_start_matches(|c| is_edge(c) && c != '.');
    if text.is_empty() {
        return;
    }
    let span = (start, start + raw.len());
    let key = text.to_lowercase().replace('’', "'");
    match CONTRACTED.iter().find(|(short, _)| *short == key) {
        Some((_, long)) => words.extend(long.iter().map(|word| Word {
            key: (*word).to_owned(),
            text: (*word).to_owned(),
            quoted: false,
            idle: false,
            span,
        })),
        None => {
            let idle = IDLE.contains(&key.as_str());
            words.push(Word { key, text: text.to_owned(), quoted: false, idle, span });
        }
    }
}

/// What stands in the sentence from the first to the last of these words, as it was written.
pub fn verbatim(sentence: &str, words: &[Word]) -> String {
    match words {
        [] => String::new(),
        [only] => only.text.clone(),
        [first, .., last] => {
            let text = sentence.get(first.span.0..last.span.1).unwrap_or_default();
            let tail = text.len() - (last.span.1 - last.span.0);
            // Punctuation behind the last word belongs to the sentence.
            let cut = text
                .get(tail..)
                .and_then(|raw| raw.find(&last.text))
                .map_or(text.len(), |at| tail + at + last.text.len());
            text.get(..cut).unwrap_or(text).to_owned()
        }
    }
}

/// The stem of a word, roughly: enough that `processes` and `process`, `files` and `file` are one.
pub fn stem(key: &str) -> String {
    let word = key.strip_suffix("'s").unwrap_or(key);
    let cut =
        |suffix: &str, least: usize| word.strip_suffix(suffix).filter(|rest| rest.chars().count() >= least);
    if let Some(rest) = cut("ies", 3) {
        return format!("{rest}y");
    }
    if let Some(rest) = cut("sses", 2).or(cut("shes", 2)).or(cut("ches", 2)).or(cut("xes", 2)) {
        return format!("{rest}{}", &word[rest.len()..word.len() - 2]);
    }
    if word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") {
        return word.to_owned();
    }
    cut("s", 3).unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(sentence: &str) -> Vec<String> {
        split(sentence).into_iter().map(|word| word.key).collect()
    }

    #[test]
    fn punctuation_goes_and_paths_stay() {
        assert_eq!(keys("What's in /etc/os-release?"), ["what", "is", "in", "/etc/os-release"]);
        assert_eq!(keys("read ./x, then .profile."), ["read", "./x", "then", ".profile"]);
    }

    #[test]
    fn a_quotation_is_one_word_as_it_was_written() {
        let words = split("write \"Kept in  Mind\" to /data/Note.txt");
        assert_eq!(words[1].text, "Kept in  Mind");
        assert!(words[1].quoted);
        assert_eq!(words[3].text, "/data/Note.txt");
        assert_eq!(keys("write “a b” now"), ["write", "a b", "now"]);
        assert_eq!(keys("it isn't \"closed"), ["it", "is", "not", "closed"]);
    }

    #[test]
    fn words_between_are_kept_as_they_were_written() {
        let sentence = "write Buy  milk, bread. to /tmp/x";
        let words = split(sentence);
        assert_eq!(verbatim(sentence, &words[1..4]), "Buy  milk, bread");
    }

    #[test]
    fn the_plural_has_the_stem_of_the_singular() {
        for (plural, singular) in [
            ("files", "file"),
            ("processes", "process"),
            ("addresses", "address"),
            ("directories", "directory"),
            ("machine's", "machine"),
        ] {
            assert_eq!(stem(plural), stem(singular), "{plural}");
        }
        assert_eq!(stem("dns"), "dns");
        assert_eq!(stem("status"), "status");
        assert_eq!(stem("this"), "this");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_up_without_a_panic(text in "\\PC{0,80}") {
            let words = split(&text);
            let _ = verbatim(&text, &words);
            words.iter().for_each(|word| { let _ = stem(&word.key); });
        }
    }
}
