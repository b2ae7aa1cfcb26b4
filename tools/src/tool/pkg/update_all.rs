//! `pkg.update_all`

use super::shared::{
    NEEDS, Note, Switch, Switched, changed, default_directories, newer, summary as one, take_back,
};
use super::update::switch_to;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::policy::Target;
use crate::reach::{Paths, Way};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Replace every installed extension of which a newer version is there, all of them or none. One undo takes all back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute paths of the directories in which newer versions are looked for.
    #[serde(default = "default_directories")]
    directories: Vec<String>,
}

/// What was updated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Updated {
    /// Each extension, by name.
    updated: Vec<Switched>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 184,
    name: "pkg.update_all",
    summary: "Update all installed extensions to their newest versions at once, all or none",
    effect: Effect::Reversible,
    touches: &["/data/extensions", "/data/config/services", "the services of the extensions"],
    role: Role::Admin,
    timeout_ms: 600_000,
    examples: &[
        ("update all extensions", "{}"),
        ("bring every package up to date", "{}"),
        (
            "upgrade everything that is installed from the stick in /run/usb",
            r#"{"directories":["/run/usb"]}"#,
        ),
        ("install all available updates", "{}"),
        ("apt upgrade", "{}"),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: |_| Ok(changed()), run: undo }) },
};

fn paths(args: &Args) -> Paths {
    let read = args.directories.iter().map(|path| (Way::Read, path.into()));
    changed().into_iter().chain(read).collect()
}

struct All(Vec<Switch>);

fn prepare(ctx: &Ctx, args: Args) -> Result<All, CallError> {
    let (newer, _) = newer(ctx, &args.directories)?;
    newer.iter().map(|one| switch_to(ctx, &one.path, false)).collect::<Result<_, _>>().map(All)
}

impl Change for All {
    type Output = Updated;

    fn target(&self) -> Target {
        match self.0.as_slice() {
            [only] => only.target(),
            _ => Target::Package("(all)".into()),
        }
    }

    fn preview(&self) -> Preview {
        let all: Vec<String> = self.0.iter().map(|one| one.preview().would).collect();
        let would = match all.is_empty() {
            true => "change nothing: no newer version is there".into(),
            false => all.join("; "),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let notes: Vec<Note> = self.0.iter().map(Switch::note).collect();
        Some(Kept::new(&notes, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Updated, CallError> {
        let (mut updated, count) = (Vec::new(), self.0.len());
        for index in 0..count {
            let Some(switch) = self.0.get_mut(index) else { continue };
            ctx.progress(switch.name.clone(), u8::try_from(index * 100 / count.max(1)).ok());
            // Its own call holds another target: whoever was quicker keeps what they did.
            let done = match switch.shelf.state(&switch.name)? == switch.before {
                true => switch.apply(ctx),
                false => {
                    let text = format!("{} was changed by someone else at this moment", switch.name);
                    Err(CallError::new(ErrorCode::Conflict, text))
                }
            };
            match done {
                Ok(done) => updated.push(done),
                Err(why) => {
                    let made: Vec<Note> = self.0.iter().take(index).map(Switch::note).collect();
                    let end = match back(ctx, made) {
                        Ok(_) => "all of it was taken back".to_owned(),
                        Err(e) => format!("taking back: {e}"),
                    };
                    return Err(CallError::new(why.code, format!("{}; {end}", why.message)));
                }
            }
        }
        Ok(Updated { updated })
    }
}

/// Take back these, the last first; those that were not reached are as they were.
fn back(ctx: &Ctx, notes: Vec<Note>) -> Result<String, CallError> {
    let all: Result<Vec<String>, CallError> =
        notes.into_iter().rev().map(|note| take_back(ctx, note)).collect();
    Ok(all?.join("; "))
}

fn summary(updated: &Updated) -> String {
    match updated.updated.is_empty() {
        true => "no newer version is there; everything stays as it is".into(),
        false => updated.updated.iter().map(one).collect::<Vec<_>>().join("; "),
    }
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    back(ctx, kept.read()?)
}
