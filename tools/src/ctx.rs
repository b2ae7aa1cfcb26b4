//! What a tool gets to work with. A tool has no globals: whatever it needs of the house is in here. It runs in a process
//! of its own ([`crate::worker`]) that can do nothing but what the tool declared.

use crate::caller::Caller;
use crate::judge::{PolicyAnswer, PolicyQuestion};
use crate::policy::{Policy, Readable};
use crate::reach::Question;
use crate::schedule::{ScheduleAnswer, ScheduleQuestion};
use crate::worker::Answer;
use aios_abi::accounts::{AccountsReply, AccountsRequest};
use aios_abi::audit::{Head, Record};
use aios_abi::infer::{InferReply, InferRequest};
use aios_abi::net::{NetReply, NetRequest};
use aios_abi::service::{InitReply, InitRequest, LogLine};
use aios_abi::tool::Progress;
use aios_abi::{CallError, ErrorCode};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What lies outside of a tool's process: the broker, and through it the other daemons.
pub trait House {
    /// Ask; what the tool did not declare is refused.
    fn ask(&self, question: Question) -> Result<Answer, CallError>;
    /// Tell the caller how far it is.
    fn progress(&self, progress: Progress);
}

/// The surroundings of one call.
pub struct Ctx {
    /// Who asks.
    pub caller: Caller,
    /// What may be touched.
    pub policy: Arc<Policy>,
    deadline: Instant,
    house: Box<dyn House>,
}

impl Ctx {
    /// The surroundings of a call that must be done by then.
    pub fn new(caller: Caller, policy: Arc<Policy>, deadline: Instant, house: Box<dyn House>) -> Self {
        Self { caller, policy, deadline, house }
    }

    /// Wait for something that the kernel will answer, until the deadline at the latest.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, CallError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = self.deadline.into();
        runtime
            .block_on(async { tokio::time::timeout_at(until, work).await })
            .map_err(|_| CallError::new(ErrorCode::Timeout, "no answer within the tool's time limit"))
    }

    /// Let so much time pass, to measure what happens in it.
    pub fn pause(&self, time: Duration) -> Result<(), CallError> {
        // A timer needs the runtime that `wait` brings.
        self.wait(async { tokio::time::sleep(time).await })
    }

    /// Time until the deadline.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether to go on: loops over much ask this now and then.
    pub fn check(&self) -> Result<(), CallError> {
        match self.left().is_zero() {
            true => Err(CallError::new(ErrorCode::Timeout, "not done within the tool's time limit")),
            false => Ok(()),
        }
    }

    /// Tell the caller how far it is. A caller that does not read misses some of it.
    pub fn progress(&self, text: impl Into<String>, percent: Option<u8>) {
        self.house.progress(Progress { text: text.into(), percent });
    }

    /// Ask init.
    pub fn init(&self, request: InitRequest) -> Result<InitReply, CallError> {
        match self.house.ask(Question::Init(request))? {
            Answer::Init(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Ask init once this call was answered.
    pub fn init_later(&self, request: InitRequest) -> Result<(), CallError> {
        match self.house.ask(Question::InitLater(request))? {
            Answer::Later => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Wait for lines of init's logs that are newer than this one; none when time is over.
    pub fn new_lines(
        &self,
        unit: Option<&str>,
        contains: Option<&str>,
        after: u64,
        wait: Duration,
    ) -> Result<Vec<LogLine>, CallError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let (unit, contains) = (unit.map(str::to_owned), contains.map(str::to_owned));
        match self.house.ask(Question::NewLines { unit, contains, after, wait_ms })? {
            Answer::Lines(lines) => Ok(lines),
            _ => Err(unexpected()),
        }
    }

    /// Ask netd.
    pub fn net(&self, request: NetRequest) -> Result<NetReply, CallError> {
        match self.house.ask(Question::Net(request))? {
            Answer::Net(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Ask the console about accounts.
    pub fn accounts(&self, request: AccountsRequest) -> Result<AccountsReply, CallError> {
        match self.house.ask(Question::Accounts(request))? {
            Answer::Accounts(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Ask inferd about its models. The caller hears how far it is.
    pub fn infer(&self, request: InferRequest) -> Result<InferReply, CallError> {
        match self.house.ask(Question::Infer(request))? {
            Answer::Infer(reply) => Ok(*reply),
            _ => Err(unexpected()),
        }
    }

    /// The baseline of files that is kept, if one is.
    pub fn baseline(&self) -> Result<Option<String>, CallError> {
        match self.house.ask(Question::Baseline)? {
            Answer::Baseline(text) => Ok(text),
            _ => Err(unexpected()),
        }
    }

    /// Keep this as the baseline of files; none removes it.
    pub fn set_baseline(&self, text: Option<String>) -> Result<(), CallError> {
        match self.house.ask(Question::SetBaseline(text))? {
            Answer::Baseline(_) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// A record of the audit chain.
    pub fn record(&self, seq: u64) -> Result<Option<Record>, CallError> {
        match self.house.ask(Question::Record(seq))? {
            Answer::Record(record) => Ok(record.map(|record| *record)),
            _ => Err(unexpected()),
        }
    }

    /// Records of the audit chain, and its head.
    pub fn records(&self, from: u64, limit: u32) -> Result<(Vec<Record>, Head), CallError> {
        match self.house.ask(Question::Records { from, limit })? {
            Answer::Records(records, head) => Ok((records, *head)),
            _ => Err(unexpected()),
        }
    }

    /// Ask the judge about the policy.
    pub fn policy(&self, question: PolicyQuestion) -> Result<PolicyAnswer, CallError> {
        match self.house.ask(Question::Policy(question))? {
            Answer::Policy(answer) => Ok(*answer),
            _ => Err(unexpected()),
        }
    }

    /// Ask about what is planned.
    pub fn schedule(&self, question: ScheduleQuestion) -> Result<ScheduleAnswer, CallError> {
        match self.house.ask(Question::Schedule(question))? {
            Answer::Schedule(answer) => Ok(*answer),
            _ => Err(unexpected()),
        }
    }

    /// Whether the caller may see what is at this real path: names and facts, but no content.
    pub fn may_see(&self, path: &Path) -> Result<(), CallError> {
        self.policy.may_see(path)?;
        self.may_look(path, false)
    }

    /// Whether the caller may read this file, whose permission bits are these.
    pub fn may_read(&self, file: &Readable<'_>, mode: u32) -> Result<(), CallError> {
        self.policy.may_read(file)?;
        self.may_look(file.path, mode & 0o004 == 0)
    }

    fn may_look(&self, path: &Path, private: bool) -> Result<(), CallError> {
        match self.house.ask(Question::MayLook { path: path.into(), private })? {
            Answer::MayLook => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Prove the audit chain.
    pub fn verify(&self) -> Result<Head, CallError> {
        match self.house.ask(Question::Verify)? {
            Answer::Verified(head) => Ok(*head),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> CallError {
    CallError::failed("the broker answered something else than was asked; use programs of one release")
}

/// The surroundings of a call in a test of one tool: nobody answers.
#[cfg(test)]
pub(crate) fn alone() -> Ctx {
    struct Alone;
    impl House for Alone {
        fn ask(&self, _question: Question) -> Result<Answer, CallError> {
            Err(CallError::unavailable("nobody is there"))
        }
        fn progress(&self, _progress: Progress) {}
    }
    within(Alone)
}

/// The surroundings of a call in a test of one tool, whose questions this house answers.
#[cfg(test)]
pub(crate) fn within(house: impl House + 'static) -> Ctx {
    let caller = Caller { by: "test".into(), person: None, role: aios_abi::who::Role::Admin };
    let policy = Policy::appliance(Path::new("/data/toold"), 1);
    Ctx::new(caller, policy.into(), Instant::now() + Duration::from_secs(60), Box::new(house))
}
