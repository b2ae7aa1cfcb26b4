//! `db.kill_query`

use super::shared::{NEEDS, SOCKET, ask};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::statement::without_values;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a statement has to notice that it is to end.
const WAIT: Duration = Duration::from_secs(5);
/// How often is looked whether it has: the server tells nobody.
const STEP: Duration = Duration::from_millis(50);

/// End a statement that runs in the database.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process of the server that works on it, from `db.slow_queries` or `db.connections`.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pid: i32,
    /// When the statement began, as these tools tell it: so that no later one of the same process is hit.
    started: String,
    /// End the whole connection, not its statement alone.
    #[serde(default)]
    connection: bool,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Killed {
    /// Process of the server.
    pid: i32,
    /// Whose it was.
    user: String,
    /// The statement, with `?` for each value.
    statement: String,
    /// It has ended; otherwise it was told to, and does so as soon as it looks.
    pub(crate) ended: bool,
    /// Its connection was ended as well.
    pub(crate) connection_ended: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 128,
    name: "db.kill_query",
    summary: "Cancel a query that runs in the PostgreSQL database, or end its whole connection",
    effect: Effect::Irreversible,
    touches: &["the statement named; its transaction is rolled back"],
    role: Role::Admin,
    timeout_ms: 20_000,
    examples: &[
        (
            "that report blocks everybody: end query 2345 of 2026-11-21T12:00:00.250000Z",
            r#"{"pid":2345,"started":"2026-11-21T12:00:00.250000Z"}"#,
        ),
        (
            "cancel the query of process 4711 that began at 2026-11-20T10:00:00.123456Z",
            r#"{"pid":4711,"started":"2026-11-20T10:00:00.123456Z"}"#,
        ),
        (
            "kill the database session 815 running since 2026-11-20T09:30:00.000001Z",
            r#"{"pid":815,"started":"2026-11-20T09:30:00.000001Z","connection":true}"#,
        ),
        (
            "stop the SQL statement with pid 1234 started 2026-11-21T08:00:00.500000Z",
            r#"{"pid":1234,"started":"2026-11-21T08:00:00.500000Z"}"#,
        ),
        (
            "disconnect postgres backend 99, statement from 2026-11-21T23:59:59.999999Z",
            r#"{"pid":99,"started":"2026-11-21T23:59:59.999999Z","connection":true}"#,
        ),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

const FIND: &str = r#"
SELECT to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), coalesce(usename::text, ''),
       coalesce(datname::text, ''), coalesce(state, ''), query
FROM pg_stat_activity WHERE pid = $1 AND backend_type = 'client backend'"#;

const CANCEL: &str = r#"
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') = $2"#;

const TERMINATE: &str = r#"
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') = $2"#;

/// A statement that was found.
pub(crate) struct Meant {
    pid: i32,
    started: String,
    user: String,
    database: String,
    state: String,
    statement: String,
}

struct Kill {
    meant: Meant,
    connection: bool,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Kill, CallError> {
    let meant = find(ctx, Path::new(SOCKET), args.pid, &args.started)?;
    if !args.connection && meant.state != "active" {
        return Err(CallError::new(
            ErrorCode::Conflict,
            format!(
                "process {} works on no statement, it is {}; `connection` ends it",
                args.pid, meant.state
            ),
        ));
    }
    Ok(Kill { meant, connection: args.connection })
}

pub(crate) fn find(ctx: &Ctx, socket: &Path, pid: i32, started: &str) -> Result<Meant, CallError> {
    let row = ask(ctx, socket, |client| async move {
        let Some(row) = client.query_opt(FIND, &[&pid]).await? else { return Ok(None) };
        let statement = without_values(row.try_get(4)?);
        let (user, database, state) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let started = row.try_get::<_, Option<String>>(0)?.unwrap_or_default();
        Ok(Some(Meant { pid, started, user, database, state, statement }))
    })?;
    let meant = row.ok_or_else(|| {
        CallError::not_found(format!("no connection is served by process {pid}; db.connections lists them"))
    })?;
    match meant.started == started {
        true => Ok(meant),
        false => Err(CallError::new(
            ErrorCode::Conflict,
            format!(
                "the statement of process {pid} began at {} and not at {started}; it is another one, so nothing was done",
                meant.started
            ),
        )),
    }
}

pub(crate) fn end(ctx: &Ctx, socket: &Path, meant: &Meant, connection: bool) -> Result<Killed, CallError> {
    let Meant { pid, started, .. } = meant;
    let text = if connection { TERMINATE } else { CANCEL };
    let until = Instant::now() + WAIT.min(ctx.left() / 2);
    let ended = ask(ctx, socket, |client| async move {
        client.query_opt(text, &[pid, started]).await?;
        loop {
            let row = client.query_opt(FIND, &[pid]).await?;
            let same = row.as_ref().map(|row| row.try_get::<_, Option<String>>(0)).transpose()?.flatten();
            let idle = !connection
                && row.is_some_and(|row| row.try_get(3).is_ok_and(|state: &str| state != "active"));
            if idle || same.as_ref() != Some(started) {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(STEP).await;
        }
    })?;
    let (user, statement) = (meant.user.clone(), meant.statement.clone());
    Ok(Killed { pid: *pid, user, statement, ended, connection_ended: ended && connection })
}

impl Change for Kill {
    type Output = Killed;

    fn target(&self) -> Target {
        Target::Service("postgresql".into())
    }

    fn preview(&self) -> Preview {
        let Meant { pid, user, database, statement, .. } = &self.meant;
        let what = if self.connection { "end the connection" } else { "cancel the statement" };
        let would = format!("{what} of {user} to {database} (process {pid}), for good: {statement}");
        Preview { would, diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Killed, CallError> {
        end(ctx, Path::new(SOCKET), &self.meant, self.connection)
    }
}

fn summary(killed: &Killed) -> String {
    let Killed { pid, user, ended, connection_ended, .. } = killed;
    match (ended, connection_ended) {
        (true, true) => format!("the connection of {user} (process {pid}) has ended"),
        (true, false) => format!("the statement of {user} (process {pid}) has ended"),
        (false, _) => format!("process {pid} of {user} was told to end and has not done so yet"),
    }
}
