//! `db.slow_queries`

use super::shared::{NEEDS, SOCKET, ask};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::statement::without_values;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Most statements of each kind.
const MOST: u32 = 100;

/// Find the statements that take the database's time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Of the statements that run now, only those that have been running for so many seconds.
    #[serde(default = "default_seconds")]
    #[schemars(range(min = 0, max = 86_400))]
    seconds: u32,
    /// What the finished statements are ordered by.
    #[serde(default)]
    by: By,
    /// At most this many of each kind.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 100))]
    limit: u32,
}

fn default_seconds() -> u32 {
    5
}

fn default_limit() -> u32 {
    20
}

/// What counts as slow.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    /// The time of all its runs together.
    #[default]
    Total,
    /// The time of a run on average.
    Mean,
    /// The time of its longest run.
    Max,
}

/// The statements.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Slow {
    /// Those that run now, the longest first.
    pub(crate) running: Vec<Running>,
    /// Those that were run since the statistics began, the slowest first.
    pub(crate) costly: Vec<Costly>,
}

/// A statement that runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Running {
    /// Process of the server that works on it.
    pub(crate) pid: i32,
    /// When it began; `db.kill_query` asks for it.
    pub(crate) started: String,
    /// Seconds since then.
    seconds: f64,
    /// Role of the database.
    pub(crate) user: Option<String>,
    /// Database.
    database: Option<String>,
    /// What it waits for, such as `Lock: relation`.
    waits_for: Option<String>,
    /// The statement, with `?` for each value.
    pub(crate) statement: String,
}

/// A statement that was run, with all its values.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Costly {
    /// The statement, with `$1` or `?` for each value.
    pub(crate) statement: String,
    /// Role of the database.
    user: Option<String>,
    /// Database.
    database: Option<String>,
    /// How often it was run.
    pub(crate) calls: i64,
    /// Milliseconds of all runs together.
    total_ms: f64,
    /// Milliseconds of a run on average.
    mean_ms: f64,
    /// Milliseconds of the longest run.
    max_ms: f64,
    /// Rows that it gave or changed.
    rows: i64,
    /// Percent of the blocks that it found in memory.
    cache_hit_percent: Option<f64>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 127,
    name: "db.slow_queries",
    summary: "Find slow SQL queries of the PostgreSQL database: those that run now and those that took the most time",
    effect: Effect::Read,
    touches: &["the PostgreSQL server's statistics of statements"],
    // Statements tell what is in the tables.
    role: Role::Operator,
    timeout_ms: 15_000,
    examples: &[
        ("which database queries are slow?", "{}"),
        ("what makes postgres so slow?", "{}"),
        ("show queries that run longer than a minute", r#"{"seconds":60}"#),
        ("which SQL statements take longest on average?", r#"{"by":"mean"}"#),
        ("the 5 most expensive SQL queries", r#"{"limit":5}"#),
        ("find long running statements in the database", r#"{"seconds":30}"#),
    ],
    needs: NEEDS,
    code: &Look { paths: no_paths, run, summary },
};

const RUNNING: &str = r#"
SELECT pid, to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       extract(epoch FROM clock_timestamp() - query_start)::float8, usename::text, datname::text,
       wait_event_type || ': ' || wait_event, query
FROM pg_stat_activity
WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND query_start <= clock_timestamp() - make_interval(secs => $1)
ORDER BY query_start LIMIT $2"#;

const COSTLY: &str = "
SELECT query, rolname::text, datname::text, calls, total_exec_time, mean_exec_time, max_exec_time, rows,
       (shared_blks_hit * 100.0 / nullif(shared_blks_hit + shared_blks_read, 0))::float8
FROM pg_stat_statements
     LEFT JOIN pg_roles ON pg_roles.oid = userid LEFT JOIN pg_database ON pg_database.oid = dbid
WHERE query IS NOT NULL AND rolname IS DISTINCT FROM current_user
ORDER BY CASE $1 WHEN 'mean' THEN mean_exec_time WHEN 'max' THEN max_exec_time ELSE total_exec_time END DESC
LIMIT $2";

fn run(ctx: &Ctx, args: Args) -> Result<Slow, CallError> {
    if !(1..=MOST).contains(&args.limit) {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MOST}")));
    }
    look(ctx, Path::new(SOCKET), &args)
}

pub(crate) fn look(ctx: &Ctx, socket: &Path, args: &Args) -> Result<Slow, CallError> {
    let Args { seconds, by, limit } = *args;
    let by = match by {
        By::Total => "total",
        By::Mean => "mean",
        By::Max => "max",
    };
    let round = |number: f64| (number * 1000.0).round() / 1000.0;
    ask(ctx, socket, |client| async move {
        let (seconds, limit) = (f64::from(seconds), i64::from(limit));
        let rows = client.query(RUNNING, &[&seconds, &limit]).await?;
        let one = |row: &tokio_postgres::Row| {
            Ok(Running {
                pid: row.try_get(0)?,
                started: row.try_get(1)?,
                seconds: round(row.try_get(2)?),
                user: row.try_get(3)?,
                database: row.try_get(4)?,
                waits_for: row.try_get(5)?,
                statement: without_values(row.try_get(6)?),
            })
        };
        let running = rows.iter().map(one).collect::<Result<_, tokio_postgres::Error>>()?;
        let rows = client.query(COSTLY, &[&by, &limit]).await?;
        let one = |row: &tokio_postgres::Row| {
            Ok(Costly {
                statement: without_values(row.try_get(0)?),
                user: row.try_get(1)?,
                database: row.try_get(2)?,
                calls: row.try_get(3)?,
                total_ms: round(row.try_get(4)?),
                mean_ms: round(row.try_get(5)?),
                max_ms: round(row.try_get(6)?),
                rows: row.try_get(7)?,
                cache_hit_percent: row.try_get::<_, Option<f64>>(8)?.map(round),
            })
        };
        Ok(Slow { running, costly: rows.iter().map(one).collect::<Result<_, tokio_postgres::Error>>()? })
    })
}

fn summary(slow: &Slow) -> String {
    let running = match slow.running.first() {
        None => "no statement has been running for long".into(),
        Some(first) => format!(
            "{} statements run, the longest for {} s (process {})",
            slow.running.len(),
            first.seconds,
            first.pid
        ),
    };
    match slow.costly.first() {
        None => running,
        Some(first) => format!(
            "{running}; of the finished ones the first took {} ms in {} runs: {}",
            first.total_ms, first.calls, first.statement
        ),
    }
}

#[cfg(test)]
impl Args {
    pub(crate) fn of(seconds: u32) -> Self {
        Self { seconds, by: By::Total, limit: MOST }
    }
}
