//! The console as it is, over TLS, with a played inferd behind it.

use aios_abi::CallError;
use aios_abi::infer::{
    Account, Complete, Completion, EngineHealth, EngineState, Infer, InferEvent, InferReply, InferRequest,
    InferStatus, Place, Tier, TierStatus, Usage,
};
use aios_abi::server::{Context, Handler, serve};
use aios_abi::who::{Person, Role};
use aios_abi::{ErrorCode, engine};
use aios_console::password::Kept;
use aios_console::state::{App, Daemons};
use aios_console::store::{Store, User};
use aios_console::{api, cert, listen};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_seqpacket::UnixSeqpacketListener;

/// How long anything may take; only something broken takes so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the played inferd tells the test.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// It was asked for a text, on behalf of this person.
    Asked(Box<Complete>, Option<Person>),
    /// It was asked for vectors of so many texts.
    Embed(usize),
    /// A request went away before it was answered.
    Dropped,
}

/// A console that listens.
pub struct House {
    pub url: String,
    pub token: String,
    client: Client,
    heard: UnboundedReceiver<Heard>,
    _folder: tempfile::TempDir,
}

impl House {
    /// With a viewer who has a token.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let run = folder.path();
        let (tell, heard) = unbounded_channel();
        let inferd = UnixSeqpacketListener::bind(run.join("inferd.sock")).expect("socket");
        tokio::spawn(serve::<Infer, _>(inferd, Arc::new(Played(tell))));
        let store = Store::open(&run.join("console.redb")).expect("store");
        let person = Person { name: "vera".into(), role: Role::Viewer };
        let password = Kept::new("correct horse", [7; 16]).expect("hash");
        let user = User { person, password, disabled: false, password_due: false, revision: 0 };
        store.claim(&user).expect("claimed");
        let token = store.make_token(&user, "test", 0).expect("token").expose().to_owned();
        let identity = cert::Holder::open(run, None, "box").expect("certificate");
        let app = App::new(store, Daemons::at(run), identity.clone(), Box::new(drop)).expect("console");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        listener.set_nonblocking(true).expect("nonblocking");
        let url = format!("https://{}", listener.local_addr().expect("address"));
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        tokio::spawn(listen::serve(listener, identity.config().expect("TLS"), api::router(app)));
        // Of the tests of this program the first is the one that sets it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let own = Certificate::from_der(&identity.certificate()).expect("DER");
        let client =
            Client::builder().tls_certs_only([own]).no_proxy().timeout(PATIENCE).build().expect("client");
        Self { url, token, client, heard, _folder: folder }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.request(Method::GET, path).send().await.expect("answered")).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.request(Method::POST, path).json(&body).send().await.expect("answered")).await
    }

    /// An answer that must be good.
    pub async fn good(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The data of an answer in pieces, the last of which is `[DONE]`.
    pub async fn stream(&self, path: &str, body: Value) -> Vec<Value> {
        let response = self.request(Method::POST, path).json(&body).send().await.expect("answered");
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let text = response.text().await.expect("whole");
        let mut lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(lines.pop(), Some("[DONE]"), "{text}");
        lines.into_iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What inferd heard next.
    pub async fn heard(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("in time").expect("inferd runs")
    }

    /// The text that inferd was asked for.
    pub async fn asked(&mut self) -> Complete {
        match self.heard().await {
            Heard::Asked(complete, _) => *complete,
            other => panic!("{other:?}"),
        }
    }
}

pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("whole");
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}

/// Does what the last message says.
struct Played(UnboundedSender<Heard>);

/// Tells when its request is not wanted any more.
struct Guard<'a>(&'a Played);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = self.0.0.send(Heard::Dropped);
    }
}

fn engine(state: EngineState, model: Option<&str>) -> EngineHealth {
    let model = model.map(str::to_owned);
    EngineHealth { state, detail: "as played".into(), model, place: Place::Machine, restarts: 0 }
}

impl Played {
    async fn write(&self, context: &Context<Infer>, complete: Complete) -> Result<InferReply, CallError> {
        let last =
            complete.messages.last().map_or(complete.prefix.clone(), |message| message.content.clone());
        let person = context.meta.person.clone();
        let is_cut = complete.max_tokens == 1;
        let tier = complete.tier;
        let _ = self.0.send(Heard::Asked(Box::new(complete), person));
        if tier != Tier::Operational {
            return Err(CallError::unavailable(
                "the tactical model is still loading (3 %); ask again in a moment",
            ));
        }
        let pieces: &[&str] = match last.as_str() {
            "be busy" => return Err(CallError::new(ErrorCode::Busy, "16 requests of yours wait already")),
            "misunderstand" => return Err(CallError::invalid("the grammar is not valid: it is none")),
            "wait" => {
                let _guard = Guard(self);
                std::future::pending::<()>().await;
                &[]
            }
            "begin and wait" => {
                let _guard = Guard(self);
                context.send(InferEvent::Queued { ahead: 1 }).await?;
                context.send(InferEvent::Text("Once".into())).await?;
                std::future::pending::<()>().await;
                &[]
            }
            "begin and die" => {
                context.send(InferEvent::Text("Once".into())).await?;
                return Err(CallError::unavailable("the engine worker died in the middle of this answer"));
            }
            "call" => &["{\"name\": \"weather\", \"argu", "ments\": {\"city\": \"Os", "lo\"}}"],
            "look first" => &["Let me look.", "\n<tool", "_call>\n{\"name\": \"now\", \"arguments\": {}}"],
            "json" => &["{\"n\": ", "3}"],
            _ => &["Once", " upon", " a time"],
        };
        for piece in pieces {
            context.send(InferEvent::Text((*piece).into())).await?;
        }
        let usage = Usage { prompt_tokens: 20, reused_tokens: 12, generated_tokens: 5, ..Usage::default() };
        Ok(InferReply::Completion(Completion { text: pieces.concat(), is_cut, model: "small".into(), usage }))
    }
}

impl Handler<Infer> for Played {
    async fn handle(
        self: Arc<Self>,
        context: Context<Infer>,
        request: InferRequest,
    ) -> Result<InferReply, CallError> {
        match request {
            InferRequest::Status => {
                let tier = |tier, state, model| TierStatus {
                    tier,
                    engine: engine(state, model),
                    done: Account { requests: 3, ..Account::default() },
                };
                Ok(InferReply::Status(InferStatus {
                    tiers: vec![
                        tier(Tier::Operational, EngineState::Ready, Some("house/small")),
                        tier(Tier::Tactical, EngineState::Loading, None),
                        tier(Tier::Strategic, EngineState::Absent, None),
                    ],
                    embed: engine(EngineState::Ready, Some("MiniLM")),
                    queued: 0,
                }))
            }
            InferRequest::Complete(complete) => self.write(&context, complete).await,
            InferRequest::Embed { texts } => {
                let _ = self.0.send(Heard::Embed(texts.len()));
                let vector = |text: &String| vec![text.len() as f32, -0.5];
                Ok(InferReply::Embeddings(texts.iter().map(vector).collect()))
            }
            other => Err(CallError::invalid(format!("the console asked {other:?}"))),
        }
    }
}

/// A conversation of one message.
pub fn say(words: &str) -> Value {
    serde_json::json!([{ "role": "user", "content": words }])
}

/// Two tools.
pub fn tools() -> Value {
    serde_json::json!([
        { "type": "function", "function": { "name": "weather", "parameters": {
            "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"]
        } } },
        { "type": "function", "function": { "name": "now", "description": "The time" } }
    ])
}

/// The grammar that was asked for, as text.
pub fn grammar(complete: &Complete) -> &str {
    match complete.grammar.as_ref().expect("a grammar") {
        engine::Grammar::Lark(text) | engine::Grammar::Schema(text) => text,
    }
}
