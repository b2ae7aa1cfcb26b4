//! What no document may do: lock out whoever sets it, or leave what cannot be taken back without protection.

use crate::engine::{Engine, Verdict};
use crate::{Action, Area, Count, Kind, Moment, Object, Request, Situation, Subject, UNDO};
use aios_abi::tool::Effect;
use aios_abi::who::Role;
use cedar_policy::{Decision as Answer, PolicySet};
use std::collections::BTreeSet;

/// Whoever sets a document, and with which tools it could be set right again.
#[derive(Debug, Clone)]
pub struct Author<'a> {
    /// Who.
    pub subject: &'a Subject,
    /// Tools that must stay within reach, with the kind of thing that they change or look at.
    pub needs: &'a [(&'a str, Object)],
}

/// A limit on the agent alone may be this high: above it, it is none.
const MOST_CHANGES: u32 = 600;

impl Engine {
    /// Whether this author could still set it right, at every minute of the week. The error says what would be out of reach,
    /// and when.
    pub fn keeps(&self, author: &Author<'_>) -> Result<(), String> {
        let limit = self.limit(author.subject.alone);
        let counts =
            [0, limit.changes.saturating_sub(1)].map(|changes| Count { changes, ..Count::default() });
        let undo = (UNDO, Object::Any);
        for (action, object) in author.needs.iter().chain([&undo]) {
            for (moment, done) in self.moments().flat_map(|moment| counts.map(|done| (moment, done))) {
                let situation = Situation { reason: true, moment, done, ..Situation::default() };
                let request = Request { subject: author.subject, action, object, situation: &situation };
                let decision = self.decide(&request);
                if decision.verdict == Verdict::Allow {
                    continue;
                }
                let rule = decision.reasons.first().map_or("no rule allows it", |reason| &reason.rule);
                let (hour, minute) = (moment.minute / 60, moment.minute % 60);
                let day = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
                let day = day.get(usize::from(moment.day)).unwrap_or(&"");
                return Err(format!(
                    "this would lock you out: {action} would be refused on {day} at {hour:02}:{minute:02} UTC ({rule}); \
                     nothing was changed"
                ));
            }
        }
        Ok(())
    }

    /// The minutes at which a decision may change: one if no rule of a person's own looks at the clock; those around each
    /// number in the rules if they only compare with numbers; all of them if they calculate.
    fn moments(&self) -> impl Iterator<Item = Moment> + use<> {
        let rules = &self.document().rules;
        let looks = ["minute", "weekday"].iter().any(|word| rules.contains(word));
        let days = if looks { 7 } else { 1 };
        let minutes: BTreeSet<u16> = match looks {
            false => [0].into(),
            true if rules.contains(['+', '-', '*']) => (0..Moment::DAY).collect(),
            true => {
                numbers(rules).flat_map(|n| n.saturating_sub(1)..=n.saturating_add(1)).chain([0]).collect()
            }
        };
        let minutes: Vec<u16> = minutes.into_iter().filter(|minute| *minute < Moment::DAY).collect();
        (0..days).flat_map(move |day| minutes.clone().into_iter().map(move |minute| Moment { day, minute }))
    }
}

/// All numbers in a text.
fn numbers(text: &str) -> impl Iterator<Item = u16> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}

/// Whether what cannot be taken back stays protected: the agent asks before it unless tool and target are named, no
/// bound on the agent is none, and no rule gives it to those who only look.
pub(crate) fn irreversible(engine: &Engine) -> Result<(), String> {
    let document = engine.document();
    let limit = engine.limit(true);
    if limit.changes > MOST_CHANGES {
        return Err(format!(
            "limits.agent: {} changes a minute are no bound; at most {MOST_CHANGES} can be allowed",
            limit.changes
        ));
    }
    if engine.limit(false).changes == 0 {
        return Err("limits.people: without any change nobody could set this right; allow at least 1".into());
    }
    let irreversible = |action: &&Action| action.effect == Effect::Irreversible;
    let tools: Vec<&Action> = engine.actions().filter(irreversible).collect();
    for exception in &document.exceptions {
        let unprotected =
            tools.iter().find(|tool| exception.names(tool.name) && exception.targets.is_empty());
        if let Some(tool) = unprotected
            && exception.autonomy == crate::Autonomy::AutoFull
        {
            return Err(format!(
                "{} cannot be taken back: an exception that lets the agent call it alone must name its targets",
                tool.name
            ));
        }
    }
    let viewer =
        Subject { by: "console".into(), person: Some("anybody".into()), role: Role::Viewer, alone: false };
    let situation = Situation { reason: true, ..Situation::default() };
    for rule in engine.own_permits() {
        let Ok(alone) = PolicySet::from_policies([rule.clone()]) else { continue };
        for tool in &tools {
            for object in samples() {
                let request =
                    Request { subject: &viewer, action: tool.name, object: &object, situation: &situation };
                let level = document.autonomy;
                if engine.ask(&request, &alone, level, false, false).0 == Answer::Allow {
                    return Err(format!(
                        "{} allows viewers {}, which cannot be taken back; allow it to Role::\"operator\" at least",
                        rule.id(),
                        tool.name
                    ));
                }
            }
        }
    }
    Ok(())
}

/// One of each kind of thing.
fn samples() -> impl Iterator<Item = Object> {
    let file = Object::File { path: "/data/x".into(), area: Area::Open, private: false };
    let process = Object::Process { pid: 2, kernel: false, broker: false, halt: false };
    let named = Kind::ALL.into_iter().map(|kind| Object::Named(kind, "x".into()));
    [Object::Any, file, process].into_iter().chain(named)
}
