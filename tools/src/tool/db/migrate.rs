//! `db.migrate`

use super::backup::NEEDS;
use super::restore::take_back;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::dump::{MIGRATIONS, Server, changed};
use crate::policy::Target;
use crate::reach::Needs;
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Apply the files of SQL that were not applied to a database yet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the database; its files are `/data/postgresql/migrations/DATABASE/NUMBER….sql`.
    database: String,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Migrated {
    /// Name of the database.
    database: String,
    /// The files that were applied now, in their order.
    pub(crate) applied: Vec<String>,
    /// The file that could not be applied, and why; it changed nothing, and those after it were not tried.
    pub(crate) failed: Option<String>,
    /// A new backup, with what was in the database before; none when there was nothing to apply.
    pub(crate) before: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 131,
    name: "db.migrate",
    summary: "Apply numbered SQL migration files to a PostgreSQL database, each once and in one transaction",
    effect: Effect::Reversible,
    touches: &["all that is in the database named", "a new file in /data/postgresql/backup"],
    role: Role::Admin,
    timeout_ms: 600_000,
    examples: &[
        ("run the migrations of the database shop", r#"{"database":"shop"}"#),
        ("bring the schema of crm up to date", r#"{"database":"crm"}"#),
        ("apply the new SQL files to the wiki database", r#"{"database":"wiki"}"#),
        ("migrate the orders database to the newest version", r#"{"database":"orders"}"#),
        ("are there schema changes for inventory to apply? then do it", r#"{"database":"inventory"}"#),
    ],
    needs: NEEDS_AND_FILES,
    code: &Make {
        paths: |_| changed(),
        prepare: |ctx, args| prepare(ctx, Server::machines(), args),
        summary,
        undo: Some(Undo { paths: |_| Ok(changed()), run: |ctx, kept| undo(ctx, &Server::machines(), kept) }),
    },
};

const NEEDS_AND_FILES: Needs = NEEDS.read(&[MIGRATIONS]);

/// Files that are to be applied.
pub(crate) struct Migration {
    server: Server,
    database: String,
    /// Names and hashes.
    files: Vec<(String, String)>,
    before: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    database: String,
    /// None when there was nothing to apply.
    before: Option<String>,
}

pub(crate) fn prepare(ctx: &Ctx, server: Server, args: Args) -> Result<Migration, CallError> {
    let Args { database } = args;
    server.has_database(ctx, &database)?;
    let applied = server.applied(ctx, &database)?;
    let conflict = |text: String| Err(CallError::new(ErrorCode::Conflict, text));
    let mut files = Vec::new();
    for (name, hash) in server.files(ctx, &database)? {
        match applied.get(&name) {
            Some(known) if *known == hash => {}
            Some(_) => {
                return conflict(format!(
                    "{name} was changed after it was applied; write a new file instead"
                ));
            }
            None => files.push((name, hash)),
        }
    }
    if let (Some((first, _)), Some((last, _))) = (files.first(), applied.last_key_value())
        && first < last
    {
        return conflict(format!(
            "{first} comes before {last}, which was applied already; give it a later number"
        ));
    }
    let before = server.new_name("before-migrate-", &database);
    Ok(Migration { server, database, files, before })
}

impl Change for Migration {
    type Output = Migrated;

    fn target(&self) -> Target {
        Target::Service("postgresql".into())
    }

    fn preview(&self) -> Preview {
        let Self { database, files, before, .. } = self;
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let would = match names.is_empty() {
            true => format!("change nothing: all files of {database} were applied already"),
            false => format!("apply to {database}, after saving it as {before}: {}", names.join(", ")),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let before = (!self.files.is_empty()).then(|| self.before.clone());
        Some(Kept::new(&Note { database: self.database.clone(), before }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Migrated, CallError> {
        let Self { server, database, files, before } = self;
        let mut done =
            Migrated { database: database.clone(), applied: Vec::new(), failed: None, before: None };
        if files.is_empty() {
            return Ok(done);
        }
        server.dump(ctx, database, before)?;
        for (name, hash) in files {
            match server.migrate(ctx, database, name, hash) {
                Ok(()) => done.applied.push(name.clone()),
                Err(why) if done.applied.is_empty() => {
                    server.remove(before)?;
                    let text = format!("{name}: {}; nothing was changed", why.message);
                    return Err(CallError::new(why.code, text));
                }
                Err(why) => {
                    done.failed = Some(format!("{name}: {}", why.message));
                    break;
                }
            }
        }
        done.before = Some(before.clone());
        Ok(done)
    }
}

pub(crate) fn undo(ctx: &Ctx, server: &Server, kept: &Kept) -> Result<String, CallError> {
    let Note { database, before } = kept.read()?;
    match before {
        Some(before) => take_back(ctx, server, &database, &before),
        None => Ok(format!("nothing was applied to {database}, so there is nothing to take back")),
    }
}

fn summary(done: &Migrated) -> String {
    let Migrated { database, applied, failed, .. } = done;
    let failed = failed.as_ref().map(|why| format!("; then it failed: {why}")).unwrap_or_default();
    match applied.is_empty() {
        true => format!("{database} has all its files already"),
        false => format!("applied to {database}: {}{failed}", applied.join(", ")),
    }
}

#[cfg(test)]
impl Args {
    pub(crate) fn of(database: &str) -> Self {
        Self { database: database.into() }
    }
}
