//! The worker in front of a true server: llama.cpp's own, with the image's tiny model.

#![forbid(unsafe_code)]

#[path = "../../../../tests/bench/peer.rs"]
mod peer;
#[allow(dead_code, reason = "what the measurements need")]
#[path = "../../../../tests/bench/server.rs"]
mod server;
#[allow(dead_code, reason = "what the other test needs")]
mod worker;

use aios_abi::engine::{EngineEvent, EngineRequest, Generate, Grammar, Message};
use server::Server;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use worker::{Worker, settings};

const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// What the server itself counts and says.
impl Server {
    /// Tokens that it has read and written so far.
    fn tokens(&self) -> (u64, u64) {
        let text = self.get("/metrics").expect("metrics");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<f64>().ok()).expect("a number") as u64
        };
        (value("llamacpp:prompt_tokens_total "), value("llamacpp:tokens_predicted_total "))
    }

    /// Answers that it is writing.
    fn busy(&self) -> usize {
        self.get("/slots").expect("slots").matches("\"is_processing\":true").count()
    }

    fn wait_until_busy(&self, count: usize) {
        let begin = Instant::now();
        while self.busy() != count {
            assert!(begin.elapsed() < PATIENCE, "it should work on {count} requests");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn settings(&self, per_month: &str, more: &str) -> String {
        settings("openai", &format!("http://127.0.0.1:{}", self.port), per_month, more)
    }
}

fn ask(words: &str, max_tokens: u32) -> Generate {
    let messages = vec![Message { role: "user".into(), content: words.into() }];
    Generate { messages, max_tokens, ..Generate::default() }
}

#[test]
fn a_true_server_answers_is_cancelled_is_paid_and_dies() {
    let begin = Instant::now();
    let step = |what: &str| println!("{what} after {} ms", begin.elapsed().as_millis());
    let program = peer::llama(&root().join("target/cache"), "llama-server").expect("llama-server is built");
    let mut server =
        Server::start(&program, &root().join("target/models/text.gguf"), "2").expect("the server starts");
    step("ready");
    let worker = Worker::start(Some(&server.settings("10", "prefill = true")));
    let mut talk = worker.talk_when_on();

    // The text comes in pieces, and what it costs is what the server has counted itself.
    let id = talk.begin(&ask("Tell me about the sea.", 32));
    let (mut pieces, mut text) = (0, String::new());
    let cost = loop {
        match talk.event() {
            EngineEvent::Text { id: of, text: more } if of == id => {
                pieces += 1;
                text.push_str(&more);
            }
            EngineEvent::Done { id: of, cost } if of == id => break cost,
            EngineEvent::Error { error, .. } => panic!("{error}"),
            _ => {}
        }
    };
    println!("{pieces} pieces: {text:?}; {cost:?}");
    assert!(pieces > 8 && !text.is_empty() && cost.is_cut);
    assert_eq!(cost.generated, 32);
    let counted = server.tokens();
    assert_eq!(counted.1, 32, "the server counts what it has written");
    assert_eq!(counted.0, u64::from(cost.prompt - cost.reused), "and what it has read");
    let price = u64::from(cost.prompt - cost.reused) + (u64::from(cost.reused)).div_ceil(10) + 320;
    assert!(cost.price_micro.abs_diff(price) <= 1, "{cost:?}");
    talk.wait_for_spent(cost.price_micro);
    // The same again, as likely as possible: the same words, and the server knows the prompt.
    let again = talk.ask(&ask("Tell me about the sea.", 32));
    assert_eq!(again.text, text);
    assert!(again.cost().reused > 0 && again.cost().price_micro < cost.price_micro, "{:?}", again.cost());

    // An answer that is begun, and one that must end at a word.
    let begun =
        talk.ask(&Generate { prefix: "One, two, three,".into(), ..ask("Count to ten in words.", 12) });
    println!("begun: {:?}", begun.text);
    assert!(begun.cost().generated > 0 && !begun.text.contains("One, two, three,"), "{:?}", begun.text);
    let stop = text.split_whitespace().nth(4).expect("words").to_owned();
    let stopped = talk.ask(&Generate { stop: vec![stop.clone()], ..ask("Tell me about the sea.", 32) });
    assert!(!stopped.cost().is_cut && text.starts_with(&stopped.text) && !stopped.text.contains(&stop));

    // A schema: whatever the model would like to say, it is such JSON.
    let schema = r#"{"type":"object","properties":{"colour":{"enum":["red","green"]},"number":{"type":"integer","minimum":0,"maximum":99}},"required":["colour","number"],"additionalProperties":false}"#;
    let formed = Generate {
        grammar: Some(Grammar::Schema(schema.into())),
        ..ask("Choose a colour and a number.", 100)
    };
    let formed = talk.ask(&formed);
    println!("formed: {}", formed.text);
    let value: serde_json::Value = serde_json::from_str(&formed.text).expect("JSON");
    assert!(
        formed.end.is_ok()
            && (value["colour"] == "red" || value["colour"] == "green")
            && value["number"].is_u64()
    );
    let cut = Generate { grammar: Some(Grammar::Schema(schema.into())), ..ask("Choose a colour.", 3) };
    assert!(talk.ask(&cut).why().contains("allow more"));

    // Four together; two are cancelled, and the server stops working on those at once.
    let long = ask("Write a very long story about a ship.", 200);
    let ids: Vec<u64> = (0..4).map(|_| talk.begin(&long)).collect();
    server.wait_until_busy(4);
    step("four at once");
    for id in &ids[..2] {
        talk.send(&EngineRequest::Cancel { id: *id });
    }
    server.wait_until_busy(2);
    step("two cancelled");
    let (mut failed, mut done) = (0, 0);
    while failed + done < 4 {
        match talk.event() {
            EngineEvent::Error { id, error } => {
                assert!(ids[..2].contains(&id), "{error}");
                failed += 1;
            }
            EngineEvent::Done { id, .. } => {
                assert!(ids[2..].contains(&id));
                done += 1;
            }
            _ => {}
        }
    }
    assert_eq!((failed, done), (2, 2));
    server.wait_until_busy(0);

    step("two written");
    // A budget that is used up: nothing reaches the server.
    worker.set(&server.settings("0.001", ""));
    let before = loop {
        let before = server.tokens();
        let refused = talk.ask(&ask("Hello?", 10));
        match refused.end {
            // The settings before, for a moment.
            Ok(_) => {}
            Err(error) => {
                assert!(error.message.contains("nothing was sent"), "{error}");
                break before;
            }
        }
    };
    assert_eq!(server.tokens(), before);

    step("refused");
    // The server dies in the middle.
    worker.set(&server.settings("10", ""));
    talk.wait(|state| format!("{state:?}").contains("10000000"));
    let id = talk.begin(&long);
    server.wait_until_busy(1);
    while !matches!(talk.event(), EngineEvent::Text { .. }) {}
    server.child.kill().expect("killed");
    let died = talk.end(id);
    println!("died: {}", died.why());
    assert!(died.why().contains("all that was reserved for it counts: 0.0"), "{}", died.why());
    let gone = talk.ask(&long);
    assert!(gone.why().starts_with("127.0.0.1 cannot be reached"), "{}", gone.why());
}
