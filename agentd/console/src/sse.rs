//! Event streams: bounded in number, with heart-beats, ended when the login behind them ends.

use crate::auth::Login;
use crate::error::ApiError;
use crate::state::{MAX_STREAMS, Shared};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// A comment is sent when nothing else was for this long, so that a gone client is noticed.
const HEART_BEAT: Duration = Duration::from_secs(15);
/// How often a stream looks whether its session has run out.
const LOOK: Duration = Duration::from_secs(60);

/// Where events come from.
pub trait Source: Send + 'static {
    /// The next event; none ends the stream. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
}

/// An event of this name with this JSON.
pub fn event(name: &str, data: &impl Serialize) -> Event {
    self::data(data).event(name)
}

/// An event without a name, with this JSON.
pub fn data(data: &impl Serialize) -> Event {
    let text = serde_json::to_string(data).unwrap_or_else(|_| "null".into());
    // JSON texts have no line breaks outside strings, and those are escaped.
    Event::default().data(text)
}

/// The room for one more stream.
pub fn admit(app: &Shared) -> Result<OwnedSemaphorePermit, ApiError> {
    app.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::busy(format!("{MAX_STREAMS} streams are open already; close a page and try again"))
    })
}

/// Send a source's events until it ends, the client goes, or the login ends.
pub fn respond(app: Shared, login: Login, permit: OwnedSemaphorePermit, source: impl Source) -> Response {
    let revoked = app.revoked.subscribe();
    let guarded = Guarded { app, login, revoked, look: Instant::now() + LOOK, source, _permit: permit };
    let keep_alive = KeepAlive::new().interval(HEART_BEAT);
    Sse::new(events(guarded)).keep_alive(keep_alive).into_response()
}

struct Guarded<S> {
    app: Shared,
    login: Login,
    revoked: watch::Receiver<()>,
    look: Instant,
    source: S,
    _permit: OwnedSemaphorePermit,
}

fn events<S: Source>(guarded: Guarded<S>) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(guarded, |mut guarded| async move {
        loop {
            tokio::select! {
                event = guarded.source.next() => return event.map(|event| (Ok(event), guarded)),
                _ = guarded.revoked.changed() => {}
                () = tokio::time::sleep_until(guarded.look) => {}
            }
            guarded.look = Instant::now() + LOOK;
            if !guarded.login.is_live(&guarded.app) {
                return None;
            }
        }
    })
}
