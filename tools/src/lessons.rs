//! What a model can learn from the audit chain: the words in which people asked, and the calls that they confirmed.

use crate::ctx::Ctx;
use aios_abi::CallError;
use aios_abi::audit::{Entry, Outcome, Record};
use aios_abi::call::ASKED;
use aios_abi::infer::{Lesson, MOST_LESSONS};
use std::collections::BTreeMap;

/// Records that are looked at, the newest of the chain, and how many at once.
const LOOK_BACK: u64 = 20_000;
const PAGE: u32 = 250;
/// Bytes of a question: longer ones are no questions.
const LONGEST: usize = 300;

/// The newest calls that people confirmed and that were done, each question once, oldest first; and how many of them are newer than
/// this moment, in milliseconds since 1970.
pub(crate) fn approved(ctx: &Ctx, since_ms: u64) -> Result<(Vec<Lesson>, usize), CallError> {
    let (_, head) = ctx.records(u64::MAX, 0)?;
    let mut from = (head.seq + 1).saturating_sub(LOOK_BACK);
    let mut found = Found::default();
    loop {
        ctx.check()?;
        let (records, _) = ctx.records(from, PAGE)?;
        let Some(last) = records.last() else { break };
        from = last.seq + 1;
        records.into_iter().for_each(|record| found.take(record));
    }
    Ok(found.lessons(since_ms))
}

/// One of them, and when it was.
#[derive(Debug)]
struct Approved {
    lesson: Lesson,
    time_ms: u64,
}

/// What was found until here.
#[derive(Debug, Default)]
struct Found {
    /// Calls that were begun and whose end was not read yet, by their record's number.
    begun: BTreeMap<u64, Approved>,
    /// Those that were done.
    done: BTreeMap<u64, Approved>,
}

impl Found {
    fn take(&mut self, record: Record) {
        match record.entry {
            Entry::Begin { call, .. } => {
                let ask = call.why.trim();
                let is_question = ask.len() <= LONGEST && ask.split_whitespace().nth(1).is_some();
                if call.incident.as_deref() == Some(ASKED)
                    && call.person.is_some()
                    && is_question
                    && !ask.contains(char::is_control)
                {
                    let lesson = Lesson { ask: ask.into(), tool: call.tool };
                    self.begun.insert(record.seq, Approved { lesson, time_ms: record.time_ms });
                }
            }
            Entry::End { of, outcome: Outcome::Done { .. } } => {
                self.done.extend(self.begun.remove(&of).map(|lesson| (of, lesson)));
            }
            Entry::End { of, .. } => drop(self.begun.remove(&of)),
            // Whoever takes it back did not mean it.
            Entry::Undone { of, outcome: Outcome::Done { .. }, .. } => drop(self.done.remove(&of)),
            Entry::Undone { .. } | Entry::Call { .. } | Entry::Opened { .. } => {}
        }
    }

    /// Of two answers to one question the newer counts.
    fn lessons(self, since_ms: u64) -> (Vec<Lesson>, usize) {
        let mut newest = BTreeMap::new();
        for (seq, approved) in self.done {
            newest.insert(approved.lesson.ask.to_lowercase(), (seq, approved));
        }
        let mut all: Vec<(u64, Approved)> = newest.into_values().collect();
        all.sort_by_key(|(seq, _)| *seq);
        let old = all.len().saturating_sub(MOST_LESSONS);
        all.drain(..old);
        let new = all.iter().filter(|(_, approved)| approved.time_ms > since_ms).count();
        (all.into_iter().map(|(_, approved)| approved.lesson).collect(), new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::audit::CallRecord;
    use aios_abi::tool::Effect;
    use aios_abi::who::{Person, Role};

    fn call(tool: &str, why: &str) -> CallRecord {
        CallRecord {
            tool: tool.into(),
            effect: Effect::Reversible,
            args: "{}".into(),
            why: why.into(),
            incident: Some(ASKED.into()),
            by: "console".into(),
            person: Some(Person { name: "ada".into(), role: Role::Operator }),
        }
    }

    fn done() -> Outcome {
        Outcome::Done { summary: String::new() }
    }

    fn found(entries: Vec<Entry>) -> Vec<(String, String)> {
        let mut found = Found::default();
        for (seq, entry) in (0..).zip(entries) {
            found.take(Record { seq, ..Record::new(None, seq, entry) });
        }
        let (lessons, new) = found.lessons(0);
        // The first record is of the moment 0.
        assert!(new == lessons.len() || new + 1 == lessons.len());
        lessons.into_iter().map(|lesson| (lesson.ask, lesson.tool)).collect()
    }

    fn pair(ask: &str, tool: &str) -> (String, String) {
        (ask.into(), tool.into())
    }

    #[test]
    fn what_was_asked_confirmed_and_done_is_learned_and_nothing_else() {
        let begin = |call| Entry::Begin { call, undoable: true };
        let end = |of, outcome| Entry::End { of, outcome };
        let asked = call("service.restart", "kick the shop");
        let entries = vec![
            begin(asked.clone()),
            end(0, done()),
            begin(CallRecord { incident: None, ..call("fs.remove", "a reason of somebody's own") }),
            end(2, done()),
            begin(CallRecord { person: None, ..call("fs.remove", "nobody's own words") }),
            end(4, done()),
            begin(call("fs.copy", "this one fails")),
            end(6, Outcome::Failed { error: String::new() }),
            begin(call("fs.move", "this one is cut off")),
            begin(call("fs.chmod", "this is taken back")),
            end(9, done()),
            Entry::Undone { of: 9, call: asked, outcome: done() },
            begin(call("power.off", "off")),
            end(12, done()),
            begin(call("fs.write", &"word ".repeat(100))),
            end(14, done()),
            Entry::Call { call: call("fs.read", "was only looked at"), outcome: done() },
        ];
        assert_eq!(found(entries), [pair("kick the shop", "service.restart")]);
    }

    #[test]
    fn the_newest_answer_to_a_question_counts_and_the_newest_questions() {
        let one = |n: u64, ask: &str, tool: &str| {
            [
                Entry::Begin { call: call(tool, ask), undoable: true },
                Entry::End { of: 2 * n, outcome: done() },
            ]
        };
        let both = [one(0, "kick the shop", "service.stop"), one(1, "Kick the shop ", "service.restart")];
        assert_eq!(found(both.concat()), [pair("Kick the shop", "service.restart")]);
        let many: Vec<Entry> =
            (0..MOST_LESSONS as u64 + 5).flat_map(|n| one(n, &format!("question {n}"), "fs.copy")).collect();
        let found = found(many);
        assert_eq!((found.len(), &found[0].0[..]), (MOST_LESSONS, "question 5"));
    }
}
