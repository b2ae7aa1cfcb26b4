//! Sentences that tools declare, with places for their arguments.
//!
//! From `("read /proc/meminfo", {"path": "/proc/meminfo"})` comes the pattern "read ⟨path⟩": wherever an
//! argument's value stands in the sentence, any value of the same shape may stand. Nothing about a tool
//! is written down here; what a pattern knows, the tool's declaration says.

use crate::schema::Property;
use crate::words::{self, Word, stem};
use aios_abi::tool::Example;
use serde_json::{Map, Value};

/// How a value looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An absolute path.
    Path,
    /// Digits.
    Number,
    /// A name with dots, as hosts have.
    Host,
    /// Anything else.
    Plain,
}

impl Shape {
    /// The shape of a value.
    pub fn of(text: &str) -> Self {
        if text.starts_with('/') {
            Self::Path
        } else if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            Self::Number
        } else if text.contains('.') && !text.contains(char::is_whitespace) {
            Self::Host
        } else {
            Self::Plain
        }
    }

    fn takes(self, word: &Word) -> bool {
        match self {
            Self::Plain => Self::of(&word.text) != Self::Path || word.quoted,
            // A host may have a name without dots.
            Self::Host => matches!(Self::of(&word.text), Self::Host | Self::Plain),
            _ => Self::of(&word.text) == self,
        }
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// This word; the stem of it.
    Word(String),
    /// An argument.
    Slot {
        /// Its name.
        name: String,
        /// How it looks.
        shape: Shape,
        /// It may be several words.
        many: bool,
        /// What the value has at its end and the sentence has not: a line break.
        tail: String,
        /// The value that the declaration's sentence has there.
        sample: String,
    },
}

/// A sentence with places for arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// Its parts.
    pub parts: Vec<Part>,
    /// Arguments that do not stand in the sentence.
    pub fixed: Map<String, Value>,
}

/// What a pattern found in a sentence.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The arguments.
    pub args: Map<String, Value>,
    /// Words that are the pattern's own: more of them mean more certainty.
    pub words: usize,
}

/// The patterns of a tool.
pub fn learn(properties: &[Property], examples: &[Example]) -> Vec<Pattern> {
    let parsed: Vec<(&Example, Map<String, Value>)> = examples
        .iter()
        .filter_map(|example| Some((example, serde_json::from_str(&example.args).ok()?)))
        .collect();
    // An argument that has several words in one sentence may have several in every other.
    let many = |name: &str| {
        parsed
            .iter()
            .any(|(_, args)| args.get(name).and_then(Value::as_str).is_some_and(|v| v.trim().contains(' ')))
    };
    parsed.iter().map(|(example, args)| one(properties, &example.ask, args, &many)).collect()
}

fn one(
    properties: &[Property],
    sentence: &str,
    args: &Map<String, Value>,
    many: &dyn Fn(&str) -> bool,
) -> Pattern {
    let words = words::split(sentence);
    let mut slots: Vec<Option<Part>> = vec![None; words.len()];
    let mut inside = vec![false; words.len()];
    let mut fixed = Map::new();
    for (name, value) in args {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let wanted = words::split(text.trim());
        let place = (!wanted.is_empty() && properties.iter().any(|p| p.name == *name))
            .then(|| position(&words, &wanted, &inside))
            .flatten();
        let Some(at) = place else {
            fixed.insert(name.clone(), value.clone());
            continue;
        };
        inside[at..at + wanted.len()].fill(true);
        slots[at] = Some(Part::Slot {
            name: name.clone(),
            shape: Shape::of(text.trim()),
            many: many(name),
            tail: text[text.trim_end().len()..].to_owned(),
            sample: text.trim().to_owned(),
        });
    }
    let mut parts = Vec::new();
    for ((word, slot), inside) in words.iter().zip(slots).zip(inside) {
        match slot {
            Some(slot) => parts.push(slot),
            None if inside || word.idle => {}
            None => parts.push(Part::Word(stem(&word.key))),
        }
    }
    Pattern { parts, fixed }
}

fn position(words: &[Word], wanted: &[Word], inside: &[bool]) -> Option<usize> {
    (0..=words.len().checked_sub(wanted.len())?).find(|&at| {
        let range = at..at + wanted.len();
        !inside[range.clone()].contains(&true)
            && words[range].iter().zip(wanted).all(|(have, want)| have.key == want.key)
    })
}

impl Pattern {
    /// Compare with a sentence. `properties` are those of the pattern's tool.
    pub fn find(&self, sentence: &str, words: &[Word], properties: &[Property]) -> Option<Found> {
        let own = self.parts.iter().filter(|part| matches!(part, Part::Word(_))).count();
        if own == 0 {
            return None;
        }
        let mut search = Search { sentence, properties, args: self.fixed.clone() };
        search.matches(&self.parts, words).then_some(Found { args: search.args, words: own })
    }
}

struct Search<'a> {
    sentence: &'a str,
    properties: &'a [Property],
    args: Map<String, Value>,
}

impl Search<'_> {
    fn matches(&mut self, parts: &[Part], words: &[Word]) -> bool {
        let Some((part, later)) = parts.split_first() else { return words.iter().all(|word| word.idle) };
        let Some((word, rest)) = words.split_first() else { return false };
        let fits = match part {
            Part::Word(wanted) => !word.quoted && stem(&word.key) == *wanted && self.matches(later, rest),
            Part::Slot { name, shape, many, tail, .. } => {
                let longest = if *many { words.len() } else { 1 };
                // The longest first: what is left out of a value is lost, what it has too much is seen.
                let fits = (1..=longest).rev().any(|length| {
                    let (taken, rest) = words.split_at(length);
                    self.take(name, *shape, taken, tail) && self.matches(later, rest)
                });
                if !fits {
                    self.args.remove(name);
                }
                fits
            }
        };
        fits || (word.idle && self.matches(parts, rest))
    }

    fn take(&mut self, name: &str, shape: Shape, words: &[Word], tail: &str) -> bool {
        if let [only] = words
            && !shape.takes(only)
        {
            return false;
        }
        let text = words::verbatim(self.sentence, words);
        let property = self.properties.iter().find(|property| property.name == name);
        let Some(value) = property.and_then(|property| property.value(&text)) else { return false };
        let value = value.as_str().map(|text| Value::from(format!("{text}{tail}"))).unwrap_or(value);
        self.args.insert(name.to_owned(), value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::catalog;
    use proptest::prelude::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).expect("json")
    }

    fn find(tool: &str, sentence: &str) -> Option<Value> {
        let catalog = catalog();
        let tool = catalog.by_name(tool).expect("is there");
        let words = words::split(sentence);
        let found = tool.patterns.iter().filter_map(|p| p.find(sentence, &words, &tool.properties));
        found.max_by_key(|found| found.words).map(|found| Value::Object(found.args))
    }

    #[test]
    fn a_declared_sentence_matches_itself_with_its_own_arguments() {
        let catalog = catalog();
        for tool in &catalog.tools {
            for example in &tool.info.examples {
                let found = find(&tool.info.name, &example.ask).expect(&example.ask);
                assert_eq!(found, json(&example.args), "{}", example.ask);
            }
        }
    }

    #[test]
    fn other_values_of_the_same_shape_fit() {
        assert_eq!(find("fs.read", "Please read the /etc/hosts!"), Some(json(r#"{"path":"/etc/hosts"}"#)));
        assert_eq!(find("process.kill", "kill process 77"), Some(json(r#"{"pid":77}"#)));
        assert_eq!(
            find("process.list", "show me the top 3 processes by memory"),
            Some(json(r#"{"sort":"memory","limit":3}"#))
        );
        assert_eq!(
            find("fs.write", "write \"kept in mind\" to /data/note.txt"),
            Some(json(r#"{"content":"kept in mind","path":"/data/note.txt"}"#))
        );
        assert_eq!(
            find("fs.write", "append the line The End. to /data/log.txt"),
            Some(json(r#"{"content":"The End\n","path":"/data/log.txt","how":"append"}"#))
        );
        assert_eq!(
            find("fs.write", "write the sum of a and b to /tmp/x"),
            Some(json(r#"{"content":"the sum of a and b","path":"/tmp/x"}"#))
        );
    }

    #[test]
    fn other_shapes_and_longer_sentences_do_not() {
        assert_eq!(find("fs.read", "read my mind"), None);
        assert_eq!(find("process.kill", "kill process tomcat"), None);
        assert_eq!(find("process.list", "show the top 5 processes by colour"), None);
        assert_eq!(find("service.restart", "restart the whole wide world"), None);
        assert_eq!(find("fs.read", "do not read /etc/hosts"), None);
    }

    proptest! {
        #[test]
        fn any_sentence_is_compared_without_a_panic(text in "\\PC{0,60}") {
            let _ = find("fs.write", &text);
            let _ = find("fs.write", &format!("write {text} to /tmp/{text}"));
        }
    }
}
