//! The way of a call through the broker.

use crate::audit::{Log, Need};
use crate::caller::Caller;
use crate::ctx::{Ctx, House};
use crate::declaration::{Declaration, Finished, Started, finish};
use crate::policy::{Ask, Policy, Target};
use crate::reach::Question;
use crate::worker::Answer;
use crate::worker::hire::{Begun, Brief, Prepared, Sources, Workshop, late};
use crate::{redact, tool, undo};
use aios_abi::audit::{CallRecord, Entry, Outcome};
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::net::Net;
use aios_abi::service::Init;
use aios_abi::tool::{CallDone, Effect, Progress, ToolReply, ToolRequest};
use aios_abi::{CallError, ErrorCode, who::Role};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};

/// Calls that run at once; the next ones wait.
const MAX_RUNNING: u32 = 32;
/// How long a call waits for its turn before it is answered `Busy`.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Time limit of an undo.
const UNDO_TIMEOUT: Duration = Duration::from_secs(30);
/// Name of an undo where a tool's name is expected.
const UNDO: &str = "undo";

/// Where the broker keeps its things, and whom it works with.
pub struct Setup<'a> {
    /// Audit chain, key and undo data.
    pub data: &'a Path,
    /// What may be touched.
    pub policy: Policy,
    /// PID 1.
    pub init: Client<Init>,
    /// The network daemon.
    pub net: Client<Net>,
    /// Where calls are run.
    pub workshop: Arc<Workshop>,
    /// Version of the image, for the audit chain.
    pub version: &'a str,
    /// Random id of this boot, for the audit chain.
    pub boot_id: &'a str,
}

/// The broker.
pub struct Broker {
    policy: Policy,
    workshop: Arc<Workshop>,
    sources: Sources,
    audit: Log,
    undo: undo::Store,
    /// Changes that the broker before this one did not see the end of.
    cut_off: Mutex<Vec<undo::Saved>>,
    turns: Semaphore,
    busy: Mutex<HashSet<String>>,
}

/// What accompanies a call inside the broker.
pub struct Way {
    /// Who asks.
    pub caller: Caller,
    /// Why, and for what.
    pub meta: Meta,
    /// Takes what happens in between.
    pub progress: Option<mpsc::Sender<Progress>>,
    /// Told by the server when the caller has gone.
    pub cancelled: Arc<Notify>,
}

impl Way {
    /// A call that nobody watches.
    pub fn new(caller: Caller, meta: Meta) -> Self {
        Self { caller, meta, progress: None, cancelled: Arc::default() }
    }

    fn record(&self, tool: &str, effect: Effect, args: String) -> CallRecord {
        CallRecord {
            tool: tool.into(),
            effect,
            args,
            why: self.meta.why.clone(),
            incident: self.meta.incident.clone(),
            by: self.caller.by.clone(),
            person: self.caller.person.clone(),
        }
    }
}

impl Broker {
    /// Open audit chain and undo data.
    pub fn open(setup: Setup<'_>) -> Result<Self, CallError> {
        std::fs::create_dir_all(setup.data)
            .map_err(|e| CallError::failed(format!("{}: {e}", setup.data.display())))?;
        let (audit, interrupted) = Log::open(setup.data, setup.version, setup.boot_id)?;
        let undo = undo::Store::open(setup.data.join("undo"))?;
        let cut_off = interrupted.into_iter().filter_map(|seq| undo.load(seq).ok()).collect();
        Ok(Self {
            policy: setup.policy,
            workshop: setup.workshop,
            sources: Sources { init: setup.init, net: setup.net, audit: audit.clone() },
            cut_off: Mutex::new(cut_off),
            audit,
            undo,
            turns: Semaphore::new(MAX_RUNNING as usize),
            busy: Mutex::default(),
        })
    }

    /// The audit chain.
    pub fn audit(&self) -> &Log {
        &self.audit
    }

    /// Remove what changes left behind that were cut off with the broker before this one.
    pub async fn tidy(self: &Arc<Self>) {
        let cut_off = std::mem::take(&mut *self.cut_off.lock().unwrap_or_else(PoisonError::into_inner));
        for saved in cut_off {
            let Some(tool) = tool::by_name(&saved.tool) else { continue };
            if !matches!(saved.target, Target::File(_)) {
                continue;
            }
            // What is being changed again cleans up behind the change before it.
            let Ok(_hold) = self.hold(&saved.target) else { continue };
            let (ticket, sources) = (self.workshop.ticket(), self.sources.clone());
            let brief = self.brief(tool, Caller::broker(), UNDO_TIMEOUT, None);
            let target = saved.target.to_string();
            if let Err(error) = blocking(move || Workshop::tidy(&ticket, sources, brief, target)).await {
                tracing::warn!("what a change left behind was not removed: {error}");
            }
        }
    }

    /// Let what is under way come to its end, for at most this long; nothing new is begun.
    pub async fn settle(&self, patience: Duration) {
        let all = self.turns.acquire_many(MAX_RUNNING);
        match tokio::time::timeout(patience, all).await {
            // Whoever waits for a turn is told that there will be none.
            Ok(_) => self.turns.close(),
            Err(_) => tracing::warn!(
                "calls are still under way; changes among them will be recorded as interrupted"
            ),
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, CallError> {
        match tokio::time::timeout(MAX_WAIT, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(CallError::unavailable("toold is being stopped; try again in a moment")),
            Err(_) => Err(CallError::new(
                ErrorCode::Busy,
                format!("{MAX_RUNNING} calls are running; try again in a moment"),
            )),
        }
    }

    /// Answer one request. It must not be dropped half-way: the server runs it in a task of its own.
    pub async fn answer(self: Arc<Self>, way: Way, request: ToolRequest) -> Result<ToolReply, CallError> {
        match request {
            ToolRequest::List => Ok(ToolReply::List(tool::all().iter().map(|tool| tool.info()).collect())),
            ToolRequest::Call { tool, args, dry_run } => {
                self.call(way, tool, args, dry_run).await.map(ToolReply::Done)
            }
            ToolRequest::Undo { audit } => self.take_back(way, audit).await.map(ToolReply::Done),
            ToolRequest::Audit { from, limit } => {
                let (records, head) = blocking(move || self.audit.page(from, limit)).await?;
                Ok(ToolReply::Audit { records, head })
            }
            ToolRequest::AuditVerify => blocking(move || self.audit.verify()).await.map(ToolReply::Verified),
        }
    }

    async fn call(
        self: Arc<Self>,
        way: Way,
        number: u16,
        args: String,
        dry_run: bool,
    ) -> Result<CallDone, CallError> {
        let Some(tool) = tool::by_number(number) else {
            let error = CallError::not_found(format!("there is no tool with the number {number}"));
            let call = way.record(&format!("number {number}"), Effect::Read, "{}".into());
            return self.refused(call, error).await;
        };
        let call = way.record(tool.name, tool.effect, redact::for_audit(&args, tool));
        let (caller, why) = (&way.caller, &way.meta.why);
        let ask = Ask { caller, tool: tool.name, least: tool.role, effect: tool.effect, why, dry_run };
        if let Err(error) = self.policy.may_call(&ask) {
            return self.refused(call, error).await;
        }
        let _turn = match tool.needs.in_broker {
            // It is answered at once, however many others run.
            true => None,
            false => match self.turn().await {
                Ok(turn) => Some(turn),
                Err(error) => return self.refused(call, error).await,
            },
        };
        let limit = Duration::from_millis(tool.timeout_ms.into());
        match self.start(tool, &way, args, limit).await {
            Ok(Begun::Done(finished)) => self.looked(call, finished).await,
            Ok(Begun::Prepared(change)) if dry_run => self.previewed(call, &way.caller, *change).await,
            Ok(Begun::Prepared(change)) => self.clone().change(call, *change, &way.caller).await,
            Err(error) => self.refused(call, error).await,
        }
    }

    fn brief(
        &self,
        tool: &'static Declaration,
        caller: Caller,
        limit: Duration,
        progress: Option<mpsc::Sender<Progress>>,
    ) -> Brief {
        Brief { tool, caller, policy: self.policy.clone(), limit, progress }
    }

    /// Write down that somebody was turned away who may not even ask.
    pub async fn turned_away(&self, by: String, request: &ToolRequest, error: &CallError) {
        let tool = match request {
            ToolRequest::List => "list",
            ToolRequest::Call { tool, .. } => tool::by_number(*tool).map_or("unknown", |tool| tool.name),
            ToolRequest::Undo { .. } => UNDO,
            ToolRequest::Audit { .. } | ToolRequest::AuditVerify => "audit",
        };
        let call = CallRecord {
            tool: tool.into(),
            effect: Effect::Read,
            args: "{}".into(),
            // What a stranger says is not kept: it would let him fill the disk.
            why: String::new(),
            incident: None,
            by,
            person: None,
        };
        let _ = self.refused::<()>(call, error.clone()).await;
    }

    /// The first step, which only looks. It is abandoned when its time is over or nobody waits for it any more.
    async fn start(
        &self,
        tool: &'static Declaration,
        way: &Way,
        args: String,
        limit: Duration,
    ) -> Result<Begun, CallError> {
        let brief = self.brief(tool, way.caller.clone(), limit, way.progress.clone());
        if tool.needs.in_broker {
            return in_broker(brief, &args);
        }
        let (ticket, sources) = (self.workshop.ticket(), self.sources.clone());
        let work = blocking({
            let ticket = ticket.clone();
            move || Workshop::call(&ticket, sources, brief, args)
        });
        let error = tokio::select! {
            begun = work => return begun,
            () = tokio::time::sleep(limit) => late(tool),
            () = way.cancelled.notified() => CallError::new(ErrorCode::Cancelled, "cancelled by the caller"),
        };
        ticket.end_aside();
        Err(error)
    }

    async fn looked(&self, call: CallRecord, finished: Finished) -> Result<CallDone, CallError> {
        let outcome = Outcome::Done { summary: finished.summary.clone() };
        let audit = self.audit.append(Entry::Call { call, outcome }, Need::Soon).await?;
        Ok(CallDone { result: finished.result, summary: finished.summary, audit, undoable: false })
    }

    async fn previewed(
        &self,
        call: CallRecord,
        caller: &Caller,
        change: Prepared,
    ) -> Result<CallDone, CallError> {
        if let Err(error) = self.policy.may_change(caller, &change.target) {
            return self.refused(call, error).await;
        }
        let summary = format!("dry run: would {}", change.preview.would);
        let finished = finish(&change.preview, summary)?;
        self.looked(call, finished).await
    }

    async fn change(
        self: Arc<Self>,
        call: CallRecord,
        mut change: Prepared,
        caller: &Caller,
    ) -> Result<CallDone, CallError> {
        let target = change.target.clone();
        let hold = match self.policy.may_change(caller, &target).and_then(|()| self.hold(&target)) {
            Ok(hold) => hold,
            Err(error) => return self.refused(call, error).await,
        };
        let (audit, undoable) = match self.begin(&call, target, change.kept.take()).await {
            Ok(begun) => begun,
            Err(error) => return self.refused(call, error).await,
        };
        let (ticket, limit) = change.bounds();
        let mut work = std::pin::pin!(blocking(move || {
            let result = change.go();
            drop(hold);
            result
        }));
        let result = match tokio::time::timeout(limit, &mut work).await {
            Ok(result) => result,
            Err(_) => {
                // Its end is awaited: nothing is done any more when the caller hears of it.
                ticket.end_aside();
                work.await.map_err(|e| {
                    CallError::new(ErrorCode::Timeout, format!("cut off when its time was over: {e}"))
                })
            }
        };
        let outcome = outcome(result.as_ref().map(|finished| finished.summary.as_str()));
        let end = self.audit.append(Entry::End { of: audit, outcome }, Need::Soon).await;
        if let Err(error) = end {
            tracing::error!("the end of change {audit} has no record: {error}");
        }
        let finished = result?;
        Ok(CallDone { result: finished.result, summary: finished.summary, audit, undoable })
    }

    /// Everything that must be on disk before the change: undo data, then the record.
    async fn begin(
        &self,
        call: &CallRecord,
        target: Target,
        kept: Option<undo::Kept>,
    ) -> Result<(u64, bool), CallError> {
        let saved = kept.map(|kept| undo::Saved { tool: call.tool.clone(), target, kept });
        let draft = saved.map(|saved| self.undo.save(&saved)).transpose()?;
        let undoable = draft.is_some();
        let audit = self.audit.append(Entry::Begin { call: call.clone(), undoable }, Need::Durable).await?;
        if let Some(draft) = draft
            && let Err(error) = draft.keep(audit)
        {
            let outcome = Outcome::Failed { error: error.to_string() };
            let _ = self.audit.append(Entry::End { of: audit, outcome }, Need::Soon).await;
            return Err(error);
        }
        Ok((audit, undoable))
    }

    /// A refusal is a record of its own; the caller gets the error.
    async fn refused<T>(&self, call: CallRecord, error: CallError) -> Result<T, CallError> {
        let outcome = match error.code {
            ErrorCode::Denied => Outcome::Denied { reason: error.to_string() },
            _ => Outcome::Failed { error: error.to_string() },
        };
        if let Err(lost) = self.audit.append(Entry::Call { call, outcome }, Need::Soon).await {
            tracing::error!("a refusal has no record: {lost}");
        }
        Err(error)
    }

    async fn take_back(self: Arc<Self>, way: Way, seq: u64) -> Result<CallDone, CallError> {
        let call = way.record(UNDO, Effect::Reversible, format!("{{\"audit\":{seq}}}"));
        let ask = Ask {
            caller: &way.caller,
            tool: UNDO,
            least: Role::Operator,
            effect: Effect::Reversible,
            why: &way.meta.why,
            dry_run: false,
        };
        if let Err(error) = self.policy.may_call(&ask) {
            return self.refused(call, error).await;
        }
        let _turn = match self.turn().await {
            Ok(turn) => turn,
            Err(error) => return self.refused(call, error).await,
        };
        let this = self.clone();
        let hold = match self.hold_key(format!("undo {seq}")) {
            Ok(hold) => hold,
            Err(error) => return self.refused(call, error).await,
        };
        let caller = way.caller.clone();
        // An undo that was begun is carried through, whoever has gone meanwhile.
        let result = blocking(move || this.undo_now(caller, seq)).await;
        let outcome = outcome(result.as_ref().map(String::as_str));
        let entry = Entry::Undone { of: seq, call, outcome };
        let audit = self.audit.append(entry, Need::Soon).await;
        drop(hold);
        let summary = result?;
        self.undo.remove(seq);
        let result = serde_json::json!({ "undone": seq, "what": summary }).to_string();
        Ok(CallDone { result, summary, audit: audit?, undoable: false })
    }

    fn undo_now(self: &Arc<Self>, caller: Caller, seq: u64) -> Result<String, CallError> {
        let record = self
            .audit
            .record(seq)?
            .ok_or_else(|| CallError::not_found(format!("there is no audit record {seq}")))?;
        let Entry::Begin { call, undoable } = record.entry else {
            return Err(CallError::invalid(format!("record {seq} is not the beginning of a change")));
        };
        if !undoable {
            return Err(CallError::invalid(format!("what {} did cannot be taken back", call.tool)));
        }
        if let Some(by) = self.audit.undone_by(seq)? {
            return Err(CallError::new(
                ErrorCode::Conflict,
                format!("record {seq} was already undone, by record {by}"),
            ));
        }
        let tool = tool::by_name(&call.tool)
            .ok_or_else(|| CallError::not_found(format!("this release has no tool {}", call.tool)))?;
        caller.must_be(tool.role, format_args!("undo of {}", tool.name))?;
        let saved = self.undo.load(seq)?;
        let _hold = self.hold(&saved.target)?;
        let brief = self.brief(tool, caller, UNDO_TIMEOUT, None);
        Workshop::undo(&self.workshop.ticket(), self.sources.clone(), brief, saved.kept)
    }

    /// Two changes to the same target do not run at once.
    fn hold(self: &Arc<Self>, target: &Target) -> Result<Hold, CallError> {
        self.hold_key(target.to_string())
    }

    fn hold_key(self: &Arc<Self>, key: String) -> Result<Hold, CallError> {
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return Err(CallError::new(
                ErrorCode::Conflict,
                format!("{key} is being changed by another call; try again when that is done"),
            ));
        }
        Ok(Hold { broker: self.clone(), key })
    }
}

struct Hold {
    broker: Arc<Broker>,
    key: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.broker.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A call that needs no process of its own.
fn in_broker(brief: Brief, args: &str) -> Result<Begun, CallError> {
    let ctx = Ctx::new(brief.caller, brief.policy, Instant::now() + brief.limit, Box::new(Alone));
    match brief.tool.code.start(&ctx, args)? {
        Started::Done(finished) => Ok(Begun::Done(finished)),
        Started::Change(_) => Err(CallError::failed("what changes something needs a worker")),
    }
}

/// The house of a tool that asks nobody.
struct Alone;

impl House for Alone {
    fn ask(&self, _: Question) -> Result<Answer, CallError> {
        Err(CallError::denied("the tool did not declare that it asks anybody"))
    }

    fn progress(&self, _: Progress) {}
}

/// What the audit chain says of a result.
fn outcome(result: Result<&str, &CallError>) -> Outcome {
    match result {
        Ok(summary) => Outcome::Done { summary: summary.into() },
        Err(error) if error.code == ErrorCode::Denied => Outcome::Denied { reason: error.to_string() },
        Err(error) => Outcome::Failed { error: error.to_string() },
    }
}

/// Run something that may block on a thread for it. A tool's own fault ends its call, nothing else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|fault| {
        tracing::error!("a call ended in a fault: {fault}");
        Err(CallError::failed("the tool stopped at a fault of its own; toold's log has the place"))
    })
}
