//! From a tool's arguments and a question to a grammar in the notation of Lark, as llguidance reads it
//! (`docs/syntax.md` there).
//!
//! The grammar allows exactly the JSON objects that fit the schema *and* take their texts and numbers
//! from the question. A small model invents values when it may; under this grammar it can only point.
//! An optional argument for which the question has nothing is left out of the grammar, and a required
//! one is an error before the model is asked at all.

use aios_words::Words;
use aios_words::schema::{Arguments, Misfit, Shape};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Items of a list; people name few.
const MAX_ITEMS: usize = 8;

/// A grammar: named rules, the first of which is `start`.
#[derive(Debug, Clone, PartialEq)]
pub struct Grammar {
    rules: Vec<(String, Node)>,
    /// The question, as the insides of JSON strings, in pieces.
    pieces: Vec<String>,
}

/// The only values that an argument may have, by its name; for any other argument the question is looked at.
pub type Offers = BTreeMap<String, Offer>;

/// The values of one argument.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Offer {
    /// One of these.
    pub values: Vec<Value>,
    /// Or none.
    pub may_be_absent: bool,
}

impl Offer {
    /// This value and no other.
    pub fn only(value: Value) -> Self {
        Self { values: vec![value], may_be_absent: false }
    }
}

/// Which texts of a question a value can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// Whole words: all that a model should be trusted with that was not trained for it.
    Words,
    /// Any pieces in a row: `blue-2` of `container/blue-2`.
    Pieces,
}

/// The right side of a rule.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Literal(String),
    Rule(String),
    All(Vec<Node>),
    OneOf(Vec<Node>),
    Maybe(Box<Node>),
    /// One piece of the question or several in a row.
    Pieces,
}

impl Grammar {
    /// The grammar of the arguments that this question can mean.
    pub fn of(arguments: &Arguments, offers: &Offers, words: &Words, texts: Texts) -> Result<Self, Misfit> {
        let mut rules = Vec::new();
        let start = object("", arguments, offers, words, texts, &mut rules)?;
        rules.insert(0, ("start".into(), start));
        if texts == Texts::Words {
            rules.extend(spans(words));
        }
        let pieces = words.pieces().into_iter().map(json_inside).collect();
        Ok(Self { rules, pieces })
    }

    /// The only text that fits, when there is no choice.
    pub fn only(&self) -> Option<String> {
        let mut text = String::new();
        self.write_only(&self.rules.first()?.1, &mut text).then_some(text)
    }

    fn write_only(&self, node: &Node, text: &mut String) -> bool {
        match node {
            Node::Literal(literal) => {
                text.push_str(literal);
                true
            }
            Node::Rule(name) => self.rule(name).is_some_and(|node| self.write_only(node, text)),
            Node::All(nodes) => nodes.iter().all(|node| self.write_only(node, text)),
            Node::OneOf(nodes) => match nodes.as_slice() {
                [one] => self.write_only(one, text),
                _ => false,
            },
            Node::Maybe(_) | Node::Pieces => false,
        }
    }

    fn rule(&self, name: &str) -> Option<&Node> {
        self.rules.iter().find(|(n, _)| n == name).map(|(_, node)| node)
    }
}

fn span_name(n: usize) -> String {
    format!("span_{n}")
}

/// An object, and the rules of its fields, whose names end with `path`.
///
/// The alternatives differ in which field comes first, so that commas stand between only.
fn object(
    path: &str,
    arguments: &Arguments,
    offers: &Offers,
    words: &Words,
    texts: Texts,
    rules: &mut Vec<(String, Node)>,
) -> Result<Node, Misfit> {
    let mut fields = Vec::new();
    for field in &arguments.fields {
        let offer = offers.get(&field.name);
        let value = match offer {
            Some(offer) => literals(offer.values.iter().map(Value::to_string).collect()),
            None => {
                let path = format!("{path}_{}", fields.len());
                value(&path, &field.name, &field.shape, words, texts, rules)?
            }
        };
        let required = offer.map_or(field.required, |offer| !offer.may_be_absent);
        match value {
            Some(value) => {
                let key = Node::Literal(format!("{}:", Value::from(field.name.as_str())));
                fields.push((Node::All(vec![key, value]), required));
            }
            None if required => {
                return Err(Misfit {
                    place: field.name.clone(),
                    what: format!("the question does not name {}", field.shape),
                });
            }
            None => {}
        }
    }
    let named = |kind: &str, n: usize| format!("{kind}{path}_{n}");
    let (mut starts, mut may_be_empty) = (Vec::new(), true);
    for (n, (_, required)) in fields.iter().enumerate() {
        starts.push(Node::All(vec![Node::Rule(named("field", n)), Node::Rule(named("tail", n + 1))]));
        if *required {
            may_be_empty = false;
            break;
        }
    }
    let inside = match (starts.is_empty(), may_be_empty) {
        (true, _) => Node::All(Vec::new()),
        (false, true) => Node::Maybe(Box::new(Node::OneOf(starts))),
        (false, false) => Node::OneOf(starts),
    };
    // `tail_n`: the fields from the n-th on, after at least one other.
    let next = |(n, (_, required)): (usize, &(Node, bool))| {
        let field = Node::All(vec![Node::Literal(",".into()), Node::Rule(named("field", n))]);
        if *required { field } else { Node::Maybe(Box::new(field)) }
    };
    rules.extend((1..=fields.len()).map(|from| {
        (named("tail", from), Node::All(fields.iter().enumerate().skip(from).map(next).collect()))
    }));
    rules.extend(fields.into_iter().enumerate().map(|(n, (field, _))| (named("field", n), field)));
    Ok(Node::All(vec![Node::Literal("{".into()), inside, Node::Literal("}".into())]))
}

/// `span_n`: runs of words of the question that begin with the n-th one, as the inside of a JSON string.
fn spans(words: &Words) -> Vec<(String, Node)> {
    let inside = |text: &str| Node::Literal(json_inside(text));
    words
        .words
        .iter()
        .enumerate()
        .map(|(n, word)| {
            let lower = word.core.to_lowercase();
            let core = match lower == word.core {
                true => inside(&word.core),
                false => Node::OneOf(vec![inside(&word.core), inside(&lower)]),
            };
            let node = match n + 1 < words.words.len() {
                true => {
                    let more = Node::All(vec![inside(&word.gap), Node::Rule(span_name(n + 1))]);
                    Node::All(vec![core, Node::Maybe(Box::new(more))])
                }
                false => core,
            };
            (span_name(n), node)
        })
        .collect()
}

/// One of these texts, if there is any.
fn literals(texts: Vec<String>) -> Option<Node> {
    (!texts.is_empty()).then(|| Node::OneOf(texts.into_iter().map(Node::Literal).collect()))
}

/// What a value can be, if the question has anything for it.
fn value(
    path: &str,
    place: &str,
    shape: &Shape,
    words: &Words,
    texts: Texts,
    rules: &mut Vec<(String, Node)>,
) -> Result<Option<Node>, Misfit> {
    Ok(match shape {
        Shape::Text if words.words.is_empty() => None,
        Shape::Text => {
            let quote = || Node::Literal("\"".into());
            let inside = match texts {
                Texts::Words => {
                    Node::OneOf((0..words.words.len()).map(|n| Node::Rule(span_name(n))).collect())
                }
                Texts::Pieces => Node::Pieces,
            };
            Some(Node::All(vec![quote(), inside, quote()]))
        }
        Shape::Pattern(pattern) => {
            literals(words.of_form(pattern).into_iter().map(|text| Value::from(text).to_string()).collect())
        }
        Shape::Whole { min, max } => literals(
            words.numbers.iter().filter(|n| (*min..=*max).contains(*n)).map(i64::to_string).collect(),
        ),
        Shape::Truth => literals(vec!["false".into(), "true".into()]),
        Shape::Word(all) => literals(all.iter().map(|word| Value::from(word.as_str()).to_string()).collect()),
        Shape::List { item, min, max } => {
            if *min > MAX_ITEMS {
                return Err(Misfit {
                    place: place.to_owned(),
                    what: format!("a list of at least {min} items is not taken from a question"),
                });
            }
            let item = value(path, place, item, words, texts, rules)?;
            item.map(|item| list(&item, *min, (*max).min(MAX_ITEMS)))
        }
        // An item for which the question has nothing is none.
        Shape::Object(arguments) => match object(path, arguments, &Offers::new(), words, texts, rules) {
            Ok(node) => {
                let name = format!("object{path}");
                rules.push((name.clone(), node));
                Some(Node::Rule(name))
            }
            Err(_) => None,
        },
    })
}

/// `min` to `max` items.
fn list(item: &Node, min: usize, max: usize) -> Node {
    let mut rest = Node::All(Vec::new());
    for n in (0..max).rev() {
        let mut one = Vec::new();
        if n > 0 {
            one.push(Node::Literal(",".into()));
        }
        one.push(item.clone());
        one.push(rest);
        let one = Node::All(one);
        rest = if n < min { one } else { Node::Maybe(Box::new(one)) };
    }
    Node::All(vec![Node::Literal("[".into()), rest, Node::Literal("]".into())])
}

/// A text as it stands between the quotes of a JSON string.
fn json_inside(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or_default().to_owned()
}

impl fmt::Display for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.iter().try_for_each(|(name, node)| writeln!(f, "{name}: {node}"))?;
        // A terminal of its own: the suffix automaton of the pieces, which costs nothing to walk.
        let pieces = Value::from(self.pieces.clone());
        match self.rules.iter().any(|(_, node)| node.has_pieces()) {
            // No pieces in a row are a row as well, and blanks alone are no text.
            true => writeln!(f, "PIECES: ROW & /.*[^ ].*/\nROW: %regex {{\"substring_chunks\": {pieces}}}"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, nodes: &[Self], between: &str| {
            nodes.iter().enumerate().try_for_each(|(n, node)| {
                f.write_str(if n > 0 { between } else { "" })?;
                write!(f, "{node}")
            })
        };
        match self {
            // Only quotes and backslashes: JSON has spelled all control characters already.
            Self::Literal(text) => write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::Rule(name) => f.write_str(name),
            Self::All(nodes) if nodes.is_empty() => f.write_str("\"\""),
            Self::All(nodes) => join(f, nodes, " "),
            Self::OneOf(nodes) => {
                f.write_str("(")?;
                join(f, nodes, " | ")?;
                f.write_str(")")
            }
            Self::Maybe(node) => write!(f, "({node})?"),
            Self::Pieces => f.write_str("PIECES"),
        }
    }
}

impl Node {
    fn has_pieces(&self) -> bool {
        match self {
            Self::Pieces => true,
            Self::All(nodes) | Self::OneOf(nodes) => nodes.iter().any(Self::has_pieces),
            Self::Maybe(node) => node.has_pieces(),
            Self::Literal(_) | Self::Rule(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
