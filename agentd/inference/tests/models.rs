//! Models are exchanged while the daemon answers: with engines that follow a script, and with real workers.

#![forbid(unsafe_code)]

use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::engine::{Cost, Decoder, EngineEvent, EngineRequest, Message, ModelInfo, WorkerState, encode};
use aios_abi::infer::{
    Complete, EngineState, Infer, InferEvent, InferReply, InferRequest, ModelChoice, Tier, TierModel,
};
use aios_abi::{CallError, ErrorCode, frame};
use aios_gguf::shape::{self, Shape, Vocabulary};
use aios_inferd::engine::{Engine, Kind, Source};
use aios_inferd::learn::Learned;
use aios_inferd::models::{Book, Limits, Models};
use aios_inferd::serve::Server;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_seqpacket::UnixSeqpacketListener;

/// A worker that says its name, or what else it is told to do.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Good,
    /// It answers anything but what the grammar allows.
    Babbles,
    /// It dies at the second request.
    DiesLater,
    /// It cannot load its model.
    Fails,
}

/// A worker that listens on a socket.
fn worker(path: &Path, name: &'static str, habit: Habit) {
    let listener = UnixListener::bind(path).expect("binds");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, name, habit));
        }
    });
}

async fn converse(mut stream: UnixStream, name: &str, habit: Habit) {
    let (mut decoder, mut buffer, mut asked) = (Decoder::default(), vec![0; 65536], 0);
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let mut requests = Vec::new();
        decoder.feed(&buffer[..length], |request| requests.push(request.expect("a frame")));
        for request in requests {
            let events = match request {
                EngineRequest::Hello { nonce, .. } => vec![EngineEvent::Hello {
                    nonce,
                    version: frame::VERSION,
                    engine: "scripted 1".into(),
                    state: state(name, habit),
                }],
                EngineRequest::Generate(generate) => {
                    asked += 1;
                    if habit == Habit::DiesLater && asked > 1 {
                        return;
                    }
                    let text = match generate.grammar {
                        Some(_) if habit != Habit::Babbles => "{\"ready\": true}",
                        _ => name,
                    };
                    let id = generate.id;
                    let cost = Cost { generated: 1, ..Cost::default() };
                    vec![EngineEvent::Text { id, text: text.into() }, EngineEvent::Done { id, cost }]
                }
                _ => Vec::new(),
            };
            for event in events {
                stream.write_all(&encode(&event).expect("encodes")).await.expect("writes");
            }
        }
    }
}

fn state(name: &str, habit: Habit) -> WorkerState {
    if habit == Habit::Fails {
        return WorkerState::Failed(format!("{name}.gguf: llama.cpp cannot load this model"));
    }
    WorkerState::Ready(ModelInfo {
        name: name.into(),
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

struct House {
    client: Client<Infer>,
    models: Arc<Models>,
    folder: PathBuf,
}

fn source(kind: Kind, folder: &Path, socket: Option<PathBuf>, imported: Option<PathBuf>) -> Source {
    Source {
        kind,
        socket,
        ports: folder.join("ports"),
        engines: folder.join("engines"),
        models: folder.join("image"),
        imported,
        learned: None,
        threads: Some(1),
        free: None,
    }
}

impl House {
    /// With workers of a script: each model's listens under its name, the image's as `image`.
    fn scripted(folder: &Path, trial: Duration) -> Self {
        let own = folder.to_owned();
        Self::with(folder, trial, move |tier, imported| {
            let name = imported
                .as_ref()
                .and_then(|path| path.file_stem())
                .map_or("image".into(), |name| name.to_owned());
            let socket = Some(own.join(name));
            Engine::start(source(Kind::Text(tier), &own, socket, imported))
        })
    }

    fn with(
        folder: &Path,
        trial: Duration,
        make: impl Fn(Tier, Option<PathBuf>) -> Engine + Send + Sync + 'static,
    ) -> Self {
        let nobody = |kind| Engine::start(source(kind, folder, Some(folder.join("nobody")), None));
        let (book, said) = Book::open(&folder.join("models.json"));
        said.iter().for_each(|why| println!("{why}"));
        let limits = Limits { load: Duration::from_secs(60), answer: Duration::from_secs(60), trial };
        let strategic = nobody(Kind::Text(Tier::Strategic));
        let models = Models::start(strategic, book, folder.join("imported"), Box::new(make), limits);
        let path = folder.join("inferd.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixSeqpacketListener::bind(&path).expect("binds");
        let server = Server::with_models(models.clone(), Learned::fixed(nobody(Kind::Embed), None));
        tokio::spawn(aios_abi::server::serve::<Infer, _>(listener, Arc::new(server)));
        Self { client: Client::at(path), models, folder: folder.into() }
    }

    async fn ask(&self, request: InferRequest) -> Result<InferReply, CallError> {
        self.client.call(Meta::why("a test").deadline_ms(120_000), request).await
    }

    async fn switch(&self, to: &str) -> Result<TierModel, CallError> {
        let to = match to {
            "image" => ModelChoice::Image,
            name => ModelChoice::Imported(name.into()),
        };
        match self.ask(InferRequest::Switch { tier: Tier::Tactical, to }).await? {
            InferReply::Switched(model) => Ok(model),
            other => panic!("{other:?}"),
        }
    }

    async fn tactical(&self) -> TierModel {
        match self.ask(InferRequest::Models).await.expect("is told") {
            InferReply::Models(models) => {
                models.into_iter().find(|it| it.tier == Tier::Tactical).expect("is there")
            }
            other => panic!("{other:?}"),
        }
    }

    async fn says(&self) -> Result<String, CallError> {
        let messages = vec![Message { role: "user".into(), content: "Who are you?".into() }];
        let asked = Complete { tier: Tier::Tactical, messages, max_tokens: 8, ..Complete::default() };
        match self.ask(InferRequest::Complete(asked)).await? {
            InferReply::Completion(completion) => Ok(completion.model),
            other => panic!("{other:?}"),
        }
    }

    /// Wait until the model of the tier is this one, as the engine says itself.
    async fn until(&self, model: Option<&str>) {
        for _ in 0..3000 {
            let Ok(InferReply::Status(status)) = self.ask(InferRequest::Status).await else {
                panic!("no status")
            };
            let engine = &status.tiers[1].engine;
            if engine.model.as_deref() == model && (model.is_none() || engine.state == EngineState::Ready) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {model:?}: {:?}", self.tactical().await);
    }

    /// Start anew with what is on the disk.
    async fn again(self, trial: Duration) -> Self {
        Self::scripted(&self.folder, trial)
    }
}

/// A header is enough where a script loads the model.
fn imported(folder: &Path, name: &str) {
    let folder = folder.join("imported");
    std::fs::create_dir_all(&folder).expect("made");
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    for text in ["general.architecture", "llama"] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        if text != "llama" {
            bytes.extend(8u32.to_le_bytes());
        }
    }
    std::fs::write(folder.join(format!("{name}.gguf")), bytes).expect("written");
}

fn folder(models: &[(&'static str, Habit)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, habit) in models {
        worker(&folder.path().join(name), name, *habit);
        imported(folder.path(), name);
    }
    folder
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_model_is_used_once_it_has_answered_and_after_its_trial_it_survives_a_restart() {
    let folder = folder(&[("image", Habit::Good), ("good", Habit::Good)]);
    let house = House::scripted(folder.path(), SHORT);
    house.until(Some("image")).await;
    let call = house
        .client
        .start(
            Meta::why("a test"),
            InferRequest::Switch { tier: Tier::Tactical, to: ModelChoice::Imported("good".into()) },
        )
        .await
        .expect("starts");
    let mut told = Vec::new();
    let reply = call.finish(|event| told.push(event)).await.expect("is used");
    let InferReply::Switched(now) = reply else { panic!("{reply:?}") };
    assert_eq!((now.trial, now.previous), (true, Some(ModelChoice::Image)));
    assert!(
        told.iter()
            .any(|event| matches!(event, InferEvent::Progress { text, .. } if text.contains("tested")))
    );
    assert_eq!(house.says().await.expect("answers"), "good");
    while house.tactical().await.trial {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let house = house.again(SHORT).await;
    house.until(Some("good")).await;
    let back = house.switch("image").await.expect("goes back");
    assert_eq!(
        (back.current, back.previous),
        (ModelChoice::Image, Some(ModelChoice::Imported("good".into())))
    );
    assert_eq!(house.says().await.expect("answers"), "image");
}

#[tokio::test]
async fn a_model_that_does_not_pass_is_refused_and_the_one_before_answers_all_the_time() {
    let folder = folder(&[
        ("image", Habit::Good),
        ("babbler", Habit::Babbles),
        ("broken", Habit::Fails),
        ("good", Habit::Good),
    ]);
    std::fs::write(folder.path().join("imported/cut.gguf"), b"GGUF\x03\0").expect("written");
    let house = House::scripted(folder.path(), LONG);
    house.until(Some("image")).await;
    for (bad, why) in [
        ("babbler", "its answer to the health test is not valid"),
        ("broken", "llama.cpp cannot load this model"),
        ("missing", "no engine worker listens on"),
    ] {
        let error = house.switch(bad).await.expect_err("is refused");
        assert!(error.message.starts_with(&format!("{bad} is not used: ")), "{error}");
        assert!(
            error.message.contains(why) && error.message.ends_with("; the image's own model stays in use"),
            "{error}"
        );
        assert_eq!(house.says().await.expect("answers"), "image");
        assert_eq!(house.tactical().await.current, ModelChoice::Image);
    }
}

#[tokio::test]
async fn a_worker_that_dies_in_the_trial_brings_the_model_before_back_and_that_is_said() {
    let folder = folder(&[("image", Habit::Good), ("good", Habit::Good), ("frail", Habit::DiesLater)]);
    let house = House::scripted(folder.path(), SHORT);
    house.switch("good").await.expect("is used");
    while house.tactical().await.trial {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let house = house.again(LONG).await;
    house.until(Some("good")).await;
    house.switch("frail").await.expect("passes");
    assert!(house.says().await.is_err(), "it dies");
    house.until(Some("good")).await;
    let now = house.tactical().await;
    assert_eq!(
        (&now.current, &now.previous),
        (&ModelChoice::Imported("good".into()), &Some(ModelChoice::Image))
    );
    assert!(now.note.as_ref().is_some_and(|note| note.contains("frail is not used any more")), "{now:?}");
    assert_eq!(house.says().await.expect("answers"), "good");
}

#[tokio::test]
async fn a_machine_that_stops_in_a_trial_comes_back_with_the_model_before() {
    let folder = folder(&[("image", Habit::Good), ("good", Habit::Good)]);
    let house = House::scripted(folder.path(), LONG);
    house.switch("good").await.expect("is used");
    let house = house.again(LONG).await;
    house.until(Some("image")).await;
    assert!(house.tactical().await.note.is_some_and(|note| note.contains("the machine stopped")));
    // One that ends in good order has not been stopped by its model.
    house.switch("good").await.expect("is used");
    house.models.settle();
    let house = house.again(LONG).await;
    house.until(Some("good")).await;
}

#[tokio::test]
async fn an_imported_model_whose_file_is_damaged_meanwhile_is_said_and_replaced() {
    let folder = folder(&[("image", Habit::Good), ("good", Habit::Good)]);
    let house = House::scripted(folder.path(), LONG);
    house.switch("good").await.expect("is used");
    house.models.settle();
    std::fs::write(folder.path().join("imported/good.gguf"), b"GGUF").expect("written");
    let house = house.again(LONG).await;
    house.until(Some("image")).await;
    let note = house.tactical().await.note.expect("is said");
    assert!(note.contains("truncated") && note.contains("the image's own model is used again"), "{note}");
}

#[tokio::test]
async fn no_tier_but_those_of_this_machine_takes_a_model() {
    let folder = folder(&[]);
    let house = House::scripted(folder.path(), LONG);
    let request = InferRequest::Switch { tier: Tier::Strategic, to: ModelChoice::Image };
    assert_eq!(house.ask(request).await.expect_err("is refused").code, ErrorCode::Invalid);
}

/// The repository's `target`.
fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// A model of random weights with a real vocabulary.
fn small(path: &Path, name: &str) {
    let real = target().join("models/text.gguf");
    let file = File::open(&real).expect("the image's model is there; `make image` fetches it");
    let length = file.metadata().expect("facts").len();
    let vocabulary = Vocabulary::of(BufReader::new(file), length).expect("a vocabulary");
    let mut out = std::io::BufWriter::new(File::create(path).expect("made"));
    shape::write(&Shape::SMALL, &vocabulary, name, 7, &mut out, &mut |_, _| {}).expect("written");
}

#[tokio::test]
async fn real_workers_a_broken_model_is_refused_and_the_old_one_goes_on_answering() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for name in ["engines", "image", "imported"] {
        std::fs::create_dir(path(name)).expect("made");
    }
    let engine = target().join("engines/x86_64-unknown-linux-gnu/release/aios-engine-llama");
    assert!(engine.exists(), "the worker is there; `make engines` builds it");
    std::os::unix::fs::symlink(engine, path("engines/llama")).expect("linked");
    small(&path("image/tactical.gguf"), "first");
    small(&path("imported/second.gguf"), "second");
    let whole = std::fs::read(path("imported/second.gguf")).expect("read");
    std::fs::write(path("imported/cut.gguf"), &whole[..whole.len() / 2]).expect("written");
    // Its structure is sound, and no engine knows what it says it is.
    let strange = String::from_utf8_lossy(&whole[..128]).find("llama").expect("an architecture");
    let mut bytes = whole.clone();
    bytes[strange..strange + 5].copy_from_slice(b"xxxxx");
    std::fs::write(path("imported/strange.gguf"), &bytes).expect("written");
    let own = folder.path().to_owned();
    let house = House::with(folder.path(), SHORT, move |tier, imported| {
        Engine::start(source(Kind::Text(tier), &own, None, imported))
    });
    house.until(Some("first")).await;
    for (bad, why) in [("cut", "truncated"), ("strange", "llama"), ("missing", "is not there")] {
        let error = house.switch(bad).await.expect_err("is refused");
        println!("{error}");
        assert!(error.message.contains(why) && error.message.contains("stays in use"), "{error}");
        assert_eq!(house.says().await.expect("answers"), "first");
    }
    house.switch("second").await.expect("is used");
    assert_eq!(house.says().await.expect("answers"), "second");
    house.switch("image").await.expect("goes back");
    assert_eq!(house.says().await.expect("answers"), "first");
}
