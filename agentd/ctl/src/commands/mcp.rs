//! `aiosctl mcp`: the machine's tools for an assistant on this computer. What the assistant's program writes, one message a
//! line (the stdio transport of the Model Context Protocol), is carried to the machine's console with the saved login, and
//! what comes back is written the same way. Nothing is understood here but what HTTP needs to know of a message.

use super::Machine;
use crate::api::Api;
use crate::error::{Failure, Outcome};
use crate::sse::Parser;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Bytes of a message; the console takes no more.
const LONGEST: u64 = 256 * 1024;
/// Bytes of an answer.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Messages that may wait while others are carried.
const WAITING: usize = 16;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Where a message says which version of the protocol it is of, since 2026-07-28.
const VERSION_OF_MESSAGE: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

pub(super) async fn run(machine: Machine) -> Outcome {
    let bridge = Arc::new(Bridge { api: machine.api, state: Mutex::default() });
    let (sender, mut lines) = mpsc::channel(WAITING);
    // A thread, because reading a terminal or a pipe cannot be awaited.
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin().lock());
        while let Some(line) = next_line(&mut input) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let message: Value = match line.and_then(|line| {
            serde_json::from_slice(&line).map_err(|e| Failure::usage(format!("a line is no JSON: {e}")))
        }) {
            Ok(message) => message,
            Err(failure) => {
                say(&failed(&Value::Null, -32700, &failure))?;
                continue;
            }
        };
        bridge.clone().take(message).await?;
    }
    bridge.end().await;
    Ok(())
}

/// A line without its end; none when there are no more. One that is too long is skipped and told of.
fn next_line(input: &mut impl BufRead) -> Option<Outcome<Vec<u8>>> {
    loop {
        let mut line = Vec::new();
        let length = input.by_ref().take(LONGEST).read_until(b'\n', &mut line).ok()?;
        if length == 0 {
            return None;
        }
        if !line.ends_with(b"\n") && length as u64 == LONGEST {
            input.skip_until(b'\n').ok()?;
            return Some(Err(Failure::usage(format!("a message has more than {LONGEST} bytes"))));
        }
        if !line.trim_ascii().is_empty() {
            return Some(Ok(line));
        }
    }
}

struct Bridge {
    api: Api,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of versions before 2026-07-28: the session, the version that was agreed on, and how it was begun.
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
    initialize: Option<Value>,
    /// Requests under way, by their id as JSON.
    open: HashMap<String, AbortHandle>,
}

impl Bridge {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in the critical sections can panic half-way; what is guarded is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carry a message; a request is carried beside what follows.
    async fn take(self: Arc<Self>, message: Value) -> Outcome {
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        if message.get("id").is_some() && !method.is_empty() {
            let id = message["id"].to_string();
            if method == "initialize" {
                self.state().initialize = Some(message.clone());
                return self.request(&message).await;
            }
            let (bridge, key) = (self.clone(), id.clone());
            // Nobody hears what fails here but the assistant, who was told.
            let task = tokio::spawn(async move {
                let _ = bridge.request(&message).await;
                bridge.state().open.remove(&key);
            });
            // There is one thread, and nothing was awaited since: it has not begun, let alone ended.
            self.state().open.insert(id, task.abort_handle());
            return Ok(());
        }
        if method == "notifications/cancelled" {
            // Since 2026-07-28 it is taken back by closing its answer; before, by the message.
            let task = self.state().open.remove(&message["params"]["requestId"].to_string());
            if let Some(task) = task {
                task.abort();
            }
            if self.state().session.is_none() {
                return Ok(());
            }
        }
        // A notification has no answer, not even a refusal.
        let _ = self.send(&message).await;
        Ok(())
    }

    /// Carry a request and write what comes back.
    async fn request(&self, message: &Value) -> Outcome {
        match self.answered(message).await {
            Ok(()) => Ok(()),
            Err(failure) => say(&failed(&message["id"], -32603, &failure)),
        }
    }

    async fn answered(&self, message: &Value) -> Outcome {
        let mut response = self.send(message).await?;
        if response.status() == StatusCode::NOT_FOUND && self.state().session.is_some() {
            // It was idle for long, or the console was restarted: begin again as the assistant's program began.
            self.begin_again().await?;
            response = self.send(message).await?;
        }
        self.remember(message, &response);
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            let mut parser = Parser::default();
            while let Some(piece) = response.chunk().await.map_err(|error| self.api.broken(&error))? {
                let events = parser.push(&piece);
                for event in events.ok_or_else(|| Failure::failed("an event of the machine has no end"))? {
                    self.told(message, &event.data)?;
                }
            }
            return Ok(());
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.api.broken(&error))? {
            body.extend_from_slice(&piece);
            if body.len() > LONGEST_ANSWER {
                return Err(Failure::failed(format!(
                    "the answer has more than {LONGEST_ANSWER} bytes; ask for less"
                )));
            }
        }
        let text = String::from_utf8_lossy(&body);
        match serde_json::from_str::<Value>(&text) {
            Ok(answer) if answer.get("jsonrpc").is_some() => self.told(message, &text),
            Ok(refusal) if refusal["code"].is_string() => Err(self.api.refused(&refusal)),
            _ => Err(Failure::failed(format!(
                "the machine answered with HTTP status {}: {text}",
                response.status()
            ))),
        }
    }

    /// Write a message of the machine.
    fn told(&self, request: &Value, text: &str) -> Outcome {
        let answer: Value = serde_json::from_str(text)
            .map_err(|e| Failure::failed(format!("a message of the machine is no JSON: {e}")))?;
        if request["method"] == "initialize"
            && let Some(version) = answer["result"]["protocolVersion"].as_str()
        {
            self.state().version = HeaderValue::from_str(version).ok();
        }
        say(&answer)
    }

    fn remember(&self, message: &Value, response: &Response) {
        if message["method"] == "initialize" {
            self.state().session = response.headers().get(SESSION).cloned();
        }
    }

    async fn begin_again(&self) -> Outcome {
        let initialize = {
            let mut state = self.state();
            state.session = None;
            state.initialize.clone()
        };
        let Some(initialize) = initialize else {
            return Err(Failure::failed("the session has ended; start the assistant's connection again"));
        };
        let mut response = self.send(&initialize).await?;
        self.remember(&initialize, &response);
        // The answer is the one that the assistant has already.
        while response.chunk().await.map_err(|error| self.api.broken(&error))?.is_some() {}
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await.map(drop)
    }

    /// Send a message with the headers that belong to it.
    async fn send(&self, message: &Value) -> Outcome<Response> {
        let headers = {
            let state = self.state();
            headers(message, state.session.as_ref(), state.version.as_ref())
        };
        self.api.carry(Method::POST, headers, message.to_string()).await
    }

    async fn end(&self) {
        let (session, open) = {
            let mut state = self.state();
            (state.session.take(), std::mem::take(&mut state.open))
        };
        open.into_values().for_each(|task| task.abort());
        if let Some(session) = session {
            let mut headers = HeaderMap::new();
            headers.insert(SESSION, session);
            // It would end by itself after a while.
            let _ = self.api.carry(Method::DELETE, headers, String::new()).await;
        }
    }
}

/// What HTTP says of a message (streamable HTTP, "Standard headers").
fn headers(message: &Value, session: Option<&HeaderValue>, version: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let text = |value: &Value| HeaderValue::from_str(value.as_str()?).ok();
    if let Some(version) = message.pointer(VERSION_OF_MESSAGE).and_then(text) {
        headers.insert(VERSION, version);
        headers.extend(text(&message["method"]).map(|method| (METHOD, method)));
        let named = [&message["params"]["name"], &message["params"]["uri"]].into_iter().find_map(text);
        headers.extend(named.map(|name| (NAME, name)));
        return headers;
    }
    if message["method"] != "initialize" {
        headers.extend(session.map(|session| (SESSION, session.clone())));
        headers.extend(version.map(|version| (VERSION, version.clone())));
    }
    headers
}

fn failed(id: &Value, code: i32, failure: &Failure) -> Value {
    let error = json!({ "code": code, "message": failure.message, "data": { "code": failure.code } });
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

fn say(message: &Value) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{message}").and_then(|()| stdout.flush()).map_err(Failure::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_and_bounded() {
        let long = "x".repeat(LONGEST as usize + 10);
        let text = format!("one\n\n \n{long}\ntwo");
        let mut input = text.as_bytes();
        assert_eq!(next_line(&mut input), Some(Ok(b"one\n".to_vec())));
        assert!(matches!(next_line(&mut input), Some(Err(_))));
        assert_eq!(next_line(&mut input), Some(Ok(b"two".to_vec())));
        assert_eq!(next_line(&mut input), None);
    }

    #[test]
    fn the_headers_are_those_of_the_messages_own_version() {
        let session = HeaderValue::from_static("s");
        let version = HeaderValue::from_static("2025-11-25");
        let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
        let call = json!({ "method": "tools/call", "params": { "name": "fs.read", "_meta": meta } });
        let new = headers(&call, None, None);
        assert_eq!(
            (&new[VERSION], &new[METHOD], &new[NAME]),
            (
                &HeaderValue::from_static("2026-07-28"),
                &HeaderValue::from_static("tools/call"),
                &HeaderValue::from_static("fs.read"),
            )
        );
        let old = headers(&json!({ "method": "tools/list" }), Some(&session), Some(&version));
        assert_eq!((&old[SESSION], &old[VERSION], old.get(METHOD)), (&session, &version, None));
        let first = headers(&json!({ "method": "initialize" }), Some(&session), Some(&version));
        assert!(first.get(SESSION).is_none() && first.get(VERSION).is_none());
    }
}
