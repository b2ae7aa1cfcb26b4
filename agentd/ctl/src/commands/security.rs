//! How much a service could do to the machine: the tool `service.security`, as a table.

use super::Machine;
use crate::api::{PATIENCE, decode};
use crate::error::Outcome;
use crate::output::{Output, Tone, clean_line};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
struct Done {
    result: Scores,
}

#[derive(Debug, Deserialize)]
struct Scores {
    services: Vec<Score>,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Score {
    name: String,
    exposure: f64,
    word: String,
}

#[derive(Debug, Deserialize)]
struct Check {
    open: bool,
    what: String,
    key: String,
    adds: f64,
}

pub(super) async fn run(machine: &Machine, name: Option<String>, output: &Output) -> Outcome {
    let args = name.map_or_else(|| json!({}), |name| json!({ "name": name }));
    let body = json!({ "args": args, "why": "", "dry_run": false });
    let answer = machine.api.post(&["tools", "service.security"], &body, PATIENCE).await?;
    if output.is_json() {
        return output.json(answer.get("result").unwrap_or(&Value::Null));
    }
    let Done { result } = decode(&answer)?;
    result.checks.iter().try_for_each(|check| output.line(row(check, &result.checks, output)))?;
    if !result.checks.is_empty() {
        output.text("\n")?;
    }
    let width = result.services.iter().map(|service| service.name.chars().count()).max().unwrap_or(0);
    result.services.iter().try_for_each(|service| {
        let words = clean_line(&format!("{:.1} {}", service.exposure, service.word));
        let name = clean_line(&service.name);
        output.line(format!("{name:width$}  {}", output.tone(tone(service.exposure), words)))
    })
}

/// One check: whether it can, what, how much that adds, and which key decides.
fn row(check: &Check, all: &[Check], output: &Output) -> String {
    let width = all.iter().map(|check| check.what.chars().count()).max().unwrap_or(0);
    let answer = match check.open {
        true => output.tone(Tone::Bad, "yes"),
        false => output.tone(Tone::Good, "no "),
    };
    let adds = if check.open { format!("{:.2}", check.adds) } else { String::new() };
    let (what, key) = (clean_line(&check.what), clean_line(&check.key));
    format!("{answer}  {what:width$}  {adds:4}  {}", output.tone(Tone::Faint, key))
}

/// From 5 on the word is MEDIUM, from 7.5 on EXPOSED.
fn tone(exposure: f64) -> Tone {
    match exposure {
        ..5.0 => Tone::Good,
        5.0..7.5 => Tone::Warning,
        _ => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_without_colours_where_there_is_no_terminal() {
        let check = |open, what: &str| Check { open, what: what.into(), key: "user".into(), adds: 0.344 };
        let all = [check(true, "is root"), check(false, "mounts\u{1b}[2J")];
        let output = Output::new(false);
        assert_eq!(row(&all[0], &all, &output), "yes  is root     0.34  user");
        assert_eq!(row(&all[1], &all, &output), "no   mounts\u{fffd}[2J        user");
    }
}
