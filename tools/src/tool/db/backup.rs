//! `db.backup`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::dump::{Server, changed, check_name};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::fs::shared::CHANGES;
use crate::tool::process::shared::human_bytes;
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use aios_unit::Family;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What writing and reading backups takes.
pub(crate) const NEEDS: Needs = CHANGES.families(&[Family::Unix]).asks(&[Asks::InitToAct]);

/// Save a database into a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the database.
    database: String,
    /// Name of the new file in `/data/postgresql/backup`; without it, the database's name and the time.
    name: Option<String>,
}

/// The backup.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BackedUp {
    /// Name of the database.
    database: String,
    /// The backup's name, for `db.restore`.
    pub(crate) name: String,
    /// Its file.
    path: String,
    /// Its size in bytes.
    bytes: u64,
    /// BLAKE3 of the file in hexadecimal digits, which also stands beside it in a file `.blake3`.
    blake3: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 129,
    name: "db.backup",
    summary: "Back up a PostgreSQL database into a new file",
    effect: Effect::Reversible,
    touches: &["a new file in /data/postgresql/backup", "the database named, which is read"],
    role: Role::Operator,
    timeout_ms: 600_000,
    examples: &[
        ("back up the database shop", r#"{"database":"shop"}"#),
        ("make a dump of the postgres database crm", r#"{"database":"crm"}"#),
        (
            "save the database wiki as wiki-before-update.dump",
            r#"{"database":"wiki","name":"wiki-before-update.dump"}"#,
        ),
        ("pg_dump inventory", r#"{"database":"inventory"}"#),
        ("I need a copy of the database orders in case something goes wrong", r#"{"database":"orders"}"#),
    ],
    needs: NEEDS,
    code: &Make {
        paths: |_| changed(),
        prepare: |ctx, args| prepare(ctx, Server::machines(), args),
        summary,
        undo: Some(Undo { paths: |_| Ok(changed()), run: |ctx, kept| undo(ctx, &Server::machines(), kept) }),
    },
};

/// A backup that is to be made.
pub(crate) struct Backup {
    server: Server,
    database: String,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
}

pub(crate) fn prepare(ctx: &Ctx, server: Server, args: Args) -> Result<Backup, CallError> {
    let Args { database, name } = args;
    server.has_database(ctx, &database)?;
    let name = match name {
        None => server.new_name("", &database),
        Some(name) => {
            check_name(&name)?;
            name
        }
    };
    if server.path(&name).symlink_metadata().is_ok() {
        let text = format!("{} is there already; choose another name", server.path(&name).display());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    Ok(Backup { server, database, name })
}

impl Change for Backup {
    type Output = BackedUp;

    fn target(&self) -> Target {
        Target::File(self.server.path(&self.name))
    }

    fn preview(&self) -> Preview {
        let would =
            format!("save the database {} into {}", self.database, self.server.path(&self.name).display());
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { name: self.name.clone() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<BackedUp, CallError> {
        let Self { server, database, name } = self;
        let (bytes, blake3) = server.dump(ctx, database, name)?;
        let path = server.path(name).display().to_string();
        Ok(BackedUp { database: database.clone(), name: name.clone(), path, bytes, blake3 })
    }
}

/// Nobody else's file is removed: one that was changed since is somebody's.
pub(crate) fn undo(ctx: &Ctx, server: &Server, kept: &Kept) -> Result<String, CallError> {
    let Note { name } = kept.read()?;
    server
        .check(ctx, &name)
        .map_err(|e| CallError::new(ErrorCode::Conflict, format!("{}; nothing was undone", e.message)))?;
    server.remove(&name)?;
    Ok(format!("{} is removed", server.path(&name).display()))
}

fn summary(done: &BackedUp) -> String {
    format!("{} is saved in {} ({})", done.database, done.path, human_bytes(done.bytes))
}

#[cfg(test)]
impl Args {
    pub(crate) fn of(database: &str, name: Option<&str>) -> Self {
        Self { database: database.into(), name: name.map(str::to_owned) }
    }
}
