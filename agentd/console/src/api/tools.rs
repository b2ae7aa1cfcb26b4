//! Tools: which there are, calling one, taking a change back.

use super::{Answer, App, Json, LOOK_MS, Path, meta};
use crate::auth::Login;
use crate::json;
use crate::state::{Shared, unexpected};
use aios_abi::CallError;
use aios_abi::call::{ASKED, Meta};
use aios_abi::client::Call;
use aios_abi::schema::LONGEST_WHY;
use aios_abi::tool::{Step, ToolReply, ToolRequest, Tools};
use aios_abi::who::Person;
use aios_mcp::Order;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Milliseconds that an undo may take.
const UNDO_MS: u32 = 120_000;
/// How much longer than the tool itself the console waits, so that toold's own message arrives.
const GRACE_MS: u32 = 2_000;

pub(super) async fn list(State(app): App, login: Login) -> Answer<axum::Json<Vec<Value>>> {
    let tools = app.tools(&login.person).await?;
    Ok(axum::Json(tools.iter().map(json::tool).collect()))
}

pub(super) async fn one(
    State(app): App,
    login: Login,
    Path(tool): Path<String>,
) -> Answer<axum::Json<Value>> {
    Ok(axum::Json(json::tool(&app.tool(&login.person, &tool).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[serde(default)]
    args: Map<String, Value>,
    #[serde(default)]
    why: String,
    #[serde(default)]
    dry_run: bool,
    idempotency_key: Option<String>,
    #[serde(default)]
    asked: bool,
}

pub(super) async fn call(
    State(app): App,
    login: Login,
    Path(tool): Path<String>,
    Json(body): Json<Body>,
) -> Answer<axum::Json<Value>> {
    let Body { args, why, dry_run, idempotency_key: key, asked } = body;
    let order = Order { tool, args: Value::Object(args).to_string(), why, dry_run, key, asked };
    Ok(axum::Json(run(&app, &login.person, order).await?))
}

/// Call a tool by its name.
pub(super) async fn run(app: &Shared, person: &Person, order: Order) -> Result<Value, CallError> {
    done(begin(app, person, order).await?.finish(drop).await?)
}

/// Begin to call a tool by its name.
pub(super) async fn begin(app: &Shared, person: &Person, order: Order) -> Result<Call<Tools>, CallError> {
    let Order { tool, args, why, dry_run, key, asked } = order;
    check_why(&why)?;
    let tool = app.tool(person, &tool).await?;
    let deadline = tool.timeout_ms.saturating_add(GRACE_MS);
    let request = ToolRequest::Call { tool: tool.number, args, dry_run };
    let incident = asked.then(|| ASKED.to_owned());
    app.daemons.toold.start(Meta { key, incident, ..meta(person, why, deadline) }, request).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Several {
    steps: Vec<One>,
    #[serde(default)]
    why: String,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    tool: String,
    #[serde(default)]
    args: Map<String, Value>,
}

/// Several changes as one. The answer has the result of each.
pub(super) async fn together(
    State(app): App,
    login: Login,
    Json(several): Json<Several>,
) -> Answer<axum::Json<Value>> {
    check_why(&several.why)?;
    let (mut steps, mut deadline) = (Vec::new(), UNDO_MS);
    for One { tool, args } in several.steps {
        let tool = app.tool(&login.person, &tool).await?;
        deadline = deadline.saturating_add(tool.timeout_ms);
        steps.push(Step { tool: tool.number, args: Value::Object(args).to_string() });
    }
    let request = ToolRequest::Together { steps };
    let meta = Meta { key: several.idempotency_key, ..meta(&login.person, several.why, deadline) };
    let reply = app.daemons.toold.call(meta, request).await?;
    Ok(axum::Json(done(reply)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Undo {
    #[serde(default)]
    why: String,
}

pub(super) async fn undo(
    State(app): App,
    login: Login,
    Path(audit): Path<u64>,
    Json(undo): Json<Undo>,
) -> Answer<axum::Json<Value>> {
    let reply = begin_undo(&app, &login.person, audit, undo.why).await?.finish(drop).await?;
    Ok(axum::Json(done(reply)?))
}

/// Begin to take a change back.
pub(super) async fn begin_undo(
    app: &Shared,
    person: &Person,
    audit: u64,
    why: String,
) -> Result<Call<Tools>, CallError> {
    check_why(&why)?;
    app.daemons.toold.start(meta(person, why, UNDO_MS), ToolRequest::Undo { audit }).await
}

pub(super) async fn look(
    app: &Shared,
    person: &Person,
    request: ToolRequest,
) -> Result<ToolReply, CallError> {
    app.daemons.toold.call(meta(person, "console: audit", LOOK_MS), request).await
}

pub(super) fn check_why(why: &str) -> Result<(), CallError> {
    if why.len() <= LONGEST_WHY {
        return Ok(());
    }
    Err(CallError::invalid(format!("the reason has more than {LONGEST_WHY} bytes; say it shorter")))
}

fn done(reply: ToolReply) -> Result<Value, CallError> {
    match reply {
        ToolReply::Done(call) => Ok(json::done(&call)),
        _ => Err(unexpected("toold")),
    }
}
