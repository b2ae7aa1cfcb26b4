//! Changes of how the network is set up: netd makes them, on trial, and the same change the other way round takes them
//! back, on trial as well.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::policy::Target;
use crate::tool::net::shared::unexpected;
use crate::tool::net::trial::Trial;
use crate::undo::Kept;
use aios_abi::net::{NetReply, NetRequest};
use aios_abi::netconf::{self, MAX_TRIAL_SECONDS, MIN_TRIAL_SECONDS, Setup, TRIAL_SECONDS};
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is said when nobody says how long a trial lasts.
pub(crate) fn default_seconds() -> u16 {
    TRIAL_SECONDS
}

/// How the network is set up now.
pub(crate) fn setup(ctx: &Ctx) -> Result<Setup, CallError> {
    match ctx.net(NetRequest::Setup)? {
        NetReply::Setup(setup) => Ok(*setup),
        _ => Err(unexpected()),
    }
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tried {
    /// The change, which is taken back unless it is confirmed; none if nothing had to be changed.
    trial: Option<Trial>,
}

/// A change that is to be tried.
pub(crate) struct Attempt {
    change: netconf::Change,
    /// What it is made to.
    target: String,
    /// What there is and what there will be, for people.
    words: [String; 2],
    /// What netd has to keep before, by name.
    secrets: Vec<(String, String)>,
    seconds: u16,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    change: netconf::Change,
    seconds: u16,
}

impl Attempt {
    /// Try this; `words` say what there is and what there will be.
    pub(crate) fn new(
        setup: &Setup,
        change: netconf::Change,
        target: String,
        words: [String; 2],
        seconds: u16,
    ) -> Result<Self, CallError> {
        if !(MIN_TRIAL_SECONDS..=MAX_TRIAL_SECONDS).contains(&seconds) {
            let text = format!("`seconds` must be {MIN_TRIAL_SECONDS} to {MAX_TRIAL_SECONDS}");
            return Err(CallError::invalid(text));
        }
        if let netconf::Change::Link { after: Some(link), .. } = &change {
            link.check_sense().map_err(CallError::invalid)?;
        }
        setup.settings.after(&change)?;
        if let Some(trial) = setup.trial.as_ref().filter(|_| !change.is_nothing()) {
            let trial = Trial::from(trial.clone());
            let text = format!("{}; only one change can be tried at a time", trial.words());
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        Ok(Self { change, target, words, secrets: Vec::new(), seconds })
    }
}

impl Attempt {
    /// And netd is given these secrets first, which the settings name.
    pub(crate) fn with_secrets(self, secrets: Vec<(String, String)>) -> Self {
        Self { secrets, ..self }
    }
}

impl Change for Attempt {
    type Output = Tried;

    fn target(&self) -> Target {
        Target::Network(self.target.clone())
    }

    fn preview(&self) -> Preview {
        let [before, after] = &self.words;
        if self.change.is_nothing() {
            return Preview { would: format!("change nothing: there is {after} already"), diff: None };
        }
        let would = format!("try for {} s: {}", self.seconds, self.change);
        let lines = |text: &String| text.lines().fold(String::new(), |all, line| all + line + "\n");
        let (before, after) = (lines(before), lines(after));
        let diff = similar::TextDiff::from_lines(&before, &after);
        let diff = diff.unified_diff().header("network (now)", "network (then)").to_string();
        Preview { would, diff: Some(diff) }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { change: self.change.clone(), seconds: self.seconds }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Tried, CallError> {
        if self.change.is_nothing() {
            return Ok(Tried { trial: None });
        }
        for (name, secret) in std::mem::take(&mut self.secrets) {
            match ctx.net(NetRequest::KeepSecret { name, secret })? {
                NetReply::Kept => {}
                _ => return Err(unexpected()),
            }
        }
        begin(ctx, self.change.clone(), self.seconds).map(|trial| Tried { trial: Some(trial) })
    }

    fn verify(&self, ctx: &Ctx, _tried: &Tried) -> Result<(), CallError> {
        // What counts is what was asked for: the way back leads from there.
        setup(ctx)?.settings.after(&self.change.clone().reversed()).map(drop)
    }
}

fn begin(ctx: &Ctx, change: netconf::Change, seconds: u16) -> Result<Trial, CallError> {
    match ctx.net(NetRequest::Try { change, seconds })? {
        NetReply::Trial(Some(trial)) => Ok(trial.into()),
        _ => Err(unexpected()),
    }
}

/// The result in one line.
pub(crate) fn summary(tried: &Tried) -> String {
    match &tried.trial {
        Some(trial) => trial.words(),
        None => "nothing was changed: it was so already".into(),
    }
}

/// Takes it back: at once while the change itself is on trial, on trial after it was confirmed.
pub(crate) const UNDO: Undo = Undo { paths: |_| Ok(Vec::new()), run: undo };

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { change, seconds } = kept.read()?;
    if change.is_nothing() {
        return Ok("nothing had been changed".into());
    }
    let now = setup(ctx)?;
    let back = change.clone().reversed();
    if now.trial.as_ref().is_some_and(|trial| trial.what == change.to_string()) {
        return match ctx.net(NetRequest::TakeBack)? {
            NetReply::TrialOver(what) => Ok(format!("taken back: {what}")),
            _ => Err(unexpected()),
        };
    }
    // Nobody confirmed it, or somebody has set it so again.
    if now.settings.after(&change).is_ok() {
        return Ok("it is as it was before".into());
    }
    now.settings.after(&back).map_err(|e| {
        let text = format!("it was changed again since ({e}); undo that first, or set it anew");
        CallError::new(ErrorCode::Conflict, text)
    })?;
    begin(ctx, back, seconds).map(|trial| trial.words())
}
