//! The tools for assistants: the Model Context Protocol at `/mcp`, for whoever is logged in.

use super::{App, audit, read, tools};
use crate::auth::{self, Login};
use crate::error::ApiError;
use crate::json;
use crate::state::Shared;
use aios_abi::CallError;
use aios_abi::client::Call;
use aios_abi::tool::{CallDone, ToolInfo, Tools};
use aios_abi::who::Person;
use aios_mcp::web::Endpoint;
use aios_mcp::{House, Order};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use serde_json::Value;
use std::sync::Arc;

/// The endpoint. Unlike the rest of the API it takes no request of another site's page at all: an assistant that runs in
/// a page is not foreseen, and the protocol asks for this check whatever the login is.
pub(super) fn route(app: Shared) -> MethodRouter<Shared> {
    let endpoint = Arc::new(Endpoint::new(Arc::new(Served(app))));
    any(move |state, request| answer(state, endpoint.clone(), request))
}

async fn answer(State(app): App, endpoint: Arc<Endpoint<Served>>, request: Request) -> Response {
    match checked(&app, request).await {
        Ok((person, head, body)) => endpoint.answer(person, head, body).await.map(Body::new),
        Err(error) => {
            let mut refusal = error.into_response();
            if refusal.status() == StatusCode::UNAUTHORIZED {
                // RFC 6750, section 3: how to come in.
                refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            refusal
        }
    }
}

async fn checked(
    app: &Shared,
    request: Request,
) -> Result<(Person, axum::http::request::Parts, axum::body::Bytes), ApiError> {
    let (head, body) = request.into_parts();
    let foreign = auth::is_foreign(&head.uri, &head.headers) == Some(true);
    if foreign || auth::is_forged(&head.method, &head.uri, &head.headers) {
        return Err(CallError::denied("this request was sent by a page of another origin").into());
    }
    let login = Login::find(app, &head.headers)?
        .ok_or_else(|| ApiError::unauthenticated("nobody is logged in, or the login has ended"))?;
    Ok((login.person, head, read(body).await?))
}

/// The console, as the protocol's library sees it.
pub struct Served(pub Shared);

impl House for Served {
    async fn tools(&self, person: &Person) -> Result<Arc<Vec<ToolInfo>>, CallError> {
        self.0.tools(person).await
    }

    async fn call(&self, person: &Person, order: Order) -> Result<Call<Tools>, CallError> {
        tools::begin(&self.0, person, order).await
    }

    async fn undo(&self, person: &Person, audit: u64, why: String) -> Result<Call<Tools>, CallError> {
        tools::begin_undo(&self.0, person, audit, why).await
    }

    async fn audit(&self, person: &Person, from: Option<u64>, limit: u32) -> Result<Value, CallError> {
        let from = match from {
            Some(from) => from,
            None => {
                let (_, head) = audit::records(&self.0, person, u64::MAX, 1).await?;
                (head.seq + 1).saturating_sub(limit.into())
            }
        };
        let (records, head) = audit::records(&self.0, person, from, limit).await?;
        serde_json::to_value(audit::Page::of(&records, head))
            .map_err(|e| CallError::failed(format!("the records cannot be written as JSON: {e}")))
    }

    fn done(&self, done: &CallDone) -> Value {
        json::done(done)
    }

    fn version(&self) -> &str {
        &self.0.version
    }
}
