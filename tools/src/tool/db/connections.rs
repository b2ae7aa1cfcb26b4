//! `db.connections`

use super::shared::{NEEDS, SOCKET, ask};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::statement::without_values;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// List who is connected to the database server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// Who is connected.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Connections {
    /// Connections that the server takes at most.
    max_connections: i32,
    /// Each connection, the one that has been doing the same for longest first; at most 500.
    pub(crate) connections: Vec<Connection>,
}

/// A connection of a client.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Connection {
    /// Process of the server that serves it.
    pub(crate) pid: i32,
    /// Role of the database.
    pub(crate) user: Option<String>,
    /// Database.
    database: Option<String>,
    /// What the client calls itself.
    application: String,
    /// Its address; none at the Unix socket.
    client: Option<String>,
    /// Since when it is connected, in RFC 3339, UTC.
    since: String,
    /// `active`, `idle`, `idle in transaction` and so on.
    pub(crate) state: String,
    /// Seconds in this state.
    state_seconds: Option<f64>,
    /// Seconds that its transaction has been open.
    transaction_seconds: Option<f64>,
    /// What it waits for, such as `Lock: transactionid`.
    waits_for: Option<String>,
    /// Processes of the server that hold the lock which it waits for.
    blocked_by: Vec<i32>,
    /// When its last statement began; with it `db.kill_query` ends that one and no other.
    statement_started: Option<String>,
    /// Its last statement, with `?` for each value.
    statement: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 126,
    name: "db.connections",
    summary: "List the connections to the PostgreSQL database: who, from where, doing what, blocked by whom",
    effect: Effect::Read,
    touches: &["the PostgreSQL server's list of connections"],
    // Statements tell what is in the tables.
    role: Role::Operator,
    timeout_ms: 15_000,
    examples: &[
        ("who is connected to the database?", "{}"),
        ("list the open postgres connections", "{}"),
        ("which database session blocks the others?", "{}"),
        ("are there sessions idle in a transaction?", "{}"),
        ("how many clients use PostgreSQL right now?", "{}"),
    ],
    needs: NEEDS,
    code: &Look { paths: no_paths, run, summary },
};

const QUERY: &str = r#"
SELECT pid, usename::text, datname::text, application_name,
       host(client_addr),
       to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       coalesce(state, 'unknown'),
       extract(epoch FROM clock_timestamp() - state_change)::float8,
       extract(epoch FROM clock_timestamp() - xact_start)::float8,
       CASE WHEN state <> 'idle' THEN wait_event_type || ': ' || wait_event END,
       CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{}' END,
       to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       query
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY state_change NULLS LAST LIMIT 500"#;

fn run(ctx: &Ctx, _args: Args) -> Result<Connections, CallError> {
    look(ctx, Path::new(SOCKET))
}

pub(crate) fn look(ctx: &Ctx, socket: &Path) -> Result<Connections, CallError> {
    let seconds = |number: Option<f64>| number.map(|number| (number * 1000.0).round() / 1000.0);
    ask(ctx, socket, |client| async move {
        let most = client.query_one("SELECT current_setting('max_connections')::int4", &[]).await?;
        let rows = client.query(QUERY, &[]).await?;
        let connection = |row: &tokio_postgres::Row| {
            Ok(Connection {
                pid: row.try_get(0)?,
                user: row.try_get(1)?,
                database: row.try_get(2)?,
                application: row.try_get(3)?,
                client: row.try_get(4)?,
                since: row.try_get(5)?,
                state: row.try_get(6)?,
                state_seconds: seconds(row.try_get(7)?),
                transaction_seconds: seconds(row.try_get(8)?),
                waits_for: row.try_get(9)?,
                blocked_by: row.try_get(10)?,
                statement_started: row.try_get(11)?,
                statement: without_values(row.try_get(12)?),
            })
        };
        let connections = rows.iter().map(connection).collect::<Result<_, tokio_postgres::Error>>()?;
        Ok(Connections { max_connections: most.try_get(0)?, connections })
    })
}

fn summary(found: &Connections) -> String {
    let count = |state: &str| found.connections.iter().filter(|one| one.state == state).count();
    format!(
        "{} of {} connections are in use: {} active, {} idle, {} idle in a transaction",
        found.connections.len(),
        found.max_connections,
        count("active"),
        count("idle"),
        count("idle in transaction")
    )
}
