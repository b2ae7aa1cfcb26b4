//! Both engines behind their sockets, with the real tiny model: the same request, the same words.

#![forbid(unsafe_code)]

use aios_abi::engine::{
    EngineEvent, EngineRequest, Frames, Generate, Grammar, Message, ModelInfo, WorkerState, encode,
};
use aios_abi::frame;
use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Content};
use candle_core::quantized::{GgmlDType, QTensor};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A worker that this test started.
struct Worker {
    child: Child,
    input: ChildStdin,
    events: Frames<ChildStdout, EngineEvent>,
    info: Option<ModelInfo>,
    next: u64,
}

/// A finished text: its words, and the tokens of prompt, reuse and answer.
#[derive(Debug, Clone, PartialEq)]
struct Text {
    words: String,
    prompt: u32,
    reused: u32,
    generated: u32,
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/models/text.gguf")
}

fn candle(model: &Path) -> Worker {
    Worker::start(Path::new(env!("CARGO_BIN_EXE_aios-engine-candle")), model, &[])
}

fn llama(arguments: &[&str]) -> Worker {
    llama_with(&model(), arguments)
}

/// It is built beside the other one by `make engines`.
fn llama_with(model: &Path, arguments: &[&str]) -> Worker {
    let program = Path::new(env!("CARGO_BIN_EXE_aios-engine-candle")).with_file_name("aios-engine-llama");
    Worker::start(&program, model, arguments)
}

/// The same model with its weights as 32-bit numbers: what remains different is the order of sums. With the
/// weights of four bits each engine rounds what it multiplies them with to eight bits in its own way, and two words
/// that are about equally good can come out in either order, which is where their texts part.
fn exact() -> tempfile::NamedTempFile {
    let mut file = std::fs::File::open(model()).expect("the image's model is there; `make image` fetches it");
    let content = Content::read(&mut file).expect("a model");
    let exact: Vec<(&String, QTensor)> = content
        .tensor_infos
        .keys()
        .map(|name| {
            let tensor = content.tensor(&mut file, name, &Device::Cpu).expect("a tensor");
            let tensor = tensor.dequantize(&Device::Cpu).expect("numbers");
            (name, QTensor::quantize(&tensor, GgmlDType::F32).expect("numbers"))
        })
        .collect();
    let metadata: Vec<_> = content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = exact.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut copy = tempfile::Builder::new().suffix(".gguf").tempfile().expect("room for a copy");
    gguf_file::write(&mut copy, &metadata, &tensors).expect("room for a copy");
    copy
}

impl Worker {
    fn start(program: &Path, model: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["--stdio", "--threads", "1", "--model"])
            .arg(model)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; `make engines` builds it", program.display()));
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut worker = Self { child, input, events: Frames::new(output), info: None, next: 0 };
        worker.send(&EngineRequest::Hello { nonce: 1, version: frame::VERSION });
        while worker.info.is_none() {
            match worker.event() {
                EngineEvent::Hello { state: WorkerState::Ready(info), .. }
                | EngineEvent::State(WorkerState::Ready(info)) => worker.info = Some(info),
                EngineEvent::Hello { state: WorkerState::Failed(why) | WorkerState::Off(why), .. }
                | EngineEvent::State(WorkerState::Failed(why) | WorkerState::Off(why)) => panic!("{why}"),
                _ => {}
            }
        }
        worker
    }

    fn send(&mut self, request: &EngineRequest) {
        self.input.write_all(&encode(request).expect("encodes")).expect("the worker listens");
    }

    fn event(&mut self) -> EngineEvent {
        self.events.next().expect("the worker has ended").expect("a whole frame")
    }

    fn begin(&mut self, generate: Generate) -> u64 {
        self.next += 1;
        let id = self.next;
        self.send(&EngineRequest::Generate(Generate { id, ..generate }));
        id
    }

    /// Wait until all of these have ended.
    fn texts(&mut self, ids: &[u64]) -> Vec<Text> {
        let mut words: BTreeMap<u64, String> = BTreeMap::new();
        let mut ended: BTreeMap<u64, Text> = BTreeMap::new();
        while !ids.iter().all(|id| ended.contains_key(id)) {
            match self.event() {
                EngineEvent::Text { id, text } => words.entry(id).or_default().push_str(&text),
                EngineEvent::Done { id, cost } => {
                    let words = words.remove(&id).unwrap_or_default();
                    let text =
                        Text { words, prompt: cost.prompt, reused: cost.reused, generated: cost.generated };
                    ended.insert(id, text);
                }
                EngineEvent::Error { id, error } => panic!("{id}: {error}"),
                _ => {}
            }
        }
        ids.iter().map(|id| ended[id].clone()).collect()
    }

    fn text(&mut self, generate: Generate) -> Text {
        let id = self.begin(generate);
        self.texts(&[id]).remove(0)
    }

    fn scores(&mut self, question: &str, continuations: &[&str]) -> Vec<f32> {
        self.scores_of(vec![message("user", question)], continuations)
    }

    fn scores_of(&mut self, messages: Vec<Message>, continuations: &[&str]) -> Vec<f32> {
        self.next += 1;
        let continuations = continuations.iter().map(|text| (*text).to_owned()).collect();
        self.send(&EngineRequest::Score { id: self.next, messages, continuations, adapted: false });
        loop {
            match self.event() {
                EngineEvent::Scores { log_likelihoods, .. } => return log_likelihoods,
                EngineEvent::Error { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into() }
}

fn generate(question: &str, max_tokens: u32) -> Generate {
    let messages = vec![message("system", "You help with a Linux server."), message("user", question)];
    Generate { messages, max_tokens, ..Generate::default() }
}

const QUESTIONS: [&str; 3] = [
    "What does the command df do?",
    "Write three sentences about the sea, and use the word \"Größe\" once.",
    "Count from 1 to 40. <|im_end|> is no end of this message.",
];

#[test]
fn both_engines_write_the_same_words() {
    let exact = exact();
    let (mut candle, mut llama) = (candle(exact.path()), llama_with(exact.path(), &["--memory", "f32"]));
    for question in QUESTIONS {
        let (of_candle, of_llama) = (candle.text(generate(question, 64)), llama.text(generate(question, 64)));
        assert_eq!(of_candle.prompt, of_llama.prompt, "{question}: the prompt is cut into the same tokens");
        assert_eq!(of_candle.words, of_llama.words, "{question}");
        assert_eq!(of_candle.generated, of_llama.generated, "{question}");
    }
}

#[test]
fn both_engines_judge_and_obey_alike() {
    let exact = exact();
    let (mut candle, mut llama) = (candle(exact.path()), llama_with(exact.path(), &["--memory", "f32"]));
    let continuations = ["Paris", " a city far away from here", "42"];
    let question = "What is the capital of France?";
    let (of_candle, of_llama) =
        (candle.scores(question, &continuations), llama.scores(question, &continuations));
    for ((one, other), text) in of_candle.iter().zip(&of_llama).zip(continuations) {
        assert!((one - other).abs() < 0.001 * one.abs() + 0.01, "{text}: {one} and {other}");
    }
    let rules = r#"start: "{\"name\":\"" ("anna" | "marek") "\",\"port\":" /[0-9]{1,5}/ "}""#;
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":20},"up":{"type":"boolean"}},"required":["name","up"],"additionalProperties":false}"#;
    for (grammar, keys) in
        [(Grammar::Lark(rules.into()), ["name", "port"]), (Grammar::Schema(schema.into()), ["name", "up"])]
    {
        let ask = || Generate { grammar: Some(grammar.clone()), ..generate("Which server is it?", 60) };
        let (of_candle, of_llama) = (candle.text(ask()), llama.text(ask()));
        assert_eq!(of_candle.words, of_llama.words);
        let value: serde_json::Value = serde_json::from_str(&of_llama.words).expect("is JSON");
        assert!(keys.iter().all(|key| value.get(key).is_some()), "{value}");
    }
}

#[test]
fn a_grammar_that_is_none_is_an_error() {
    let mut llama = llama(&[]);
    llama.begin(Generate { grammar: Some(Grammar::Lark("start: nowhere".into())), ..generate("?", 8) });
    let EngineEvent::Error { error, .. } = llama.event() else { panic!("it was accepted") };
    assert!(error.message.contains("the grammar is not valid"), "{error}");
}

#[test]
fn requests_side_by_side_are_answered_as_if_alone() {
    // Sums in another order tip a choice between two words that are equally good, the more so the coarser the
    // numbers are; so this is asked of the exact ones.
    let exact = exact();
    let mut llama = llama_with(exact.path(), &["--memory", "f32"]);
    let alone: Vec<String> = QUESTIONS.iter().map(|q| llama.text(generate(q, 40)).words).collect();
    let ids: Vec<u64> = QUESTIONS.iter().chain(&QUESTIONS).map(|q| llama.begin(generate(q, 40))).collect();
    let together = llama.texts(&ids);
    for (n, text) in together.iter().enumerate() {
        assert_eq!(text.words, alone[n % QUESTIONS.len()]);
    }
}

#[test]
fn a_second_question_costs_what_is_new_in_it() {
    let mut llama = llama(&[]);
    let long = "You look after a machine. ".repeat(40);
    let ask = |question: &str| Generate {
        messages: vec![message("system", &long), message("user", question)],
        ..generate("", 4)
    };
    let first = llama.text(ask("Is the disk full?"));
    let second = llama.text(ask("Who is logged in?"));
    let new = second.prompt - second.reused;
    assert!(first.reused == 0 && new * 100 <= 15 * second.prompt, "{first:?} {second:?}");
    // Two at once share what the one before them knows.
    let ids = [llama.begin(ask("What time is it?")), llama.begin(ask("Which ports are open?"))];
    for text in llama.texts(&ids) {
        assert!((text.prompt - text.reused) * 100 <= 15 * text.prompt, "{text:?}");
    }
}

#[test]
fn a_cancelled_request_ends_while_the_others_go_on() {
    let mut llama = llama(&[]);
    let (kept, dropped) =
        (llama.begin(generate(QUESTIONS[0], 60)), llama.begin(generate(QUESTIONS[1], 2000)));
    loop {
        if matches!(llama.event(), EngineEvent::Text { id, .. } if id == dropped) {
            break;
        }
    }
    llama.send(&EngineRequest::Cancel { id: dropped });
    let (mut after, mut ended) = (0, false);
    loop {
        match llama.event() {
            EngineEvent::Text { id, .. } if id == dropped => after += 1,
            EngineEvent::Error { id, error } if id == dropped => {
                assert_eq!(error.code, aios_abi::ErrorCode::Cancelled);
                ended = true;
            }
            EngineEvent::Done { id, .. } if id == kept => break,
            _ => {}
        }
    }
    assert!(ended && after <= 2, "{after} pieces came after the cancellation");
}

#[test]
fn more_than_has_room_waits_and_what_can_never_fit_is_refused() {
    let mut llama = llama(&["--context", "512"]);
    let ids: Vec<u64> = (0..6).map(|_| llama.begin(generate(QUESTIONS[0], 200))).collect();
    for text in llama.texts(&ids) {
        assert!(text.generated > 0);
    }
    llama.begin(generate(QUESTIONS[0], 600));
    let EngineEvent::Error { error, .. } = llama.event() else { panic!("it was accepted") };
    assert!(error.message.contains("the model's context holds 512"), "{error}");
}
