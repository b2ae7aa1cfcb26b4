//! A client of inferd for the command line.
//!
//! ```text
//! inferd-client SOCKET status
//! inferd-client SOCKET choose "who is using all the memory?"
//! inferd-client SOCKET fill net.resolve "what is the address of gateway.lan?"
//! inferd-client SOCKET complete "Why is the sky blue?"
//! inferd-client SOCKET learn approved.jsonl
//! inferd-client SOCKET eval evaluation/dev.jsonl
//! inferd-client - tools
//! inferd-client - examples
//! inferd-client SOCKET calibrate evaluation/dev.jsonl evaluation/test.jsonl
//! ```
//!
//! `tools` prints the tools of the image as `aios-adapt read` wants them, and `examples` how they say themselves that people ask
//! for them, as every trainer wants it. `learn` has a machine learn from lines of `ask` and `tool`, and `forget` takes that back. `eval` prints one JSON object for each question, with what was chosen and filled in, and the
//! sums at the end. It leaves out what agentd does before and after: rules, policy, questions back. `calibrate` fits the curves of `src/certainty.rs` to the first file,
//! and says for both how often answers of each certainty were right; inferd must have no tier above the first one then.

#![forbid(unsafe_code)]

use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::engine::Message;
use aios_abi::infer::{Choice, Complete, Infer, InferEvent, InferReply, InferRequest, Signals, ToolBrief};
use aios_abi::schema::said;
use aios_inferd::certainty::{AGREED, DIFFERING, ENOUGH, FILLED, Logistic};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some((socket, command)) = words.split_first() else {
        return Err(
            "usage: inferd-client SOCKET status|choose|fill|complete|learn|forget|tools|examples|eval|calibrate …".into(),
        );
    };
    if let ["tools"] = command {
        for tool in tools() {
            println!("{}", json!({"name": tool.name, "args_schema": tool.args_schema}));
        }
        return Ok(());
    }
    if let ["examples"] = command {
        for tool in tools() {
            for example in tool.examples {
                let args: Value = serde_json::from_str(&example.args)?;
                println!("{}", json!({"ask": example.ask, "tool": tool.name, "args": args}));
            }
        }
        return Ok(());
    }
    if let ["eval", file] = command {
        return eval(socket, file).await;
    }
    if let ["calibrate", fit, held] = command {
        return calibrate(socket, fit, held).await;
    }
    let request = match command {
        ["status"] => InferRequest::Status,
        ["choose", question] => InferRequest::Choose { question: (*question).into(), tools: names() },
        ["fill", name, question] => InferRequest::Fill {
            question: (*question).into(),
            tool: tools().into_iter().find(|t| t.name == *name).ok_or("there is no such tool")?,
            known: "{}".into(),
        },
        ["complete", prompt] => {
            let messages = vec![Message { role: "user".into(), content: (*prompt).into() }];
            InferRequest::Complete(Complete { messages, max_tokens: 64, ..Complete::default() })
        }
        ["learn", file] => {
            let text = std::fs::read_to_string(file)?;
            let lessons = text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
            InferRequest::Learn { lessons }
        }
        ["forget"] => InferRequest::Adapt { to: None },
        _ => return Err(format!("{command:?} is no command").into()),
    };
    let start = Instant::now();
    let call = Client::<Infer>::at(socket).start(Meta::why("by hand").deadline_ms(120_000), request).await?;
    let reply = call
        .finish(|event| match event {
            InferEvent::Text(text) => {
                print!("{text}");
                let _ = std::io::stdout().flush();
            }
            other => println!("{other:?}"),
        })
        .await?;
    match reply {
        InferReply::Status(status) => println!("{status:#?}"),
        other => println!("\n{other:?}"),
    }
    println!("{} ms", start.elapsed().as_millis());
    Ok(())
}

/// The tools of the image.
fn tools() -> Vec<ToolBrief> {
    aios_toold::tool::all().iter().map(|tool| tool.info().into()).collect()
}

/// Those without their arguments, which a choice does not need.
fn names() -> Vec<ToolBrief> {
    let mut tools = tools();
    for tool in &mut tools {
        tool.args_schema.clear();
        tool.examples.iter_mut().for_each(|example| example.args.clear());
    }
    tools
}

/// A question and the call that it means.
#[derive(serde::Deserialize)]
struct Case {
    ask: String,
    tool: Option<String>,
    args: Map<String, Value>,
}

/// What was made of a question.
struct Answer {
    case: Case,
    choice: Choice,
    /// The arguments with their log-likelihood, or why there are none.
    filled: std::result::Result<(Value, Option<f32>, f32), String>,
    /// Whether tool and arguments are right; an argument may be left out or be given as what it is without.
    is_whole: bool,
    chose: Duration,
    took: Duration,
}

impl Answer {
    fn is_right(&self) -> bool {
        self.choice.tool == self.case.tool
    }
}

/// Have each question of a file answered.
async fn answers(socket: &str, file: &str, mut each: impl FnMut(&Answer)) -> Result<Vec<Answer>> {
    let client = Client::<Infer>::at(socket);
    let text = std::fs::read_to_string(file)?;
    let (tools, meta) = (tools(), || Meta::why("by hand").deadline_ms(60_000));
    let mut answers = Vec::new();
    for line in text.lines() {
        let case: Case = serde_json::from_str(line)?;
        let began = Instant::now();
        let choose = InferRequest::Choose { question: case.ask.clone(), tools: names() };
        let InferReply::Choice(choice) = client.call(meta(), choose).await? else {
            return Err("no choice".into());
        };
        let chose = began.elapsed();
        let tool = choice.tool.as_ref().and_then(|name| tools.iter().find(|tool| tool.name == *name));
        let filled = match tool {
            Some(tool) => {
                let request =
                    InferRequest::Fill { question: case.ask.clone(), tool: tool.clone(), known: "{}".into() };
                match client.call(meta(), request).await {
                    Ok(InferReply::Filled { args, log_likelihood, certainty, .. }) => {
                        Ok((serde_json::from_str(&args)?, log_likelihood, certainty))
                    }
                    Ok(other) => return Err(format!("{other:?} is no filling in").into()),
                    Err(error) => Err(error.to_string()),
                }
            }
            None => Ok((json!({}), None, 1.0)),
        };
        let schema: Value = tool.map_or(Ok(Value::Null), |tool| serde_json::from_str(&tool.args_schema))?;
        let is_same = |args: &Value| said(&schema, args) == said(&schema, &Value::from(case.args.clone()));
        let is_whole = choice.tool == case.tool && filled.as_ref().is_ok_and(|(args, ..)| is_same(args));
        let answer = Answer { case, choice, filled, is_whole, chose, took: began.elapsed() };
        each(&answer);
        answers.push(answer);
    }
    Ok(answers)
}

async fn eval(socket: &str, file: &str) -> Result<()> {
    let answers = answers(socket, file, |answer| {
        let Answer { case, choice, filled, chose, took, .. } = answer;
        let filled = match filled {
            Ok((args, ..)) => args.clone(),
            Err(error) => json!({ "error": error }),
        };
        let line = json!({
            "ask": case.ask, "tool": case.tool, "args": case.args,
            "chosen": choice.tool, "certainty": choice.certainty, "tier": choice.tier.name(), "filled": filled,
            "shortlist": choice.shortlist.iter().map(|s| (s.name.as_str(), s.score)).collect::<Vec<_>>(),
            "whole": answer.is_whole,
            "choose_ms": chose.as_millis() as u64, "ms": took.as_millis() as u64,
        });
        println!("{line}");
    })
    .await?;
    let percent = |is: fn(&Answer) -> bool| {
        100.0 * answers.iter().filter(|answer| is(answer)).count() as f64 / answers.len().max(1) as f64
    };
    eprintln!(
        "{} questions: {:.1} % right tool, {:.1} % with the same arguments",
        answers.len(),
        percent(Answer::is_right),
        percent(|answer| answer.is_whole)
    );
    Ok(())
}

/// Fit the curves to one file, and judge them on both.
async fn calibrate(socket: &str, fit: &str, held: &str) -> Result<()> {
    let fit = answers(socket, fit, |_| ()).await?;
    let held = answers(socket, held, |_| ()).await?;
    let signals = |answer: &Answer| answer.choice.signals.map(|signals| (signals, answer.is_right()));
    let choices: Vec<(Signals, bool)> = fit.iter().filter_map(signals).collect();
    let of = |agree: bool| choices.iter().filter(move |(signals, _)| signals.agree == agree);
    let agreed: Vec<_> = of(true).map(|(s, is_right)| ([s.layer, s.adapter], *is_right)).collect();
    let differing: Vec<_> =
        of(false).map(|(s, is_right)| ([s.layer, s.adapter, s.ahead], *is_right)).collect();
    let likely = |answer: &Answer| match &answer.filled {
        Ok((_, Some(likelihood), _)) if answer.is_right() => Some(([*likelihood], answer.is_whole)),
        _ => None,
    };
    let filled: Vec<_> = fit.iter().filter_map(likely).collect();
    let (agreed, differing, filled) =
        (Logistic::fit(&agreed), Logistic::fit(&differing), Logistic::fit(&filled));
    println!("AGREED    {agreed:?}, now {AGREED:?}");
    println!("DIFFERING {differing:?}, now {DIFFERING:?}");
    println!("FILLED    {filled:?}, now {FILLED:?}");
    for (name, answers) in [("what it was fitted to", fit), ("held back", held)] {
        let choices = answers.iter().filter_map(signals).map(|(s, is_right)| {
            let certainty = match s.agree {
                true => agreed.of([s.layer, s.adapter]),
                false => differing.of([s.layer, s.adapter, s.ahead]),
            };
            (certainty, is_right)
        });
        table(&format!("tools, {name}"), choices.collect());
        let filled =
            answers.iter().filter_map(likely).map(|(signals, is_whole)| (filled.of(signals), is_whole));
        table(&format!("arguments where the tool was right, {name}"), filled.collect());
    }
    Ok(())
}

/// How often what is held likely is right, by tenths, and what asking the next tier would catch.
fn table(title: &str, answers: Vec<(f32, bool)>) {
    println!("{title}: {} answers", answers.len());
    let mut gap = 0.0;
    for tenth in 0..10u8 {
        let (from, to) = (f32::from(tenth) / 10.0, f32::from(tenth + 1) / 10.0);
        let inside: Vec<&(f32, bool)> =
            answers.iter().filter(|(certainty, _)| *certainty >= from && *certainty < to).collect();
        if inside.is_empty() {
            continue;
        }
        let count = inside.len() as f32;
        let held = inside.iter().map(|(certainty, _)| certainty).sum::<f32>() / count;
        let right = inside.iter().filter(|(_, is_right)| *is_right).count() as f32 / count;
        gap += (held - right).abs() * count / answers.len() as f32;
        println!("  {from:.1}–{to:.1}  {count:4}  held likely {held:.2}  right {right:.2}");
    }
    let unsure = answers.iter().filter(|(certainty, _)| *certainty < ENOUGH);
    let (unsure, wrong) = (unsure.clone().count(), unsure.filter(|(_, is_right)| !is_right).count());
    let all = answers.iter().filter(|(_, is_right)| !is_right).count();
    println!("  gap in the mean {gap:.3}; below {ENOUGH}: {unsure}, with {wrong} of {all} that are wrong");
}
