//! Logs: the newest lines, and new ones as they come.

use super::{Answer, App, LOOK_MS, Query, meta};
use crate::auth::Login;
use crate::sse::{self, Source};
use crate::state::unexpected;
use aios_abi::CallError;
use aios_abi::client::{Call, Next};
use aios_abi::service::{Init, InitEvent, InitReply, InitRequest, LogLine};
use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use serde::{Deserialize, Serialize};

/// Lines of one answer.
const MOST: u32 = 5_000;
/// Lines when the query does not say.
const USUAL: u32 = 200;
/// A stream is renewed by its reader once a day at the latest.
const DAY_MS: u32 = 24 * 60 * 60_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    unit: Option<String>,
    contains: Option<String>,
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Lines {
    lines: Vec<LogLine>,
    dropped: u64,
}

impl Filter {
    fn request(self, usual: u32, follow: bool) -> Result<InitRequest, CallError> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (unit, contains) = (some(self.unit), some(self.contains));
        if [&unit, &contains].into_iter().flatten().any(|text| text.len() > 256) {
            return Err(CallError::invalid("unit and contains have at most 256 bytes"));
        }
        Ok(InitRequest::Logs { unit, contains, limit: self.limit.unwrap_or(usual).min(MOST), follow })
    }
}

pub(super) async fn read(
    State(app): App,
    login: Login,
    Query(filter): Query<Filter>,
) -> Answer<axum::Json<Lines>> {
    let request = filter.request(USUAL, false)?;
    match app.daemons.init.call(meta(&login.person, "console: logs", LOOK_MS), request).await? {
        InitReply::Logs { lines, dropped } => Ok(axum::Json(Lines { lines, dropped })),
        _ => Err(unexpected("init").into()),
    }
}

pub(super) async fn stream(State(app): App, login: Login, Query(filter): Query<Filter>) -> Answer<Response> {
    let permit = sse::admit(&app)?;
    let request = filter.request(0, true)?;
    let call = app.daemons.init.start(meta(&login.person, "console: logs", DAY_MS), request).await?;
    Ok(sse::respond(app.clone(), login, permit, Follow { call: Some(call), last: Vec::new().into_iter() }))
}

/// Lines as they come. When init ends the call, the lines of its answer follow and the stream ends.
struct Follow {
    call: Option<Call<Init>>,
    last: std::vec::IntoIter<LogLine>,
}

impl Source for Follow {
    async fn next(&mut self) -> Option<Event> {
        if let Some(line) = self.last.next() {
            return Some(sse::event("line", &line));
        }
        let mut next = self.call.as_mut()?.next().await;
        // Changes of services were not asked for here.
        while let Next::Event(InitEvent::Service(_)) = next {
            next = self.call.as_mut()?.next().await;
        }
        match next {
            Next::Event(InitEvent::Line(line)) => Some(sse::event("line", &line)),
            Next::Event(InitEvent::Service(_)) => None,
            Next::Reply(result) => {
                self.call = None;
                match result {
                    Ok(InitReply::Logs { lines, .. }) => {
                        self.last = lines.into_iter();
                        self.last.next().map(|line| sse::event("line", &line))
                    }
                    Ok(_) => None,
                    Err(error) => Some(sse::event("error", &crate::error::ApiError::from(error).to_json())),
                }
            }
        }
    }
}
