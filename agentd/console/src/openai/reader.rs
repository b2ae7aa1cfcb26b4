//! Where an answer is text and where it is a call, while it is written. The [grammar](super::tools) makes sure of the
//! form; an engine that has no grammars is read as far as it keeps to it.

use super::tools::{OPEN, Shape, head};
use serde_json::Value;

/// The next piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Words.
    Text(String),
    /// A call of this tool begins.
    Call(String),
    /// Arguments of the call, as JSON.
    Arguments(String),
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Reader {
    /// Tools that may be called, each with its call up to the arguments.
    heads: Vec<(String, String)>,
    state: State,
    /// What was read and cannot be told apart yet.
    held: String,
}

#[derive(Debug)]
enum State {
    /// Words that stay words.
    Words,
    /// Words, until the mark of a call comes.
    Before,
    /// After the mark: which tool?
    Head,
    /// Inside the arguments.
    Arguments(Depth),
    /// After the call.
    After,
}

/// How deep inside a JSON value.
#[derive(Debug, Default)]
struct Depth {
    brackets: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Reader {
    /// Of an answer of this shape.
    pub(super) fn of(shape: &Shape) -> Self {
        let heads = shape.tools().iter().map(|tool| (tool.name.clone(), head(&tool.name))).collect();
        let state = match shape {
            Shape::Words(_) => State::Words,
            Shape::Either(..) => State::Before,
            Shape::Call(_) => State::Head,
        };
        Self { heads, state, held: String::new() }
    }

    /// Read on.
    pub(super) fn read(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.held.push_str(text);
        while self.step(&mut pieces) {}
        pieces
    }

    /// The end: what was held is what it looks like.
    pub(super) fn end(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Arguments(_) | State::After => Vec::new(),
            State::Words | State::Before => text(&rest).into_iter().collect(),
            State::Head => match call(&rest, &self.heads) {
                Some((name, arguments)) => vec![Piece::Call(name), Piece::Arguments(arguments)],
                None => text(&rest).into_iter().collect(),
            },
        }
    }

    /// Take what is certain out of what is held; whether there may be more.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Words => {
                pieces.extend(text(&std::mem::take(&mut self.held)));
                false
            }
            State::Before => match self.held.find(OPEN) {
                Some(at) => {
                    pieces.extend(text(self.held[..at].trim_end()));
                    self.held.drain(..at + OPEN.len());
                    self.state = State::Head;
                    true
                }
                None => {
                    // Blanks before a call belong to nobody.
                    let ready = self.held.len() - begun(&self.held);
                    let ready = self.held[..ready].trim_end().len();
                    let rest = self.held.split_off(ready);
                    pieces.extend(text(&std::mem::replace(&mut self.held, rest)));
                    false
                }
            },
            State::Head => {
                let begin = self.held.trim_start();
                let found = self
                    .heads
                    .iter()
                    .find_map(|(name, head)| Some((name, begin.strip_prefix(head.as_str())?)));
                let Some((name, rest)) = found else { return false };
                pieces.push(Piece::Call(name.clone()));
                self.held = rest.to_owned();
                self.state = State::Arguments(Depth::default());
                true
            }
            State::Arguments(depth) => {
                let held = std::mem::take(&mut self.held);
                let end = held.char_indices().find(|(_, c)| depth.is_end(*c)).map(|(at, _)| at);
                let arguments = &held[..end.unwrap_or(held.len())];
                if !arguments.is_empty() {
                    pieces.push(Piece::Arguments(arguments.to_owned()));
                }
                if end.is_some() {
                    self.state = State::After;
                }
                false
            }
            State::After => {
                self.held.clear();
                false
            }
        }
    }
}

impl Depth {
    /// Whether this character ends the object around the value.
    fn is_end(&mut self, c: char) -> bool {
        if self.in_string {
            match c {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match c {
            '"' => self.in_string = true,
            '{' | '[' => self.brackets += 1,
            '}' | ']' if self.brackets == 0 => return true,
            '}' | ']' => self.brackets -= 1,
            _ => {}
        }
        false
    }
}

fn text(text: &str) -> Option<Piece> {
    (!text.is_empty()).then(|| Piece::Text(text.to_owned()))
}

/// Bytes at the end of a text with which the mark begins.
fn begun(text: &str) -> usize {
    let is_begun = |length: &usize| OPEN.get(..*length).is_some_and(|begin| text.ends_with(begin));
    (1..OPEN.len()).rev().find(is_begun).unwrap_or(0)
}

/// A call that is not written as the grammar writes it.
fn call(text: &str, heads: &[(String, String)]) -> Option<(String, String)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let call = values.next()?.ok()?;
    let name = call.get("name")?.as_str()?;
    let arguments = call.get("arguments")?;
    heads.iter().any(|(known, _)| known == name).then(|| (name.to_owned(), arguments.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::tools::tests::{shape, two};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn reader(choice: &str) -> Reader {
        Reader::of(&shape(json!({ "tools": two(), "tool_choice": choice })).expect("fits"))
    }

    /// Text, tool and arguments of an answer that comes in pieces of so many characters.
    fn read(choice: &str, answer: &str, size: usize) -> (String, Option<String>, String) {
        let mut reader = reader(choice);
        let characters: Vec<char> = answer.chars().collect();
        let mut pieces: Vec<Piece> =
            characters.chunks(size).flat_map(|part| reader.read(&part.iter().collect::<String>())).collect();
        pieces.extend(reader.end());
        let (mut words, mut tool, mut arguments) = (String::new(), None, String::new());
        for piece in pieces {
            match piece {
                Piece::Text(text) => words.push_str(&text),
                Piece::Call(name) => assert_eq!(tool.replace(name), None, "two calls"),
                Piece::Arguments(part) => arguments.push_str(&part),
            }
        }
        (words, tool, arguments)
    }

    #[test]
    fn words_and_calls_are_told_apart_however_they_are_cut() {
        let call = r#"{"name": "weather", "arguments": {"city": "}\"]", "days": [3]}}"#;
        let arguments = r#"{"city": "}\"]", "days": [3]}"#;
        for size in [1, 2, 3, 7, 1000] {
            let found = |text: &str| (text.to_owned(), Some("weather".to_owned()), arguments.to_owned());
            assert_eq!(read("required", call, size), found(""));
            assert_eq!(read("auto", &format!("<tool_call>\n{call}"), size), found(""));
            assert_eq!(
                read("auto", &format!("I look.\n\n<tool_call>\n{call}\n</tool_call> etc."), size),
                found("I look.")
            );
            let words = "a < b\n\n  <tool calls> and <tool_cal";
            assert_eq!(read("auto", words, size), (words.to_owned(), None, String::new()));
            let words = format!("<tool_call>\n{call}");
            assert_eq!(read("none", &words, size), (words.clone(), None, String::new()));
        }
    }

    #[test]
    fn an_answer_that_was_cut_gives_what_is_there() {
        let (text, tool, arguments) = read("required", r#"{"name": "weather", "arguments": {"city": "O"#, 5);
        assert_eq!(
            (text.as_str(), tool.as_deref(), arguments.as_str()),
            ("", Some("weather"), r#"{"city": "O"#)
        );
        assert_eq!(read("required", r#"{"name": "wea"#, 4).1, None);
    }

    #[test]
    fn a_call_in_another_layout_is_understood_at_the_end() {
        let (text, tool, arguments) =
            read("auto", "<tool_call>{\"arguments\":{},\n\"name\":\"now\"}\n</tool_call>", 9);
        assert_eq!((text.as_str(), tool.as_deref(), arguments.as_str()), ("", Some("now"), "{}"));
        assert_eq!(read("required", r#"{"name":"rm","arguments":{}}"#, 9).1, None, "no such tool");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in "(?s)(<tool_call>|\\{\"name\": \"now\", \"arguments\": |[\\[\\]{}\"\\\\ ]|.){0,40}", size in 1usize..9) {
            for choice in ["none", "auto", "required"] {
                let (text, tool, _) = read(choice, &answer, size);
                prop_assert!(tool.is_some() || text.trim_start().len() <= answer.len());
                prop_assert_eq!(read(choice, &answer, size), read(choice, &answer, 1000));
            }
        }
    }
}
