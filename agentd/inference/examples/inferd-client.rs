//! A client of inferd for the command line.
//!
//! ```text
//! inferd-client SOCKET status
//! inferd-client SOCKET choose "who is using all the memory?"
//! inferd-client SOCKET fill net.resolve "what is the address of gateway.lan?"
//! inferd-client SOCKET complete "Why is the sky blue?"
//! inferd-client SOCKET eval evaluation/dev.jsonl
//! ```
//!
//! `eval` prints one JSON object for each question, with what was chosen and filled in, and the sums at the end. It leaves out
//! what agentd does before and after: rules, policy, questions back.

#![forbid(unsafe_code)]

use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::infer::{Infer, InferEvent, InferReply, InferRequest, ToolBrief};
use std::error::Error;
use std::io::Write;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some((socket, command)) = words.split_first() else {
        return Err("usage: inferd-client SOCKET status|choose|fill|complete|eval …".into());
    };
    if let ["eval", file] = command {
        return eval(socket, file).await;
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
            InferRequest::Complete { system: String::new(), prompt: (*prompt).into(), max_tokens: 64 }
        }
        _ => return Err(format!("{command:?} is no command").into()),
    };
    let start = std::time::Instant::now();
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
    args: serde_json::Map<String, serde_json::Value>,
}

async fn eval(socket: &str, file: &str) -> Result<()> {
    let client = Client::<Infer>::at(socket);
    let text = std::fs::read_to_string(file)?;
    let (tools, meta) = (tools(), || Meta::why("by hand").deadline_ms(60_000));
    let (mut count, mut right, mut whole) = (0, 0, 0);
    for line in text.lines() {
        let case: Case = serde_json::from_str(line)?;
        let began = std::time::Instant::now();
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
                    Ok(InferReply::Filled { args, .. }) => serde_json::from_str(&args)?,
                    Ok(other) => return Err(format!("{other:?} is no filling in").into()),
                    Err(error) => serde_json::json!({ "error": error.to_string() }),
                }
            }
            None => serde_json::json!({}),
        };
        count += 1;
        let is_right = choice.tool == case.tool;
        right += usize::from(is_right);
        whole += usize::from(is_right && filled == serde_json::Value::from(case.args.clone()));
        let line = serde_json::json!({
            "ask": case.ask, "tool": case.tool, "args": case.args,
            "chosen": choice.tool, "by_model": choice.by_model, "filled": filled,
            "shortlist": choice.shortlist.iter().map(|s| (s.name.as_str(), s.score)).collect::<Vec<_>>(),
            "choose_ms": chose.as_millis() as u64, "ms": began.elapsed().as_millis() as u64,
        });
        println!("{line}");
    }
    let percent = |part: usize| 100.0 * part as f64 / f64::from(count.max(1));
    eprintln!(
        "{count} questions: {:.1} % right tool, {:.1} % with the same arguments",
        percent(right),
        percent(whole)
    );
    Ok(())
}
