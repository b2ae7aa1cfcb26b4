//! Services that are started and stopped by hand, until the next boot or until somebody says otherwise.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::policy::Target;
use crate::tool::service::shared::{Service, ask, one, unexpected};
use crate::undo::Kept;
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is wanted of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// It runs.
    Started,
    /// It does not.
    Stopped,
}

impl Wanted {
    /// Whether the service is as it is wanted.
    fn is(self, service: &Service) -> bool {
        (self == Self::Stopped) == matches!(service.state.as_str(), "stopped" | "failed")
    }

    fn other(self) -> Self {
        match self {
            Self::Started => Self::Stopped,
            Self::Stopped => Self::Started,
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Outcome {
    /// Whether that was different before.
    changed: bool,
    /// The service now.
    service: Service,
}

/// A service that is to be started or stopped.
pub(crate) struct Run {
    before: Service,
    wanted: Wanted,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
    wanted: Wanted,
    changed: bool,
}

/// Look at the service.
pub(crate) fn prepare(ctx: &Ctx, name: &str, wanted: Wanted) -> Result<Run, CallError> {
    if wanted == Wanted::Stopped && aios_unit::INDISPENSABLE.contains(&name) {
        let text =
            format!("{name} cannot be stopped: without it nobody could start it again; restart it instead");
        return Err(CallError::denied(text));
    }
    Ok(Run { before: one(ctx, name)?, wanted })
}

impl Change for Run {
    type Output = Outcome;

    fn target(&self) -> Target {
        Target::Service(self.before.name.clone())
    }

    fn preview(&self) -> Preview {
        let Service { name, state, .. } = &self.before;
        let would = match (self.wanted, self.wanted.is(&self.before)) {
            (_, true) => format!("change nothing: {name} is {state} already"),
            (Wanted::Started, false) => format!("start {name}, which is {state}"),
            (Wanted::Stopped, false) => format!("stop {name}, which is {state}"),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let changed = !self.wanted.is(&self.before);
        let note = Note { name: self.before.name.clone(), wanted: self.wanted, changed };
        Some(Kept::new(&note, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Outcome, CallError> {
        let name = self.before.name.clone();
        if self.wanted.is(&self.before) {
            return Ok(Outcome { changed: false, service: one(ctx, &name)? });
        }
        let request = match self.wanted {
            Wanted::Started => InitRequest::Start { name },
            Wanted::Stopped => InitRequest::Stop { name },
        };
        match ask(ctx, request)? {
            InitReply::Status(status) => Ok(Outcome { changed: true, service: status.into() }),
            _ => Err(unexpected()),
        }
    }

    fn verify(&self, _ctx: &Ctx, done: &Outcome) -> Result<(), CallError> {
        // A task that has come to its end (`kind = "oneshot"`) was started as well.
        let ended_well = done.service.last_exit.as_deref() == Some("exited with status 0");
        if self.wanted.is(&done.service) || (self.wanted == Wanted::Started && ended_well) {
            return Ok(());
        }
        let Service { name, state, last_exit, .. } = &done.service;
        let why = last_exit.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        Err(CallError::failed(format!("{name} is {state}{why}; its log says more")))
    }
}

/// The result in one line.
pub(crate) fn summary(done: &Outcome) -> String {
    let already = if done.changed { "" } else { " already" };
    format!("{} is {}{already}", done.service.name, done.service.state)
}

/// Takes it back.
pub(crate) const UNDO: Undo = Undo { paths: |_| Ok(Vec::new()), run: undo };

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    if !note.changed {
        return Ok(format!("nothing had been changed: {} is as it was", note.name));
    }
    let mut back = prepare(ctx, &note.name, note.wanted.other())
        .map_err(|e| CallError::new(ErrorCode::Conflict, format!("{e}; nothing was undone")))?;
    let done = back.apply(ctx)?;
    back.verify(ctx, &done)?;
    Ok(summary(&done))
}
