//! What the model tools share: a tier that changes its model.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::models::{self, Machine, Model, Shelf};
use crate::policy::Target;
use crate::reach::{Asks, Needs, Paths, Way};
use crate::tool::fs::shared::CHANGES;
use crate::undo::Kept;
use aios_abi::infer::{Adapted, InferReply, InferRequest, Learning, ModelChoice, Tier, TierModel};
use aios_abi::{CallError, ErrorCode, paths};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What looking at models takes: their files, who is trusted, and how much memory there is.
pub(crate) const READS: &[&str] = &[
    paths::MODELS,
    paths::IMPORTED_MODELS,
    "/etc/aios/extension-keys",
    "/data/config/extension-keys",
    "/proc/meminfo",
];
/// The same, and which model each tier uses.
pub(crate) const LOOKS: Needs = Needs::NOTHING.read(READS).asks(&[Asks::ModelsToLook]);
/// A tier that changes its model: inferd does it.
pub(crate) const SWITCHES: Needs = Needs::NOTHING.read(READS).asks(&[Asks::ModelsToAct]);
/// Files that come and go: they are root's.
pub(crate) const WRITES: Needs = CHANGES.read(READS).asks(&[Asks::ModelsToLook]);

/// Where imported models are.
pub(crate) fn changed() -> Paths {
    vec![(Way::Change, PathBuf::from(paths::IMPORTED_MODELS))]
}

/// A tier of this machine, as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LocalTier {
    /// The tiny model that answers first.
    Operational,
    /// The larger model that is asked when the first is not sure.
    Tactical,
}

impl From<LocalTier> for Tier {
    fn from(tier: LocalTier) -> Self {
        match tier {
            LocalTier::Operational => Self::Operational,
            LocalTier::Tactical => Self::Tactical,
        }
    }
}

/// A tier and its model, as people are told.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InUse {
    /// `operational` or `tactical`.
    pub(crate) tier: String,
    /// The model that it uses; none where the image has none for it.
    model: Option<String>,
    /// The model that it used before.
    before: Option<String>,
    /// It is on trial: if its worker dies now, the model before is used again.
    on_trial: bool,
    /// What went wrong the last time, and what was done about it.
    note: Option<String>,
}

impl InUse {
    pub(crate) fn of(shelf: &Shelf, told: &TierModel) -> Self {
        Self {
            tier: told.tier.name().into(),
            model: name_of(shelf, told.tier, &told.current),
            before: told.previous.as_ref().and_then(|choice| name_of(shelf, told.tier, choice)),
            on_trial: told.trial,
            note: told.note.clone(),
        }
    }
}

/// What people call a model of a tier.
fn name_of(shelf: &Shelf, tier: Tier, choice: &ModelChoice) -> Option<String> {
    match choice {
        ModelChoice::Imported(name) => Some(name.clone()),
        ModelChoice::Image => {
            shelf.all().ok()?.into_iter().find(|model| model.images == Some(tier)).map(|it| it.name)
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Switched {
    /// `operational` or `tactical`.
    tier: String,
    /// The model that is in use now.
    model: String,
    /// The model that was in use before.
    before: String,
    /// It is on trial for a minute: if its worker dies now, the model before is used again.
    on_trial: bool,
    /// What is different with it, if anything is.
    notes: Vec<String>,
}

/// From one model of a tier to another one.
pub(crate) struct Switch {
    tier: Tier,
    from: ModelChoice,
    to: ModelChoice,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    tier: Tier,
    from: ModelChoice,
    to: ModelChoice,
}

/// The tier's entry.
pub(crate) fn entry(ctx: &Ctx, tier: Tier) -> Result<TierModel, CallError> {
    let all = models::tiers(ctx)?;
    all.into_iter().find(|entry| entry.tier == tier).ok_or_else(|| {
        CallError::failed(format!("inferd knows no {} tier; use programs of one release", tier.name()))
    })
}

/// Look whether a model can be used in a tier.
pub(crate) fn prepare(ctx: &Ctx, shelf: &Shelf, tier: Tier, to: ModelChoice) -> Result<Switch, CallError> {
    let from = entry(ctx, tier)?.current;
    let mut notes = Vec::new();
    let all = shelf.all()?;
    let of_image = all.iter().find(|model| model.images == Some(tier));
    let target = match &to {
        ModelChoice::Image => of_image.cloned(),
        ModelChoice::Imported(name) => Some(shelf.find(name)?),
    };
    if let Some(model) = target.as_ref().filter(|_| from != to) {
        let summary = model.check()?;
        Machine::now()?.has_room_for(&model.name, &summary.memory()).map_err(CallError::unavailable)?;
        notes.extend(models::template_fault(&summary));
        let kin = |own: &Model| own.check().is_ok_and(|own| own.is_kin_of(&summary));
        if tier == Tier::Operational && model.images.is_none() && !of_image.is_some_and(kin) {
            notes.push(
                "the adapter that chooses tools was learned for the image's model and is not used with this one".into(),
            );
        }
    }
    Ok(Switch { tier, from, to, notes })
}

impl Change for Switch {
    type Output = Switched;

    fn target(&self) -> Target {
        Target::Model(match &self.to {
            ModelChoice::Image => "image".into(),
            ModelChoice::Imported(name) => name.clone(),
        })
    }

    fn preview(&self) -> Preview {
        let Self { tier, from, to, notes } = self;
        let tier = tier.name();
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        let would = match from == to {
            true => format!("change nothing: the {tier} tier uses {to} already"),
            false => format!(
                "load {to}, test it, and use it in the {tier} tier instead of {from}, which is used again if that fails{notes}"
            ),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let Self { tier, from, to, .. } = self;
        Some(Kept::new(&Note { tier: *tier, from: from.clone(), to: to.clone() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Switched, CallError> {
        let now = switch(ctx, self.tier, self.to.clone())?;
        Ok(Switched {
            tier: self.tier.name().into(),
            model: now.current.to_string(),
            before: self.from.to_string(),
            on_trial: now.trial,
            notes: std::mem::take(&mut self.notes),
        })
    }
}

fn switch(ctx: &Ctx, tier: Tier, to: ModelChoice) -> Result<TierModel, CallError> {
    match ctx.infer(InferRequest::Switch { tier, to })? {
        InferReply::Switched(now) => Ok(now),
        _ => Err(CallError::failed(
            "inferd answered something else than was asked; use programs of one release",
        )),
    }
}

pub(crate) fn summary(done: &Switched) -> String {
    let Switched { tier, model, before, on_trial, notes } = done;
    let trial = if *on_trial { ", on trial for a minute" } else { "" };
    let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
    match model == before {
        true => format!("the {tier} tier used {model} already"),
        false => format!("the {tier} tier uses {model} now{trial}; before it was {before}{notes}"),
    }
}

pub(crate) const UNDO: Undo = Undo { paths: |_| Ok(Paths::new()), run: undo };

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { tier, from, to } = kept.read()?;
    let now = entry(ctx, tier)?.current;
    let name = tier.name();
    if now == from {
        return Ok(format!("the {name} tier uses {from}, as before"));
    }
    if now != to {
        let text = format!("the {name} tier uses {now} by now, and not {to}; nothing was undone");
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    // Whether it still fits, and is still there, counts for undo as well.
    prepare(ctx, &Shelf::of_machine(), tier, from.clone())?;
    switch(ctx, tier, from.clone())?;
    Ok(format!("the {name} tier uses {from} again"))
}

/// What was learned on this machine.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Learned {
    /// Name of what is used; none where only what the image has learned is.
    current: Option<String>,
    /// Name of what was used before.
    pub(crate) before: Option<String>,
    /// What came of learning the last time.
    pub(crate) last: Option<Lessons>,
    /// What went wrong since then, or why there was nothing to learn.
    pub(crate) note: Option<String>,
}

/// What came of learning.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Lessons {
    /// When it ended, in milliseconds since 1970.
    at_ms: u64,
    /// Questions that were learned from.
    lessons: u32,
    /// Questions that were held back.
    held: u32,
    /// Of these, how many were known before.
    knew: u32,
    /// And how many with what was learned.
    knows: u32,
    /// Questions of the image that measure what must not be forgotten.
    old: u32,
    /// Of these, how many were known before.
    old_knew: u32,
    /// And how many with what was learned.
    old_knows: u32,
    /// Whether it was better, and is used.
    kept: bool,
}

impl std::fmt::Display for Lessons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lessons, held, knew, knows, old, old_knew, old_knows, kept, .. } = self;
        let verdict = if *kept { "it is used" } else { "so it is not used" };
        write!(
            f,
            "learned from {lessons} approved calls: of {held} held back {knows} are known ({knew} before), of the image's own \
             {old} questions {old_knows} ({old_knew}); {verdict}"
        )
    }
}

impl Learned {
    pub(crate) fn of(adapted: &Adapted) -> Self {
        let Adapted { current, previous, last, note } = adapted.clone();
        let last = last.map(|last| {
            let Learning { at_ms, lessons, held, knew, knows, old, old_knew, old_knows, kept } = last;
            Lessons { at_ms, lessons, held, knew, knows, old, old_knew, old_knows, kept }
        });
        Self { current, before: previous, last, note }
    }

    /// There was nothing to learn.
    pub(crate) fn idle(adapted: &Adapted, why: String) -> Self {
        Self { last: None, note: Some(why), ..Self::of(adapted) }
    }
}

/// What policy knows it as.
pub(crate) fn learned_target() -> Target {
    Target::Model("learned".into())
}

/// Back to what was used before, as it was kept.
pub(crate) const fn learned_undo() -> Undo {
    Undo { paths: |_| Ok(Paths::new()), run: use_again }
}

fn use_again(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let to: Option<String> = kept.read()?;
    let now = models::adapted(ctx, InferRequest::Adapt { to })?;
    Ok(match now.current {
        Some(name) => format!("what was learned as {name} is used again"),
        None => "only what the image has learned is used".into(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ctx::{House, within};
    use crate::reach::Question;
    use crate::worker::Answer;
    use aios_abi::tool::Progress;
    use std::sync::{Arc, Mutex};

    /// inferd, as far as tools see it.
    #[derive(Clone, Default)]
    pub(crate) struct Inferd(pub(crate) Arc<Mutex<Option<TierModel>>>);

    impl House for Inferd {
        fn ask(&self, question: Question) -> Result<Answer, CallError> {
            let mut held = self.0.lock().expect("whole");
            let own = |tier| TierModel {
                tier,
                current: ModelChoice::Image,
                previous: None,
                trial: false,
                note: None,
            };
            let now = held.clone().unwrap_or_else(|| own(Tier::Tactical));
            Ok(Answer::Infer(Box::new(match question {
                Question::Infer(InferRequest::Models) => {
                    InferReply::Models(vec![own(Tier::Operational), now])
                }
                Question::Infer(InferRequest::Switch { tier, to }) => {
                    let next =
                        TierModel { tier, previous: Some(now.current), current: to, trial: true, note: None };
                    *held = Some(next.clone());
                    InferReply::Switched(next)
                }
                _ => return Ok(Answer::MayLook),
            })))
        }

        fn progress(&self, _progress: Progress) {}
    }

    #[test]
    fn a_tier_goes_to_another_model_and_back_unless_somebody_changed_it_since() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::at(folder.path());
        let inferd = Inferd::default();
        let ctx = within(inferd.clone());
        let to = ModelChoice::Imported("tiny".into());
        let missing = prepare(&ctx, &shelf, Tier::Tactical, to.clone()).err().expect("is not there");
        assert_eq!(missing.message, "there is no model tiny, nor any other");
        std::fs::write(shelf.path("tiny"), b"GGUF\x03").expect("written");
        let broken = prepare(&ctx, &shelf, Tier::Tactical, to.clone()).err().expect("is broken");
        assert!(broken.message.contains("truncated"), "{broken}");
        let mut change =
            Switch { tier: Tier::Tactical, from: ModelChoice::Image, to: to.clone(), notes: Vec::new() };
        let kept = change.save().expect("can be taken back");
        let done = change.apply(&ctx).expect("is used");
        assert_eq!(
            summary(&done),
            "the tactical tier uses tiny now, on trial for a minute; before it was the image's own model"
        );
        assert_eq!(
            undo(&ctx, &kept).expect("goes back"),
            "the tactical tier uses the image's own model again"
        );
        assert_eq!(
            undo(&ctx, &kept).expect("is so"),
            "the tactical tier uses the image's own model, as before"
        );
        let other = TierModel {
            tier: Tier::Tactical,
            current: ModelChoice::Imported("other".into()),
            previous: None,
            trial: false,
            note: None,
        };
        *inferd.0.lock().expect("whole") = Some(other);
        assert!(undo(&ctx, &kept).is_err_and(|e| e.message.contains("uses other by now")));
    }
}
