//! What the broker does by itself at its time: calls of tools that somebody planned.
//!
//! `schedule.json` in the broker's own directory holds all entries, each with what came of its last run; it is replaced in one step.
//! A run is an ordinary call as whoever planned it, decided about at that moment: a policy that has become stricter counts. That it
//! begins is on the disk before it does, so that a power cut makes no run happen twice.

pub mod plan;
pub mod run;

use crate::caller::Caller;
use crate::declaration::Declaration;
use crate::judge::{Case, Judge};
use crate::{redact, tool};
use aios_abi::{CallError, ErrorCode};
use aios_unit::Calendar;
use plan::{Due, Now};
use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries at most.
const MAX: usize = 100;
/// Seconds between two runs at least: nobody fills the audit chain.
pub const LEAST_PAUSE: u64 = 60;
/// At most: a year.
pub const LONGEST_PAUSE: u64 = 366 * 86_400;
/// Bytes of an entry's arguments and of its purpose.
const MAX_ARGS: usize = 16 << 10;
const MAX_PURPOSE: usize = 500;
/// Bytes of what is kept of a run's end.
const MAX_SAID: usize = 500;

/// When an entry runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At moments of the calendar: `minute hour day month weekday` of crontab(5), UTC.
    At(String),
    /// So many seconds after its last beginning.
    EverySeconds(u64),
}

/// A call that is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// When it runs.
    pub when: When,
    /// The tool's name.
    pub tool: String,
    /// Its arguments, a JSON object.
    pub args: String,
    /// Why; each run gives it as its reason.
    pub purpose: String,
    /// What was missed while the machine was off is done once as soon as it is on.
    pub catch_up: bool,
    /// It runs.
    pub enabled: bool,
    /// Who planned it, and as whom it runs.
    pub maker: Caller,
}

/// What came of an entry so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Since when it could have run: it was added or enabled then. Seconds since 1970.
    pub since: u64,
    /// When its last run began.
    pub began: Option<u64>,
    /// When that ended; none while it runs, and when it was cut off.
    pub ended: Option<u64>,
    /// What it came to, in one line.
    pub result: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Record of the call.
    pub audit: Option<u64>,
    /// How often it ran.
    pub runs: u64,
    /// How often in a row it has failed now.
    pub failed: u64,
    /// How often it was due while it still ran.
    pub skipped: u64,
}

/// An entry with its past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What is planned.
    pub entry: Entry,
    /// What came of it.
    pub past: Past,
}

/// What a schedule tool asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ScheduleQuestion {
    /// All entries.
    Show,
    /// One entry as it is kept, for a change of it.
    Find(String),
    /// Whether this one could be put in, by whoever asks; it comes back as it would be.
    Check(Box<Entry>),
    /// Put one in the place of another.
    Put(Box<Put>),
}

/// A change of one entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Put {
    /// Its name.
    pub name: String,
    /// What has to be there now.
    pub from: Option<Entry>,
    /// What is there then. Without a past it keeps the one that is there, or is new.
    pub to: Option<Entry>,
    /// The past that it had.
    pub past: Option<Past>,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ScheduleAnswer {
    /// All entries, and in how many seconds each is due; secrets are replaced.
    All(Vec<(Item, Option<u64>)>),
    /// The one that was asked for.
    Found(Option<Box<Item>>),
    /// It fits.
    Fits(Box<Entry>),
    /// It is done.
    Done,
}

/// All that is planned.
pub struct Schedule {
    path: PathBuf,
    state: Mutex<State>,
    /// Told when there is something new to wait for (eventfd(2)).
    changed: OwnedFd,
}

struct State {
    items: BTreeMap<String, Item>,
    due: HashMap<String, Due>,
    running: HashSet<String>,
    /// Why what was on the disk could not be used.
    refused: Option<String>,
}

/// What a new machine plans of its own accord. People change it as they do their own.
fn own() -> BTreeMap<String, Item> {
    let learn = Entry {
        name: "learn".into(),
        when: When::At("20 3 * * *".into()),
        tool: "model.learn".into(),
        args: "{}".into(),
        purpose: "understand people here better, from what they approved".into(),
        catch_up: false,
        enabled: true,
        maker: Caller::broker(),
    };
    BTreeMap::from([(learn.name.clone(), Item { entry: learn, past: Past::default() })])
}

impl Schedule {
    /// Read what is planned. What cannot be read is kept aside, and nothing is planned.
    pub fn open(folder: &Path, now: Now) -> Result<Self, CallError> {
        let path = folder.join("schedule.json");
        let (items, refused) = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (own(), None),
            Err(e) => (BTreeMap::new(), Some(e.to_string())),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(items) => (items, None),
                Err(e) => (BTreeMap::new(), Some(e.to_string())),
            },
        };
        if let Some(why) = &refused {
            tracing::error!("{} cannot be used ({why}); nothing is planned", path.display());
            let _ = std::fs::rename(&path, path.with_extension("damaged"));
        }
        let due = |item: &Item| plan::first(&item.entry, &item.past, now).filter(|_| item.entry.enabled);
        let items: BTreeMap<String, Item> = items;
        let due = items.iter().filter_map(|(name, item)| Some((name.clone(), due(item)?))).collect();
        let state = State { items, due, running: HashSet::new(), refused };
        let changed =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        Ok(Self { path, state: Mutex::new(state), changed })
    }

    /// Whoever waits for the next moment looks again.
    fn tell(&self) {
        // It is told already if this does not fit.
        let _ = rustix::io::write(&self.changed, &1_u64.to_ne_bytes());
    }

    fn heard(&self) {
        let _ = rustix::io::read(&self.changed, &mut [0; 8]);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answer a tool's question.
    pub fn answer(
        &self,
        caller: &Caller,
        judge: &Judge,
        question: ScheduleQuestion,
    ) -> Result<ScheduleAnswer, CallError> {
        match question {
            ScheduleQuestion::Show => {
                let (state, now) = (self.state(), now());
                let show = |item: &Item| {
                    let due = state.due.get(&item.entry.name).map(|due| due.seconds_from(now));
                    let mut item = item.clone();
                    if let Some(tool) = tool::by_name(&item.entry.tool) {
                        item.entry.args = redact::for_audit(&item.entry.args, tool);
                    }
                    (item, due)
                };
                Ok(ScheduleAnswer::All(state.items.values().map(show).collect()))
            }
            ScheduleQuestion::Find(name) => {
                Ok(ScheduleAnswer::Found(self.state().items.get(&name).cloned().map(Box::new)))
            }
            ScheduleQuestion::Check(mut entry) => {
                entry.maker = caller.clone();
                let tool = check(&entry)?;
                judge.may_call(&Case { caller, tool, reason: true, dry_run: false })?;
                Ok(ScheduleAnswer::Fits(entry))
            }
            ScheduleQuestion::Put(put) => self.put(caller, *put).map(|()| ScheduleAnswer::Done),
        }
    }

    fn put(&self, caller: &Caller, put: Put) -> Result<(), CallError> {
        let Put { name, from, to, past } = put;
        if let Some(entry) = &to {
            check(entry)?;
            // Whoever lets it run would do with its maker's power what they may not do themselves.
            let own = entry.maker == *caller;
            let alone = caller.subject().alone;
            if entry.enabled && !own && (alone || caller.role < entry.maker.role) {
                return Err(CallError::denied(format!(
                    "{name} was planned by {} and runs with the role {}; only they or somebody with that role can let it run",
                    entry.maker.person.as_ref().map_or(&entry.maker.by, |person| &person.name),
                    entry.maker.role.as_str()
                )));
            }
        }
        let now = now();
        let mut state = self.state();
        let there = state.items.get(&name);
        if there.map(|item| &item.entry) != from.as_ref() {
            let text = format!("the entry {name} was changed by somebody else meanwhile; nothing was done");
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        let was_enabled = there.is_some_and(|item| item.entry.enabled);
        let mut items = state.items.clone();
        let due = match to {
            None => {
                items.remove(&name);
                None
            }
            Some(entry) => {
                if there.is_none() && items.len() >= MAX {
                    let text = format!("there are {MAX} entries already; remove one first");
                    return Err(CallError::invalid(text));
                }
                let mut past = past.or_else(|| there.map(|item| item.past.clone())).unwrap_or_default();
                let due = match entry.enabled {
                    true if was_enabled => state.due.get(&name).copied(),
                    true => {
                        past.since = now.wall;
                        plan::then(&entry, now)
                    }
                    false => None,
                };
                items.insert(name.clone(), Item { entry, past });
                due
            }
        };
        self.write(&items)?;
        state.items = items;
        match due {
            Some(due) => state.due.insert(name, due),
            None => state.due.remove(&name),
        };
        drop(state);
        self.tell();
        Ok(())
    }

    /// At once and durably: a power cut leaves the old entries or the new ones.
    fn write(&self, items: &BTreeMap<String, Item>) -> Result<(), CallError> {
        let draft = self.path.with_extension("draft");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(items)?)?;
            file.sync_all()?;
            std::fs::rename(&draft, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        };
        write().map_err(|e| {
            CallError::unavailable(format!("the schedule was not written: {}: {e}", draft.display()))
        })
    }

    /// What is due now and does not run yet. From now on it runs; that is on the disk when this returns.
    fn begin(&self, now: Now) -> Vec<Entry> {
        let mut state = self.state();
        let names: Vec<String> =
            state.due.iter().filter(|(_, due)| due.is_now(now)).map(|(name, _)| name.clone()).collect();
        let mut begun = Vec::new();
        for name in names {
            let Some(item) = state.items.get_mut(&name) else { continue };
            let next = plan::then(&item.entry, now);
            let entry = item.entry.clone();
            let runs = !state.running.insert(name.clone());
            if let Some(item) = state.items.get_mut(&name) {
                if runs {
                    item.past.skipped += 1;
                } else {
                    item.past.began = Some(now.wall);
                    item.past.ended = None;
                    item.past.runs += 1;
                }
            }
            match next {
                Some(next) => state.due.insert(name, next),
                None => state.due.remove(&name),
            };
            if !runs {
                begun.push(entry);
            }
        }
        if !begun.is_empty()
            && let Err(error) = self.write(&state.items)
        {
            tracing::error!("{error}");
        }
        begun
    }

    /// A run came to its end.
    fn end(&self, name: &str, now: Now, result: Result<(String, u64), String>) {
        let mut state = self.state();
        state.running.remove(name);
        // It may have been removed meanwhile.
        let Some(item) = state.items.get_mut(name) else { return };
        let past = &mut item.past;
        past.ended = Some(now.wall);
        let short = |mut text: String| {
            text.truncate(text.floor_char_boundary(MAX_SAID));
            text
        };
        match result {
            Ok((said, audit)) => {
                (past.result, past.error, past.audit, past.failed) =
                    (Some(short(said)), None, Some(audit), 0);
            }
            Err(error) => {
                (past.result, past.error, past.audit) = (None, Some(short(error)), None);
                past.failed += 1;
            }
        }
        if let Err(error) = self.write(&state.items) {
            tracing::error!("{error}");
        }
    }

    /// The clock was set.
    fn clock_was_set(&self, now: Now) {
        let mut state = self.state();
        let State { items, due, .. } = &mut *state;
        for (name, item) in items.iter().filter(|(_, item)| item.entry.enabled) {
            match plan::after_setting(&item.entry, &item.past, due.get(name).copied(), now) {
                Some(next) => due.insert(name.clone(), next),
                None => due.remove(name),
            };
        }
    }

    /// The next moments on either clock.
    fn next(&self) -> (Option<u64>, Option<Duration>) {
        let state = self.state();
        let wall =
            state.due.values().filter_map(|due| if let Due::Wall(at) = due { Some(*at) } else { None });
        let boot =
            state.due.values().filter_map(|due| if let Due::Boot(at) = due { Some(*at) } else { None });
        (wall.min(), boot.min())
    }

    /// Why what was on the disk could not be used.
    pub fn refused(&self) -> Option<String> {
        self.state().refused.clone()
    }
}

/// Whether an entry makes sense, whoever asks.
fn check(entry: &Entry) -> Result<&'static Declaration, CallError> {
    let Entry { name, when, tool: tool_name, args, purpose, .. } = entry;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !(1..=50).contains(&name.len()) || !name.chars().all(fits) {
        let text = format!("`{name}` is no name; it has lower-case letters, digits, `-` and `_`, at most 50");
        return Err(CallError::invalid(text));
    }
    match when {
        When::At(text) => drop(text.parse::<Calendar>().map_err(CallError::invalid)?),
        When::EverySeconds(seconds) if (LEAST_PAUSE..=LONGEST_PAUSE).contains(seconds) => {}
        When::EverySeconds(seconds) => {
            return Err(CallError::invalid(format!(
                "every {seconds} seconds is not possible; it is {LEAST_PAUSE} to {LONGEST_PAUSE}"
            )));
        }
    }
    if args.len() > MAX_ARGS || purpose.len() > MAX_PURPOSE || purpose.trim().is_empty() {
        return Err(CallError::invalid(format!(
            "a purpose has 1 to {MAX_PURPOSE} bytes and arguments at most {MAX_ARGS}"
        )));
    }
    let tool = tool::by_name(tool_name)
        .ok_or_else(|| CallError::not_found(format!("there is no tool {tool_name}")))?;
    if tool_name.starts_with("schedule.") {
        return Err(CallError::invalid("the schedule does not change itself"));
    }
    if redact::has_secrets(tool) {
        let text =
            format!("{tool_name} takes a secret, which the schedule would have to keep; call it yourself");
        return Err(CallError::denied(text));
    }
    tool.code
        .check_args(args)
        .map_err(|e| CallError::invalid(format!("the arguments do not fit {tool_name}: {}", e.message)))?;
    Ok(tool)
}

/// Both clocks.
pub fn now() -> Now {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let boot = Duration::new(seconds, u32::try_from(boot.tv_nsec).unwrap_or(0));
    Now { wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(), boot }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use aios_abi::who::Role;

    pub(crate) fn entry(when: When) -> Entry {
        Entry {
            name: "one".into(),
            when,
            tool: "time.now".into(),
            args: "{}".into(),
            purpose: "a test".into(),
            catch_up: false,
            enabled: true,
            maker: caller("ada", Role::Operator),
        }
    }

    fn caller(name: &str, role: Role) -> Caller {
        let person = Some(aios_abi::who::Person { name: name.into(), role });
        Caller { by: "console".into(), person, role }
    }

    fn nothing_planned(folder: &Path) -> Schedule {
        std::fs::write(folder.join("schedule.json"), "{}").expect("written");
        Schedule::open(folder, now()).expect("opens")
    }

    #[test]
    fn a_new_machine_learns_at_night_and_one_where_that_was_removed_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let schedule = Schedule::open(dir.path(), now()).expect("opens");
        let learn = schedule.state().items["learn"].entry.clone();
        assert_eq!(check(&learn).expect("can run").name, "model.learn");
        assert!(schedule.next().1.is_some() || schedule.next().0.is_some(), "it is due some time");
        schedule
            .put(&Caller::broker(), Put { name: "learn".into(), from: Some(learn), to: None, past: None })
            .expect("is removed");
        assert!(Schedule::open(dir.path(), now()).expect("opens").state().items.is_empty());
    }

    fn put(from: Option<Entry>, to: Option<Entry>) -> Put {
        Put { name: "one".into(), from, to, past: None }
    }

    #[test]
    fn one_entry_does_not_run_twice_at_once_and_its_failure_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |wall| Now { wall, boot: Duration::from_secs(wall) };
        let schedule = nothing_planned(dir.path());
        let new = entry(When::EverySeconds(60));
        schedule.put(&caller("ada", Role::Operator), put(None, Some(new.clone()))).expect("is put in");
        assert!(schedule.begin(at(0)).is_empty());
        let due = schedule.next().1.expect("is due").as_secs() + 1;
        assert_eq!(schedule.begin(at(due)), std::slice::from_ref(&new));
        assert!(schedule.begin(at(due + 61)).is_empty(), "it runs still");
        schedule.end("one", at(due + 62), Err("no".into()));
        let again = Schedule::open(dir.path(), at(due + 63)).expect("opens");
        let past = again.state().items["one"].past.clone();
        assert_eq!((past.runs, past.skipped, past.failed, past.error.as_deref()), (1, 1, 1, Some("no")));
        assert_eq!(again.begin(at(due + 200)).len(), 1);
        again.put(&caller("ada", Role::Operator), put(Some(new), None)).expect("is removed");
        again.end("one", at(due + 201), Ok(("done".into(), 1)));
        assert!(again.state().items.is_empty() && again.next() == (None, None));
    }

    #[test]
    fn nobody_lets_run_with_the_power_of_others_what_they_may_not_do_themselves() {
        let dir = tempfile::tempdir().expect("a directory");
        let schedule = nothing_planned(dir.path());
        let root = Caller { by: "root".into(), person: None, role: Role::Admin };
        let off = Entry { enabled: false, maker: root.clone(), ..entry(When::At("0 3 * * *".into())) };
        let on = Entry { enabled: true, ..off.clone() };
        schedule.put(&root, put(None, Some(off.clone()))).expect("is put in");
        let agent = Caller { by: "agentd".into(), person: None, role: Role::Operator };
        for other in [caller("bob", Role::Operator), agent.clone()] {
            let error =
                schedule.put(&other, put(Some(off.clone()), Some(on.clone()))).expect_err("is refused");
            assert_eq!(error.code, ErrorCode::Denied);
        }
        schedule
            .put(&caller("eve", Role::Admin), put(Some(off.clone()), Some(on.clone())))
            .expect("is enabled");
        let stale = schedule.put(&root, put(Some(off.clone()), None)).expect_err("is another now");
        assert_eq!(stale.code, ErrorCode::Conflict);
        // Whoever may change things at all can stop it.
        schedule.put(&agent, put(Some(on), Some(off))).expect("is disabled");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_a_damaged_file_is_kept_aside() {
        let good = entry(When::EverySeconds(60));
        assert!(check(&good).is_ok());
        for bad in [
            Entry { name: "A b".into(), ..good.clone() },
            Entry { when: When::At("61 * * * *".into()), ..good.clone() },
            Entry { when: When::EverySeconds(1), ..good.clone() },
            Entry { tool: "schedule.remove".into(), args: r#"{"name":"one"}"#.into(), ..good.clone() },
            Entry { tool: "no.tool".into(), ..good.clone() },
            Entry { args: r#"{"surprise":1}"#.into(), ..good.clone() },
            Entry { purpose: " ".into(), ..good.clone() },
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("schedule.json"), "{").expect("written");
        let schedule = Schedule::open(dir.path(), now()).expect("opens");
        assert!(schedule.refused().is_some() && dir.path().join("schedule.damaged").exists());
    }
}
