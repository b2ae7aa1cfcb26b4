//! The agent beside daemons that are played: what it asks of whom, and what it says when one is missing.

use aios_abi::agent::{Answer, AskEvent, Decider};
use aios_abi::client::Client;
use aios_abi::infer::{
    Account, Choice, Completion, EngineHealth, EngineState, Infer, InferEvent, InferReply, InferRequest,
    InferStatus, Place, Scored, Tier, TierStatus, Usage,
};
use aios_abi::server::{Context, Handler, serve};
use aios_abi::tool::{CallDone, ToolReply, ToolRequest, Tools};
use aios_abi::{CallError, ErrorCode};
use aios_agentd::answer::{Agent, Listener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio_seqpacket::UnixSeqpacketListener;

/// A toold with the real declarations, which writes down the calls that reach it.
#[derive(Default)]
struct PlayedTools {
    calls: Mutex<Vec<(String, String, String)>>,
}

impl Handler<Tools> for PlayedTools {
    async fn handle(
        self: Arc<Self>,
        context: Context<Tools>,
        request: ToolRequest,
    ) -> Result<ToolReply, CallError> {
        match request {
            ToolRequest::List => {
                Ok(ToolReply::List(aios_toold::tool::all().iter().map(|tool| tool.info()).collect()))
            }
            ToolRequest::Call { tool, args, .. } => {
                let name = aios_toold::tool::by_number(tool).map_or("", |tool| tool.name);
                let call = (name.to_owned(), args, context.meta.why.clone());
                self.calls.lock().expect("whole").push(call);
                if name == "net.resolve" {
                    return Err(CallError::not_found("nobody has this name"));
                }
                Ok(ToolReply::Done(CallDone {
                    result: "{}".into(),
                    summary: "all is well".into(),
                    audit: 7,
                    undoable: false,
                    repeated: false,
                }))
            }
            _ => Err(CallError::invalid("not played")),
        }
    }
}

/// An inferd that chooses this tool; with none it writes a story and, if told so, dies in the middle.
struct PlayedModels {
    choice: Option<&'static str>,
    dies: bool,
}

impl Handler<Infer> for PlayedModels {
    async fn handle(
        self: Arc<Self>,
        context: Context<Infer>,
        request: InferRequest,
    ) -> Result<InferReply, CallError> {
        match request {
            InferRequest::Choose { .. } => {
                let shortlist = vec![Scored { name: self.choice.unwrap_or("fs.read").into(), score: 0.5 }];
                context.send(InferEvent::Shortlist(shortlist.clone())).await?;
                Ok(InferReply::Choice(Choice {
                    tool: self.choice.map(str::to_owned),
                    by_model: false,
                    learned: false,
                    shortlist,
                    margin: 0.5,
                    certainty: 0.9,
                    tier: Tier::Operational,
                    signals: None,
                    usage: Usage::default(),
                }))
            }
            InferRequest::Status => {
                let health = EngineHealth {
                    state: EngineState::Ready,
                    detail: "ready".into(),
                    model: None,
                    place: Place::Machine,
                    restarts: 0,
                };
                let tier =
                    TierStatus { tier: Tier::Operational, engine: health.clone(), done: Account::default() };
                Ok(InferReply::Status(InferStatus { tiers: vec![tier], embed: health, queued: 0 }))
            }
            InferRequest::Complete { .. } => {
                context.send(InferEvent::Text("Once upon".into())).await?;
                if self.dies {
                    return Err(CallError::unavailable(
                        "the text engine worker died in the middle of this answer",
                    ));
                }
                context.send(InferEvent::Text(" a time.".into())).await?;
                let text = "Once upon a time.".to_owned();
                let (model, usage) = ("small".to_owned(), Usage::default());
                Ok(InferReply::Completion(Completion { text, is_cut: false, model, usage }))
            }
            InferRequest::Fill { .. } => Err(CallError::invalid("the model made up a value")),
            InferRequest::Embed { .. }
            | InferRequest::Models
            | InferRequest::Switch { .. }
            | InferRequest::Learned
            | InferRequest::Learn { .. }
            | InferRequest::Adapt { .. } => Err(CallError::invalid("not played")),
        }
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<AskEvent>>);

impl Listener for Heard {
    async fn event(&self, event: AskEvent) -> Result<(), CallError> {
        self.0.lock().expect("whole").push(event);
        Ok(())
    }
}

struct Scene {
    answer: Result<Answer, CallError>,
    events: Vec<AskEvent>,
    calls: Vec<(String, String, String)>,
}

fn listen(path: &Path) -> UnixSeqpacketListener {
    UnixSeqpacketListener::bind(path).expect("binds")
}

/// An agent between played daemons.
struct House {
    agent: Agent,
    tools: Arc<PlayedTools>,
    _folder: tempfile::TempDir,
}

impl House {
    fn with(models: Option<PlayedModels>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let tools = Arc::new(PlayedTools::default());
        tokio::spawn(serve::<Tools, _>(listen(&at("toold")), tools.clone()));
        if let Some(models) = models {
            tokio::spawn(serve::<Infer, _>(listen(&at("inferd")), Arc::new(models)));
        }
        let agent = Agent::new(Client::at(at("init")), Client::at(at("toold")), Client::at(at("inferd")));
        Self { agent, tools, _folder: folder }
    }

    fn calls(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut *self.tools.calls.lock().expect("whole"))
    }
}

async fn ask(question: &str, models: Option<PlayedModels>) -> Scene {
    let house = House::with(models);
    let heard = Heard::default();
    let answer = house.agent.answer(question, None, &heard).await;
    Scene { answer, events: heard.0.into_inner().expect("whole"), calls: house.calls() }
}

fn chooses(choice: &'static str) -> Option<PlayedModels> {
    Some(PlayedModels { choice: Some(choice), dies: false })
}

#[tokio::test]
async fn a_common_question_asks_no_model_and_the_record_has_the_persons_words() {
    let scene = ask("how much memory is free?", None).await;
    let answer = scene.answer.expect("answers");
    assert_eq!((answer.decider, answer.text.as_str()), (Decider::Rules, "All is well."));
    assert_eq!(scene.calls, [("memory.info".into(), "{}".into(), "how much memory is free?".into())]);
}

#[tokio::test]
async fn without_inferd_the_likely_tool_answers_and_the_reason_is_said() {
    let scene = ask("is something wrong with the memory of this box?", None).await;
    assert_eq!(scene.answer.expect("answers").decider, Decider::Rules);
    assert_eq!(scene.calls[0].0, "memory.info");
    let note = scene.events.iter().find_map(|event| match event {
        AskEvent::Note { text } => Some(text.clone()),
        _ => None,
    });
    assert!(note.is_some_and(|text| text.contains("inferd cannot be reached")), "{:?}", scene.events);
    let scene = ask("what is the capital of France?", None).await;
    assert_eq!(scene.answer.expect("answers").decider, Decider::Nobody);
    assert_eq!(scene.calls, []);
}

#[tokio::test]
async fn what_a_model_chose_is_called_if_it_looks_and_proposed_if_it_changes_something() {
    let scene = ask("I wonder about the doors of this house", chooses("net.listen")).await;
    assert_eq!(scene.answer.expect("answers").decider, Decider::Retrieval);
    assert_eq!(scene.calls[0].0, "net.listen");
    let question = "make an end of number 4711";
    let scene = ask(question, chooses("process.kill")).await;
    assert_eq!(scene.calls, [], "nothing is done by guessing");
    let proposal = AskEvent::Proposal {
        tool: "process.kill".into(),
        args: r#"{"pid":4711}"#.into(),
        why: question.into(),
    };
    assert!(scene.events.contains(&proposal), "{:?}", scene.events);
}

#[tokio::test]
async fn arguments_that_nobody_can_tell_are_asked_for() {
    let scene = ask("I wonder what it contains", chooses("fs.read")).await;
    assert_eq!(scene.calls, []);
    let text = scene.answer.expect("answers").text;
    assert!(text.contains("path is not clear") && text.contains("fs.read path=…"), "{text}");
}

#[tokio::test]
async fn what_is_only_to_be_understood_is_not_called() {
    for (question, models, wanted) in [
        ("how much memory is free?", None, vec![("memory.info", "{}")]),
        ("memory.info", None, vec![("memory.info", "{}")]),
        ("make an end of number 4711", chooses("process.kill"), vec![("process.kill", r#"{"pid":4711}"#)]),
        ("I wonder what it contains", chooses("fs.read"), vec![("fs.read", "{}")]),
        ("tell me a story", Some(PlayedModels { choice: None, dies: false }), vec![]),
    ] {
        let unclear = question.contains("story") || question.contains("contains");
        let house = House::with(models);
        let understood = house.agent.understand(question, None, &Heard::default()).await.expect("answers");
        let calls: Vec<(&str, &str)> =
            understood.calls.iter().map(|call| (call.tool.as_str(), call.args.as_str())).collect();
        assert_eq!(calls, wanted, "{question}");
        assert_eq!(understood.problem.is_some(), unclear, "{question}: {understood:?}");
        assert_eq!(house.calls(), [], "{question}");
    }
}

#[tokio::test]
async fn a_tool_that_fails_is_an_answer_with_the_reason() {
    let scene = ask("resolve nobody.example", None).await;
    assert_eq!(scene.answer.expect("answers").text, "net.resolve failed: nobody has this name");
    assert!(
        matches!(scene.events[1], AskEvent::Result { failed: true, audit: None, .. }),
        "{:?}",
        scene.events
    );
}

#[tokio::test]
async fn free_text_is_marked_as_the_models_own_words_and_its_sudden_end_is_an_error() {
    let scene = ask("tell me a story", Some(PlayedModels { choice: None, dies: false })).await;
    assert_eq!(scene.answer.expect("answers").text, "Once upon a time.");
    let marked = |event: &AskEvent| matches!(event, AskEvent::Note { text } if text.contains("nothing in them was checked"));
    assert!(scene.events.iter().any(marked), "{:?}", scene.events);
    let scene = ask("tell me a story", Some(PlayedModels { choice: None, dies: true })).await;
    let error = scene.answer.expect_err("died");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("died"), "{error}");
}
