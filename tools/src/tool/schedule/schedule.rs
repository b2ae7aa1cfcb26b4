//! What the schedule tools share: a change of one entry.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::schedule::{Entry, Item, Past, Put, ScheduleAnswer, ScheduleQuestion, When};
use crate::undo::Kept;
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a change takes.
pub(crate) const NEEDS: Needs = Needs::NOTHING.asks(&[Asks::ScheduleToSet]);

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Changed {
    /// Name of the entry.
    name: String,
    /// `runs`, `disabled` or `gone`.
    state: String,
    /// Whether that was different before.
    changed: bool,
    /// Seconds until it runs.
    next_run_seconds: Option<u64>,
}

/// All entries, each with the seconds until it runs.
pub(crate) fn all(ctx: &Ctx) -> Result<Vec<(Item, Option<u64>)>, CallError> {
    match ctx.schedule(ScheduleQuestion::Show)? {
        ScheduleAnswer::All(all) => Ok(all),
        _ => Err(unexpected()),
    }
}

/// One entry as it is kept, if there is one.
pub(crate) fn find(ctx: &Ctx, name: &str) -> Result<Option<Item>, CallError> {
    match ctx.schedule(ScheduleQuestion::Find(name.into()))? {
        ScheduleAnswer::Found(item) => Ok(item.map(|item| *item)),
        _ => Err(unexpected()),
    }
}

/// The same of one that must be there.
pub(crate) fn present(ctx: &Ctx, name: &str) -> Result<Item, CallError> {
    find(ctx, name)?.ok_or_else(|| {
        CallError::not_found(format!("no entry of the schedule is called {name}; schedule.list shows all"))
    })
}

pub(crate) fn unexpected() -> CallError {
    CallError::failed("the broker answered something else than was asked; use programs of one release")
}

/// When it runs, in words.
pub(crate) fn words(when: &When) -> String {
    match when {
        When::At(text) => format!("at `{text}` (UTC)"),
        When::EverySeconds(seconds) => format!("every {seconds} s"),
    }
}

/// One entry in place of another.
pub(crate) struct Switch {
    pub(crate) name: String,
    pub(crate) from: Option<Item>,
    pub(crate) to: Option<Entry>,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
    before: Option<Item>,
    after: Option<Entry>,
}

impl Switch {
    fn before(&self) -> Option<&Entry> {
        self.from.as_ref().map(|item| &item.entry)
    }
}

fn put(
    ctx: &Ctx,
    name: &str,
    from: Option<Entry>,
    to: Option<Entry>,
    past: Option<Past>,
) -> Result<(), CallError> {
    let put = Put { name: name.into(), from, to, past };
    match ctx.schedule(ScheduleQuestion::Put(Box::new(put)))? {
        ScheduleAnswer::Done => Ok(()),
        _ => Err(unexpected()),
    }
}

impl Change for Switch {
    type Output = Changed;

    fn target(&self) -> Target {
        Target::Schedule(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let name = &self.name;
        let would = match (self.before(), &self.to) {
            (before, to) if before == to.as_ref() => format!("change nothing: {name} is so already"),
            (None, Some(Entry { when, tool, args, maker, .. })) => {
                format!("call {tool} {args} {}, with the role {}", words(when), maker.role.as_str())
            }
            (Some(entry), None) => format!("never call {} for {name} again", entry.tool),
            (_, Some(entry)) if entry.enabled => format!("call {} {} again", entry.tool, words(&entry.when)),
            (_, _) => format!("not run {name} until it is enabled"),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let note = Note { name: self.name.clone(), before: self.from.clone(), after: self.to.clone() };
        Some(Kept::new(&note, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Changed, CallError> {
        let changed = self.before() != self.to.as_ref();
        if changed {
            put(ctx, &self.name, self.before().cloned(), self.to.clone(), None)?;
        }
        let now = all(ctx)?.into_iter().find(|(item, _)| item.entry.name == self.name);
        let state = match &now {
            None => "gone",
            Some((item, _)) if item.entry.enabled => "runs",
            Some(_) => "disabled",
        };
        let next_run_seconds = now.and_then(|(_, due)| due);
        Ok(Changed { name: self.name.clone(), state: state.into(), changed, next_run_seconds })
    }

    fn verify(&self, ctx: &Ctx, _done: &Changed) -> Result<(), CallError> {
        match find(ctx, &self.name)?.map(|item| item.entry) == self.to {
            true => Ok(()),
            false => Err(CallError::failed(format!("{} is not what was planned", self.name))),
        }
    }
}

/// The result in one line.
pub(crate) fn summary(done: &Changed) -> String {
    let Changed { name, state, changed, next_run_seconds } = done;
    let already = if *changed { "" } else { " already" };
    match (state.as_str(), next_run_seconds) {
        ("runs", Some(seconds)) => format!("{name} runs{already}, next in {seconds} s"),
        ("gone", _) => format!("{name} is removed from the schedule"),
        (state, _) => format!("{name} is {state}{already}"),
    }
}

/// Takes it back.
pub(crate) const UNDO: Undo = Undo { paths: |_| Ok(Vec::new()), run: undo };

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { name, before, after } = kept.read()?;
    let now = find(ctx, &name)?.map(|item| item.entry);
    let (entry, past) = before.map(|item| (item.entry, item.past)).unzip();
    if now == entry {
        return Ok(format!("{name} is as it was before"));
    }
    if now != after {
        let text = format!("{name} was changed since; undoing would destroy that, so nothing was done");
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    // An entry that was only switched off and on has gone on gathering its past.
    let past = past.filter(|_| now.is_none());
    let there = entry.is_some();
    put(ctx, &name, now, entry, past)?;
    Ok(match there {
        true => format!("{name} is in the schedule as before"),
        false => format!("{name} is not in the schedule, as before"),
    })
}
