//! Streamable HTTP. Since 2026-07-28 each request stands for itself, and closing its answer takes it back; older versions
//! have a session, which belongs to the person who began it. TLS, login and the check of `Origin` are the house's.

use crate::House;
use crate::server::{Server, Who};
use aios_abi::who::Person;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use rmcp::transport::streamable_http_server::session::SessionId;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Sessions at once; the next one is refused.
pub const MAX_SESSIONS: usize = 64;
/// A session without requests ends after this; its client begins a new one.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// The endpoint.
pub struct Endpoint<H: House> {
    service: StreamableHttpService<Server<H>, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    /// Who began each session, by login name.
    owners: Mutex<HashMap<SessionId, String>>,
}

/// An answer; its body may go on for as long as a call takes.
pub type Answer = Response<BoxBody<Bytes, Infallible>>;

impl<H: House> Endpoint<H> {
    /// Nothing is listened on here: requests come in by [`Endpoint::answer`].
    pub fn new(house: Arc<H>) -> Self {
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(IDLE);
        // Nobody takes up a stream again, so nothing is announced or kept for that.
        sessions.session_config.sse_retry = None;
        sessions.session_config.completed_cache_ttl = Duration::ZERO;
        let sessions = Arc::new(sessions);
        let config = StreamableHttpServerConfig::default()
            .with_sse_retry(None)
            .with_json_response(true)
            // People reach the machine by whatever address it has; its certificate says that they did.
            .disable_allowed_hosts();
        let server = move || Ok(Server::new(house.clone(), Who::EachRequest));
        let service = StreamableHttpService::new(server, sessions.clone(), config);
        Self { service, sessions, owners: Mutex::default() }
    }

    /// Answer a request of this person, whose body has arrived.
    pub async fn answer(&self, person: Person, mut head: Parts, body: Bytes) -> Answer {
        // Nothing is said outside of an answer, so there is no stream to be opened by GET.
        if !matches!(head.method, Method::POST | Method::DELETE) {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "this endpoint takes POST and DELETE");
        }
        match head.headers.get(SESSION) {
            Some(named) => {
                let named = named.to_str().unwrap_or_default();
                if self.owners().get(named).is_none_or(|owner| *owner != person.name) {
                    // In the same words as the end of a session: a stranger learns nothing.
                    return refused(
                        StatusCode::NOT_FOUND,
                        "there is no such session, or it has ended; begin a new one",
                    );
                }
            }
            None if head.method == Method::POST
                && self.open().await >= MAX_SESSIONS
                && begins_session(&body) =>
            {
                return refused(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many sessions; end one, or wait until one ends",
                );
            }
            None => {}
        }
        let (owner, ends) = (person.name.clone(), head.method == Method::DELETE);
        head.extensions.insert(person);
        let mut answer = self.service.handle(Request::from_parts(head, Full::new(body))).await;
        let begun = answer.headers().get(SESSION).and_then(|id| id.to_str().ok());
        if let Some(id) = begun {
            self.owners().insert(id.into(), owner);
        }
        if ends && answer.status() == StatusCode::ACCEPTED {
            // It has ended, and clients of other makers take nothing less for an end.
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        answer
    }

    /// How many sessions there are; the owners of the others are forgotten.
    async fn open(&self) -> usize {
        let sessions = self.sessions.sessions.read().await;
        self.owners().retain(|id, _| sessions.contains_key(id));
        sessions.len()
    }

    fn owners(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, String>> {
        // Nothing in the critical sections can panic half-way; the map is whole.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is the request that makes a session.
fn begins_session(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        method: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Head<'_>>(body).is_ok_and(|head| head.method == "initialize")
}

/// The same form as other failures of the house's API.
fn refused(status: StatusCode, message: &str) -> Answer {
    let code = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::TOO_MANY_REQUESTS => "busy",
        _ => "invalid",
    };
    let body = serde_json::json!({ "code": code, "message": message }).to_string();
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_that_makes_a_session_is_known_however_it_is_written() {
        assert!(begins_session(br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#));
        assert!(begins_session(br#"{"method":"initialize"}"#));
        for other in [&br#"{"method":"tools/list"}"#[..], b"[]", b"", b"{\"method\":1}", b"\xff"] {
            assert!(!begins_session(other));
        }
    }
}
