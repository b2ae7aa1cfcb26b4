//! `db.restore`

use super::backup::NEEDS;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::dump::{Server, changed, check_name};
use crate::policy::Target;
use crate::tool::process::shared::human_bytes;
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Replace all that is in a database by a backup.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the database, which must be there.
    database: String,
    /// Name of the backup in `/data/postgresql/backup`.
    backup: String,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Restored {
    /// Name of the database.
    database: String,
    /// The backup whose content it has now.
    backup: String,
    /// A new backup, with what was in the database before.
    pub(crate) before: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 130,
    name: "db.restore",
    summary: "Restore a PostgreSQL database from a backup; what is in it now is saved first",
    effect: Effect::Reversible,
    touches: &["all that is in the database named", "a new file in /data/postgresql/backup"],
    role: Role::Admin,
    timeout_ms: 600_000,
    examples: &[
        (
            "restore the database shop from shop-20261120T100000Z.dump",
            r#"{"database":"shop","backup":"shop-20261120T100000Z.dump"}"#,
        ),
        (
            "bring the crm database back to the dump crm-monday.dump",
            r#"{"database":"crm","backup":"crm-monday.dump"}"#,
        ),
        (
            "load the backup wiki-before-update.dump into the database wiki",
            r#"{"database":"wiki","backup":"wiki-before-update.dump"}"#,
        ),
        (
            "pg_restore orders from orders.dump, replacing everything",
            r#"{"database":"orders","backup":"orders.dump"}"#,
        ),
        (
            "someone deleted rows in inventory; put back last night's dump inventory-night.dump",
            r#"{"database":"inventory","backup":"inventory-night.dump"}"#,
        ),
    ],
    needs: NEEDS,
    code: &Make {
        paths: |_| changed(),
        prepare: |ctx, args| prepare(ctx, Server::machines(), args),
        summary,
        undo: Some(Undo { paths: |_| Ok(changed()), run: |ctx, kept| undo(ctx, &Server::machines(), kept) }),
    },
};

/// A database that is to be replaced.
pub(crate) struct Restore {
    server: Server,
    database: String,
    backup: String,
    bytes: u64,
    before: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    database: String,
    before: String,
}

pub(crate) fn prepare(ctx: &Ctx, server: Server, args: Args) -> Result<Restore, CallError> {
    let Args { database, backup } = args;
    check_name(&backup)?;
    server.has_database(ctx, &database)?;
    let bytes = server.check(ctx, &backup)?;
    let before = server.new_name("before-restore-", &database);
    Ok(Restore { server, database, backup, bytes, before })
}

impl Change for Restore {
    type Output = Restored;

    fn target(&self) -> Target {
        Target::Service("postgresql".into())
    }

    fn preview(&self) -> Preview {
        let Self { database, backup, bytes, before, .. } = self;
        let would = format!(
            "replace all that is in the database {database} by the backup {backup} ({}), after saving it as {before}",
            human_bytes(*bytes)
        );
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let Self { database, before, .. } = self;
        Some(Kept::new(&Note { database: database.clone(), before: before.clone() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Restored, CallError> {
        let Self { server, database, backup, before, .. } = self;
        server.dump(ctx, database, before)?;
        if let Err(why) = server.restore(ctx, database, backup) {
            server.remove(before)?;
            return Err(CallError::new(why.code, format!("{}; {database} is as it was before", why.message)));
        }
        Ok(Restored { database: database.clone(), backup: backup.clone(), before: before.clone() })
    }
}

pub(crate) fn undo(ctx: &Ctx, server: &Server, kept: &Kept) -> Result<String, CallError> {
    let Note { database, before } = kept.read()?;
    take_back(ctx, server, &database, &before)
}

/// Put back what was saved before a change. What is in the database by now is saved as well: somebody may have written
/// since.
pub(crate) fn take_back(
    ctx: &Ctx,
    server: &Server,
    database: &str,
    before: &str,
) -> Result<String, CallError> {
    server
        .check(ctx, before)
        .map_err(|e| CallError::new(ErrorCode::Conflict, format!("{}; nothing was undone", e.message)))?;
    let now = server.new_name("before-undo-", database);
    server.dump(ctx, database, &now)?;
    if let Err(why) = server.restore(ctx, database, before) {
        server.remove(&now)?;
        return Err(CallError::new(why.code, format!("{}; nothing was undone", why.message)));
    }
    server.remove(before)?;
    Ok(format!("{database} is as it was before; what was in it until now is saved as {now}"))
}

fn summary(done: &Restored) -> String {
    format!(
        "{} has what is in {}; what was in it before is saved as {}",
        done.database, done.backup, done.before
    )
}

#[cfg(test)]
impl Args {
    pub(crate) fn of(database: &str, backup: &str) -> Self {
        Self { database: database.into(), backup: backup.into() }
    }
}
