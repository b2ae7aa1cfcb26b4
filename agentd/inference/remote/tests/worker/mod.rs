//! The worker as a process, and its conversation.

use aios_abi::engine::{
    Budget, Cost, EngineEvent, EngineRequest, Frames, Generate, Message, ModelInfo, WorkerState, encode,
};
use aios_abi::{CallError, frame};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A key that must never be seen.
pub(crate) const KEY: &str = "sk-key-that-nobody-may-see";
/// A question that must never be seen in an error.
pub(crate) const QUESTION: &str = "question-that-nobody-may-see";

/// A worker with a folder of its own.
pub(crate) struct Worker {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
}

impl Worker {
    /// With these settings, or none.
    pub(crate) fn start(settings: Option<&str>) -> Self {
        // On the disk: the budget is not kept in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        std::fs::create_dir(folder.path().join("config")).expect("made");
        std::fs::create_dir(folder.path().join("state")).expect("made");
        std::fs::write(folder.path().join("config/key"), KEY).expect("written");
        if let Some(settings) = settings {
            write(folder.path(), settings);
        }
        let child = spawn(folder.path());
        Self { child, folder }
    }

    /// Write other settings, as a tool does.
    pub(crate) fn set(&self, settings: &str) {
        write(self.folder.path(), settings);
    }

    /// As the kernel or a power cut ends it; the folder stays.
    pub(crate) fn kill_and_start_again(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        self.child = spawn(self.folder.path());
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// A conversation, which begins with its state.
    pub(crate) fn talk(&self) -> Talk {
        let path = self.folder.path().join("s");
        let begin = Instant::now();
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}: {}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let reads = stream.try_clone().expect("another end");
        let mut talk =
            Talk { stream, events: Frames::new(reads), state: WorkerState::Loading { percent: 0 }, next: 1 };
        talk.send(&EngineRequest::Hello { nonce: 7, version: frame::VERSION });
        match talk.event() {
            EngineEvent::Hello { nonce: 7, state, .. } => talk.state = state,
            other => panic!("no greeting: {other:?}"),
        }
        talk
    }

    /// A conversation with a worker that is on.
    pub(crate) fn talk_when_on(&self) -> Talk {
        let mut talk = self.talk();
        talk.wait(|state| matches!(state, WorkerState::Ready(_)));
        talk
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for secret in [KEY, QUESTION] {
            assert!(!self.log().contains(secret) || std::thread::panicking(), "{}", self.log());
        }
    }
}

fn write(folder: &Path, settings: &str) {
    let (new, file) = (folder.join("config/new"), folder.join("config/strategic.toml"));
    let settings = settings.replace("CONFIG", &folder.join("config").display().to_string());
    std::fs::write(&new, settings).expect("written");
    std::fs::rename(new, file).expect("renamed");
}

fn spawn(folder: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let _ = std::fs::remove_file(folder.join("s"));
    Command::new(env!("CARGO_BIN_EXE_aios-engine-remote"))
        .arg("--config")
        .arg(folder.join("config/strategic.toml"))
        .arg("--state")
        .arg(folder.join("state"))
        .arg("--listen")
        .arg(folder.join("s"))
        // What a person's shell may have; it counts for nothing here.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .stderr(Stdio::from(log))
        .spawn()
        .expect("the worker starts")
}

/// inferd's side of a conversation.
pub(crate) struct Talk {
    stream: UnixStream,
    events: Frames<UnixStream, EngineEvent>,
    /// The newest that was told.
    pub(crate) state: WorkerState,
    next: u64,
}

/// What came of a request.
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) end: Result<Cost, CallError>,
}

impl Outcome {
    /// The sentence of a failure.
    pub(crate) fn why(&self) -> &str {
        let why = &self.end.as_ref().expect_err("it should fail").message;
        for secret in [KEY, QUESTION] {
            assert!(!why.contains(secret), "{why}");
        }
        assert!(!why.contains('\n'), "{why}");
        why
    }

    pub(crate) fn cost(&self) -> Cost {
        *self.end.as_ref().expect("it should work")
    }
}

impl Talk {
    pub(crate) fn send(&mut self, request: &EngineRequest) {
        self.stream.write_all(&encode(request).expect("encodes")).expect("the worker listens");
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> EngineEvent {
        self.events.next().expect("the worker goes on").expect("a frame")
    }

    /// Ask; the id of the request.
    pub(crate) fn begin(&mut self, generate: &Generate) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send(&EngineRequest::Generate(Generate { id, ..generate.clone() }));
        id
    }

    /// Read to the end of a request; others end meanwhile unheard.
    pub(crate) fn end(&mut self, wanted: u64) -> Outcome {
        let mut text = String::new();
        loop {
            match self.event() {
                EngineEvent::Text { id, text: more } if id == wanted => text.push_str(&more),
                EngineEvent::Done { id, cost } if id == wanted => return Outcome { text, end: Ok(cost) },
                EngineEvent::Error { id, error } if id == wanted => return Outcome { text, end: Err(error) },
                EngineEvent::State(state) => self.state = state,
                _ => {}
            }
        }
    }

    pub(crate) fn ask(&mut self, generate: &Generate) -> Outcome {
        let id = self.begin(generate);
        self.end(id)
    }

    /// Wait for a state.
    pub(crate) fn wait(&mut self, fits: impl Fn(&WorkerState) -> bool) {
        while !fits(&self.state) {
            if let EngineEvent::State(state) = self.event() {
                self.state = state;
            }
        }
    }

    /// The sentence of a worker that is off.
    pub(crate) fn off(&self) -> &str {
        match &self.state {
            WorkerState::Failed(why) | WorkerState::Off(why) => why,
            other => panic!("it should be off: {other:?}"),
        }
    }

    pub(crate) fn model(&self) -> &ModelInfo {
        match &self.state {
            WorkerState::Ready(model) => model,
            other => panic!("it should be on: {other:?}"),
        }
    }

    /// Until so much is spent, in millionths.
    pub(crate) fn wait_for_spent(&mut self, micro: u64) {
        let spent = |state: &WorkerState| match state {
            WorkerState::Ready(ModelInfo { budget: Some(Budget { spent_micro, .. }), .. }) => *spent_micro,
            _ => u64::MAX,
        };
        self.wait(|state| spent(state) == micro);
    }
}

/// A question.
pub(crate) fn question(max_tokens: u32) -> Generate {
    let messages = vec![Message { role: "user".into(), content: QUESTION.into() }];
    Generate { messages, max_tokens, ..Generate::default() }
}

/// Settings for a server at this address.
pub(crate) fn settings(kind: &str, url: &str, per_month: &str, more: &str) -> String {
    format!(
        "kind = \"{kind}\"\nurl = \"{url}\"\nmodel = \"m\"\nkey_file = \"CONFIG/key\"\ncontext = 2048\nmax_tokens = 500\nallow_http = true\n{more}\n\
         [budget]\ncurrency = \"EUR\"\nper_month = \"{per_month}\"\nper_request = \"{per_month}\"\n\
         input_per_million = \"1\"\ncached_input_per_million = \"0.1\"\noutput_per_million = \"10\"\n"
    )
}
