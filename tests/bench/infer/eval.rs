//! How often the tiny model alone means what was asked, beside what was promised.

use super::Peers;
use super::daemon::Daemon;
use crate::report::{Bar, Row};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::process::Command;

/// Percent of the questions of `test.jsonl` for which the tool, and the arguments as well, are right; and of those of `others.jsonl`,
/// which somebody else wrote.
const PROMISED: [(&str, f64, f64); 2] = [("test.jsonl", 95.0, 88.0), ("others.jsonl", 90.0, 80.0)];
const FILES: [&str; 5] = ["text.gguf", "calls.gguf", "embed", "choice.safetensors", "arguments.safetensors"];

/// One line of what the client of inferd says.
#[derive(Deserialize)]
struct Answer {
    tool: Option<String>,
    args: Value,
    chosen: Option<String>,
    filled: Value,
}

impl Answer {
    fn is_right(&self) -> bool {
        self.tool == self.chosen
    }

    fn is_valid(&self) -> bool {
        self.chosen.is_none() || self.filled.get("error").is_none()
    }
}

/// `eval.tool`, `eval.args` and `eval.valid`, and the first two with `.others`.
pub(crate) fn measure(peers: &Peers<'_>) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let daemon = runtime.block_on(Daemon::start(peers, &FILES))?;
    let mut rows = Vec::new();
    for (file, tools, whole) in PROMISED {
        let questions = aios_tests::root().join("agentd/inference/evaluation").join(file);
        let output = Command::new(peers.client).arg(&daemon.socket).arg("eval").arg(&questions).output()?;
        ensure!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout)?;
        let answers: Vec<Answer> = lines
            .lines()
            .map(serde_json::from_str)
            .collect::<serde_json::Result<_>>()
            .with_context(|| format!("{file}: the client of inferd said something else"))?;
        let percent = |is: fn(&Answer) -> bool| {
            100.0 * answers.iter().filter(|answer| is(answer)).count() as f64 / answers.len() as f64
        };
        let of = format!("of {} questions", answers.len());
        let mut row = |id: &'static str, what: &str, found, promised| {
            let what = format!("{what} {of}");
            rows.push(Row::new(id, what, "%", found, "promised", promised, Bar::AtLeast(1.0))?);
            anyhow::Ok(())
        };
        let right = percent(Answer::is_right);
        let same =
            percent(|answer| answer.is_right() && (answer.tool.is_none() || answer.filled == answer.args));
        if file == "test.jsonl" {
            row("eval.tool", "right tool", right, tools)?;
            row("eval.args", "right tool and the same arguments", same, whole)?;
            row("eval.valid", "a valid call, or none", percent(Answer::is_valid), 100.0)?;
        } else {
            row("eval.tool.others", "right tool, others' words,", right, tools)?;
            row("eval.args.others", "the same arguments, others' words,", same, whole)?;
        }
    }
    Ok(rows)
}
