//! The overview, once and as a stream, and the readiness check.

use super::{Answer, App};
use crate::auth::Login;
use crate::error::ApiError;
use crate::overview::Overview;
use crate::sse::{self, Source};
use aios_abi::CallError;
use aios_abi::call::Meta;
use aios_abi::service::InitRequest;
use aios_abi::tool::ToolRequest;
use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use std::sync::Arc;
use tokio::sync::watch::Receiver;

/// Milliseconds that init and toold have to say that they are there.
const READY_MS: u32 = 2_000;

pub(super) async fn ready(State(app): App) -> Result<&'static str, ApiError> {
    let meta = || Meta::why("console: readiness").deadline_ms(READY_MS);
    let (init, toold) = tokio::join!(
        app.daemons.init.call(meta(), InitRequest::Machine),
        app.daemons.toold.call(meta(), ToolRequest::List)
    );
    // Anybody may ask this; what exactly is wrong is for people who are logged in.
    match (init.is_ok(), toold.is_ok()) {
        (true, true) => Ok("ready"),
        (false, true) => Err(CallError::unavailable("init does not answer").into()),
        (true, false) => Err(CallError::unavailable("toold does not answer").into()),
        (false, false) => Err(CallError::unavailable("init and toold do not answer").into()),
    }
}

pub(super) async fn overview(State(app): App, _: Login) -> axum::Json<Overview> {
    axum::Json(app.sampler.now().await)
}

pub(super) async fn stream(State(app): App, login: Login) -> Answer<Response> {
    let permit = sse::admit(&app)?;
    let mut overviews = app.sampler.follow();
    // One that was made while somebody else looked is better than an empty page.
    overviews.mark_changed();
    Ok(sse::respond(app.clone(), login, permit, Overviews(overviews)))
}

struct Overviews(Receiver<Option<Arc<Overview>>>);

impl Source for Overviews {
    async fn next(&mut self) -> Option<Event> {
        loop {
            self.0.changed().await.ok()?;
            let overview = self.0.borrow_and_update().clone();
            if let Some(overview) = overview {
                return Some(sse::event("overview", &*overview));
            }
        }
    }
}
