//! The routes of API v1: where each is, what it is for and what it takes. The router and the OpenAPI document are both made
//! of this table, so no route is there that is not described.

use super::{account, ask, audit, logs, openapi, services, tools, uploads, watch};
use crate::state::Shared;
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post, put};

/// A route.
pub(crate) struct Route {
    /// Below `/api/v1`, or below `/v1` where it is OpenAI's.
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
pub(crate) struct Field {
    pub name: &'static str,
    /// The JSON type; empty where several are taken.
    pub kind: &'static str,
    pub is_required: bool,
    pub what: &'static str,
}

/// The form of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// One JSON value of this type.
    Json(&'static str),
    /// Events as they come (WHATWG HTML, section 9.2).
    Events,
    /// One JSON value a line.
    Lines,
}

/// A member that must be there.
pub(crate) const fn need(name: &'static str, kind: &'static str, what: &'static str) -> Field {
    Field { name, kind, is_required: true, what }
}

/// A member that may be there.
pub(crate) const fn may(name: &'static str, kind: &'static str, what: &'static str) -> Field {
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
pub(crate) fn look(
    path: &'static str,
    summary: &'static str,
    answer: Answer,
    handler: MethodRouter<Shared>,
) -> Route {
    Route { path, method: Method::GET, summary, is_open: false, parameters: &[], body: &[], answer, handler }
}

/// A route that has something done, for whoever is logged in.
pub(crate) fn act(
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

    /// The same with parameters.
    pub(crate) fn with(self, parameters: &'static [Field]) -> Self {
        Self { parameters, ..self }
    }
}

/// All routes but those of single tools, which the tools themselves describe, and [OpenAI's](crate::openai).
pub(super) fn all() -> Vec<Route> {
    use Answer::{Events, Json, Lines};
    const SERVICE: Field = need("name", "string", "Name of the service");
    const RECORD: Field = need("audit", "integer", "Number of the record that began the change");
    const TOOL: Field = need("name", "string", "Name of the tool");
    const STEPS: Field = need("steps", "array", "The changes in their order, each with `tool` and `args`");
    const FILE: Field = need("name", "string", "Name of the file in the upload area");
    const SIZE: Field = need("size", "integer", "Bytes of the whole file");
    const OFFSET: Field =
        may("offset", "integer", "Where the bytes of this request begin: what has arrived before");
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
        look("/uploads", "Files that were sent to the machine", Json("object"), get(uploads::list)),
        Route {
            method: Method::PUT,
            ..look(
                "/uploads/{name}",
                "Send a file, as bytes, or the rest of one",
                Json("object"),
                put(uploads::receive),
            )
            .with(&[FILE, SIZE, OFFSET])
        },
        Route {
            method: Method::DELETE,
            ..look("/uploads/{name}", "Remove a file that was sent", Json("object"), delete(uploads::remove))
                .with(&[FILE])
        },
        look("/openapi.json", "This document", Json("object"), get(openapi::show)),
    ]
}
