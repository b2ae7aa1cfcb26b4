//! Plain words in, an answer out, as it is worked out.

use super::Machine;
use crate::api::{Events, decode};
use crate::args;
use crate::error::{Failure, Outcome};
use crate::output::{Output, Tone, clean, clean_line};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the machine may think about what words mean; it gives up before.
const UNDERSTOOD: Duration = Duration::from_secs(130);

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
    match output.is_json() {
        true => document(&mut stream, output).await,
        false => {
            let mut teller =
                Teller { output, machine, page: Page::default(), proposals: Vec::new(), failed: false };
            let told = teller.tell_all(&mut stream).await;
            // What is said next, on whichever channel, begins on a line of its own.
            output.text(teller.page.end())?;
            told
        }
    }
}

/// What the words mean, as the machine answers it; nothing is called.
pub(super) async fn meaning(machine: &Machine, text: &str) -> Outcome<Value> {
    machine.api.post(&["understand"], &json!({ "text": text }), UNDERSTOOD).await
}

/// Show what the words mean.
pub(super) async fn understand(machine: &Machine, text: &str, output: &Output) -> Outcome {
    let understood = meaning(machine, text).await?;
    if output.is_json() {
        return output.json(&understood);
    }
    for call in understood["calls"].as_array().into_iter().flatten() {
        let tool = call["tool"].as_str().unwrap_or("?");
        output.line(command(machine, tool, &call["args"], "").await)?;
    }
    match understood["problem"].as_str() {
        Some(problem) => Err(Failure::failed(clean_line(problem))),
        None => Ok(()),
    }
}

/// The command line that makes a call.
async fn command(machine: &Machine, tool: &str, args: &Value, why: &str) -> String {
    // Only the schema tells a number from a text that looks like one; without it JSON says it exactly.
    let declared = super::tools::one(machine, tool).await.unwrap_or_default();
    args::line(tool, declared.get("args_schema"), args, why, machine.context.as_deref())
}

/// One JSON document for the whole answer.
async fn document(stream: &mut Events<'_>, output: &Output) -> Outcome {
    let mut events = Vec::new();
    while let Some((name, data)) = stream.next().await? {
        match name.as_str() {
            "event" => events.push(data),
            "answer" => {
                let failed = events.iter().find(|event| event["failed"] == true);
                let failure =
                    failed.map(|event| event["summary"].as_str().unwrap_or("a call failed").to_owned());
                output.json(&json!({ "events": events, "answer": data }))?;
                return failure.map_or(Ok(()), |why| Err(Failure::failed(why)));
            }
            _ => {}
        }
    }
    Err(ended())
}

fn ended() -> Failure {
    Failure::unavailable("the machine ended the stream before the answer was whole; ask again")
}

/// Prints the steps as they come. What a call found is said by the answer's text, not twice.
struct Teller<'a> {
    output: &'a Output,
    machine: &'a Machine,
    page: Page,
    /// Command lines of what was proposed; the answer's text says why nothing was done.
    proposals: Vec<String>,
    failed: bool,
}

impl Teller<'_> {
    async fn tell_all(&mut self, stream: &mut Events<'_>) -> Outcome {
        while let Some((name, data)) = stream.next().await? {
            match name.as_str() {
                "event" => self.tell(decode(&data)?).await?,
                "answer" => return self.end(&data),
                _ => {}
            }
        }
        Err(ended())
    }

    async fn tell(&mut self, step: Step) -> Outcome {
        let output = self.output;
        match step {
            Step::Note { text } => self.step(&output.tone(Tone::Faint, clean_line(&text))),
            Step::Call { tool, args, why } => {
                let tool = output.tone(Tone::Strong, clean_line(&tool)).into_owned();
                let why = output.tone(Tone::Faint, clean_line(&why)).into_owned();
                let words = [tool, shown(&args), why];
                self.step(&words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  "))
            }
            Step::Result { failed, audit, undoable, ms } => {
                self.failed |= failed;
                let mark = match failed {
                    true => output.tone(Tone::Bad, "failed"),
                    false => output.tone(Tone::Good, "done"),
                };
                let record = audit.map_or_else(String::new, |audit| format!(", audit record {audit}"));
                self.step(&format!("  {mark} in {ms} ms{record}"))?;
                match (audit, undoable) {
                    (Some(audit), true) => {
                        self.step(&format!("  take it back: {}", undo_line(self.machine, audit)))
                    }
                    _ => Ok(()),
                }
            }
            Step::Proposal { tool, args, why } => {
                self.proposals.push(command(self.machine, &tool, &args, &why).await);
                Ok(())
            }
            Step::Text { text } => self.output.text(&self.page.text(&clean(&text))),
            Step::Other => Ok(()),
        }
    }

    fn step(&mut self, line: &str) -> Outcome {
        self.output.text(&self.page.step(line))
    }

    fn end(&mut self, answer: &Value) -> Outcome {
        // The answer holds the whole text; an agent need not have sent it in pieces before.
        if !self.page.has_text {
            let text = clean(answer["text"].as_str().unwrap_or("")).into_owned();
            self.output.text(&self.page.text(&text))?;
        }
        for command in std::mem::take(&mut self.proposals) {
            self.output.text(self.page.end())?;
            self.output.line(format!("\n  {command}"))?;
        }
        if self.failed { Err(Failure::told()) } else { Ok(()) }
    }
}

/// How steps and pieces of text follow each other: a step has a line of its own, a text begins right below
/// a step, and what comes after a text is set off by one empty line. Each function gives what to print.
#[derive(Debug, Default)]
struct Page {
    /// Whether there was any text.
    has_text: bool,
    /// Whether the last line is one of a text and has no end yet.
    open: bool,
    /// Ends of lines after a text, held back until the text goes on.
    held: String,
}

impl Page {
    fn step(&mut self, line: &str) -> String {
        let gap = if self.open { "\n\n" } else { "" };
        self.end();
        format!("{gap}{line}\n")
    }

    fn text(&mut self, piece: &str) -> String {
        let piece = if self.open { piece } else { piece.trim_start_matches('\n') };
        let whole = std::mem::take(&mut self.held) + piece;
        let text = whole.trim_end_matches('\n');
        self.open |= !text.is_empty();
        self.has_text |= self.open;
        if self.open {
            self.held = whole.get(text.len()..).unwrap_or_default().to_owned();
        }
        text.to_owned()
    }

    fn end(&mut self) -> &'static str {
        self.held.clear();
        if std::mem::take(&mut self.open) { "\n" } else { "" }
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
    fn steps_and_texts_are_set_off_by_one_empty_line_however_they_are_cut() {
        let text = "One.\n\n- a\n- b\n\n";
        for size in 1..=text.len() {
            let mut page = Page::default();
            let mut printed = page.step("call") + &page.step("  done");
            for piece in text.as_bytes().chunks(size) {
                printed += &page.text(&String::from_utf8_lossy(piece));
            }
            printed += &page.step("call");
            printed += &page.text("\n\nTwo.");
            printed += page.end();
            printed += page.end();
            assert_eq!(printed, "call\n  done\nOne.\n\n- a\n- b\n\ncall\nTwo.\n", "in pieces of {size}");
        }
    }

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
