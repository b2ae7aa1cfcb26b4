//! The choice of a model that was not trained for it, but understands what it reads.
//!
//! It sees the likeliest tools with what they do, and names one as JSON under a schema that allows no other.

use crate::ask::{Asker, Watch};
use crate::certainty::ENOUGH;
use crate::engine::Engine;
use crate::tiers::Question;
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Generate, Grammar, Message};
use aios_abi::infer::{Scored, ToolBrief, Usage};
use serde::Deserialize;
use serde_json::json;
use std::fmt::Write;
use std::time::Instant;

/// Tokens of the answer.
const MAX_TOKENS: u32 = 48;
/// Examples of each tool that it reads.
const MAX_EXAMPLES: usize = 2;

#[derive(Deserialize)]
struct Answer {
    tool: String,
}

/// Which of these tools a question means.
pub(super) struct Which<'a> {
    pub(super) question: &'a str,
    pub(super) tools: &'a [ToolBrief],
    /// The likeliest of them.
    pub(super) shortlist: &'a [Scored],
}

impl Question for Which<'_> {
    type Answer = Option<String>;

    async fn ask(
        &self,
        engine: &Engine,
        until: Instant,
        asker: &Asker<'_>,
    ) -> Result<(Option<String>, f32, Usage), CallError> {
        let named = |scored: &Scored| self.tools.iter().find(|tool| tool.name == scored.name);
        let candidates: Vec<&ToolBrief> = self.shortlist.iter().filter_map(named).collect();
        let names: Vec<&str> =
            candidates.iter().map(|tool| tool.name.as_str()).chain([Adapter::NONE]).collect();
        let schema = json!({
            "type": "object",
            "properties": {"tool": {"type": "string", "enum": names}},
            "required": ["tool"],
            "additionalProperties": false,
        });
        let generate = Generate {
            messages: prompt(self.question, &candidates),
            grammar: Some(Grammar::Schema(schema.to_string())),
            max_tokens: MAX_TOKENS,
            ..Generate::default()
        };
        let written = asker.generate(engine, until, generate, Watch::End).await?;
        let answer: Answer = serde_json::from_str(&written.text)
            .map_err(|e| CallError::failed(format!("the model's answer names no tool: {e}")))?;
        if !names.contains(&answer.tool.as_str()) {
            return Err(CallError::failed("the model named a tool that it was not offered"));
        }
        // A model that tells no likelihood has the last word.
        let certainty = written.cost.log_likelihood.map_or(ENOUGH, f32::exp);
        Ok((Some(answer.tool).filter(|tool| tool != Adapter::NONE), certainty, written.usage()))
    }
}

fn prompt(question: &str, tools: &[&ToolBrief]) -> Vec<Message> {
    let mut system = String::from("Somebody asks a server for something. Which of these tools is meant?\n");
    for tool in tools {
        let examples: Vec<&str> = tool.examples.iter().take(MAX_EXAMPLES).map(|e| e.ask.as_str()).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(system, "- {}: {} (\"{}\")", tool.name, tool.summary, examples.join("\", \""));
    }
    let _ = writeln!(system, "- {}: no tool does what is asked for", Adapter::NONE);
    vec![
        Message { role: "system".into(), content: system },
        Message { role: "user".into(), content: question.to_owned() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::tool::Example;

    #[test]
    fn the_model_reads_each_tool_once_and_the_question_last() {
        let example = |ask: &str| Example { ask: ask.into(), args: "{}".into() };
        let tool = ToolBrief {
            name: "clock.now".into(),
            summary: "Tell the time".into(),
            args_schema: "{}".into(),
            examples: vec![example("what time is it"), example("date?"), example("third")],
        };
        let messages = prompt("how late?", &[&tool]);
        let [system, user] = messages.as_slice() else { panic!("{messages:?}") };
        assert!(
            system.content.contains("- clock.now: Tell the time (\"what time is it\", \"date?\")\n- none:")
        );
        assert_eq!((user.role.as_str(), user.content.as_str()), ("user", "how late?"));
    }
}
