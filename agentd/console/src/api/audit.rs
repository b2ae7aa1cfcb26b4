//! The audit chain: a page of it, all of it, and its proof.

use super::{Answer, App, Query, meta, tools};
use crate::auth::Login;
use crate::error::ApiError;
use crate::json;
use crate::sse;
use crate::state::{Shared, unexpected};
use aios_abi::CallError;
use aios_abi::audit::{Head, Record};
use aios_abi::tool::{ToolReply, ToolRequest};
use aios_abi::who::Person;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

/// Records of one answer.
const MOST: u32 = 1_000;
/// Records when the query does not say.
const USUAL: u32 = 100;
/// Records that an export asks for at once.
const PAGE: u32 = 500;
/// Milliseconds that the proof of the whole chain may take.
const VERIFY_MS: u32 = 120_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    from: Option<u64>,
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Page {
    records: Vec<Value>,
    head: Head,
}

impl Page {
    pub(super) fn of(records: &[Record], head: Head) -> Self {
        Self { records: records.iter().map(json::record).collect(), head }
    }
}

pub(super) async fn page(
    State(app): App,
    login: Login,
    Query(range): Query<Range>,
) -> Answer<axum::Json<Page>> {
    let limit = range.limit.unwrap_or(USUAL).clamp(1, MOST);
    let (records, head) = records(&app, &login.person, range.from.unwrap_or(0), limit).await?;
    Ok(axum::Json(Page::of(&records, head)))
}

pub(super) async fn records(
    app: &Shared,
    person: &Person,
    from: u64,
    limit: u32,
) -> Result<(Vec<Record>, Head), CallError> {
    match tools::look(app, person, ToolRequest::Audit { from, limit }).await? {
        ToolReply::Audit { records, head } => Ok((records, head)),
        _ => Err(unexpected("toold")),
    }
}

pub(super) async fn verify(State(app): App, login: Login) -> Answer<axum::Json<Head>> {
    let meta = meta(&login.person, "console: proof of the audit chain", VERIFY_MS);
    match app.daemons.toold.call(meta, ToolRequest::AuditVerify).await? {
        ToolReply::Verified(head) => Ok(axum::Json(head)),
        _ => Err(unexpected("toold").into()),
    }
}

/// Where an export is.
struct Export {
    app: Shared,
    person: Person,
    from: u64,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

/// The whole chain, one record a line, byte for byte what the hashes were taken over; the last line is
/// the signed head. An export that breaks off has no such line.
pub(super) async fn export(State(app): App, login: Login) -> Answer<Response> {
    let permit = sse::admit(&app)?;
    let mut export = Export { app, person: login.person, from: 0, over: false, _permit: permit };
    // The first page is asked for before the status is sent: a dead toold is an error, not a short file.
    let first = next_page(&mut export).await?;
    let rest = stream::unfold((Some(first), export), |(page, mut export)| async move {
        let page = match page {
            Some(page) => Ok(page),
            None if export.over => return None,
            None => next_page(&mut export).await,
        };
        // After an error there is nothing more to say.
        export.over |= page.is_err();
        Some((page, (None, export)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"aios-audit.jsonl\""),
    ];
    Ok((headers, Body::from_stream(rest)).into_response())
}

async fn next_page(export: &mut Export) -> Result<Bytes, ApiError> {
    let (records, head) = records(&export.app, &export.person, export.from, PAGE).await?;
    let mut text = Vec::new();
    for record in &records {
        line(&mut text, record)?;
    }
    let last = records.last().map(|record| record.seq);
    // The head belongs to the answer that reaches it; records may be added between two answers.
    if last.is_none_or(|last| last >= head.seq) {
        line(&mut text, &serde_json::json!({ "head": head }))?;
        export.over = true;
    }
    export.from = last.map_or(export.from, |last| last + 1);
    Ok(text.into())
}

fn line(text: &mut Vec<u8>, item: &impl Serialize) -> Result<(), CallError> {
    serde_json::to_writer(&mut *text, item)
        .map_err(|e| CallError::failed(format!("a record cannot be written as JSON: {e}")))?;
    text.push(b'\n');
    Ok(())
}
