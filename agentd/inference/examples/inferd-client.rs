//! A client of inferd for the command line.
//!
//! ```text
//! inferd-client SOCKET status
//! inferd-client SOCKET choose "who is using all the memory?"
//! inferd-client SOCKET fill net.resolve "what is the address of gateway.lan?"
//! inferd-client SOCKET complete "Why is the sky blue?"
//! ```

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
        return Err("usage: inferd-client SOCKET status|choose|fill|complete …".into());
    };
    let request = match command {
        ["status"] => InferRequest::Status,
        ["choose", question] => InferRequest::Choose { question: (*question).into(), tools: tools() },
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
