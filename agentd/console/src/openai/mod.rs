//! The models of this machine as programs for OpenAI's API ask them: the routes below `/v1`.
//!
//! The console is a client of inferd here as everywhere: it puts a request into inferd's words and the answer into
//! OpenAI's (API reference, <https://platform.openai.com/docs/api-reference>, sections Chat, Completions, Embeddings,
//! Models). What a request says is data; its tools are the client's own, named to the model and called by nobody here.
//! Members that are not known are ignored, known ones of another type are refused with their place.
//!
//! | module | what it is |
//! |---|---|
//! | [`fields`] | members of a request, with their places |
//! | [`options`] | what chat and completions have in common |
//! | [`messages`] | a conversation in inferd's words |
//! | [`tools`] | tools as words and as a grammar |
//! | [`reader`] | where an answer is text, and where it is a call |
//! | [`chat`], [`completions`], [`embeddings`], [`models`] | the routes |
//! | [`writing`] | a text on its way, at once or in pieces |
//! | [`answer`] | what comes back |
//! | [`error`] | how a failure is told |

mod answer;
mod chat;
mod completions;
mod embeddings;
mod error;
mod fields;
mod messages;
mod models;
mod options;
mod reader;
mod tools;
mod writing;

#[cfg(test)]
mod hostile;

use crate::api::Json;
use crate::api::routes::{Answer as Form, Field, Route, act, look, may, need};
use crate::auth::{self, Login};
use crate::error::ApiError;
use crate::state::Shared;
use aios_abi::CallError;
use aios_abi::call::Meta;
use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use error::Error;
use fields::Fields;
use serde_json::Value;

/// Where the routes are.
pub(crate) const BASE: &str = "/v1";
/// Milliseconds that an answer may take: less than a silent connection is kept ([`crate::listen`]).
const ANSWER_MS: u32 = 150_000;

/// The routes below [`BASE`].
pub(crate) fn router() -> Router<Shared> {
    let router =
        routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    router
        .fallback(async || Error::unknown_route())
        .method_not_allowed_fallback(async || Error::wrong_method())
        .layer(middleware::from_fn(same_site))
}

/// The routes, for the router and the OpenAPI document.
pub(crate) fn routes() -> Vec<Route> {
    const MODEL: Field =
        need("model", "string", "`default`, the name of a tier, or of a model that is loaded");
    const MESSAGES: Field = need("messages", "array", "The conversation");
    const PROMPT: Field = need("prompt", "", "The text to go on with, or a list of one");
    const INPUT: Field = need("input", "", "A text, or a list of texts");
    const STREAM: Field = may("stream", "boolean", "Send the answer in pieces (WHATWG HTML, section 9.2)");
    const STREAM_OPTIONS: Field = may("stream_options", "object", "`include_usage`: count tokens at the end");
    const MAX_TOKENS: Field = may("max_tokens", "integer", "At most this many tokens");
    const MAX_COMPLETION_TOKENS: Field =
        may("max_completion_tokens", "integer", "The newer name of `max_tokens`");
    const TEMPERATURE: Field = may("temperature", "number", "0 takes the likeliest token; up to 2");
    const TOP_P: Field = may("top_p", "number", "Part of the probability that is drawn from");
    const SEED: Field = may("seed", "integer", "The same seed draws the same tokens");
    const STOP: Field = may("stop", "", "A text before which the answer ends, or up to four");
    const N: Field = may("n", "integer", "1: one answer");
    const FORMAT: Field = may("response_format", "object", "`text`, `json_object` or `json_schema`");
    const TOOLS: Field = may("tools", "array", "Functions that the model may call");
    const CHOICE: Field = may("tool_choice", "", "`none`, `auto`, `required`, or one function");
    const ECHO: Field = may("echo", "boolean", "Begin the answer with the prompt");
    const ENCODING: Field = may("encoding_format", "string", "`float` or `base64` (little-endian float32)");
    const DIMENSIONS: Field = may("dimensions", "integer", "The length of the model's own vectors");
    const ID: Field = need("id", "string", "Name of the model");
    vec![
        look("/models", "The models that are ready", Form::Json("object"), get(models::list)),
        look("/models/{*id}", "One model that is ready", Form::Json("object"), get(models::one)).with(&[ID]),
        act(
            "/chat/completions",
            "Go on with a conversation",
            &[
                MODEL,
                MESSAGES,
                STREAM,
                STREAM_OPTIONS,
                MAX_COMPLETION_TOKENS,
                MAX_TOKENS,
                TEMPERATURE,
                TOP_P,
                SEED,
                STOP,
                N,
                FORMAT,
                TOOLS,
                CHOICE,
            ],
            post(chat::answer),
        ),
        act(
            "/completions",
            "Go on with a text",
            &[MODEL, PROMPT, STREAM, STREAM_OPTIONS, MAX_TOKENS, TEMPERATURE, TOP_P, SEED, STOP, N, ECHO],
            post(completions::answer),
        ),
        act(
            "/embeddings",
            "Make vectors of texts",
            &[MODEL, INPUT, ENCODING, DIMENSIONS],
            post(embeddings::answer),
        ),
    ]
}

/// Refuse what another site's page sends in the person's browser.
async fn same_site(request: Request, next: Next) -> Response {
    if auth::is_forged(request.method(), request.uri(), request.headers()) {
        let error =
            CallError::denied("this request did not come from the console's own page; send a bearer token");
        return Error::from(error).into_response();
    }
    next.run(request).await
}

/// Whoever is logged in, whatever the role: a text changes nothing.
struct Caller(Login);

impl Caller {
    /// The envelope of a call for this person.
    fn meta(&self, why: &str) -> Meta {
        crate::api::meta(&self.0.person, why, ANSWER_MS)
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Error> {
        match Login::find(app, &parts.headers)? {
            Some(login) => Ok(Self(login)),
            None => Err(ApiError::unauthenticated(
                "no login, or one that has ended; `aiosctl login` gets a token, which goes into the header \
                 `Authorization: Bearer …` (the client's `api_key`)",
            )
            .into()),
        }
    }
}

/// A JSON body.
struct Body(Value);

impl Body {
    fn fields(&self) -> Result<Fields<'_>, Error> {
        Fields::whole(&self.0)
    }
}

impl FromRequest<Shared> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Error> {
        Ok(Self(Json::from_request(request, app).await?.0))
    }
}
