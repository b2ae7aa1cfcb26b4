//! The worker beside llama.cpp's own server: four answers at once, a call that follows a schema; and a second question beside
//! the first one.

use super::Peers;
use super::worker::{Worker, messages};
use crate::report::{Bar, Row, median};
use crate::server::Server;
use aios_abi::engine::{Generate, Grammar};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const STREAMS: usize = 4;
const ANSWER: u32 = 96;
const ROUNDS: u64 = 5;
/// What a person asked for, and what is wanted of it: a call whose form leaves little open.
const SCHEMA: &str = r#"{"type":"object","properties":{"tool":{"enum":["service.restart","service.stop","service.start"]},"arguments":{"type":"object","properties":{"name":{"type":"string","maxLength":24},"wait_until_ready":{"type":"boolean"},"reason":{"enum":["requested","unresponsive","configuration_changed"]}},"required":["name","wait_until_ready","reason"],"additionalProperties":false}},"required":["tool","arguments"],"additionalProperties":false}"#;

/// `infer.parallel_4`, `infer.toolcall` and `infer.warm_first_token`.
pub(crate) fn measure(peers: &Peers<'_>, model: &Path) -> Result<Vec<Row>> {
    let threads = super::threads();
    let flags = super::flags(&threads);
    let mut worker = Worker::start(peers.worker, model, &["--kernels", "base", "--threads", &threads])?;
    let server = Server::start(peers.llama_server, model, &threads)?;
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..=ROUNDS {
        let questions: Vec<String> = (0..STREAMS)
            .map(|n| format!("{round}.{n}: Tell a very long story about the sea and its ships."))
            .collect();
        let requests = questions
            .iter()
            .map(|question| Generate {
                messages: messages(&[("user", question)]),
                max_tokens: ANSWER,
                ..Generate::default()
            })
            .collect();
        let (generated, took) = worker.ask_together(requests)?;
        let (also, longer) = together(&server, &questions)?;
        // The first round warms both up.
        if round > 0 {
            ours.push(f64::from(generated) / took.as_secs_f64());
            theirs.push(also as f64 / longer.as_secs_f64());
        }
    }
    let what = format!("{STREAMS} answers at once, {flags}");
    let parallel = Row::new(
        "infer.parallel_4",
        what,
        "tok/s",
        median(ours),
        "llama-server",
        median(theirs),
        Bar::AtLeast(1.0),
    )?;
    Ok(vec![parallel, call(&mut worker, &server, &flags)?, warm(&mut worker, &flags)?])
}

/// Ask the server several questions at once: tokens written, all together, and how long it took.
fn together(server: &Server, questions: &[String]) -> Result<(u64, Duration)> {
    let start = Instant::now();
    let answers: Vec<Result<Value>> = std::thread::scope(|scope| {
        let ask = |question: &String| {
            let document = json!({
                "messages": [{"role": "user", "content": question}],
                "max_tokens": ANSWER, "temperature": 0,
            });
            scope.spawn(move || server.post("/v1/chat/completions", &document))
        };
        let asked: Vec<_> = questions.iter().map(ask).collect();
        asked
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a question failed"))?)
            .collect()
    });
    let took = start.elapsed();
    let mut written = 0;
    for answer in answers {
        written += answer?["usage"]["completion_tokens"].as_u64().context("the server does not count")?;
    }
    Ok((written, took))
}

/// `infer.toolcall`: both know the system prompt, and answer a new question under the same schema.
fn call(worker: &mut Worker, server: &Server, flags: &str) -> Result<Row> {
    let system = "You operate a server. Answer each request with one call of a tool.";
    let (mut ours, mut theirs, mut written) = (vec![], vec![], vec![]);
    for (round, name) in ["web", "mail", "database", "queue", "cache", "proxy"].into_iter().enumerate() {
        let question = format!("Restart the service {name} and wait until it is ready.");
        let request = Generate {
            messages: messages(&[("system", system), ("user", &question)]),
            max_tokens: 128,
            grammar: Some(Grammar::Schema(SCHEMA.into())),
            ..Generate::default()
        };
        let answered = worker.ask(request)?;
        let document = json!({
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
            "max_tokens": 128, "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "call", "schema": serde_json::from_str::<Value>(SCHEMA)?}},
        });
        let start = Instant::now();
        let answer = server.post("/v1/chat/completions", &document)?;
        let took = start.elapsed();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        ensure!(serde_json::from_str::<Value>(text).is_ok(), "the server wrote no JSON: {answer}");
        if round > 0 {
            ours.push(answered.whole.as_secs_f64() * 1e3);
            theirs.push(took.as_secs_f64() * 1e3);
            written.push(f64::from(answered.generated));
        }
    }
    let what = format!("a call of {:.0} tokens that follows a schema, {flags}", median(written));
    Row::new("infer.toolcall", what, "ms", median(ours), "llama-server", median(theirs), Bar::AtMost(0.5))
}

/// `infer.warm_first_token`: a second question after the same system prompt.
fn warm(worker: &mut Worker, flags: &str) -> Result<Row> {
    let (mut cold, mut known, mut prompt) = (vec![], vec![], 0);
    for round in 1..=ROUNDS {
        let system = super::speed::prompt(round + 100, 120);
        let asking = |question: &str| Generate {
            messages: messages(&[("system", &system), ("user", question)]),
            max_tokens: 2,
            ..Generate::default()
        };
        let first = worker.ask(asking("How are you?"))?;
        let second = worker.ask(asking("Who is there?"))?;
        prompt = first.prompt;
        cold.push(first.first.as_secs_f64() * 1e3);
        known.push(second.first.as_secs_f64() * 1e3);
    }
    let what = format!("first token of a second question after the same {prompt} tokens, {flags}");
    let bar = Bar::AtMost(0.15);
    Row::new("infer.warm_first_token", what, "ms", median(known), "the first question", median(cold), bar)
}
