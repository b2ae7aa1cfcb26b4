//! What is learned from: questions, and the call that each means.

use super::model::LONGEST;
use crate::vocabulary::{Message, Vocabulary};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// One line of a file of questions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ask: String,
    tool: Option<String>,
    args: Map<String, Value>,
}

/// A question and its answer, as tokens.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// The answer begins here.
    pub answer: usize,
    /// The tool's name ends here.
    pub name: usize,
}

/// Lessons in a fixed order.
#[derive(Debug, Clone, Default)]
pub struct Lessons {
    /// What is learned.
    pub all: Vec<Lesson>,
    /// The tools that are learned.
    pub tools: BTreeSet<String>,
}

impl Lessons {
    /// Add a file of questions, one JSON object a line; those of more than [`LONGEST`] tokens are left out.
    ///
    /// # Errors
    /// The line that is not one.
    pub fn add(&mut self, vocabulary: &Vocabulary, text: &str) -> Result<(), String> {
        for (n, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", n + 1))?;
            let mut tokens = vocabulary.chat(&[Message { role: "user", content: &line.ask }])?;
            let answer = tokens.len();
            let name = line.tool.as_deref().unwrap_or("none");
            tokens.extend(vocabulary.words(&format!("{name}\n"))?);
            let end = tokens.len();
            if line.tool.is_some() {
                tokens.extend(vocabulary.words(&Value::from(line.args).to_string())?);
            }
            tokens.push(vocabulary.end_of_turn()?);
            if tokens.len() <= LONGEST {
                self.all.push(Lesson { tokens, answer, name: end });
            }
            self.tools.extend(line.tool);
        }
        Ok(())
    }
}
