//! The routes of API v1: where each is, what it is for and what it takes. The router and the OpenAPI document are both made
//! of this table, so no route is there that is not described.

use super::{account, ask, audit, logs, openapi, services, tools, watch};
use crate::state::Shared;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};

/// A route.
pub(super) struct Route {
    /// Below `/api/v1`.
    pub path: &'static str,
    /// How it is asked.
    pub method: Method,
    /// What it does.
    pub summary: &'static str,
    /// Nobody needs to be logged in.
    pub is_open: bool,
    /// What stands in the path or the query.
    pub parameters: &'static [Field],
    /// Members of the body; none where there is no body.
    pub body: &'static [Field],
    /// What comes back.
    pub answer: Answer,
    /// Does it.
    pub handler: MethodRouter<Shared>,
}

/// A parameter or a member of a body.
pub(super) struct Field {
    pub name: &'static str,
    /// The JSON type.
    pub kind: &'static str,
    pub is_required: bool,
    pub what: &'static str,
}

/// The form of an answer.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// One JSON value of this type.
    Json(&'static str),
    /// Events as they come (WHATWG HTML, section 9.2).
    Events,
    /// One JSON value a line.
    Lines,
}

const fn need(name: &'static str, kind: &'static str, what: &'static str) -> Field {
    Field { name, kind, is_required: true, what }
}

const fn may(name: &'static str, kind: &'static str, what: &'static str) -> Field {
    Field { name, kind, is_required: false, what }
}

const NAME: Field = need("name", "string", "Login name");
const PASSWORD: Field = need("password", "string", "Password");
const KEY: Field = may("idempotency_key", "string", "Under this name the request is carried out once");
const WHY: Field = may("why", "string", "The reason, for the audit log");
const UNIT: Field = may("unit", "string", "Only lines of this service, or of init or kernel");
const CONTAINS: Field = may("contains", "string", "Only lines that contain this text, in either case");
const LIMIT: Field = may("limit", "integer", "At most this many, the newest");

/// A route that takes nothing, for whoever is logged in.
fn look(path: &'static str, summary: &'static str, answer: Answer, handler: MethodRouter<Shared>) -> Route {
    Route { path, method: Method::GET, summary, is_open: false, parameters: &[], body: &[], answer, handler }
}

/// A route that has something done, for whoever is logged in.
fn act(
    path: &'static str,
    summary: &'static str,
    body: &'static [Field],
    handler: MethodRouter<Shared>,
) -> Route {
    Route { method: Method::POST, body, ..look(path, summary, Answer::Json("object"), handler) }
}

impl Route {
    fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    fn with(self, parameters: &'static [Field]) -> Self {
        Self { parameters, ..self }
    }
}

/// All routes but those of single tools, which the tools themselves describe.
pub(super) fn all() -> Vec<Route> {
    use Answer::{Events, Json, Lines};
    const SERVICE: Field = need("name", "string", "Name of the service");
    const RECORD: Field = need("audit", "integer", "Number of the record that began the change");
    const TOOL: Field = need("name", "string", "Name of the tool");
    const STEPS: Field = need("steps", "array", "The changes in their order, each with `tool` and `args`");
    const FROM: Field = may("from", "integer", "Number of the first record");
    const MOST: Field = may("limit", "integer", "At most this many records");
    const CODE: Field = need("code", "string", "The claim code that the machine shows on its own screen");
    const NEW: Field = need("new", "string", "The new password");
    const LABEL: Field = need("label", "string", "What the token is for");
    const TEXT: Field = need("text", "string", "The question or command, in plain words");
    vec![
        look("/session", "Who is logged in where", Json("object"), get(account::session)).open(),
        act("/claim", "Make a new machine one's own", &[CODE, NAME, PASSWORD], post(account::claim)).open(),
        act("/login", "Log in; the answer sets a session cookie", &[NAME, PASSWORD], post(account::login))
            .open(),
        act(
            "/password",
            "Choose a password of one's own; other logins of this person end",
            &[NAME, PASSWORD, NEW],
            post(account::password),
        )
        .open(),
        act("/logout", "End the login that asks", &[], post(account::logout)),
        act("/tokens", "Take a bearer token", &[NAME, PASSWORD, LABEL], post(account::tokens)).open(),
        look("/overview", "How the machine is", Json("object"), get(watch::overview)),
        look("/overview/stream", "How the machine is, again and again", Events, get(watch::stream)),
        look("/tools", "All tools, as they are declared", Json("array"), get(tools::list)),
        look("/tools/{name}", "One tool, as it is declared", Json("object"), get(tools::one)).with(&[TOOL]),
        look("/services", "What runs on the machine", Json("object"), get(services::list)),
        act("/services/{name}/restart", "Restart a service", &[WHY], post(services::restart))
            .with(&[SERVICE]),
        look("/logs", "The newest lines", Json("object"), get(logs::read)).with(&[UNIT, CONTAINS, LIMIT]),
        look("/logs/stream", "Lines as they come", Events, get(logs::stream)).with(&[UNIT, CONTAINS, LIMIT]),
        Route { answer: Events, ..act("/ask", "Ask or command in plain words", &[TEXT], post(ask::ask)) },
        act("/understand", "Say which calls plain words mean; none is made", &[TEXT], post(ask::understand)),
        look("/audit", "Records of what was done", Json("object"), get(audit::page)).with(&[FROM, MOST]),
        look("/audit/export", "All records, the signed head last", Lines, get(audit::export)),
        act("/audit/verify", "Prove that nothing was altered or removed", &[], post(audit::verify)),
        act(
            "/together",
            "Make several changes as one: all of them, or none",
            &[STEPS, WHY, KEY],
            post(tools::together),
        ),
        act("/undo/{audit}", "Take a change back", &[WHY], post(tools::undo)).with(&[RECORD]),
        look("/openapi.json", "This document", Json("object"), get(openapi::show)),
    ]
}
