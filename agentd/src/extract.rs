//! Arguments of a tool that is known, found in a sentence that no pattern matches.
//!
//! A value is taken when its looks leave no doubt (a path for an argument that is a path in the tool's
//! own sentences), or when it stands beside a word beside which it stands there: `top 5`, `named x`.

use crate::catalog::Tool;
use crate::pattern::{Part, Shape};
use crate::schema::{Kind, Property};
use crate::words::{self, Word, stem};
use serde_json::{Map, Value};

/// What the tool's sentences say about one argument.
#[derive(Debug, Default)]
struct Habits {
    shapes: Vec<Shape>,
    before: Vec<String>,
    after: Vec<String>,
    samples: Vec<String>,
    many: bool,
}

impl Habits {
    fn of(tool: &Tool, property: &Property) -> Self {
        let mut habits = Self::default();
        for pattern in &tool.patterns {
            for (at, part) in pattern.parts.iter().enumerate() {
                let Part::Slot { name, shape, many, sample, .. } = part else { continue };
                if *name != property.name {
                    continue;
                }
                habits.shapes.push(*shape);
                habits.many |= *many;
                habits.samples.push(sample.to_lowercase());
                if let Some(Part::Word(word)) = at.checked_sub(1).and_then(|at| pattern.parts.get(at)) {
                    habits.before.push(word.clone());
                }
                if let Some(Part::Word(word)) = pattern.parts.get(at + 1) {
                    habits.after.push(word.clone());
                }
            }
        }
        habits
    }

    /// Whether the argument names one of these, going by the sentences.
    fn names(&self, names: &[String]) -> bool {
        !self.samples.is_empty() && self.samples.iter().all(|sample| names.contains(sample))
    }
}

/// Find what a sentence says about a tool's arguments. `services` are the names of the services.
pub fn extract(tool: &Tool, sentence: &str, words: &[Word], services: &[String]) -> Map<String, Value> {
    let mut args = Map::new();
    let mut taken = vec![false; words.len()];
    for property in &tool.properties {
        let habits = Habits::of(tool, property);
        let Some((range, value)) = one(property, &habits, sentence, words, &taken, services) else {
            continue;
        };
        taken[range].fill(true);
        args.insert(property.name.clone(), value);
    }
    args
}

type Place = std::ops::Range<usize>;

fn one(
    property: &Property,
    habits: &Habits,
    sentence: &str,
    words: &[Word],
    taken: &[bool],
    services: &[String],
) -> Option<(Place, Value)> {
    let single = |at: usize| property.value(&words[at].text).map(|value| (at..at + 1, value));
    let open = || (0..words.len()).filter(|&at| !taken[at]);
    let beside = |at: usize| {
        let near = |at: Option<usize>, list: &[String]| {
            at.and_then(|at| words.get(at)).is_some_and(|word| list.contains(&stem(&word.key)))
        };
        near(at.checked_sub(1), &habits.before) || near(Some(at + 1), &habits.after)
    };
    match &property.kind {
        Kind::Choice(_) => open().find_map(|at| (!words[at].quoted).then(|| single(at)).flatten()),
        Kind::Integer { .. } => {
            let numbers: Vec<usize> =
                open().filter(|&at| Shape::of(&words[at].text) == Shape::Number).collect();
            match numbers.iter().find(|&&at| beside(at)) {
                Some(&at) => single(at),
                None if property.required && numbers.len() == 1 => single(numbers[0]),
                None => None,
            }
        }
        Kind::Text if habits.names(services) => open()
            .find(|&at| services.contains(&words[at].key))
            .map(|at| (at..at + 1, words[at].key.clone().into())),
        Kind::Text => text(property, habits, sentence, words, taken, &beside, services),
        Kind::Boolean | Kind::Other => None,
    }
}

fn text(
    property: &Property,
    habits: &Habits,
    sentence: &str,
    words: &[Word],
    taken: &[bool],
    beside: &dyn Fn(usize) -> bool,
    services: &[String],
) -> Option<(Place, Value)> {
    let open: Vec<usize> = (0..words.len()).filter(|&at| !taken[at]).collect();
    let value = |range: Place| {
        let value = property.value(&words::verbatim(sentence, &words[range.clone()]))?;
        Some((range, value))
    };
    let of_shape = |shape| {
        let mut found = open.iter().filter(|&&at| Shape::of(&words[at].text) == shape && !words[at].quoted);
        match (found.next(), found.next()) {
            (Some(&only), None) => Some(only),
            _ => None,
        }
    };
    // Paths and hosts are known by their looks, if that is what this argument always is.
    for shape in [Shape::Path, Shape::Host] {
        if habits.shapes.contains(&shape)
            && let Some(at) = of_shape(shape)
        {
            return value(at..at + 1);
        }
    }
    if habits.shapes.first() == Some(&Shape::Path) {
        return None;
    }
    if let Some(&at) = open.iter().find(|&&at| words[at].quoted) {
        return value(at..at + 1);
    }
    let begin = *open.iter().find(|&&at| {
        !words[at].idle
            && at.checked_sub(1).is_some_and(|before| habits.before.contains(&stem(&words[before].key)))
            && (property.required || !services.contains(&words[at].key))
            && (beside(at))
    })?;
    let end = if habits.many {
        (begin..words.len()).find(|&at| taken[at]).unwrap_or(words.len())
    } else {
        begin + 1
    };
    value(begin..end)
}
