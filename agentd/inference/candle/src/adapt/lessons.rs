//! What is learned from: questions, and the call that each means.

use super::model::LONGEST;
use crate::vocabulary::Vocabulary;
use aios_abi::engine::Adapter;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One line of a file of questions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What somebody asks.
    pub ask: String,
    /// The tool that it means, if any.
    pub tool: Option<String>,
    /// The tool's arguments, in the order in which it declares them.
    pub args: Map<String, Value>,
}

impl Question {
    /// The questions of a file, one JSON object a line.
    ///
    /// # Errors
    /// The line that is none.
    pub fn all(text: &str) -> Result<Vec<Self>, String> {
        let line = |(n, line)| serde_json::from_str(line).map_err(|e| format!("line {}: {e}", n + 1));
        text.lines().enumerate().map(line).collect()
    }

    /// The name of the tool, or the one that stands for no tool.
    pub fn name(&self) -> &str {
        self.tool.as_deref().unwrap_or(Adapter::NONE)
    }
}

/// A question and its answer, as tokens.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// All tokens.
    pub(super) tokens: Vec<u32>,
    /// The answer begins here.
    pub(super) answer: usize,
    /// The tool's name ends here.
    pub(super) name: usize,
}

impl Lesson {
    /// The question as the model will be asked it, and the answer that it should give, the whole one or the tool's name alone;
    /// nothing when both have more tokens than are learned from.
    ///
    /// # Errors
    /// Those of the vocabulary.
    pub fn of(vocabulary: &Vocabulary, question: &Question, whole: bool) -> Result<Option<Self>, String> {
        let mut tokens = vocabulary.chat(&Adapter::prompt(&question.ask))?;
        let answer = tokens.len();
        tokens.extend(vocabulary.words(&Adapter::line(question.name()))?);
        let name = tokens.len();
        if whole {
            if question.tool.is_some() {
                tokens.extend(vocabulary.words(&Value::from(question.args.clone()).to_string())?);
            }
            tokens.push(vocabulary.end_of_turn()?);
        }
        Ok((tokens.len() <= LONGEST).then_some(Self { tokens, answer, name }))
    }
}
