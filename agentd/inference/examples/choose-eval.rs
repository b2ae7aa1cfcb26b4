//! How often the right tool is chosen: retrieval alone, and with the language model.
//!
//! ```text
//! choose-eval ENGINES MODELS FILE.jsonl [--raw]
//! ```
//!
//! The tools are those of the image, the questions those of a file such as `evaluation/dev.jsonl`. `--raw` prints all numbers
//! of each question as JSON lines, to find limits with.

#![forbid(unsafe_code)]

use aios_abi::engine::Message;
use aios_abi::infer::{EngineState, Scored, ToolBrief};
use aios_inferd::choose::rank::{self, LIMITS, Verdict};
use aios_inferd::choose::{mask, prompt, sentences};
use aios_inferd::engine::{Delivery, Engine, Kind, Source, Work};
use aios_inferd::queue::Class;
use serde::Deserialize;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Question {
    ask: String,
    /// None: no tool fits.
    tool: Option<String>,
}

struct Judged {
    question: Question,
    shortlist: Vec<Scored>,
    likelihoods: Vec<f32>,
    took: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engines, models, file, rest @ ..] = arguments.as_slice() else {
        return Err("usage: choose-eval ENGINES MODELS FILE.jsonl [--raw]".into());
    };
    let engine = |kind: Kind| {
        Engine::start(Source {
            kind,
            socket: None,
            port: "/nonexistent".into(),
            engines: Path::new(engines).into(),
            models: Path::new(models).into(),
            threads: None,
        })
    };
    let (text, embed) = (engine(Kind::Text), engine(Kind::Embed));
    for engine in [&text, &embed] {
        ready(engine).await?;
    }
    let tools: Vec<ToolBrief> = aios_toold::tool::all().iter().map(|tool| tool.info().into()).collect();
    let questions = std::fs::read_to_string(file)?;
    let questions: Vec<Question> =
        questions.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    let mut vectors = Vec::new();
    for tool in &tools {
        vectors.push(embedded(&embed, sentences(tool).collect()).await?);
    }
    let mut judged = Vec::new();
    for question in questions {
        let vector = embedded(&embed, vec![mask(&question.ask)]).await?.remove(0);
        let known = tools.iter().zip(&vectors);
        let known = known.map(|(tool, v)| (tool.name.as_str(), v.iter().map(Vec::as_slice).collect()));
        let shortlist = rank::shortlist(&vector, known);
        let start = Instant::now();
        let mut likelihoods = Vec::new();
        for scored in shortlist.iter().take(rank::JUDGED) {
            let Some(tool) = tools.iter().find(|t| t.name == scored.name) else { continue };
            likelihoods.extend(judge(&text, prompt(tool), vec![question.ask.clone()]).await?);
        }
        let took = start.elapsed();
        judged.push(Judged { question, shortlist, likelihoods, took });
    }
    if rest == ["--raw"] {
        raw(&judged);
    } else {
        table(&judged);
    }
    Ok(())
}

fn raw(judged: &[Judged]) {
    for one in judged {
        let names: Vec<&str> = one.shortlist.iter().map(|s| s.name.as_str()).collect();
        let scores: Vec<f32> = one.shortlist.iter().map(|s| s.score).collect();
        let line = serde_json::json!({
            "ask": one.question.ask, "tool": one.question.tool,
            "names": names, "scores": scores, "likelihoods": one.likelihoods,
        });
        println!("{line}");
    }
}

/// One way to choose.
type Way = fn(&Judged) -> Option<usize>;

fn table(judged: &[Judged]) {
    let ways: [(&str, Way); 4] = [
        ("the nearest tool, always", |j| (!j.shortlist.is_empty()).then_some(0)),
        ("the nearest tool, if it is near enough", |j| {
            (rank::verdict(&LIMITS, &j.shortlist) != Verdict::Nothing).then_some(0)
        }),
        ("retrieval alone, ties left open", |j| match rank::verdict(&LIMITS, &j.shortlist) {
            Verdict::Sure => Some(0),
            Verdict::Nothing => None,
            Verdict::Unsure => rank::alone(&LIMITS, &j.shortlist),
        }),
        ("retrieval, then the language model", |j| match rank::verdict(&LIMITS, &j.shortlist) {
            Verdict::Sure => Some(0),
            Verdict::Nothing => None,
            Verdict::Unsure => rank::combined(&LIMITS, &j.shortlist, &j.likelihoods),
        }),
    ];
    println!(
        "| way | right tool | wrong tool | no tool though one fits | no tool, rightly | a tool though none fits |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, way) in ways {
        let mut counts = [0; 5];
        for one in judged {
            let chosen = way(one).and_then(|n| one.shortlist.get(n)).map(|s| s.name.as_str());
            let kind = match (one.question.tool.as_deref(), chosen) {
                (Some(right), Some(chosen)) if right == chosen => 0,
                (Some(_), Some(_)) => 1,
                (Some(_), None) => 2,
                (None, None) => 3,
                (None, Some(_)) => 4,
            };
            counts[kind] += 1;
            if kind != 0 && kind != 3 {
                eprintln!("{name}: {:?} → {chosen:?}, not {:?}", one.question.ask, one.question.tool);
            }
        }
        let [right, wrong, missed, rightly, foreign] = counts;
        println!("| {name} | {right} | {wrong} | {missed} | {rightly} | {foreign} |");
    }
    let unsure = judged.iter().filter(|j| rank::verdict(&LIMITS, &j.shortlist) == Verdict::Unsure).count();
    let mut times: Vec<Duration> = judged.iter().map(|j| j.took).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!(
        "\n{unsure} of {} questions went to the language model, {} ms each (median).",
        judged.len(),
        median.as_millis()
    );
}

async fn ready(engine: &Engine) -> Result<()> {
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    loop {
        let health = engine.snapshot().health;
        match health.state {
            EngineState::Ready => return Ok(()),
            EngineState::Failed => return Err(health.detail.into()),
            EngineState::Absent | EngineState::Loading => pause.tick().await,
        };
    }
}

async fn ask(engine: &Engine, work: Work) -> Result<Delivery> {
    let mut job = engine.submit(Class::Background, Instant::now() + Duration::from_secs(600), work);
    loop {
        match job.next().await? {
            Delivery::Queued { .. } | Delivery::Started | Delivery::Text(_) => {}
            end => return Ok(end),
        }
    }
}

async fn embedded(engine: &Engine, texts: Vec<String>) -> Result<Vec<Vec<f32>>> {
    match ask(engine, Work::Embed(texts)).await? {
        Delivery::Embeddings(vectors) => Ok(vectors),
        other => Err(format!("{other:?} are no vectors").into()),
    }
}

async fn judge(engine: &Engine, messages: Vec<Message>, continuations: Vec<String>) -> Result<Vec<f32>> {
    match ask(engine, Work::Score { messages, continuations }).await? {
        Delivery::Scores(scores) => Ok(scores),
        other => Err(format!("{other:?} are no scores").into()),
    }
}
