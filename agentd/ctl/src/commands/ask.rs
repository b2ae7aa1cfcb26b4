//! Plain words in, an answer out, as it is worked out.

use super::Machine;
use crate::api::decode;
use crate::args;
use crate::error::{Failure, Outcome};
use crate::output::{Output, Tone, clean, clean_line};
use serde::Deserialize;
use serde_json::{Value, json};

/// What happens on the way to an answer (`aios_abi::agent::AskEvent` with its JSON texts opened).
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Step {
    Note {
        text: String,
    },
    Call {
        tool: String,
        args: Value,
        why: String,
    },
    Result {
        summary: String,
        failed: bool,
        audit: Option<u64>,
        undoable: bool,
        ms: u32,
    },
    Proposal {
        tool: String,
        args: Value,
        why: String,
    },
    Text {
        text: String,
    },
    /// What this version does not know, and what people need not see.
    #[serde(other)]
    Other,
}

pub(super) async fn run(machine: &Machine, text: &str, output: &Output) -> Outcome {
    let mut stream = machine.api.post_events(&["ask"], &json!({ "text": text })).await?;
    let mut events = Vec::new();
    let mut teller = Teller { output, machine, written: String::new() };
    while let Some((name, data)) = stream.next().await? {
        match (name.as_str(), output.is_json()) {
            ("event", true) => events.push(data),
            ("event", false) => teller.tell(decode(&data)?).await?,
            ("answer", true) => return output.json(&json!({ "events": events, "answer": data })),
            ("answer", false) => return teller.end(&data),
            _ => {}
        }
    }
    Err(Failure::unavailable("the machine ended the stream before the answer was whole; ask again"))
}

/// Prints the steps as they come.
struct Teller<'a> {
    output: &'a Output,
    machine: &'a Machine,
    /// What was printed of the answer's text.
    written: String,
}

impl Teller<'_> {
    async fn tell(&mut self, step: Step) -> Outcome {
        let output = self.output;
        if let Step::Text { text } = step {
            output.text(&clean(&text))?;
            self.written.push_str(&text);
            return Ok(());
        }
        let line = match step {
            Step::Proposal { tool, args, why } => return self.propose(&tool, &args, &why).await,
            Step::Note { text } => output.tone(Tone::Faint, clean_line(&text)).into_owned(),
            Step::Call { tool, args, why } => {
                let tool = output.tone(Tone::Strong, clean_line(&tool)).into_owned();
                let why = output.tone(Tone::Faint, clean_line(&why)).into_owned();
                let words = [tool, shown(&args), why];
                words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  ")
            }
            Step::Result { summary, failed, audit, undoable, ms } => {
                let tone = if failed { Tone::Bad } else { Tone::Good };
                let mark = output.tone(tone, if failed { "failed:" } else { "done:" });
                let record = audit.map_or_else(String::new, |audit| format!(", record {audit}"));
                let undo = match (audit, undoable) {
                    (Some(audit), true) => format!("\n  take it back: {}", undo_line(self.machine, audit)),
                    _ => String::new(),
                };
                format!("  {mark} {} ({ms} ms{record}){undo}", clean_line(&summary))
            }
            Step::Text { .. } | Step::Other => return Ok(()),
        };
        self.line(&line)
    }

    async fn propose(&mut self, tool: &str, args: &Value, why: &str) -> Outcome {
        // Only the schema tells a number from a text that looks like one; without it JSON says it exactly.
        let schema = match super::tools::all(self.machine).await {
            Ok(tools) => tools.into_iter().find(|known| known.name == tool).map(|known| known.args_schema),
            Err(_) => None,
        };
        let command = args::line(tool, schema.as_ref(), args, why, self.machine.context.as_deref());
        let head = self.output.tone(Tone::Warning, "Nothing was changed yet");
        self.line(&format!("{head} ({}). To do it:\n\n  {command}\n", clean_line(why)))
    }

    fn line(&mut self, line: &str) -> Outcome {
        // A step in the middle of a text does not go on in the text's line.
        if !self.written.is_empty() && !self.written.ends_with('\n') {
            self.output.text("\n")?;
            self.written.push('\n');
        }
        self.output.line(line)
    }

    fn end(&self, answer: &Value) -> Outcome {
        let text = answer["text"].as_str().unwrap_or("");
        // The answer holds the whole text; an agent need not have sent it in pieces before.
        match self.written.trim().is_empty() && !text.trim().is_empty() {
            true => self.output.line(clean(text)),
            false if self.written.ends_with('\n') || self.written.is_empty() => Ok(()),
            false => self.output.text("\n"),
        }
    }
}

/// How a change is taken back.
pub(super) fn undo_line(machine: &Machine, audit: u64) -> String {
    let context = machine
        .context
        .as_ref()
        .map_or_else(String::new, |name| format!("--context {} ", args::quoted(name)));
    format!("aiosctl {context}undo {audit} --why REASON")
}

fn shown(args: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let words: Vec<String> = match args.as_object() {
        Some(members) => members.iter().map(|(key, value)| format!("{key}={}", text(value))).collect(),
        None => vec![text(args)],
    };
    clean_line(&words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_that_the_console_sends_are_understood_and_unknown_ones_passed_over() {
        let call = json!({"type": "call", "index": 0, "tool": "a.b", "args": {"n": 1}, "why": "w"});
        assert!(matches!(decode(&call), Ok(Step::Call { args, .. }) if shown(&args) == "n=1"));
        let result = json!({"type": "result", "index": 0, "result": null, "summary": "s", "failed": true,
            "audit": null, "undoable": false, "ms": 3});
        assert!(matches!(decode(&result), Ok(Step::Result { failed: true, audit: None, .. })));
        for other in [json!({"type": "considering", "tools": []}), json!({"type": "new", "x": 1})] {
            assert!(matches!(decode(&other), Ok(Step::Other)), "{other}");
        }
    }
}
