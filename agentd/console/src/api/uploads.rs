//! Files that people send to the machine.

use super::{Answer, App, Path, Query};
use crate::auth::Login;
use crate::error::ApiError;
use crate::uploads::Upload;
use aios_abi::CallError;
use aios_abi::who::Role;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};

/// Who sends files may also have them changed.
const LEAST: Role = Role::Operator;

fn allowed(login: &Login) -> Result<(), ApiError> {
    match login.person.role >= LEAST {
        true => Ok(()),
        false => Err(CallError::denied(format!("sending files needs the role {}", LEAST.as_str())).into()),
    }
}

/// What is in the upload area.
#[derive(Serialize)]
pub(super) struct Uploads {
    uploads: Vec<Upload>,
}

pub(super) async fn list(State(app): App, login: Login) -> Answer<axum::Json<Uploads>> {
    allowed(&login)?;
    Ok(axum::Json(Uploads { uploads: app.uploads.list().await? }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    size: u64,
    #[serde(default)]
    offset: u64,
}

pub(super) async fn receive(
    State(app): App,
    login: Login,
    Path(name): Path<String>,
    Query(Range { size, offset }): Query<Range>,
    body: Body,
) -> Answer<axum::Json<Upload>> {
    allowed(&login)?;
    let upload = app.uploads.receive(&name, size, offset, body.into_data_stream()).await?;
    if upload.complete {
        tracing::info!("{} sent {} ({} bytes)", login.person.name, upload.path, upload.bytes);
    }
    Ok(axum::Json(upload))
}

pub(super) async fn remove(
    State(app): App,
    login: Login,
    Path(name): Path<String>,
) -> Answer<axum::Json<serde_json::Value>> {
    allowed(&login)?;
    app.uploads.remove(&name).await?;
    tracing::info!("{} removed the upload {name}", login.person.name);
    Ok(axum::Json(serde_json::json!({ "removed": name })))
}
