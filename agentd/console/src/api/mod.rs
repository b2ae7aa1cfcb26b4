//! The routes of API v1. Each file is one subject; a handler decodes, asks the daemon that knows on the
//! person's behalf, and puts the answer as JSON.

mod account;
mod ask;
mod audit;
mod logs;
pub mod mcp;
pub mod openapi;
pub(crate) mod routes;
mod services;
mod tools;
mod uploads;
mod watch;

use crate::auth;
use crate::error::ApiError;
use crate::openai;
use crate::state::Shared;
use aios_abi::call::Meta;
use aios_abi::who::Person;
use aios_abi::{CallError, ErrorCode};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Bytes of a body that are read.
pub const MAX_BODY: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(20);
/// Milliseconds that a look at a daemon may take.
const LOOK_MS: u32 = 10_000;

/// All routes: the API, OpenAI's, the two health checks and the pages.
pub fn router(app: Shared) -> Router {
    let v1 = routes::all().into_iter().fold(Router::new(), |v1, route| v1.route(route.path, route.handler));
    let v1 = v1
        .route("/tools/{name}", post(tools::call))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(same_site));
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/ready", get(watch::ready))
        .nest("/api/v1", v1)
        .nest(openai::BASE, openai::router())
        .route("/mcp", mcp::route(app.clone()))
        .route("/api/{*rest}", axum::routing::any(unknown))
        .fallback(crate::assets::page)
        .layer(middleware::from_fn(secure_headers))
        .with_state(app)
}

async fn unknown() -> ApiError {
    CallError::not_found("there is no such route in this API").into()
}

async fn wrong_method() -> ApiError {
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: ErrorCode::Invalid.as_str(),
        message: "this route is for another method".into(),
    }
}

/// Refuse what another site's page sends in the person's browser.
async fn same_site(request: Request, next: Next) -> Response {
    if auth::is_forged(request.method(), request.uri(), request.headers()) {
        let error = CallError::denied("this request did not come from the console's own page");
        return ApiError::from(error).into_response();
    }
    next.run(request).await
}

/// Headers of every answer.
async fn secure_headers(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_page = !path.starts_with("/api/") && !path.starts_with("/v1/") && path != "/mcp";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    const SAME: [(HeaderName, &str); 3] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in SAME {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !is_page {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A JSON body within its limits. Unlike axum's own it answers in the API's error format.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(';').next().unwrap_or("").trim() == "application/json");
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > MAX_BODY) {
            return Err(ApiError::too_large(MAX_BODY));
        }
        let bytes = read(request.into_body()).await?;
        if !is_json {
            return Err(CallError::invalid("the body must be JSON (content-type: application/json)").into());
        }
        serde_json::from_slice(&bytes)
            .map(Json)
            .map_err(|e| CallError::invalid(format!("the body is not what this route takes: {e}")).into())
    }
}

async fn read(body: Body) -> Result<axum::body::Bytes, ApiError> {
    // One byte more than allowed tells "too long" from "broke off".
    let whole = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, MAX_BODY)).await;
    match whole {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
            while let Some(inner) = cause {
                if inner.is::<http_body_util::LengthLimitError>() {
                    return Err(ApiError::too_large(MAX_BODY));
                }
                cause = inner.source();
            }
            Err(CallError::invalid("the body broke off").into())
        }
        Err(_) => Err(CallError::new(ErrorCode::Timeout, "the body did not arrive in time").into()),
    }
}

/// The query, with the API's own error format.
struct Query<T>(T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Query(query.0))
            .map_err(|e| CallError::invalid(format!("the query is not understood: {}", e.body_text())).into())
    }
}

/// A part of the path, with the API's own error format.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        axum::extract::Path::from_request_parts(parts, app)
            .await
            .map(|path| Path(path.0))
            .map_err(|e| CallError::invalid(format!("the path is not understood: {}", e.body_text())).into())
    }
}

/// The envelope of a call for this person.
pub(crate) fn meta(person: &Person, why: impl Into<String>, deadline_ms: u32) -> Meta {
    Meta::why(why).deadline_ms(deadline_ms).on_behalf_of(Some(person.clone()))
}

type Answer<T> = Result<T, ApiError>;
pub(crate) type App = State<Shared>;
