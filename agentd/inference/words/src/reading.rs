//! From what an encoder points at in a question to the values of arguments.
//!
//! A reader is given a form, the names of a tool's arguments, and a question. For each blank it says how likely
//! each place of the question is the begin and the end of what belongs there, how likely each of the blank's own
//! options is meant, and how likely nothing is. What the places say is read off here: text is taken as it stands,
//! a number in the unit that the argument counts in.

use crate::numbers::{self, Number};
use crate::schema::{Arguments, Field, Shape};
use aios_abi::engine::{Blank, Form, Pointed};
use serde_json::{Map, Value};
use std::ops::Range;

/// Places of one kind that are looked at for each blank: what comes after the likeliest ones is never taken.
const LIKELIEST: usize = 8;

/// What an option stands for when the argument is true or false.
const TRUTHS: [(&str, bool); 2] = [("yes", true), ("no", false)];

/// A value that a blank may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Guess {
    /// The value; none when the question says nothing of it.
    pub value: Option<Value>,
    /// Its probability among all guesses for this blank, 0 to 1.
    pub likely: f32,
}

/// The arguments of a tool as a form. Lists of objects have no blank in it, and neither has what is known already.
pub fn form(tool: &str, arguments: &Arguments, known: &Map<String, Value>) -> Form {
    let blank = |field: &Field| {
        let (options, open) = match item(&field.shape) {
            Shape::Word(words) => (words.clone(), false),
            Shape::Truth => (TRUTHS.map(|(word, _)| word.to_owned()).to_vec(), false),
            Shape::Text | Shape::Whole { .. } => (Vec::new(), true),
            Shape::List { .. } | Shape::Object(_) => return None,
        };
        Some(Blank { name: field.name.clone(), options, open })
    };
    let fields = arguments.fields.iter().filter(|field| !known.contains_key(&field.name));
    Form { tool: tool.to_owned(), blanks: fields.filter_map(blank).collect() }
}

/// What stands in a list; anything else stands for itself.
fn item(shape: &Shape) -> &Shape {
    match shape {
        Shape::List { item, .. } => item,
        other => other,
    }
}

/// The value that an option stands for.
pub fn option(shape: &Shape, word: &str) -> Option<Value> {
    match item(shape) {
        Shape::Truth => TRUTHS.iter().find(|(name, _)| *name == word).map(|(_, truth)| Value::from(*truth)),
        Shape::Whole { .. } => word.parse::<i64>().ok().map(Value::from),
        _ => Some(Value::from(word)),
    }
}

/// The places of a question where a value stands, in bytes; none when it is not said there.
pub fn places(question: &str, field: &Field, value: &Value) -> Vec<Range<usize>> {
    match value {
        Value::String(text) => occurrences(question, text),
        Value::Number(number) => {
            let Some(wanted) = number.as_i64() else { return Vec::new() };
            let unit = numbers::unit_of(&field.name);
            let found = numbers::found(question).into_iter();
            found.filter(|number| number.worth(unit).contains(&wanted)).map(|number| number.place).collect()
        }
        _ => Vec::new(),
    }
}

/// Where a text stands as a whole: not in the middle of a longer word, unless it stands nowhere else.
fn occurrences(question: &str, text: &str) -> Vec<Range<usize>> {
    if text.is_empty() {
        return Vec::new();
    }
    let starts = question.char_indices().map(|(at, _)| at);
    let all: Vec<Range<usize>> = starts
        .filter_map(|from| {
            let range = from..from + text.len();
            question.get(range.clone()).filter(|part| part.eq_ignore_ascii_case(text)).map(|_| range)
        })
        .collect();
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_whole = |range: &Range<usize>| {
        let (before, after) =
            (question[..range.start].chars().next_back(), question[range.end..].chars().next());
        !inside(before) && !inside(after)
    };
    match all.iter().any(is_whole) {
        true => all.into_iter().filter(is_whole).collect(),
        false => all,
    }
}

/// The same place without a word that is cut: the encoder's pieces are shorter than words.
fn whole(question: &str, range: Range<usize>) -> Range<usize> {
    let inside = question.get(range.clone()).unwrap_or_default();
    let before = match inside.starts_with(char::is_alphanumeric) {
        true => letters(question.get(..range.start).unwrap_or_default().chars().rev()),
        false => 0,
    };
    let after = match inside.ends_with(char::is_alphanumeric) {
        true => letters(question.get(range.end..).unwrap_or_default().chars()),
        false => 0,
    };
    range.start - before..range.end + after
}

/// Bytes of the letters and figures that come first.
fn letters(characters: impl Iterator<Item = char>) -> usize {
    characters.take_while(|c| c.is_alphanumeric()).map(char::len_utf8).sum()
}

/// What a blank may hold, the likeliest first; the probabilities add up to 1. Nothing is guessed that does not fit
/// the field, and not that a required one is absent.
pub fn guesses(question: &str, field: &Field, tokens: &[(u32, u32)], pointed: &Pointed) -> Vec<Guess> {
    let Some(places) = Places::of(question, tokens, pointed) else { return Vec::new() };
    let mut guesses: Vec<Guess> = Vec::new();
    let mut add = |value: Option<Value>, likely: f32| {
        match guesses.iter_mut().find(|guess| guess.value == value) {
            Some(guess) => guess.likely += likely,
            None => guesses.push(Guess { value, likely }),
        };
    };
    let absent = places.both(0, 0);
    if !field.required {
        add(None, absent);
    }
    match &field.shape {
        Shape::List { .. } => {
            if let Some((list, likely)) = places.list(field) {
                add(Some(Value::from(list)), likely * (1.0 - absent));
            }
        }
        shape => {
            for (n, word) in pointed.options.iter().enumerate() {
                if let Some(value) = option(shape, word) {
                    add(Some(value), places.both(n + 1, n + 1));
                }
            }
            for (range, likely) in places.spans() {
                if let Some(value) = places.value(field, range) {
                    add(Some(value), likely);
                }
            }
        }
    }
    guesses.retain(|guess| {
        guess.likely.is_finite()
            && guess.value.as_ref().is_none_or(|value| field.shape.check(&field.name, value).is_ok())
    });
    guesses.sort_by(|a, b| b.likely.total_cmp(&a.likely));
    let sum: f32 = guesses.iter().map(|guess| guess.likely).sum();
    if sum > 0.0 {
        guesses.iter_mut().for_each(|guess| guess.likely /= sum);
    }
    guesses
}

/// What is pointed at, with probabilities: first "absent", then the options, then the tokens.
struct Places<'a> {
    question: &'a str,
    tokens: &'a [(u32, u32)],
    options: &'a [String],
    starts: Vec<f32>,
    ends: Vec<f32>,
    numbers: Vec<Number>,
}

impl<'a> Places<'a> {
    /// Nothing when the parts of the answer do not belong together.
    fn of(question: &'a str, tokens: &'a [(u32, u32)], pointed: &'a Pointed) -> Option<Self> {
        let count = 1 + pointed.options.len();
        let fits = |list: &[f32]| list.len() == count || list.len() == count + tokens.len();
        if !fits(&pointed.starts) || pointed.starts.len() != pointed.ends.len() {
            return None;
        }
        let probabilities = |list: &[f32]| list.iter().map(|likely| likely.exp()).collect();
        Some(Self {
            question,
            tokens,
            options: &pointed.options,
            starts: probabilities(&pointed.starts),
            ends: probabilities(&pointed.ends),
            numbers: numbers::found(question),
        })
    }

    fn both(&self, start: usize, end: usize) -> f32 {
        self.starts.get(start).zip(self.ends.get(end)).map_or(0.0, |(start, end)| start * end)
    }

    /// The likeliest tokens of a list of probabilities, without the options.
    fn likeliest(&self, list: &[f32]) -> Vec<usize> {
        let mut tokens: Vec<usize> = (1 + self.options.len()..list.len()).collect();
        tokens.sort_by(|a, b| list[*b].total_cmp(&list[*a]));
        tokens.truncate(LIKELIEST);
        tokens
    }

    fn spans(&self) -> Vec<(Range<usize>, f32)> {
        let (starts, ends) = (self.likeliest(&self.starts), self.likeliest(&self.ends));
        let pairs = starts.iter().flat_map(|start| ends.iter().map(move |end| (*start, *end)));
        pairs
            .filter(|(start, end)| start <= end)
            .filter_map(|(start, end)| Some((self.range(start, end)?, self.both(start, end))))
            .collect()
    }

    /// The bytes from one token to another.
    fn range(&self, start: usize, end: usize) -> Option<Range<usize>> {
        let token = |n: usize| self.tokens.get(n - 1 - self.options.len());
        let range = token(start)?.0 as usize..token(end)?.1 as usize;
        self.question.get(range.clone()).map(|_| range)
    }

    /// What stands there.
    fn value(&self, field: &Field, range: Range<usize>) -> Option<Value> {
        match item(&field.shape) {
            Shape::Text => {
                let text = self.question.get(whole(self.question, range))?.trim();
                (!text.is_empty()).then(|| Value::from(text))
            }
            Shape::Whole { .. } => {
                let touches =
                    |number: &&Number| number.place.start < range.end && range.start < number.place.end;
                let number = self.numbers.iter().find(touches)?;
                number.worth(numbers::unit_of(&field.name)).first().map(|number| Value::from(*number))
            }
            _ => None,
        }
    }

    /// The items of a list, in the order of the question, and how well that many fit: each of them should be
    /// pointed at equally (the Kullback-Leibler divergence from that says how far it is from so).
    fn list(&self, field: &Field) -> Option<(Vec<Value>, f32)> {
        let mut starts: Vec<usize> = (1..self.starts.len()).collect();
        starts.sort_by(|a, b| self.starts[*b].total_cmp(&self.starts[*a]));
        starts.truncate(2 * LIKELIEST);
        let said: f32 = self.starts.iter().skip(1).sum();
        let mut best: Option<(usize, f32)> = None;
        let mut sum = 0.0;
        for (n, start) in starts.iter().enumerate() {
            sum += (self.starts[*start] / said).max(f32::MIN_POSITIVE).ln();
            let count = (n + 1) as f32;
            let divergence = -(sum / count) - count.ln();
            if best.is_none_or(|(_, least)| divergence < least) {
                best = Some((n + 1, divergence));
            }
        }
        let (count, divergence) = best?;
        starts.truncate(count);
        starts.sort_unstable();
        let mut values = Vec::new();
        for (n, start) in starts.iter().enumerate() {
            let value = match start.checked_sub(1).and_then(|n| self.options.get(n)) {
                Some(word) => option(&field.shape, word)?,
                None => {
                    let next = starts.get(n + 1).copied().unwrap_or(self.ends.len());
                    let end = (*start..next).max_by(|a, b| self.ends[*a].total_cmp(&self.ends[*b]))?;
                    self.value(field, self.range(*start, end)?)?
                }
            };
            if !values.contains(&value) {
                values.push(value);
            }
        }
        Some((values, (-divergence).exp().min(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Words and marks, with their places.
    fn tokens(question: &str) -> Vec<(u32, u32)> {
        let mut at = 0;
        let place = |piece: &str| {
            at += piece.len();
            (!piece.trim().is_empty()).then_some(((at - piece.len()) as u32, at as u32))
        };
        crate::Words::of(question).pieces().into_iter().filter_map(place).collect()
    }

    fn field(name: &str, schema: &Value, required: bool) -> Field {
        let required = if required { json!([name]) } else { json!([]) };
        let schema = json!({"type": "object", "properties": {name: schema}, "required": required});
        Arguments::parse(&schema.to_string()).expect("is a schema").fields.remove(0)
    }

    /// A reader that is sure of these places, counted as in [`Pointed`]; the weights are those of starts and ends.
    fn pointed(options: &[&str], count: usize, places: &[(usize, usize, f32)]) -> Pointed {
        let size = 1 + options.len() + count;
        let (mut starts, mut ends) = (vec![1e-4f32; size], vec![1e-4f32; size]);
        for (start, end, weight) in places {
            starts[*start] = *weight;
            ends[*end] = *weight;
        }
        let logarithms = |list: Vec<f32>| {
            let sum: f32 = list.iter().sum();
            list.into_iter().map(|x| (x / sum).ln()).collect()
        };
        Pointed {
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            starts: logarithms(starts),
            ends: logarithms(ends),
        }
    }

    fn first(
        question: &str,
        field: &Field,
        options: &[&str],
        places: &[(usize, usize, f32)],
    ) -> Option<Value> {
        let tokens = tokens(question);
        let guesses = guesses(question, field, &tokens, &pointed(options, tokens.len(), places));
        let sum: f32 = guesses.iter().map(|guess| guess.likely).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{guesses:?}");
        guesses.into_iter().next().expect("a guess").value
    }

    #[test]
    fn a_text_is_taken_as_it_stands_and_a_number_in_the_unit_of_its_argument() {
        let text = field("name", &json!({"type": "string"}), true);
        assert_eq!(first("restart Web-2 now", &text, &[], &[(2, 4, 1.0)]), Some(json!("Web-2")));
        assert_eq!(whole("log of homeassistant", 7..11), 7..20, "no word is cut");
        assert_eq!(whole("a/bx-2, c", 2..3), 2..4);
        assert_eq!(whole("/a b", 0..1), 0..1, "a mark goes on nowhere");
        let question = "wait three minutes for 528";
        let seconds = field("seconds", &json!({"type": "integer", "minimum": 0}), false);
        assert_eq!(first(question, &seconds, &[], &[(2, 2, 1.0)]), Some(json!(180)));
        assert_eq!(first(question, &seconds, &[], &[(2, 3, 1.0)]), Some(json!(180)), "with its unit");
        let hours = field("older_hours", &json!({"type": "integer"}), false);
        assert_eq!(first("older than 2 days", &hours, &[], &[(3, 3, 1.0)]), Some(json!(48)));
        let count = field("pid", &json!({"type": "integer"}), true);
        assert_eq!(first(question, &count, &[], &[(5, 5, 1.0)]), Some(json!(528)));
        let bytes = field("max_bytes", &json!({"type": "integer"}), false);
        assert_eq!(first("at most 2 GB", &bytes, &[], &[(3, 3, 1.0)]), Some(json!(2_000_000_000i64)));
        let nice = field("nice", &json!({"type": "integer"}), true);
        assert_eq!(first("nice -5 for it", &nice, &[], &[(3, 3, 1.0)]), Some(json!(-5)));
        let last = field("last_port", &json!({"type": "integer"}), false);
        assert_eq!(first("ports 80-90", &last, &[], &[(4, 4, 1.0)]), Some(json!(90)), "a dash is no minus");
    }

    #[test]
    fn options_stand_for_words_truths_and_what_is_not_said() {
        let word = field("signal", &json!({"enum": ["term", "kill"]}), false);
        assert_eq!(first("end it", &word, &["term", "kill"], &[(2, 2, 1.0)]), Some(json!("kill")));
        let truth = field("all", &json!({"type": "boolean"}), false);
        assert_eq!(first("all", &truth, &["yes", "no"], &[(1, 1, 1.0)]), Some(json!(true)));
        let whole = field("percent", &json!({"type": "integer"}), true);
        assert_eq!(first("stop it", &whole, &["0"], &[(1, 1, 1.0)]), Some(json!(0)));
        assert_eq!(first("end it", &word, &["term", "kill"], &[(0, 0, 1.0)]), None);
    }

    #[test]
    fn what_is_required_is_never_absent_and_what_does_not_fit_is_not_guessed() {
        let port = field("port", &json!({"type": "integer", "maximum": 65535, "minimum": 1}), true);
        assert_eq!(first("open 99999 or 443", &port, &[], &[(0, 0, 1.0)]), Some(json!(443)));
    }

    #[test]
    fn a_list_has_as_many_items_as_are_pointed_at_equally() {
        let names = field("names", &json!({"type": "array", "items": {"type": "string"}}), true);
        let question = "for nas and files please";
        assert_eq!(first(question, &names, &[], &[(2, 2, 1.0), (4, 4, 0.8)]), Some(json!(["nas", "files"])));
        assert_eq!(first(question, &names, &[], &[(4, 4, 1.0), (2, 2, 0.05)]), Some(json!(["files"])));
    }

    #[test]
    fn where_a_value_stands_is_found() {
        let text = field("name", &json!({"type": "string"}), true);
        assert_eq!(places("copy A to a, not to cat", &text, &json!("a")), [5..6, 10..11]);
        let inside = places("use my_a2x a2", &text, &json!("2x"));
        assert_eq!(inside.first(), Some(&(8..10)), "inside of a word when nowhere else");
        let seconds = field("seconds", &json!({"type": "integer"}), true);
        assert_eq!(places("in half an hour, not 1800", &seconds, &json!(1800)), [3..7, 21..25]);
    }

    proptest! {
        #[test]
        fn whatever_is_pointed_at_no_guess_is_wild(
            question in "\\PC{0,60}",
            starts in proptest::collection::vec(-30f32..1.0, 0..40),
            ends in proptest::collection::vec(prop_oneof![Just(f32::NAN), -30f32..1.0], 0..40),
            offsets in proptest::collection::vec((0u32..80, 0u32..80), 0..40),
            options in proptest::collection::vec("[a-z0-9]{1,3}", 0..3),
            which in 0usize..4,
        ) {
            let schema = [
                json!({"type": "string"}),
                json!({"type": "integer", "minimum": 0}),
                json!({"type": "array", "items": {"type": "string"}}),
                json!({"type": "boolean"}),
            ];
            let field = field("x_seconds", &schema[which], false);
            let pointed = Pointed { options, starts, ends };
            for guess in guesses(&question, &field, &offsets, &pointed) {
                prop_assert!(guess.likely.is_finite());
                if let Some(value) = guess.value {
                    prop_assert!(field.shape.check("x", &value).is_ok(), "{}", value);
                }
            }
        }
    }
}
