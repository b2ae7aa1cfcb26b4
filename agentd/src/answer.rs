//! From a question to an answer: what the rules know is done at once, the rest is asked of the models.

use crate::catalog::{Catalog, Tool};
use crate::understand::{self, Call, Understood};
use crate::{extract, render, schema, words};
use aios_abi::agent::{self, Answer, AskEvent, Decider, Meant};
use aios_abi::call::Meta;
use aios_abi::client::{Client, Next};
use aios_abi::engine::Message;
use aios_abi::infer::{
    Choice, Complete, EngineState, Infer, InferEvent, InferReply, InferRequest, InferStatus, Scored, Tier,
    Usage,
};
use aios_abi::service::{Init, InitReply, InitRequest};
use aios_abi::tool::{CallDone, Effect, ToolReply, ToolRequest, Tools};
use aios_abi::who::Person;
use aios_abi::{CallError, ErrorCode};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

/// Milliseconds that the models may take to choose a tool.
const CHOOSE_MS: u32 = 30_000;
/// Milliseconds for the arguments.
const FILL_MS: u32 = 25_000;
/// Milliseconds for free text.
const WRITE_MS: u32 = 90_000;
/// Tokens of free text.
const WRITE_TOKENS: u32 = 400;
/// How much longer than a tool's own limit its caller waits.
const GRACE_MS: u32 = 2_000;
/// Characters of a reason in the audit log.
const WHY: usize = 500;

/// What the model is told when it writes freely. It has no tools then and is not to pretend.
const SYSTEM: &str = "You are the assistant of a small computer. You answer in plain words.";

/// Where events go.
pub trait Listener: Send + Sync {
    /// Something happened on the way to the answer.
    fn event(&self, event: AskEvent) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// The daemons that an answer needs.
pub struct Agent {
    init: Client<Init>,
    tools: Client<Tools>,
    infer: Client<Infer>,
    catalog: RwLock<Option<std::sync::Arc<Catalog>>>,
}

impl Agent {
    /// An agent that knows these daemons; nothing is asked yet.
    pub fn new(init: Client<Init>, tools: Client<Tools>, infer: Client<Infer>) -> Self {
        Self { init, tools, infer, catalog: RwLock::new(None) }
    }

    /// The tools, asked for once: they are a part of the image and change only with it.
    pub async fn catalog(&self) -> Result<std::sync::Arc<Catalog>, CallError> {
        if let Some(catalog) = &*self.catalog.read().await {
            return Ok(catalog.clone());
        }
        let mut slot = self.catalog.write().await;
        if let Some(catalog) = &*slot {
            return Ok(catalog.clone());
        }
        match self.tools.call(Meta::why("to know the tools"), ToolRequest::List).await? {
            ToolReply::List(tools) => {
                let catalog = std::sync::Arc::new(Catalog::new(tools));
                *slot = Some(catalog.clone());
                Ok(catalog)
            }
            _ => Err(unexpected("toold")),
        }
    }

    /// How the models are, or why that is not known.
    pub async fn inference(&self) -> Result<InferStatus, String> {
        let meta = Meta::why("status").deadline_ms(1_000);
        match self.infer.call(meta, InferRequest::Status).await {
            Ok(InferReply::Status(status)) => Ok(status),
            Ok(_) => Err(unexpected("inferd").message),
            Err(error) => Err(error.message),
        }
    }

    /// The best tier of this machine that writes now. Nobody is charged for small talk.
    async fn writer(&self) -> Option<Tier> {
        let tiers = self.inference().await.ok()?.tiers;
        let ready = tiers.iter().filter(|tier| tier.engine.state == EngineState::Ready);
        ready.map(|tier| tier.tier).filter(|tier| *tier < Tier::Strategic).max()
    }

    /// Names of the services; none when init does not say.
    async fn services(&self) -> Vec<String> {
        let meta = Meta::why("to know the services").deadline_ms(1_000);
        match self.init.call(meta, InitRequest::List).await {
            Ok(InitReply::List { services, .. }) => {
                services.into_iter().map(|service| service.name).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Answer a person's question. The person's role bounds what is done.
    pub async fn answer(
        &self,
        text: &str,
        person: Option<Person>,
        to: &impl Listener,
    ) -> Result<Answer, CallError> {
        let begun = Instant::now();
        let (catalog, services) = tokio::join!(self.catalog(), self.services());
        let catalog = catalog?;
        let mut answering = Answering::new(self, to, text, person);
        let decider = answering.work(text, &catalog, &services).await?;
        Ok(Answer { text: answering.text, decider, usage: answering.usage, ms: millis(begun.elapsed()) })
    }

    /// Which calls a person's words mean. None of them is made.
    pub async fn understand(
        &self,
        text: &str,
        person: Option<Person>,
        to: &impl Listener,
    ) -> Result<agent::Understood, CallError> {
        let begun = Instant::now();
        let (catalog, services) = tokio::join!(self.catalog(), self.services());
        let catalog = catalog?;
        let mut answering = Answering::new(self, to, text, person);
        let decision = answering.decide(text, &catalog, &services).await?;
        let meant = |tool: &Tool, args: &Map<String, Value>| Meant {
            tool: tool.info.name.clone(),
            args: Value::Object(args.clone()).to_string(),
        };
        let calls = match &decision.meaning {
            Meaning::Calls(calls) => calls.iter().map(|call| meant(call.tool, &call.args)).collect(),
            Meaning::Unclear { tool, args, .. } => vec![meant(tool, args)],
            Meaning::Wrong(_) | Meaning::Nothing { .. } => Vec::new(),
        };
        let problem = decision.meaning.problem();
        let (decider, usage) = (decision.decider, answering.usage);
        Ok(agent::Understood { calls, problem, decider, usage, ms: millis(begun.elapsed()) })
    }
}

/// What a question means, and who found out.
struct Decision<'a> {
    meaning: Meaning<'a>,
    decider: Decider,
}

enum Meaning<'a> {
    /// These calls, in this order.
    Calls(Vec<Call<'a>>),
    /// A call was written out, and this is wrong with it.
    Wrong(String),
    /// This tool, but what it needs is not clear, and why.
    Unclear { tool: &'a Tool, args: Map<String, Value>, why: String },
    /// No tool fits; these are the nearest, and a model that may say something about it was there.
    Nothing { near: Vec<Scored>, model: bool },
}

impl Meaning<'_> {
    /// Why nothing is called, for people.
    fn problem(&self) -> Option<String> {
        match self {
            Self::Calls(_) => None,
            Self::Wrong(why) => Some(render::sentence(why)),
            Self::Unclear { tool, args, why } => {
                let missing: Vec<&str> = tool
                    .properties
                    .iter()
                    .filter(|p| p.required && !args.contains_key(&p.name))
                    .map(|p| p.name.as_str())
                    .collect();
                let name = &tool.info.name;
                let usage = missing.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join(" ");
                Some(format!(
                    "This sounds like {name} ({}), but {} is not clear from your words ({why}). Say it as: {name} {usage}",
                    tool.info.summary,
                    missing.join(" and "),
                ))
            }
            Self::Nothing { near, .. } => Some(no_tool(near)),
        }
    }
}

fn unexpected(who: &str) -> CallError {
    CallError::failed(format!("{who} gave an answer to another question"))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// One answer under way.
struct Answering<'a, L: Listener> {
    agent: &'a Agent,
    to: &'a L,
    meta: Meta,
    calls: u32,
    usage: Usage,
    text: String,
}

impl<'l, L: Listener> Answering<'l, L> {
    fn new(agent: &'l Agent, to: &'l L, text: &str, person: Option<Person>) -> Self {
        let meta = Meta::why(text.chars().take(WHY).collect::<String>()).on_behalf_of(person);
        Self { agent, to, meta, calls: 0, usage: Usage::default(), text: String::new() }
    }

    async fn work(
        &mut self,
        text: &str,
        catalog: &Catalog,
        services: &[String],
    ) -> Result<Decider, CallError> {
        let Decision { meaning, decider } = self.decide(text, catalog, services).await?;
        match &meaning {
            Meaning::Calls(calls) => {
                for call in calls {
                    self.act(call).await?;
                }
            }
            Meaning::Nothing { near, model: true } => return self.nothing_fits(text, near).await,
            _ => self.say(&meaning.problem().unwrap_or_default()).await?,
        }
        Ok(decider)
    }

    /// What the words mean: what the rules know needs no model.
    async fn decide<'a>(
        &mut self,
        text: &str,
        catalog: &'a Catalog,
        services: &[String],
    ) -> Result<Decision<'a>, CallError> {
        let by_rules = |meaning| Ok(Decision { meaning, decider: Decider::Rules });
        match understand::understand(text, catalog, services) {
            Understood::Calls(calls) => return by_rules(Meaning::Calls(calls)),
            Understood::Wrong(why) => return by_rules(Meaning::Wrong(why)),
            Understood::Unsure => {}
        }
        match self.choose(text, catalog).await? {
            Ok(choice) => self.chosen(text, catalog, services, choice).await,
            Err(why) => self.without_model(text, catalog, services, &why).await,
        }
    }

    /// Ask inferd for a tool; the inner error says why it cannot tell.
    async fn choose(&mut self, text: &str, catalog: &Catalog) -> Result<Result<Choice, String>, CallError> {
        let request = InferRequest::Choose { question: text.to_owned(), tools: catalog.briefs() };
        Ok(match self.infer(request, CHOOSE_MS).await? {
            Ok(InferReply::Choice(choice)) => {
                self.add(choice.usage);
                Ok(choice)
            }
            Ok(_) => Err(unexpected("inferd").message),
            Err(error) => Err(error.message),
        })
    }

    async fn chosen<'a>(
        &mut self,
        text: &str,
        catalog: &'a Catalog,
        services: &[String],
        choice: Choice,
    ) -> Result<Decision<'a>, CallError> {
        let Some(tool) = choice.tool.as_deref().and_then(|name| catalog.by_name(name)) else {
            let meaning = Meaning::Nothing { near: choice.shortlist, model: true };
            return Ok(Decision { meaning, decider: Decider::Nobody });
        };
        let by = if choice.by_model { Decider::Model } else { Decider::Retrieval };
        let mut decider = by;
        let mut args = Map::new();
        let mut is_filled = false;
        // A model that has learned the tool finds what rules cannot; without it the rules do what they can.
        if choice.learned
            && let Ok(filled) = self.fill(text, tool, &args).await?
        {
            (args, decider, is_filled) = (filled, Decider::Model, true);
        }
        if !is_filled {
            args = extract::extract(tool, text, &words::split(text), services);
        }
        if !is_filled && !schema::is_complete(&tool.properties, &args) {
            match self.fill(text, tool, &args).await? {
                Ok(filled) => {
                    args = filled;
                    decider = Decider::Model;
                }
                Err(why) => {
                    return Ok(Decision { meaning: Meaning::Unclear { tool, args, why }, decider });
                }
            }
        }
        let why = match by {
            Decider::Model => "the language model chose it among the tools nearest to the question",
            _ => "the question is nearest to what this tool is for",
        };
        // A tool is never certain: rounded up it would seem so.
        let percent = (choice.certainty * 100.0).clamp(0.0, 99.0);
        let why = match choice.tier {
            Tier::Operational => format!("{why}; likely to {percent:.0} %"),
            tier => format!("the {} tier chose it; likely to {percent:.0} %", tier.name()),
        };
        let ordered = tool.info.effect == Effect::Read;
        let meaning = Meaning::Calls(vec![Call { tool, args, ordered, why: why.into() }]);
        Ok(Decision { meaning, decider })
    }

    async fn fill(
        &mut self,
        text: &str,
        tool: &Tool,
        known: &Map<String, Value>,
    ) -> Result<Result<Map<String, Value>, String>, CallError> {
        let request = InferRequest::Fill {
            question: text.to_owned(),
            tool: tool.brief(),
            known: Value::Object(known.clone()).to_string(),
        };
        Ok(match self.infer(request, FILL_MS).await? {
            Ok(InferReply::Filled { args, usage, .. }) => {
                self.add(usage);
                serde_json::from_str(&args).map_err(|e| format!("the arguments are not JSON: {e}"))
            }
            Ok(_) => Err(unexpected("inferd").message),
            Err(error) => Err(error.message),
        })
    }

    /// Ask inferd and pass on what happens there. The outer error ends the answer: nobody listens any
    /// more, or inferd has died under the question.
    async fn infer(
        &mut self,
        request: InferRequest,
        ms: u32,
    ) -> Result<Result<InferReply, CallError>, CallError> {
        let meta = self.meta.clone().deadline_ms(ms);
        let mut call = match self.agent.infer.start(meta, request).await {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            match call.next().await {
                Next::Event(InferEvent::Queued { ahead }) if ahead > 0 => {
                    self.note(format!("The model works on {ahead} other requests first.")).await?;
                }
                Next::Event(InferEvent::Queued { .. } | InferEvent::Progress { .. }) => {}
                Next::Event(InferEvent::Shortlist(tools)) => {
                    self.to.event(AskEvent::Considering { tools }).await?
                }
                Next::Event(InferEvent::Text(text)) => self.stream(text).await?,
                Next::Reply(result) => return Ok(result),
            }
        }
    }

    /// No model can be asked: what is likely, or what is near.
    async fn without_model<'a>(
        &self,
        text: &str,
        catalog: &'a Catalog,
        services: &[String],
        why: &str,
    ) -> Result<Decision<'a>, CallError> {
        self.note(format!("Answered by fixed rules, because {why}")).await?;
        if let Some(call) = understand::likely(text, catalog, services) {
            return Ok(Decision { meaning: Meaning::Calls(vec![call]), decider: Decider::Rules });
        }
        let near = understand::nearest(text, catalog, services)
            .into_iter()
            .take(3)
            .map(|(tool, score)| Scored { name: tool.info.name.clone(), score })
            .collect();
        Ok(Decision { meaning: Meaning::Nothing { near, model: false }, decider: Decider::Nobody })
    }

    /// No tool fits. The language model may still say something; it is marked as its words alone.
    async fn nothing_fits(&mut self, text: &str, near: &[Scored]) -> Result<Decider, CallError> {
        let Some(tier) = self.agent.writer().await else {
            self.say(&no_tool(near)).await?;
            return Ok(Decider::Nobody);
        };
        self.note(
            "No tool of this machine answers this. What follows are the language model's own words; nothing in them was checked."
                .into(),
        )
        .await?;
        let message =
            |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
        let request = InferRequest::Complete(Complete {
            tier,
            messages: vec![message("system", SYSTEM), message("user", text)],
            max_tokens: WRITE_TOKENS,
            ..Complete::default()
        });
        match self.infer(request, WRITE_MS).await? {
            Ok(InferReply::Completion(completion)) => {
                self.add(completion.usage);
                self.text = completion.text;
                Ok(Decider::Model)
            }
            Ok(_) => Err(unexpected("inferd")),
            Err(error) => Err(error),
        }
    }

    /// Carry a call out, or propose it when it was not ordered.
    async fn act(&mut self, call: &Call<'_>) -> Result<(), CallError> {
        let info = &call.tool.info;
        let args = Value::Object(call.args.clone()).to_string();
        if !call.ordered {
            // What a confirmed call is recorded with are the person's words.
            let (tool, why) = (info.name.clone(), self.meta.why.clone());
            self.to.event(AskEvent::Proposal { tool, args, why }).await?;
            let lasting = if info.effect == Effect::Irreversible { " and cannot be taken back" } else { "" };
            return self
                .say(&format!("This changes the machine{lasting}, so nothing was done yet: confirm it if it is what you want."))
                .await;
        }
        let index = self.calls;
        self.calls += 1;
        let (tool, why) = (info.name.clone(), call.why.clone().into_owned());
        self.to.event(AskEvent::Call { index, tool, args: args.clone(), why }).await?;
        let begun = Instant::now();
        let result = self.call(call, args).await;
        let ms = millis(begun.elapsed());
        let event = match &result {
            Ok(done) => AskEvent::Result {
                index,
                result: done.result.clone(),
                summary: done.summary.clone(),
                failed: false,
                audit: Some(done.audit),
                undoable: done.undoable,
                ms,
            },
            Err(error) => AskEvent::Result {
                index,
                result: String::new(),
                summary: error.message.clone(),
                failed: true,
                audit: None,
                undoable: false,
                ms,
            },
        };
        self.to.event(event).await?;
        match result {
            Ok(done) => self.say(&render::result(&done)).await,
            // toold's own refusals name the tool already.
            Err(error) if error.message.starts_with(&info.name) => self.say(&error.message).await,
            Err(error) => {
                let what = if error.code == ErrorCode::Denied { "was refused" } else { "failed" };
                self.say(&format!("{} {what}: {}", info.name, error.message)).await
            }
        }
    }

    async fn call(&self, call: &Call<'_>, args: String) -> Result<CallDone, CallError> {
        let info = &call.tool.info;
        let meta = self.meta.clone().deadline_ms(info.timeout_ms.saturating_add(GRACE_MS));
        let request = ToolRequest::Call { tool: info.number, args, dry_run: false };
        match self.agent.tools.call(meta, request).await? {
            ToolReply::Done(done) => Ok(done),
            _ => Err(unexpected("toold")),
        }
    }

    fn add(&mut self, usage: Usage) {
        self.usage.prompt_tokens = self.usage.prompt_tokens.saturating_add(usage.prompt_tokens);
        self.usage.generated_tokens = self.usage.generated_tokens.saturating_add(usage.generated_tokens);
        self.usage.ms = self.usage.ms.saturating_add(usage.ms);
    }

    async fn note(&self, text: String) -> Result<(), CallError> {
        self.to.event(AskEvent::Note { text }).await
    }

    async fn stream(&mut self, text: String) -> Result<(), CallError> {
        self.text.push_str(&text);
        self.to.event(AskEvent::Text { text }).await
    }

    /// A paragraph of the answer.
    async fn say(&mut self, paragraph: &str) -> Result<(), CallError> {
        let gap = if self.text.is_empty() { "" } else { "\n\n" };
        self.stream(format!("{gap}{paragraph}")).await
    }
}

fn no_tool(near: &[Scored]) -> String {
    let names: Vec<&str> = near.iter().take(3).map(|scored| scored.name.as_str()).collect();
    let nearest =
        if names.is_empty() { String::new() } else { format!(" The nearest are {}.", names.join(", ")) };
    format!(
        "No tool of this machine fits these words.{nearest} Ask about memory, disks, services, processes, the network, logs, \
         files, packages or security, or write a call out, such as: fs.read path=/etc/os-release"
    )
}
