//! `db.status`

use super::shared::{NEEDS, SOCKET, ask};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Look how the database server is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// How the server is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// Version of PostgreSQL.
    pub(crate) version: String,
    /// When it was started, in RFC 3339, UTC.
    started: String,
    /// It follows another server and takes no changes.
    pub(crate) read_only: bool,
    /// Connections of clients, this one among them.
    connections: i64,
    /// Connections that it takes at most.
    pub(crate) max_connections: i32,
    /// Statements that are being worked on, without this one.
    active: i64,
    /// Statements that wait for a lock.
    waiting: i64,
    /// Seconds that the oldest transaction has been open; one that stays open keeps old rows from being cleared away.
    oldest_transaction_seconds: Option<f64>,
    /// Percent of a database's transaction numbers used since the last freeze, of the worst one; at 100 it stops taking changes.
    wraparound_percent: f64,
    /// Each database, the largest first.
    pub(crate) databases: Vec<Database>,
}

/// A database.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Database {
    /// Name.
    pub(crate) name: String,
    /// Bytes on the disk.
    pub(crate) bytes: i64,
    /// Connections to it.
    connections: i32,
    /// Transactions that were committed since its statistics began.
    committed: i64,
    /// Transactions that were taken back.
    rolled_back: i64,
    /// Percent of the blocks that were found in memory.
    cache_hit_percent: Option<f64>,
    /// Transactions that waited for each other, of which one was ended.
    deadlocks: i64,
    /// Bytes of temporary files that large sorts and joins wrote.
    temporary_bytes: i64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 125,
    name: "db.status",
    summary: "Tell how the PostgreSQL database server is: version, databases and their size, connections, cache, locks",
    effect: Effect::Read,
    touches: &["the PostgreSQL server's statistics"],
    role: Role::Viewer,
    timeout_ms: 15_000,
    examples: &[
        ("is the database healthy?", "{}"),
        ("how large are my PostgreSQL databases?", "{}"),
        ("which version of postgres runs here?", "{}"),
        ("what is the cache hit rate of the database?", "{}"),
        ("were there any deadlocks in the database?", "{}"),
        ("since when is the database server up?", "{}"),
    ],
    needs: NEEDS,
    code: &Look { paths: no_paths, run, summary },
};

const SERVER: &str = r#"
SELECT current_setting('server_version'),
       to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       pg_is_in_recovery(),
       count(*),
       current_setting('max_connections')::int4,
       count(*) FILTER (WHERE state = 'active' AND pid <> pg_backend_pid()),
       count(*) FILTER (WHERE wait_event_type = 'Lock'),
       max(extract(epoch FROM clock_timestamp() - xact_start)) FILTER (WHERE pid <> pg_backend_pid())::float8,
       (SELECT max(age(datfrozenxid)) * 100.0 / 2147483647 FROM pg_database)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend'"#;

const DATABASES: &str = "
SELECT datname::text, pg_database_size(datid), numbackends, xact_commit, xact_rollback,
       (blks_hit * 100.0 / nullif(blks_hit + blks_read, 0))::float8, deadlocks, temp_bytes
FROM pg_stat_database JOIN pg_database USING (datname) WHERE NOT datistemplate
ORDER BY 2 DESC LIMIT 200";

fn run(ctx: &Ctx, _args: Args) -> Result<Status, CallError> {
    look(ctx, Path::new(SOCKET))
}

pub(crate) fn look(ctx: &Ctx, socket: &Path) -> Result<Status, CallError> {
    let tenth = |number: f64| (number * 10.0).round() / 10.0;
    ask(ctx, socket, |client| async move {
        let server = client.query_one(SERVER, &[]).await?;
        let rows = client.query(DATABASES, &[]).await?;
        let database = |row: &tokio_postgres::Row| {
            Ok(Database {
                name: row.try_get(0)?,
                bytes: row.try_get(1)?,
                connections: row.try_get(2)?,
                committed: row.try_get(3)?,
                rolled_back: row.try_get(4)?,
                cache_hit_percent: row.try_get::<_, Option<f64>>(5)?.map(tenth),
                deadlocks: row.try_get(6)?,
                temporary_bytes: row.try_get(7)?,
            })
        };
        Ok(Status {
            version: server.try_get(0)?,
            started: server.try_get(1)?,
            read_only: server.try_get(2)?,
            connections: server.try_get(3)?,
            max_connections: server.try_get(4)?,
            active: server.try_get(5)?,
            waiting: server.try_get(6)?,
            oldest_transaction_seconds: server.try_get::<_, Option<f64>>(7)?.map(tenth),
            wraparound_percent: tenth(server.try_get(8)?),
            databases: rows.iter().map(database).collect::<Result<_, tokio_postgres::Error>>()?,
        })
    })
}

fn summary(status: &Status) -> String {
    let bytes: i64 = status.databases.iter().map(|one| one.bytes).sum();
    format!(
        "PostgreSQL {} since {}: {} of {} connections, {} databases with {}, {} statements wait for a lock",
        status.version,
        status.started,
        status.connections,
        status.max_connections,
        status.databases.len(),
        human_bytes(bytes.unsigned_abs()),
        status.waiting
    )
}
