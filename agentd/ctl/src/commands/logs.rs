//! Lines of the logs.

use super::Machine;
use crate::api::decode;
use crate::cli;
use crate::error::Outcome;
use crate::output::{Output, Tone, clean_line, time};
use aios_abi::service::LogLine;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Lines {
    lines: Vec<LogLine>,
    dropped: u64,
}

pub(super) async fn run(machine: &Machine, logs: cli::Logs, output: &Output) -> Outcome {
    let mut query = vec![("limit", logs.lines.to_string())];
    query.extend(logs.unit.map(|unit| ("unit", unit)));
    query.extend(logs.grep.map(|text| ("contains", text)));
    if logs.follow {
        return follow(machine, &query, output).await;
    }
    let json = machine.api.query(&["logs"], &query).await?;
    if output.is_json() {
        return output.json(&json);
    }
    let lines: Lines = decode(&json)?;
    if lines.dropped > 0 {
        let words = format!("{} older lines are no longer kept", lines.dropped);
        output.line(output.tone(Tone::Faint, words))?;
    }
    lines.lines.iter().try_for_each(|line| show(line, output))
}

/// Lines as they come, until the person or the machine ends it. For programs: one JSON text a line.
async fn follow(machine: &Machine, query: &[(&str, String)], output: &Output) -> Outcome {
    let mut stream = machine.api.get_events(&["logs", "stream"], query).await?;
    while let Some((name, data)) = stream.next().await? {
        match (name.as_str(), output.is_json()) {
            ("line", true) => output.json_line(&data)?,
            ("line", false) => show(&decode(&data)?, output)?,
            _ => {}
        }
    }
    Ok(())
}

fn show(line: &LogLine, output: &Output) -> Outcome {
    let text = clean_line(&line.text);
    // syslog priorities (syslog(3)): 0 to 3 are errors, 4 is a warning, 7 is for debugging.
    let text = match line.priority {
        0..=3 => output.tone(Tone::Bad, text),
        4 => output.tone(Tone::Warning, text),
        5 | 6 => text.into(),
        _ => output.tone(Tone::Faint, text),
    };
    let stamp = output.tone(Tone::Faint, time(line.time_ms));
    output.line(format!("{stamp} {} {text}", output.tone(Tone::Strong, clean_line(&line.unit))))
}
