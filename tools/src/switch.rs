//! Services that a person has disabled: a list in the configuration, which init reads.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::file::{self, Existing, Facts, Place};
use crate::policy::Target;
use crate::reach::{Asks, Needs, Paths, directory_of};
use crate::tool::fs::shared::CHANGES;
use crate::tool::service::shared::{Service, ask, one, unexpected};
use crate::undo::Kept;
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The list, one name a line.
const LIST: &str = "/data/config/services/disabled";

/// What switching takes: the list is root's.
pub(crate) const NEEDS: Needs = CHANGES.asks(&[Asks::InitToAct]);

/// The list's directory, in which it is replaced.
pub(crate) fn paths<T>(_: &T) -> Paths {
    directory_of(LIST)
}

/// What a person wants of the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// It starts the service.
    Enabled,
    /// It does not.
    Disabled,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Switched {
    /// Name of the service.
    name: String,
    /// Whether the boot starts it now.
    enabled: bool,
    /// Whether that was different before.
    changed: bool,
    /// The service now: switching changes the next boot, and not whether it runs.
    service: Service,
}

/// One line of the list, put in or taken out.
pub(crate) struct Switch {
    place: Place,
    list: Option<Existing>,
    before: Service,
    wanted: Wanted,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
    before: Wanted,
}

/// Look at the service and the list.
pub(crate) fn prepare(ctx: &Ctx, name: &str, wanted: Wanted) -> Result<Switch, CallError> {
    let before = one(ctx, name)?;
    if wanted == Wanted::Disabled && aios_unit::INDISPENSABLE.contains(&name) {
        let text = format!("{name} cannot be disabled: without it nobody could enable it again");
        return Err(CallError::denied(text));
    }
    let place = file::place(&ctx.policy, LIST)?;
    let list = place.existing()?;
    Ok(Switch { place, list, before, wanted })
}

impl Switch {
    fn text(&self) -> String {
        let content = self.list.as_ref().map_or(&[][..], |list| &list.content);
        String::from_utf8_lossy(content).into_owned()
    }

    fn present(&self) -> Wanted {
        match self.text().lines().any(|line| line.trim() == self.before.name) {
            true => Wanted::Disabled,
            false => Wanted::Enabled,
        }
    }

    fn new_text(&self) -> String {
        let name = &self.before.name;
        let others: String =
            self.text().lines().filter(|line| line.trim() != name).map(|line| format!("{line}\n")).collect();
        match self.wanted {
            Wanted::Enabled => others,
            Wanted::Disabled => format!("{others}{name}\n"),
        }
    }
}

impl Change for Switch {
    type Output = Switched;

    fn target(&self) -> Target {
        Target::File(self.place.path.clone())
    }

    fn preview(&self) -> Preview {
        let Service { name, state, .. } = &self.before;
        let would = match (self.wanted, self.present()) {
            (wanted, present) if wanted == present => format!("change nothing: {name} is so already"),
            (Wanted::Enabled, _) => format!("start {name} at each boot; now it is {state}"),
            (Wanted::Disabled, _) => format!("not start {name} at boot; now it is {state} and stays so"),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { name: self.before.name.clone(), before: self.present() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Switched, CallError> {
        let changed = self.present() != self.wanted;
        if changed {
            let text = self.new_text();
            match &self.list {
                // A list of nobody is none.
                Some(list) if text.is_empty() => self.place.remove(list)?,
                list => {
                    let facts = Facts::new(0o644, (0, 0));
                    self.place.replace(list.as_ref(), text.as_bytes(), &facts, false)?;
                }
            }
            let InitReply::Rescanned { .. } = ask(ctx, InitRequest::Rescan)? else {
                return Err(unexpected());
            };
        }
        let name = self.before.name.clone();
        let service = one(ctx, &name)?;
        Ok(Switched { name, enabled: self.wanted == Wanted::Enabled, changed, service })
    }
}

pub(crate) fn summary(done: &Switched) -> String {
    let word = if done.enabled { "enabled" } else { "disabled" };
    match done.changed {
        true => format!("{} is {word}; it is {}", done.name, done.service.state),
        false => format!("{} was {word} already; it is {}", done.name, done.service.state),
    }
}

pub(crate) const UNDO: Undo = Undo { paths: |kept| Ok(paths(kept)), run: undo };

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    let mut switch = prepare(ctx, &note.name, note.before)
        .map_err(|e| CallError::new(ErrorCode::Conflict, format!("{e}; nothing was undone")))?;
    Ok(summary(&switch.apply(ctx)?))
}
