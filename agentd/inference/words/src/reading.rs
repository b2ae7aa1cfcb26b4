//! From what an encoder points at in a question to the values of arguments.
//!
//! A reader is given a form, the names of a tool's arguments, and a question. For each blank it says how likely
//! each place of the question is the begin and the end of what belongs there, how likely each of the blank's own
//! options is meant, and how likely nothing is. What the places say is read off here: text is taken as it stands,
//! a number in the unit that the argument counts in.

use crate::numbers::{self, Number};
use crate::of_form;
use crate::schema::{Arguments, Field, Shape};
use aios_abi::engine::{Blank, Form, Pointed, Reading};
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

/// The arguments of a tool as a form, without what is known already. Where objects stand in a list each of their fields is a
/// blank, called `peers.public_key`.
pub fn form(tool: &str, arguments: &Arguments, known: &Map<String, Value>) -> Form {
    let mut blanks = Vec::new();
    for field in arguments.fields.iter().filter(|field| !known.contains_key(&field.name)) {
        match item(&field.shape) {
            Shape::Object(inner) => {
                blanks.extend(inner.fields.iter().filter_map(|part| blank(within(field, part), &part.shape)));
            }
            shape => blanks.extend(blank(field.name.clone(), shape)),
        }
    }
    Form { tool: tool.to_owned(), blanks }
}

fn blank(name: String, shape: &Shape) -> Option<Blank> {
    let (options, open) = match item(shape) {
        Shape::Word(words) => (words.clone(), false),
        Shape::Truth => (TRUTHS.map(|(word, _)| word.to_owned()).to_vec(), false),
        Shape::Text | Shape::Pattern(_) | Shape::Whole { .. } => (Vec::new(), true),
        Shape::List { .. } | Shape::Object(_) => return None,
    };
    Some(Blank { name, options, open })
}

/// The blank of a field of the objects in a list.
fn within(list: &Field, part: &Field) -> String {
    format!("{}.{}", list.name, part.name)
}

/// The field that a blank is for.
pub fn field_of<'a>(arguments: &'a Arguments, blank: &str) -> Option<&'a Field> {
    match blank.split_once('.') {
        None => arguments.field(blank),
        Some((list, part)) => match item(&arguments.field(list)?.shape) {
            Shape::Object(inner) => inner.field(part),
            _ => None,
        },
    }
}

/// The values that a call has for a blank.
pub fn values_of<'a>(args: &'a Map<String, Value>, blank: &str) -> Vec<&'a Value> {
    let items = |value: &'a Value| value.as_array().map_or(vec![value], |items| items.iter().collect());
    match blank.split_once('.') {
        None => args.get(blank).map(items).unwrap_or_default(),
        Some((list, part)) => {
            let objects = args.get(list).and_then(Value::as_array).into_iter().flatten();
            objects.filter_map(|object| object.get(part)).flat_map(items).collect()
        }
    }
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

/// What each argument may be, by its name, as a reader has read it. An argument that cannot be told from what is pointed at is not
/// among them.
pub fn read(
    question: &str,
    arguments: &Arguments,
    form: &Form,
    reading: &Reading,
) -> Vec<(String, Vec<Guess>)> {
    let pointed = |name: &str| {
        let blank = form.blanks.iter().position(|blank| blank.name == name)?;
        reading.blanks.get(blank)
    };
    let of = |field: &Field| {
        let guesses = match item(&field.shape) {
            Shape::Object(inner) => {
                let parts = inner.fields.iter().map(|part| Some((part, pointed(&within(field, part))?)));
                objects(question, field, &reading.tokens, &parts.collect::<Option<Vec<_>>>()?)
            }
            _ => guesses(question, field, &reading.tokens, pointed(&field.name)?),
        };
        (!guesses.is_empty()).then(|| (field.name.clone(), guesses))
    };
    arguments.fields.iter().filter_map(of).collect()
}

/// What a list of objects may be, of what is pointed at for each of their fields. There are as many as values of the first field
/// that they must have, or of the one with the most; nothing is guessed when another has neither one value for all nor one for each.
fn objects(question: &str, field: &Field, tokens: &[(u32, u32)], parts: &[(&Field, &Pointed)]) -> Vec<Guess> {
    let mut read = Vec::with_capacity(parts.len());
    for (part, pointed) in parts {
        let Some(places) = Places::of(question, tokens, pointed) else { return Vec::new() };
        let there = 1.0 - places.both(0, 0);
        let (values, fits) = places.list(part).unwrap_or_default();
        read.push((*part, *pointed, values, there * fits, there));
    }
    let required: Vec<f32> =
        read.iter().filter(|(part, ..)| part.required).map(|(.., there)| *there).collect();
    let there = match required.is_empty() {
        true => 1.0 - read.iter().map(|(.., there)| 1.0 - there).product::<f32>(),
        false => required.into_iter().product(),
    };
    let said = |(part, _, values, _, there): &&(&Field, &Pointed, Vec<Value>, f32, f32)| {
        !values.is_empty() && (part.required || *there > 0.5)
    };
    let first = read.iter().find(|(part, ..)| part.required).or_else(|| {
        let said = read.iter().filter(said);
        said.max_by_key(|(_, _, values, ..)| values.len())
    });
    let count = first.map_or(0, |(_, _, values, ..)| values.len());
    let mut items = vec![Map::new(); count];
    let mut likely = there;
    for (part, pointed, values, fits, _) in read.iter().filter(said) {
        likely *= fits;
        for (n, object) in items.iter_mut().enumerate() {
            let value = match (&part.shape, count, values.len()) {
                (Shape::List { .. }, 1, _) => Some(Value::from(values.clone())),
                (Shape::List { .. }, _, _) => values
                    .get(n)
                    .filter(|_| values.len() == count)
                    .map(|value| Value::from(vec![value.clone()])),
                (_, 1, _) => {
                    guesses(question, part, tokens, pointed).into_iter().find_map(|guess| guess.value)
                }
                (_, _, 1) => values.first().cloned(),
                _ => values.get(n).filter(|_| values.len() == count).cloned(),
            };
            match value {
                Some(value) => drop(object.insert(part.name.clone(), value)),
                None => return Vec::new(),
            }
        }
    }
    let mut guesses = Vec::new();
    if count > 0 {
        let list = Value::from(items.into_iter().map(Value::from).collect::<Vec<_>>());
        guesses.push(Guess { value: Some(list), likely });
    }
    if !field.required {
        guesses.push(Guess { value: None, likely: 1.0 - there });
    }
    weighed(field, guesses)
}

/// Those that fit the field, the likeliest first; their probabilities add up to 1.
fn weighed(field: &Field, mut guesses: Vec<Guess>) -> Vec<Guess> {
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
    weighed(field, guesses)
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
            // What has the form and is touched: the encoder's pieces are shorter than a key.
            Shape::Pattern(pattern) => {
                let found = of_form(self.question, pattern).into_iter();
                let touched = found.filter(|place| place.start < range.end && range.start < place.end);
                let most =
                    touched.max_by_key(|place| place.end.min(range.end) - place.start.max(range.start))?;
                self.question.get(most).map(Value::from)
            }
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
    fn what_has_a_form_is_taken_whole() {
        let network = field("to", &json!({"type": "string", "pattern": "^[0-9.]+/[0-9]+$"}), false);
        let question = "lead 10.0.0.0/8 to eth0";
        // `lead`, `10`, `.`, … `/`, `8`, `to`
        assert_eq!(first(question, &network, &[], &[(3, 5, 1.0)]), Some(json!("10.0.0.0/8")));
        assert_eq!(first(question, &network, &[], &[(4, 4, 1.0)]), Some(json!("10.0.0.0/8")), "a part of it");
        assert_eq!(first(question, &network, &[], &[(0, 0, 1.0)]), None);
    }

    /// What is read for the only argument, a list of objects with `key` (needed), `nets` and `wait`.
    fn objects_of(question: &str, required: bool, places: [&[(usize, usize, f32)]; 3]) -> Vec<Guess> {
        let schema = json!({"type": "object", "required": if required { json!(["peers"]) } else { json!([]) }, "properties": {
            "peers": {"type": "array", "items": {"type": "object", "required": ["key"], "properties": {
                "key": {"type": "string"},
                "nets": {"type": "array", "items": {"type": "string", "pattern": "^[0-9.]+/[0-9]+$"}},
                "wait": {"type": "integer", "minimum": 1},
            }}},
        }});
        let arguments = Arguments::parse(&schema.to_string()).expect("is a schema");
        let form = form("vpn", &arguments, &Map::new());
        let names: Vec<&str> = form.blanks.iter().map(|blank| blank.name.as_str()).collect();
        assert_eq!(names, ["peers.key", "peers.nets", "peers.wait"]);
        let tokens = tokens(question);
        let blanks = places.iter().map(|places| pointed(&[], tokens.len(), places)).collect();
        let reading = Reading { tokens, blanks };
        read(question, &arguments, &form, &reading).into_iter().flat_map(|(_, guesses)| guesses).collect()
    }

    #[test]
    fn objects_in_a_list_are_put_together_of_what_each_field_says() {
        const NOT: &[(usize, usize, f32)] = &[(0, 0, 1.0)];
        let question = "let ann and bob in, 1.0/8 and 2.0/8, wait 25";
        let best = |[keys, nets, waits]: [&[(usize, usize, f32)]; 3]| {
            objects_of(question, false, [keys, nets, waits]).first().and_then(|guess| guess.value.clone())
        };
        let (ann, bob) = ((2, 2, 1.0), (4, 4, 1.0));
        let (one, two) = ((7, 11, 1.0), (13, 17, 1.0));
        let wait = (20, 20, 1.0);
        let value = best([&[ann], &[one], NOT]);
        assert_eq!(value, Some(json!([{"key": "ann", "nets": ["1.0/8"]}])));
        let value = best([&[ann], &[one, two], &[wait]]);
        assert_eq!(value, Some(json!([{"key": "ann", "nets": ["1.0/8", "2.0/8"], "wait": 25}])));
        // One for each, and one for all.
        let value = best([&[ann, bob], &[one, two], &[wait]]);
        let each = json!([{"key": "ann", "nets": ["1.0/8"], "wait": 25}, {"key": "bob", "nets": ["2.0/8"], "wait": 25}]);
        assert_eq!(value, Some(each));
        assert_eq!(best([NOT, NOT, NOT]), None);
        // Two keys and one network: whose it is cannot be told.
        assert_eq!(objects_of(question, true, [&[ann, bob], &[one], NOT]), []);
        let guesses = objects_of(question, true, [NOT, NOT, NOT]);
        assert!(guesses.iter().all(|guess| guess.value.is_some()), "it is required: {guesses:?}");
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
            which in 0usize..6,
        ) {
            let schema = [
                json!({"type": "string"}),
                json!({"type": "integer", "minimum": 0}),
                json!({"type": "array", "items": {"type": "string"}}),
                json!({"type": "boolean"}),
                json!({"type": "string", "pattern": "^[a-z]+[0-9]*$"}),
                json!({"type": "array", "items": {"type": "object", "properties": {
                    "a": {"type": "string"},
                    "b": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                }, "required": ["a"]}}),
            ];
            let arguments = Arguments { fields: vec![field("x_seconds", &schema[which], false)] };
            let form = form("tool", &arguments, &Map::new());
            let blanks = vec![Pointed { options, starts, ends }; form.blanks.len()];
            for (_, guesses) in read(&question, &arguments, &form, &Reading { tokens: offsets, blanks }) {
                for guess in guesses {
                    prop_assert!(guess.likely.is_finite());
                    if let Some(value) = guess.value {
                        prop_assert!(arguments.fields[0].shape.check("x", &value).is_ok(), "{}", value);
                    }
                }
            }
        }
    }
}
