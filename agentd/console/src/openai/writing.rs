//! A text on its way from inferd to the client. When the client goes, the call is dropped, which cancels it.

use super::Caller;
use super::answer::Telling;
use super::error::Error;
use super::options::Manner;
use crate::api::App;
use crate::sse::{self, Source};
use crate::state::unexpected;
use aios_abi::CallError;
use aios_abi::client::{Call, Next};
use aios_abi::infer::{Complete, Completion, Infer, InferEvent, InferReply, InferRequest};
use axum::Json;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::VecDeque;
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// What the last event says.
const DONE: &str = "[DONE]";

/// Have a text written and told.
pub(super) async fn answer(
    app: App,
    caller: Caller,
    complete: Complete,
    manner: Manner,
    mut telling: impl Telling,
) -> Result<Response, Error> {
    let begin = || app.daemons.inferd.start(caller.meta("openai: text"), InferRequest::Complete(complete));
    match manner {
        Manner::Whole => {
            let completion = written(begin().await?.finish(drop).await)?;
            Ok(Json(telling.whole(&completion)).into_response())
        }
        Manner::Stream { .. } => {
            let permit = sse::admit(&app)?;
            let mut steps = follow(begin().await?);
            // What fails before the first word has a status of its own.
            let first = match steps.recv().await {
                Some(Step::End(Err(error))) => return Err(error.into()),
                Some(first) => first,
                None => return Err(unexpected("inferd").into()),
            };
            let ready = telling.begin().iter().map(sse::data).collect();
            let mut pieces = Pieces { steps, telling, ready };
            pieces.take(first);
            Ok(sse::respond(app.0.clone(), caller.0, permit, pieces))
        }
    }
}

fn written(reply: Result<InferReply, CallError>) -> Result<Completion, CallError> {
    match reply? {
        InferReply::Completion(completion) => Ok(completion),
        _ => Err(unexpected("inferd")),
    }
}

/// What comes of a call.
enum Step {
    Text(String),
    End(Result<Completion, CallError>),
}

/// Follow a call in a task of its own: a client that reads slowly must not keep others waiting, whose calls share the
/// socket. What it has not read yet is at most one answer.
fn follow(mut call: Call<Infer>) -> UnboundedReceiver<Step> {
    let (sender, steps) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                () = sender.closed() => return,
                next = call.next() => next,
            };
            let step = match next {
                Next::Event(InferEvent::Text(text)) => Step::Text(text),
                Next::Event(_) => continue,
                Next::Reply(reply) => Step::End(written(reply)),
            };
            let is_end = matches!(step, Step::End(_));
            if sender.send(step).is_err() || is_end {
                return;
            }
        }
    });
    steps
}

/// An answer in pieces.
struct Pieces<T> {
    steps: UnboundedReceiver<Step>,
    telling: T,
    ready: VecDeque<Event>,
}

impl<T: Telling> Pieces<T> {
    fn take(&mut self, step: Step) {
        let pieces: Vec<Value> = match &step {
            Step::Text(text) => self.telling.next(text),
            Step::End(Ok(completion)) => self.telling.end(completion),
            Step::End(Err(error)) => vec![Error::from(error.clone()).to_json()],
        };
        self.ready.extend(pieces.iter().map(sse::data));
        if let Step::End(Ok(_)) = step {
            self.ready.push_back(Event::default().data(DONE));
        }
    }
}

impl<T: Telling> Source for Pieces<T> {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let step = self.steps.recv().await?;
            self.take(step);
        }
    }
}
