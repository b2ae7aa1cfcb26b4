//! Decides about calls: the policy engine with a memory of what was changed lately, and the document that a person set.

use crate::caller::Caller;
use crate::declaration::Declaration;
use crate::policy::{Policy, Target};
use crate::tool;
use aios_abi::CallError;
use aios_abi::tool::Effect;
use aios_abi::who::Role;
use aios_policy::{
    Action, Author, Count, Decision, Engine, Kind, Moment, Object, Request, Situation, Subject, UNDO, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// For so long a change counts against the limits.
const MINUTE: Duration = Duration::from_secs(60);
/// Decisions about looks that are remembered; a rule that looks at the clock sees the minute.
const REMEMBERED: usize = 1024;
/// The longest document in bytes.
const MOST: usize = 64 << 10;
/// What counts while the document on disk cannot be used: the agent asks before each change.
const CAREFUL: &str = "autonomy = \"confirm\"";
/// What stands for the looks of tools that change something.
const LOOK: &str = "fs.read";
/// Where rules speak of the policy itself.
const OWN: &str = "own";

/// Decides about calls.
pub struct Judge {
    path: PathBuf,
    actions: Vec<Action>,
    present: RwLock<Arc<Present>>,
    remembered: Mutex<HashMap<Question, Result<(), CallError>>>,
    ledger: Mutex<HashMap<String, VecDeque<Change>>>,
}

/// What counts now.
struct Present {
    engine: Engine,
    /// The document as it was set.
    text: String,
    /// The one on disk cannot be used: why.
    refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    subject: Subject,
    action: &'static str,
    object: Object,
    moment: Moment,
    reason: bool,
}

struct Change {
    at: Instant,
    target: String,
    bytes: u64,
}

/// A call that is to be decided about.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What is to be called.
    pub tool: &'static Declaration,
    /// A reason was given.
    pub reason: bool,
    /// Nothing will be changed.
    pub dry_run: bool,
}

/// What a policy tool asks the judge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PolicyQuestion {
    /// What counts now.
    Show,
    /// Whether this document could be set.
    Check(String),
    /// Set it.
    Set(String),
    /// What would be decided.
    Decide(Box<Hypothesis>),
}

/// A call that nobody makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The tool's name.
    pub tool: String,
    /// To what it would be done: a path, `service NAME`, `process NUMBER`; nothing in particular if empty.
    pub target: String,
    /// The role of whoever asks.
    pub role: Role,
    /// The person's name.
    pub person: Option<String>,
    /// The agent would do it of its own accord.
    pub agent: bool,
    /// A person has approved it.
    pub approved: bool,
    /// No reason is given.
    pub no_reason: bool,
    /// Seconds since 1970; now if there are none.
    pub at: Option<u64>,
    /// Under this document instead of the one that counts.
    pub document: Option<String>,
}

/// What the judge says to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PolicyAnswer {
    /// What counts now.
    Present {
        /// The document.
        document: String,
        /// Why the one on disk is not used.
        refused: Option<String>,
        /// All rules, each with its name.
        rules: Vec<(String, String)>,
        /// What rules can speak of.
        schema: String,
    },
    /// It can be set, or is.
    Fits,
    /// What would be decided.
    Decided {
        /// `allow`, `ask` or `deny`.
        verdict: String,
        /// What whoever asks would be told; nothing if it is allowed.
        says: Option<String>,
        /// The rules that made it so.
        rules: Vec<String>,
        /// The agent's level of autonomy here.
        autonomy: String,
        /// Which exception of the document gives it, from 1.
        exception: Option<u32>,
    },
}

impl Judge {
    /// The judge of these tools, with the document in this directory. One that cannot be used is not in force, and the agent
    /// asks before each change until a person has set another.
    pub fn open(folder: &Path) -> Result<Self, CallError> {
        let path = folder.join("policy.toml");
        let actions: Vec<Action> = tool::all().iter().map(|tool| action(tool)).collect();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(format!("{}: {e}", path.display())),
        };
        let engine = text.and_then(|text| Ok((Engine::new(&actions, &text)?, text)));
        let present = match engine {
            Ok((engine, text)) => Present { engine, text, refused: None },
            Err(why) => {
                tracing::error!(
                    "the policy cannot be used ({why}); until another is set the agent asks before each change"
                );
                let engine = Engine::new(&actions, CAREFUL).map_err(CallError::failed)?;
                Present { engine, text: CAREFUL.into(), refused: Some(why) }
            }
        };
        Ok(Self {
            path,
            actions,
            present: RwLock::new(Arc::new(present)),
            remembered: Mutex::default(),
            ledger: Mutex::default(),
        })
    }

    fn present(&self) -> Arc<Present> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this may be called at all; of a change it is decided again once its target is known.
    pub fn may_call(&self, case: &Case<'_>) -> Result<(), CallError> {
        if case.tool.effect == Effect::Read {
            return self.may_look(case, &Object::Any);
        }
        self.might(case.caller, case.tool.name, case.reason, case.dry_run)
    }

    /// Whether a change might be taken back by this caller at all.
    pub fn may_undo(&self, caller: &Caller, reason: bool) -> Result<(), CallError> {
        self.might(caller, UNDO, reason, false)
    }

    fn might(&self, caller: &Caller, action: &str, reason: bool, dry_run: bool) -> Result<(), CallError> {
        let situation = Situation { reason, dry_run, moment: now(), ..Situation::default() };
        let subject = caller.subject();
        let request = Request { subject: &subject, action, object: &Object::Any, situation: &situation };
        self.explain(caller, action, &Object::Any, &self.present().engine.might(&request))
    }

    /// Whether this caller may look at this. What a change looks at before it is made is judged as a look: whether it may be
    /// changed is asked when its target is known.
    pub fn may_look(&self, case: &Case<'_>, object: &Object) -> Result<(), CallError> {
        let question = Question {
            subject: case.caller.subject(),
            action: if case.tool.effect == Effect::Read { case.tool.name } else { LOOK },
            object: object.clone(),
            moment: now(),
            reason: case.reason,
        };
        if let Some(answer) = self.remembered().get(&question) {
            return answer.clone();
        }
        let Question { subject, action, object, moment, reason } = &question;
        let situation = Situation { reason: *reason, moment: *moment, ..Situation::default() };
        let decision =
            self.present().engine.decide(&Request { subject, action, object, situation: &situation });
        let answer = self.explain(case.caller, action, object, &decision);
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(question, answer.clone());
        answer
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<Question, Result<(), CallError>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this caller may change this now, so many bytes of it. What may be is counted against the limits.
    pub fn may_change(
        &self,
        case: &Case<'_>,
        policy: &Policy,
        target: &Target,
        bytes: u64,
    ) -> Result<(), CallError> {
        let object = object(policy, target);
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = case.caller.subject();
        let now_at = Instant::now();
        ledger.retain(|_, changes| {
            while changes.front().is_some_and(|change| now_at.duration_since(change.at) >= MINUTE) {
                changes.pop_front();
            }
            !changes.is_empty()
        });
        let who = subject.person.as_ref().unwrap_or(&subject.by);
        let key = object.to_string();
        let done = count(ledger.get(who), &key, bytes);
        let situation =
            Situation { reason: case.reason, dry_run: case.dry_run, moment: now(), done, approved: false };
        let request =
            Request { subject: &subject, action: case.tool.name, object: &object, situation: &situation };
        let decision = self.present().engine.decide(&request);
        self.explain(case.caller, case.tool.name, &object, &decision)?;
        if !case.dry_run {
            // The limits bound how many there are.
            ledger.entry(who.clone()).or_default().push_back(Change { at: now_at, target: key, bytes });
        }
        Ok(())
    }

    /// Whether this caller may take back a change of this tool to this. It never is too much.
    pub fn may_take_back(&self, case: &Case<'_>, policy: &Policy, target: &Target) -> Result<(), CallError> {
        let object = object(policy, target);
        let situation = Situation { reason: case.reason, moment: now(), ..Situation::default() };
        let subject = case.caller.subject();
        let request =
            Request { subject: &subject, action: case.tool.name, object: &object, situation: &situation };
        self.explain(case.caller, case.tool.name, &object, &self.present().engine.decide(&request))
    }

    /// A refusal in words.
    fn explain(
        &self,
        caller: &Caller,
        action: &str,
        object: &Object,
        decision: &Decision,
    ) -> Result<(), CallError> {
        if decision.verdict == Verdict::Allow {
            return Ok(());
        }
        let what = match object {
            Object::Any => action.to_owned(),
            object => object.to_string(),
        };
        let Some(reason) = decision.reasons.first() else {
            let least =
                self.actions.iter().find(|known| known.name == action).map_or(Role::Operator, |a| a.least);
            caller.must_be(least, action)?;
            return Err(CallError::denied(format!("{what}: no rule allows {action} to the caller here")));
        };
        let says = reason.says.clone().unwrap_or_else(|| "it is forbidden".into());
        Err(CallError::denied(format!("{what}: {says} ({})", reason.rule)))
    }

    /// Answer a tool's question.
    pub fn answer(
        &self,
        caller: &Caller,
        policy: &Policy,
        question: PolicyQuestion,
    ) -> Result<PolicyAnswer, CallError> {
        match question {
            PolicyQuestion::Show => {
                let present = self.present();
                let (document, refused) = (present.text.clone(), present.refused.clone());
                let rules = present.engine.rules().collect();
                Ok(PolicyAnswer::Present { document, refused, rules, schema: present.engine.schema() })
            }
            PolicyQuestion::Check(text) => self.check(caller, &text).map(|_| PolicyAnswer::Fits),
            PolicyQuestion::Set(text) => {
                let engine = self.check(caller, &text)?;
                self.write(&text)?;
                let present = Present { engine, text, refused: None };
                *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(present);
                self.remembered().clear();
                Ok(PolicyAnswer::Fits)
            }
            PolicyQuestion::Decide(hypothesis) => self.suppose(policy, &hypothesis),
        }
    }

    fn check(&self, caller: &Caller, text: &str) -> Result<Engine, CallError> {
        if text.len() > MOST {
            let text = format!("the document has {} bytes, at most {MOST} are read", text.len());
            return Err(CallError::invalid(text));
        }
        let engine = Engine::new(&self.actions, text).map_err(CallError::invalid)?;
        let policy = Object::Named(Kind::Policy, OWN.into());
        let needs = [("policy.set", policy), ("policy.show", Object::Any), ("policy.test", Object::Any)];
        // Whoever sets it, root at the machine could set it right; so could this person.
        engine.keeps(&Author { subject: &caller.subject(), needs: &needs }).map_err(CallError::denied)?;
        Ok(engine)
    }

    /// At once and durably: a power cut leaves the old document or the new one.
    fn write(&self, text: &str) -> Result<(), CallError> {
        let draft = self.path.with_extension("draft");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        };
        write()
            .map_err(|e| CallError::unavailable(format!("the policy was not set: {}: {e}", draft.display())))
    }

    fn suppose(&self, policy: &Policy, hypothesis: &Hypothesis) -> Result<PolicyAnswer, CallError> {
        let present = self.present();
        let other = hypothesis.document.as_ref().map(|text| Engine::new(&self.actions, text)).transpose();
        let other = other.map_err(CallError::invalid)?;
        let engine = other.as_ref().unwrap_or(&present.engine);
        let by = if hypothesis.agent { "agentd" } else { "console" };
        let person = match hypothesis.agent {
            true => None,
            false => Some(hypothesis.person.clone().unwrap_or_else(|| "somebody".into())),
        };
        let role = if hypothesis.agent { Role::Operator } else { hypothesis.role };
        let subject = Subject { by: by.into(), person, role, alone: hypothesis.agent };
        let action = std::iter::once(UNDO).chain(self.actions.iter().map(|action| action.name));
        let action = action.into_iter().find(|name| *name == hypothesis.tool);
        let action =
            action.ok_or_else(|| CallError::not_found(format!("there is no tool {}", hypothesis.tool)))?;
        let object = supposed(policy, &hypothesis.target)?;
        let situation = Situation {
            reason: !hypothesis.no_reason,
            approved: hypothesis.approved,
            moment: hypothesis.at.map_or_else(now, Moment::at),
            ..Situation::default()
        };
        let decision =
            engine.decide(&Request { subject: &subject, action, object: &object, situation: &situation });
        let person = subject.person.map(|name| aios_abi::who::Person { name, role });
        let says = self.explain(&Caller { by: by.into(), person, role }, action, &object, &decision);
        Ok(PolicyAnswer::Decided {
            verdict: decision.verdict.as_str().into(),
            says: says.err().map(|error| error.message),
            rules: decision.reasons.into_iter().map(|reason| reason.rule).collect(),
            autonomy: decision.autonomy.as_str().into(),
            exception: decision.exception.and_then(|index| u32::try_from(index + 1).ok()),
        })
    }
}

fn action(tool: &Declaration) -> Action {
    Action { name: tool.name, least: tool.role, effect: tool.effect }
}

fn now() -> Moment {
    Moment::at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn count(changes: Option<&VecDeque<Change>>, target: &str, bytes: u64) -> Count {
    let Some(changes) = changes else { return Count { changes: 0, targets: 0, bytes } };
    let others: HashSet<&str> =
        changes.iter().map(|change| change.target.as_str()).filter(|other| *other != target).collect();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let all = changes.iter().fold(bytes, |all, change| all.saturating_add(change.bytes));
    Count { changes: number(changes.len()), targets: number(others.len()), bytes: all }
}

/// What rules see of a target.
fn object(policy: &Policy, target: &Target) -> Object {
    match target {
        Target::File(path) => Object::File { path: path.clone(), area: policy.area(path), private: false },
        Target::Process { pid, kernel, halt } => {
            Object::Process { pid: *pid, kernel: *kernel, broker: *pid == policy.own_pid, halt: *halt }
        }
        Target::Service(name) => Object::Named(Kind::Service, name.clone()),
        Target::Package(name) => Object::Named(Kind::Package, name.clone()),
        Target::Below(path) => {
            let path = path.join("*");
            Object::File { area: policy.area(&path), path, private: false }
        }
        Target::Machine => Object::Named(Kind::Machine, "this".into()),
        Target::Network(name) => Object::Named(Kind::Network, name.clone()),
        Target::Firewall(name) => Object::Named(Kind::Firewall, name.clone()),
        Target::Backup(name) => Object::Named(Kind::Backup, name.clone()),
        Target::Model(name) => Object::Named(Kind::Model, name.clone()),
        Target::Schedule(name) => Object::Named(Kind::Schedule, name.clone()),
        Target::Account(name) => Object::Named(Kind::Account, name.clone()),
        Target::Console => Object::Named(Kind::Account, "*".into()),
        Target::Policy => Object::Named(Kind::Policy, OWN.into()),
        Target::Baseline => Object::Named(Kind::Machine, "baseline".into()),
        Target::Several => Object::Any,
    }
}

/// What rules see of a target that a person writes.
fn supposed(policy: &Policy, text: &str) -> Result<Object, CallError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Object::Any);
    }
    if text.starts_with('/') {
        let path = PathBuf::from(text);
        let area = policy.area(&path);
        return Ok(Object::File { path, area, private: false });
    }
    let unknown = || {
        let kinds: Vec<String> = Kind::ALL.iter().map(|kind| kind.as_str().to_lowercase()).collect();
        CallError::invalid(format!(
            "`{text}` names no target; write an absolute path, `process NUMBER`, or a kind and a name ({})",
            kinds.join(", ")
        ))
    };
    let (kind, name) = text.split_once(' ').ok_or_else(unknown)?;
    if kind == "process" {
        let pid = name.parse().map_err(|_| unknown())?;
        return Ok(Object::Process { pid, kernel: false, broker: false, halt: false });
    }
    let kind = Kind::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(kind));
    kind.map(|kind| Object::Named(kind, name.trim().into())).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_every_appliance_fit_its_tools() {
        let actions: Vec<Action> = tool::all().iter().map(|tool| action(tool)).collect();
        Engine::check_appliance(&actions).expect("no rule names what does not exist");
    }
}
