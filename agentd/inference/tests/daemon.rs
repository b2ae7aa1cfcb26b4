//! The whole daemon behind its socket, with engines that follow a script.

#![forbid(unsafe_code)]

use aios_abi::call::Meta;
use aios_abi::client::{Client, Next};
use aios_abi::engine::{
    Adapter, Cost, Decoder, EngineEvent, EngineRequest, Grammar, Message, ModelInfo, WorkerState, encode,
};
use aios_abi::infer::{
    Choice, Complete, EngineState, Infer, InferEvent, InferReply, InferRequest, InferStatus, Tier, ToolBrief,
};
use aios_abi::tool::Example;
use aios_abi::{CallError, ErrorCode, frame};
use aios_inferd::choose::Head;
use aios_inferd::engine::{Engine, Kind, Source};
use aios_inferd::serve::Server;
use aios_inferd::tiers::Tiers;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_seqpacket::UnixSeqpacketListener;

/// What an engine does with a request.
enum Turn {
    Answer(Vec<EngineEvent>),
    /// Die without an answer.
    Die,
    /// Say nothing, until it is cancelled.
    Hang,
}

type Script = fn(&EngineRequest) -> Turn;

/// An engine worker that listens on a socket. Each request that it gets is also told to the test.
fn engine(path: &Path, state: WorkerState, script: Script) -> mpsc::UnboundedReceiver<EngineRequest> {
    let listener = UnixListener::bind(path).expect("binds");
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, &state, script, &tell).await;
        }
    });
    told
}

async fn serve(
    mut stream: UnixStream,
    state: &WorkerState,
    script: Script,
    tell: &mpsc::UnboundedSender<EngineRequest>,
) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 65536];
    loop {
        let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
        let mut requests = Vec::new();
        decoder.feed(&buffer[..length], |request| requests.push(request.expect("a frame")));
        for request in requests {
            let turn = match &request {
                EngineRequest::Hello { nonce, .. } => Turn::Answer(vec![EngineEvent::Hello {
                    nonce: *nonce,
                    version: frame::VERSION,
                    engine: "scripted 1".into(),
                    state: state.clone(),
                }]),
                EngineRequest::Cancel { id } => {
                    let error = CallError::new(ErrorCode::Cancelled, "cancelled by the caller");
                    Turn::Answer(vec![EngineEvent::Error { id: *id, error }])
                }
                request => script(request),
            };
            let _ = tell.send(request);
            match turn {
                Turn::Answer(events) => {
                    for event in events {
                        stream.write_all(&encode(&event).expect("encodes")).await.expect("writes");
                    }
                }
                Turn::Die => return,
                Turn::Hang => {}
            }
        }
    }
}

fn ready() -> WorkerState {
    WorkerState::Ready(ModelInfo {
        name: "scripted".into(),
        parameters: 1_000_000,
        context: 2048,
        dimensions: 2,
        threads: 1,
        slots: 1,
        adapter: None,
        reads: Vec::new(),
        budget: None,
        offload: None,
    })
}

/// The end of a text of two tokens.
fn done(id: u64) -> EngineEvent {
    EngineEvent::Done { id, cost: Cost { prompt: 7, generated: 2, ..Cost::default() } }
}

/// Asks for a text.
fn complete(prompt: &str, max_tokens: u32) -> InferRequest {
    let messages = vec![Message { role: "user".into(), content: prompt.into() }];
    InferRequest::Complete(Complete { messages, max_tokens, ..Complete::default() })
}

struct House {
    folder: tempfile::TempDir,
    client: Client<Infer>,
}

impl House {
    /// A daemon whose engines are looked for at `text` and `embed` in its folder.
    async fn new(folder: tempfile::TempDir) -> Self {
        Self::with(folder, None).await
    }

    async fn with(folder: tempfile::TempDir, head: Option<Head>) -> Self {
        let source = |kind, name: &str| Source {
            kind,
            socket: Some(folder.path().join(name)),
            ports: folder.path().join("ports"),
            engines: folder.path().into(),
            models: folder.path().into(),
            imported: None,
            learned: None,
            threads: None,
            free: None,
        };
        let tier = |tier: Tier, name| Engine::start(source(Kind::Text(tier), name));
        let tiers = Tiers {
            operational: tier(Tier::Operational, "text"),
            tactical: tier(Tier::Tactical, "tactical"),
            strategic: tier(Tier::Strategic, "strategic"),
        };
        let embed = Engine::start(source(Kind::Embed, "embed"));
        let path = folder.path().join("inferd.sock");
        let listener = UnixSeqpacketListener::bind(&path).expect("binds");
        tokio::spawn(aios_abi::server::serve::<Infer, _>(
            listener,
            Arc::new(Server::new(tiers, embed, head)),
        ));
        Self { folder, client: Client::at(path) }
    }

    async fn ask(&self, request: InferRequest) -> Result<InferReply, CallError> {
        self.client.call(Meta::why("a test"), request).await
    }

    /// Wait until the engines are in these states.
    async fn until(&self, text: EngineState, embed: EngineState) {
        for _ in 0..500 {
            let Ok(InferReply::Status(status)) = self.ask(InferRequest::Status).await else {
                panic!("no status");
            };
            if (status.tiers[0].engine.state, status.embed.state) == (text, embed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the engines are not as expected in {}", self.folder.path().display());
    }

    async fn choose(&self, question: &str) -> Choice {
        let request = InferRequest::Choose { question: question.into(), tools: tools() };
        match self.ask(request).await.expect("chooses") {
            InferReply::Choice(choice) => choice,
            other => panic!("{other:?}"),
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn tool(name: &str, summary: &str, schema: &str, example: (&str, &str)) -> ToolBrief {
    let example = Example { ask: example.0.into(), args: example.1.into() };
    ToolBrief {
        name: name.into(),
        summary: summary.into(),
        args_schema: schema.into(),
        examples: vec![example],
    }
}

fn tools() -> Vec<ToolBrief> {
    let named = r#"{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}"#;
    vec![
        tool("time.now", "Show the time", r#"{"type":"object"}"#, ("what time is it?", "{}")),
        tool("net.resolve", "Look up a host name", named, ("resolve a.b", r#"{"name":"a.b"}"#)),
    ]
}

/// A vector in the plane: sentences with "time" point right, those with "host" or "example" up, others
/// in between, and France the other way.
fn embed(request: &EngineRequest) -> Turn {
    let EngineRequest::Embed { id, texts, .. } = request else { return Turn::Die };
    let vector = |text: &String| match text.to_lowercase() {
        t if t.contains("time") => vec![1.0, 0.0],
        t if t.contains("host") || t.contains("example") => vec![0.0, 1.0],
        t if t.contains("france") => vec![-0.707, -0.707],
        _ => vec![0.707, 0.707],
    };
    Turn::Answer(vec![EngineEvent::Embeddings { id: *id, vectors: texts.iter().map(vector).collect() }])
}

/// Finds every question as likely as the number of letters of what was said before it, and writes
/// "Hello" or the only name that it knows.
fn text(request: &EngineRequest) -> Turn {
    match request {
        EngineRequest::Generate(generate) => {
            let id = generate.id;
            let pieces = match &generate.grammar {
                Some(grammar) => {
                    let is_object =
                        matches!(grammar, Grammar::Lark(rules) if rules.starts_with("start: \"{\""));
                    assert!(is_object, "{grammar:?}");
                    vec!["{\"name\":", "\"gateway.lan\"}"]
                }
                None => vec!["Hel", "lo"],
            };
            let text = |piece: &str| EngineEvent::Text { id, text: piece.into() };
            let mut events: Vec<_> = pieces.into_iter().map(text).collect();
            events.push(done(id));
            Turn::Answer(events)
        }
        EngineRequest::Score { id, messages, continuations, adapted: false } => {
            let said: usize = messages.iter().map(|m| m.content.len()).sum();
            let log_likelihoods = continuations.iter().map(|_| said as f32).collect();
            Turn::Answer(vec![EngineEvent::Scores { id: *id, log_likelihoods }])
        }
        _ => Turn::Die,
    }
}

#[tokio::test]
async fn without_any_engine_status_answers_and_the_others_say_what_is_missing() {
    let house = House::new(folder()).await;
    house.until(EngineState::Absent, EngineState::Absent).await;
    // At first it is only being looked for.
    for _ in 0..500 {
        let error = house.ask(InferRequest::Embed { texts: vec!["a".into()] }).await.expect_err("fails");
        assert_eq!(error.code, ErrorCode::Unavailable);
        if error.message.contains("no engine worker listens on") {
            break;
        }
        assert!(error.message.contains("is being started"), "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let [no_arguments, _] = tools().try_into().expect("two");
    let fill = InferRequest::Fill { question: "time?".into(), tool: no_arguments, known: "{}".into() };
    let Ok(InferReply::Filled { args, .. }) = house.ask(fill).await else { panic!("needs no model") };
    assert_eq!(args, "{}");
}

#[tokio::test]
async fn a_loading_model_is_told_at_once() {
    let folder = folder();
    let _text = engine(&folder.path().join("text"), WorkerState::Loading { percent: 12 }, text);
    let house = House::new(folder).await;
    house.until(EngineState::Loading, EngineState::Absent).await;
    let request = complete("Hi", 8);
    let error = house.ask(request).await.expect_err("fails");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.starts_with("the text model is still loading"), "{error}");
}

#[tokio::test]
async fn a_text_arrives_piece_by_piece_and_whole() {
    let folder = folder();
    let mut told = engine(&folder.path().join("text"), ready(), text);
    let house = House::new(folder).await;
    house.until(EngineState::Ready, EngineState::Absent).await;
    let request = complete("Hi", 9_999);
    let call = house.client.start(Meta::default(), request).await.expect("starts");
    let mut pieces = Vec::new();
    let reply = call.finish(|event| pieces.push(event)).await.expect("ends");
    assert_eq!(pieces, [InferEvent::Text("Hel".into()), InferEvent::Text("lo".into())]);
    let InferReply::Completion(completion) = reply else { panic!("{reply:?}") };
    assert_eq!((completion.text.as_str(), completion.usage.generated_tokens), ("Hello", 2));
    assert!(matches!(told.recv().await, Some(EngineRequest::Hello { .. })));
    let Some(EngineRequest::Generate(generate)) = told.recv().await else { panic!("no generation") };
    assert_eq!(generate.max_tokens, aios_inferd::serve::MAX_TOKENS, "the length is bounded");
}

#[tokio::test]
async fn a_clear_question_a_foreign_one_and_an_unclear_one_go_their_ways() {
    let folder = folder();
    let mut told = engine(&folder.path().join("embed"), ready(), embed);
    let _text = engine(&folder.path().join("text"), ready(), text);
    let house = House::new(folder).await;
    house.until(EngineState::Ready, EngineState::Ready).await;
    let clear = house.choose("tell the time").await;
    assert_eq!((clear.tool.as_deref(), clear.by_model), (Some("time.now"), false));
    assert!(clear.margin > 0.9);
    let foreign = house.choose("the capital of France").await;
    assert_eq!((foreign.tool, foreign.by_model), (None, false));
    let unclear = house.choose("something").await;
    assert_eq!((unclear.tool.as_deref(), unclear.by_model), (Some("net.resolve"), true));
    let mut embedded = 0;
    while let Ok(request) = told.try_recv() {
        if let EngineRequest::Embed { texts, .. } = request {
            embedded += texts.len();
        }
    }
    assert_eq!(embedded, 4 + 3, "the tools' sentences are embedded once");
}

#[tokio::test]
async fn without_a_text_model_the_embeddings_choose_or_leave_it() {
    let folder = folder();
    let _embed = engine(&folder.path().join("embed"), ready(), embed);
    let house = House::new(folder).await;
    house.until(EngineState::Absent, EngineState::Ready).await;
    let clear = house.choose("tell the time").await;
    assert_eq!((clear.tool.as_deref(), clear.by_model), (Some("time.now"), false));
    let unclear = house.choose("something").await;
    assert_eq!((unclear.tool, unclear.by_model), (None, false), "a tie is no choice");
}

#[tokio::test]
async fn a_text_model_that_takes_too_long_is_not_waited_for() {
    let folder = folder();
    let _embed = engine(&folder.path().join("embed"), ready(), embed);
    let _text = engine(&folder.path().join("text"), ready(), |_| Turn::Hang);
    let house = House::new(folder).await;
    house.until(EngineState::Ready, EngineState::Ready).await;
    let request = InferRequest::Choose { question: "something".into(), tools: tools() };
    let reply = house.client.call(Meta::default().deadline_ms(900), request).await.expect("in time");
    let InferReply::Choice(choice) = reply else { panic!("{reply:?}") };
    assert!(!choice.by_model && choice.tool.is_none());
}

/// A trained layer that takes the right for the time, up for host names, and the other way for nothing.
fn head() -> Head {
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let (weight, bias) = (bytes(&[0.0, 4.0, -4.0, -4.0, 4.0, 0.0]), bytes(&[0.0; 3]));
    let tensors = [("weight", vec![3, 2], &weight), ("bias", vec![3], &bias)].map(|(name, shape, data)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, data).expect("a tensor"))
    });
    let about = [("tools".to_owned(), "net.resolve none time.now".to_owned())].into();
    Head::of(&safetensors::serialize(tensors, Some(about)).expect("a file")).expect("a head")
}

/// A model with an adapter for both tools.
fn adapted() -> WorkerState {
    let WorkerState::Ready(model) = ready() else { panic!("it is ready") };
    let tools = tools().into_iter().map(|tool| tool.name).collect();
    WorkerState::Ready(ModelInfo { adapter: Some(Adapter { name: "calls".into(), tools }), ..model })
}

/// Names `net.resolve` whatever it is asked, and finds "none" a little likelier than that.
fn namer(request: &EngineRequest) -> Turn {
    match request {
        EngineRequest::Generate(generate) => {
            let id = generate.id;
            let Some(Grammar::Lark(rules)) = &generate.grammar else { return Turn::Die };
            let text = match generate.prefix.is_empty() {
                true => {
                    assert_eq!(rules, "start: \"time.now\\n\" | \"net.resolve\\n\" | \"none\\n\"\n");
                    "net.resolve\n"
                }
                false => {
                    assert_eq!((generate.prefix.as_str(), generate.adapted), ("net.resolve\n", true));
                    "{\"name\":\"gateway\"}"
                }
            };
            let text = EngineEvent::Text { id, text: text.into() };
            let done = done(id);
            Turn::Answer(vec![text, done])
        }
        EngineRequest::Score { id, continuations, adapted: true, .. } => {
            let likely = |name: &String| match name.as_str() {
                "none\n" => -1.0,
                "net.resolve\n" => -1.5,
                _ => -9.0,
            };
            let log_likelihoods = continuations.iter().map(likely).collect();
            Turn::Answer(vec![EngineEvent::Scores { id: *id, log_likelihoods }])
        }
        _ => Turn::Die,
    }
}

#[tokio::test]
async fn what_was_trained_decides_together() {
    let folder = folder();
    let mut told = engine(&folder.path().join("embed"), ready(), embed);
    let _text = engine(&folder.path().join("text"), adapted(), namer);
    let house = House::with(folder, Some(head())).await;
    house.until(EngineState::Ready, EngineState::Ready).await;
    let agreed = house.choose("the address of a host").await;
    assert_eq!((agreed.tool.as_deref(), agreed.by_model, agreed.learned), (Some("net.resolve"), true, true));
    // The layer is sure that this is nothing, the adapter nearly so.
    let foreign = house.choose("the capital of France").await;
    assert_eq!((foreign.tool, foreign.by_model, foreign.learned), (None, true, false));
    let [_, resolve] = tools().try_into().expect("two");
    let fill = InferRequest::Fill { question: "is gateway/3 up".into(), tool: resolve, known: "{}".into() };
    let Ok(InferReply::Filled { args, .. }) = house.ask(fill).await else { panic!("is not filled") };
    assert_eq!(args, r#"{"name":"gateway"}"#, "a piece of a word");
    let mut embedded = 0;
    while let Ok(request) = told.try_recv() {
        if let EngineRequest::Embed { texts, .. } = request {
            embedded += texts.len();
        }
    }
    assert_eq!(embedded, 2, "the sentences of tools that were learned are not needed");
}

#[tokio::test]
async fn the_layer_decides_alone_when_the_model_is_late_or_gone() {
    let folder = folder();
    let _embed = engine(&folder.path().join("embed"), ready(), embed);
    let _text = engine(&folder.path().join("text"), adapted(), |_| Turn::Hang);
    let house = House::with(folder, Some(head())).await;
    house.until(EngineState::Ready, EngineState::Ready).await;
    let request = InferRequest::Choose { question: "tell the time".into(), tools: tools() };
    let reply = house.client.call(Meta::default().deadline_ms(900), request).await.expect("in time");
    let InferReply::Choice(choice) = reply else { panic!("{reply:?}") };
    assert_eq!((choice.tool.as_deref(), choice.by_model), (Some("time.now"), false));
}

#[tokio::test]
async fn a_tool_that_was_never_trained_is_found_by_its_sentences() {
    let folder = folder();
    let _embed = engine(&folder.path().join("embed"), ready(), embed);
    let _text = engine(&folder.path().join("text"), adapted(), namer);
    let house = House::with(folder, Some(head())).await;
    house.until(EngineState::Ready, EngineState::Ready).await;
    let new = tool("shop.open", "Open the shop", r#"{"type":"object"}"#, ("open up in France", "{}"));
    let tools = tools().into_iter().chain([new]).collect();
    let request = InferRequest::Choose { question: "France is waiting".into(), tools };
    let InferReply::Choice(choice) = house.ask(request).await.expect("chooses") else { panic!("no choice") };
    assert_eq!((choice.tool.as_deref(), choice.learned), (Some("shop.open"), false));
}

#[tokio::test]
async fn arguments_come_from_the_question() {
    let folder = folder();
    let _text = engine(&folder.path().join("text"), ready(), text);
    let house = House::new(folder).await;
    house.until(EngineState::Ready, EngineState::Absent).await;
    let [_, resolve] = tools().try_into().expect("two");
    let fill = |question: &str| InferRequest::Fill {
        question: question.into(),
        tool: resolve.clone(),
        known: "{}".into(),
    };
    let Ok(InferReply::Filled { args, usage, .. }) = house.ask(fill("Where is gateway.lan?")).await else {
        panic!("is not filled");
    };
    assert_eq!((args.as_str(), usage.prompt_tokens), (r#"{"name":"gateway.lan"}"#, 7));
    let error = house.ask(fill("Where is the printer?")).await.expect_err("is made up");
    assert!(error.message.contains("the model made up \"gateway.lan\" for `name`"), "{error}");
}

#[tokio::test]
async fn a_worker_that_dies_in_an_answer_is_named_and_the_next_one_serves() {
    let folder = folder();
    let _text = engine(&folder.path().join("text"), ready(), |request| match request {
        EngineRequest::Generate(g) if g.messages.iter().any(|m| m.content == "die") => Turn::Die,
        request => text(request),
    });
    let house = House::new(folder).await;
    house.until(EngineState::Ready, EngineState::Absent).await;
    let complete = |prompt: &str| complete(prompt, 8);
    let error = house.ask(complete("die")).await.expect_err("dies");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("died in the middle of this answer; it is being restarted"), "{error}");
    assert!(house.ask(complete("live")).await.is_ok(), "the next request waits for the new worker");
}

#[tokio::test]
async fn a_caller_who_leaves_stops_the_engine() {
    let folder = folder();
    let mut told = engine(&folder.path().join("text"), ready(), |_| Turn::Hang);
    let house = House::new(folder).await;
    house.until(EngineState::Ready, EngineState::Absent).await;
    let leaver = Client::<Infer>::at(house.folder.path().join("inferd.sock"));
    let request = complete("Hi", 8);
    let first = leaver.start(Meta::default(), request.clone()).await.expect("starts");
    while !matches!(told.recv().await, Some(EngineRequest::Generate(_))) {}
    let mut second = house.client.start(Meta::default(), request).await.expect("starts");
    let Next::Event(InferEvent::Queued { ahead: 1 }) = second.next().await else { panic!("must wait") };
    drop(first);
    assert!(matches!(told.recv().await, Some(EngineRequest::Cancel { .. })));
    assert!(matches!(told.recv().await, Some(EngineRequest::Generate(_))), "it is the second one's turn");
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_an_engine_sees_it() {
    let house = House::new(folder()).await;
    let too_much = [
        InferRequest::Choose { question: "x".repeat(4_001), tools: Vec::new() },
        InferRequest::Choose { question: " ".into(), tools: Vec::new() },
        InferRequest::Embed { texts: vec![String::new(); 257] },
        complete(&"x".repeat(70_000), 8),
        complete("x", 0),
        InferRequest::Fill { question: "x".into(), tool: tools().remove(1), known: "[]".into() },
    ];
    for request in too_much {
        let error = house.ask(request.clone()).await.expect_err("is refused");
        assert_eq!(error.code, ErrorCode::Invalid, "{request:?}: {error}");
    }
}

/// Names the time whatever it is asked, and is sure of it.
fn thinker(request: &EngineRequest) -> Turn {
    let EngineRequest::Generate(generate) = request else { return Turn::Die };
    let Some(Grammar::Schema(schema)) = &generate.grammar else { return Turn::Die };
    assert!(schema.contains(r#""enum":["#) && schema.contains("net.resolve"), "{schema}");
    let text = EngineEvent::Text { id: generate.id, text: r#"{"tool":"time.now"}"#.into() };
    let cost = Cost { prompt: 50, generated: 9, log_likelihood: Some(-0.05), ..Cost::default() };
    Turn::Answer(vec![text, EngineEvent::Done { id: generate.id, cost }])
}

/// Names no tool at all, and costs money.
fn babbler(request: &EngineRequest) -> Turn {
    let EngineRequest::Generate(generate) = request else { return Turn::Die };
    let text = EngineEvent::Text { id: generate.id, text: r#"{"tool":"fs.remove"}"#.into() };
    let cost = Cost { price_micro: 30, ..Cost::default() };
    Turn::Answer(vec![text, EngineEvent::Done { id: generate.id, cost }])
}

/// Names the time, tells no likelihood, and costs money.
fn stranger(request: &EngineRequest) -> Turn {
    let EngineRequest::Generate(generate) = request else { return Turn::Die };
    let text = EngineEvent::Text { id: generate.id, text: r#"{"tool":"time.now"}"#.into() };
    let cost = Cost { price_micro: 30, ..Cost::default() };
    Turn::Answer(vec![text, EngineEvent::Done { id: generate.id, cost }])
}

/// A house whose first tier is unsure about "something", with these tiers above.
async fn unsure(tactical: Option<Script>, strategic: Option<Script>) -> (House, Choice, InferStatus) {
    let folder = tempfile::tempdir().expect("a folder");
    let _embed = engine(&folder.path().join("embed"), ready(), embed);
    let _text = engine(&folder.path().join("text"), ready(), text);
    let _tactical = tactical.map(|script| engine(&folder.path().join("tactical"), ready(), script));
    let _strategic = strategic.map(|script| engine(&folder.path().join("strategic"), ready(), script));
    let house = House::new(folder).await;
    house.until(EngineState::Ready, EngineState::Ready).await;
    let count = 1 + usize::from(tactical.is_some()) + usize::from(strategic.is_some());
    for _ in 0..500 {
        let Ok(InferReply::Status(status)) = house.ask(InferRequest::Status).await else {
            panic!("no status")
        };
        if status.tiers.iter().filter(|tier| tier.engine.state == EngineState::Ready).count() == count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let choice = house.choose("something").await;
    let Ok(InferReply::Status(status)) = house.ask(InferRequest::Status).await else { panic!("no status") };
    (house, choice, status)
}

#[tokio::test]
async fn what_the_first_tier_is_unsure_of_is_asked_of_the_next() {
    let (_, alone, status) = unsure(None, None).await;
    assert_eq!(alone.tier, Tier::Operational);
    assert!(alone.certainty < 0.8, "{alone:?}");
    assert_eq!((status.tiers[0].done.decided, status.tiers[0].done.handed_on), (1, 0));

    let (_, choice, status) = unsure(Some(thinker), Some(stranger)).await;
    assert_eq!((choice.tool.as_deref(), choice.tier), (Some("time.now"), Tier::Tactical));
    assert!(choice.certainty > 0.9 && choice.usage.generated_tokens == 9, "{choice:?}");
    let [operational, tactical, strategic] = status.tiers.as_slice() else { panic!("{status:?}") };
    assert_eq!((operational.done.decided, operational.done.handed_on), (0, 1));
    assert_eq!((tactical.done.decided, tactical.done.requests, tactical.done.prompt_tokens), (1, 1, 50));
    assert_eq!(strategic.done.requests, 0, "what is sure enough costs no money");
}

#[tokio::test]
async fn a_tier_that_does_not_help_changes_nothing_and_money_is_counted() {
    let (_, alone, _) = unsure(None, None).await;
    let (_, choice, status) = unsure(Some(babbler), None).await;
    assert_eq!(
        (choice.tool, choice.tier, choice.certainty),
        (alone.tool, Tier::Operational, alone.certainty)
    );
    assert_eq!(status.tiers[1].done.price_micro, 30);

    let (_, choice, status) = unsure(None, Some(stranger)).await;
    assert_eq!((choice.tool.as_deref(), choice.tier), (Some("time.now"), Tier::Strategic));
    assert_eq!((choice.usage.price_micro, status.tiers[2].done.price_micro), (30, 30));
}
