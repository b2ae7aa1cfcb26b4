//! Services: looked up with init, restarted through the tool, so that it is audited.

use super::{Answer, App, Json, LOOK_MS, Path, meta, tools};
use crate::auth::Login;
use crate::state::unexpected;
use aios_abi::service::{InitReply, InitRequest, ServiceStatus};
use aios_mcp::Order;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The tool that restarts a service.
const RESTART: &str = "service.restart";

#[derive(Serialize)]
pub(super) struct Services {
    services: Vec<ServiceStatus>,
    refused: Vec<String>,
}

pub(super) async fn list(State(app): App, login: Login) -> Answer<axum::Json<Services>> {
    let meta = meta(&login.person, "console: services", LOOK_MS);
    match app.daemons.init.call(meta, InitRequest::List).await? {
        InitReply::List { services, refused } => Ok(axum::Json(Services { services, refused })),
        _ => Err(unexpected("init").into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restart {
    #[serde(default)]
    why: String,
}

pub(super) async fn restart(
    State(app): App,
    login: Login,
    Path(name): Path<String>,
    Json(restart): Json<Restart>,
) -> Answer<axum::Json<Value>> {
    let args = json!({ "name": name }).to_string();
    let order =
        Order { tool: RESTART.into(), args, why: restart.why, dry_run: false, key: None, asked: false };
    Ok(axum::Json(tools::run(&app, &login.person, order).await?))
}
