//! Questions and commands in plain words, answered as a stream.

use super::{Answer, App, Json, meta};
use crate::auth::Login;
use crate::error::ApiError;
use crate::json;
use crate::sse::{self, Source};
use crate::state::unexpected;
use aios_abi::CallError;
use aios_abi::agent::{Agent, AgentReply, AgentRequest};
use aios_abi::client::{Call, Next};
use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use serde::Deserialize;
use serde_json::Value;

/// Milliseconds that it may take to understand a question.
const UNDERSTAND_MS: u32 = 120_000;
/// Milliseconds that an answer may take: the models' limits, and that of the slowest tool that only looks.
const ANSWER_MS: u32 = UNDERSTAND_MS + 610_000;
/// Bytes of a question.
const LONGEST: usize = 8_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    text: String,
}

impl Question {
    /// The words, and what the audit log shows for the calls that follow: the words are their reason.
    fn words(&self) -> Result<(String, String), CallError> {
        let text = self.text.trim();
        if text.is_empty() || text.len() > LONGEST {
            return Err(CallError::invalid(format!("the question must have 1 to {LONGEST} bytes")));
        }
        Ok((text.to_owned(), text.chars().take(500).collect()))
    }
}

pub(super) async fn ask(State(app): App, login: Login, Json(question): Json<Question>) -> Answer<Response> {
    let (text, why) = question.words()?;
    let permit = sse::admit(&app)?;
    let meta = meta(&login.person, why, ANSWER_MS);
    let call = app.daemons.agentd.start(meta, AgentRequest::Ask { text }).await?;
    Ok(sse::respond(app.clone(), login, permit, Answering(Some(call))))
}

/// Which calls are meant; none is made.
pub(super) async fn understand(
    State(app): App,
    login: Login,
    Json(question): Json<Question>,
) -> Answer<axum::Json<Value>> {
    let (text, why) = question.words()?;
    let meta = meta(&login.person, why, UNDERSTAND_MS);
    match app.daemons.agentd.call(meta, AgentRequest::Understand { text }).await? {
        AgentReply::Understood(understood) => Ok(axum::Json(json::understood(&understood))),
        _ => Err(unexpected("agentd").into()),
    }
}

/// An answer on its way. When the client goes, this is dropped and with it the call, which cancels it.
struct Answering(Option<Call<Agent>>);

impl Source for Answering {
    async fn next(&mut self) -> Option<Event> {
        let next = self.0.as_mut()?.next().await;
        let result = match next {
            Next::Event(event) => return Some(sse::event("event", &json::event(&event))),
            Next::Reply(result) => result,
        };
        self.0 = None;
        let error = match result {
            Ok(AgentReply::Answer(answer)) => return Some(sse::event("answer", &answer)),
            Ok(_) => unexpected("agentd"),
            Err(error) => error,
        };
        Some(sse::event("error", &ApiError::from(error).to_json()))
    }
}
