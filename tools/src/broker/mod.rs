//! The way of a call through the broker.
//!
//! | module | what it is about |
//! |---|---|
//! | `turns` | how many calls run at once, and that nothing is changed by two of them |
//! | `together` | several changes as one |
//! | `back` | taking changes back |
//! | `once` | a change that is asked for again under its key |

mod back;
mod once;
mod together;
mod turns;

use crate::audit::{Log, Need, Once};
use crate::baseline::Keeper;
use crate::caller::Caller;
use crate::ctx::{Ctx, House};
use crate::declaration::{Declaration, Finished, Started, finish};
use crate::judge::{Case, Judge};
use crate::policy::{Policy, Target};
use crate::reach::Question;
use crate::schedule::{self, Schedule};
use crate::worker::Answer;
use crate::worker::hire::{Begun, Brief, Prepared, Sources, Workshop, late};
use crate::{redact, tool, undo};
use aios_abi::accounts::Accounts;
use aios_abi::audit::{CallRecord, Entry, Outcome};
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::infer::Infer;
use aios_abi::net::Net;
use aios_abi::service::Init;
use aios_abi::tool::{CallDone, Effect, Progress, ToolReply, ToolRequest};
use aios_abi::{CallError, ErrorCode};
use aios_policy::UNDO;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use turns::{Hold, Holds, Turns};

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
    /// The console, about accounts.
    pub accounts: Client<Accounts>,
    /// The inference daemon, about models.
    pub infer: Client<Infer>,
    /// Where calls are run.
    pub workshop: Arc<Workshop>,
    /// Version of the image, for the audit chain.
    pub version: &'a str,
    /// Random id of this boot, for the audit chain.
    pub boot_id: &'a str,
}

/// The broker.
pub struct Broker {
    policy: Arc<Policy>,
    judge: Arc<Judge>,
    workshop: Arc<Workshop>,
    sources: Sources,
    audit: Log,
    undo: Arc<undo::Store>,
    /// Changes that the broker before this one did not see the end of.
    cut_off: Mutex<Vec<undo::Saved>>,
    turns: Turns,
    holds: Holds,
}

/// What accompanies a call inside the broker.
pub struct Way {
    /// Who asks.
    caller: Caller,
    /// Why, and for what.
    meta: Meta,
    /// Takes what happens in between.
    progress: Option<mpsc::Sender<Progress>>,
    /// Told by the server when the caller has gone.
    cancelled: Arc<Notify>,
    /// It must not be done twice.
    once: Option<Once>,
}

impl Way {
    /// A call that nobody watches.
    pub fn new(caller: Caller, meta: Meta) -> Self {
        Self { caller, meta, progress: None, cancelled: Arc::default(), once: None }
    }

    /// The same, for a caller who is told what happens in between, and of whom it is known when they have gone.
    pub fn watched(self, progress: mpsc::Sender<Progress>, cancelled: Arc<Notify>) -> Self {
        Self { progress: Some(progress), cancelled, ..self }
    }

    fn case(&self, tool: &'static Declaration, dry_run: bool) -> Case<'_> {
        Case { caller: &self.caller, tool, reason: self.meta.has_reason(), dry_run }
    }

    fn call_record(&self, tool: &Declaration, args: &str) -> CallRecord {
        self.record(tool.name, tool.effect, redact::for_audit(args, tool))
    }

    fn record(&self, tool: &str, effect: Effect, args: String) -> CallRecord {
        record(&self.caller, &self.meta, tool, effect, args)
    }
}

impl Broker {
    /// Open audit chain and undo data.
    pub fn open(setup: Setup<'_>) -> Result<Self, CallError> {
        std::fs::create_dir_all(setup.data)
            .map_err(|e| CallError::failed(format!("{}: {e}", setup.data.display())))?;
        let (audit, interrupted) = Log::open(setup.data, setup.version, setup.boot_id)?;
        let undo = Arc::new(undo::Store::open(setup.data.join("undo"))?);
        let judge = Arc::new(Judge::open(setup.data)?);
        let schedule = Arc::new(Schedule::open(setup.data, schedule::now())?);
        let cut_off = interrupted.into_iter().filter_map(|seq| undo.load(seq).ok()).collect();
        Ok(Self {
            policy: setup.policy.into(),
            workshop: setup.workshop,
            sources: Sources {
                init: setup.init,
                net: setup.net,
                accounts: setup.accounts,
                infer: setup.infer,
                audit: audit.clone(),
                judge: judge.clone(),
                schedule,
                baseline: Arc::new(Keeper::new(setup.data)),
            },
            judge,
            cut_off: Mutex::new(cut_off),
            audit,
            undo,
            turns: Turns::new(),
            holds: Holds::default(),
        })
    }

    /// The audit chain.
    pub fn audit(&self) -> &Log {
        &self.audit
    }

    /// Whom to ask about accounts.
    pub(crate) fn accounts(&self) -> &Client<Accounts> {
        &self.sources.accounts
    }

    /// What is planned.
    pub fn schedule(&self) -> &Arc<Schedule> {
        &self.sources.schedule
    }

    /// Remove what changes left behind that were cut off with the broker before this one, and take back those that belong to
    /// others which were not made any more. Nobody changes their targets meanwhile, from the moment on when this returns.
    pub fn tidy(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        let cut_off = std::mem::take(&mut *self.cut_off.lock().unwrap_or_else(PoisonError::into_inner));
        let left_open: Vec<(u64, Vec<undo::Part>)> =
            self.undo.left_open().into_iter().map(|seq| (seq, self.undo.parts(seq))).collect();
        let parts = left_open.iter().flat_map(|(_, parts)| parts).map(|(_, saved)| saved);
        let holds: Vec<Hold> =
            cut_off.iter().chain(parts).filter_map(|saved| self.holds.hold(&saved.target).ok()).collect();
        async move {
            let way = Way::new(Caller::broker(), Meta::why("a change was cut off"));
            for saved in cut_off {
                let Some(tool) = tool::by_name(&saved.tool) else { continue };
                if !matches!(saved.target, Target::File(_)) {
                    continue;
                }
                let (ticket, sources) = (this.workshop.ticket(), this.sources.clone());
                let brief = this.brief(tool, &way, back::TIMEOUT);
                let target = saved.target.to_string();
                if let Err(error) = blocking(move || Workshop::tidy(&ticket, sources, brief, target)).await {
                    tracing::warn!("what a change left behind was not removed: {error}");
                }
            }
            for (seq, parts) in left_open {
                let why = format!("the machine stopped in the middle of what record {seq} began");
                let way = Way::new(Caller::broker(), Meta::why(why));
                let result = this.take_back_parts(&way, parts).await;
                this.end_together(&way, seq, result).await;
            }
            drop(holds);
        }
    }

    /// Let what is under way come to its end, for at most this long; nothing new is begun.
    pub async fn settle(&self, patience: Duration) {
        self.turns.close(patience).await;
        let audit = self.audit.clone();
        // The journal would keep it too; what is at rest is better in one place.
        let _ = tokio::task::spawn_blocking(move || audit.flush()).await;
    }

    /// Answer a call of a tool that needs neither a process nor anybody else. `None` when the request is another, or the audit
    /// chain has no room for its record just now.
    pub fn at_once(
        &self,
        caller: Caller,
        meta: &Meta,
        request: &ToolRequest,
    ) -> Option<Result<ToolReply, CallError>> {
        let &ToolRequest::Call { tool, ref args, dry_run } = request else { return None };
        let tool = tool::by_number(tool).filter(|tool| tool.needs.in_broker && meta.key.is_none())?;
        let case = Case { caller: &caller, tool, reason: meta.has_reason(), dry_run };
        let allowed = self.judge.may_call(&case);
        let call = record(&caller, meta, tool.name, tool.effect, redact::for_audit(args, tool));
        let found = allowed.and_then(|()| in_broker(tool, caller, self.policy.clone(), args));
        let outcome = outcome(found.as_ref().map(|finished| finished.summary.as_str()));
        let audit = self.audit.append_now(Entry::Call { call, outcome })?;
        Some(found.map(|finished| ToolReply::Done(look(finished, audit))))
    }

    /// Answer one request. It must not be dropped half-way: the server runs it in a task of its own.
    pub async fn answer(self: Arc<Self>, way: Way, request: ToolRequest) -> Result<ToolReply, CallError> {
        match request {
            ToolRequest::List => Ok(ToolReply::List(tool::infos().to_vec())),
            ToolRequest::Audit { from, limit } => {
                let (records, head) = blocking(move || self.audit.page(from, limit)).await?;
                Ok(ToolReply::Audit { records, head })
            }
            ToolRequest::AuditVerify => blocking(move || self.audit.verify()).await.map(ToolReply::Verified),
            change => self.once(way, change).await.map(ToolReply::Done),
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
        if let Err(error) = self.judge.may_call(&way.case(tool, dry_run)) {
            return self.refused(way.call_record(tool, &args), error).await;
        }
        let _turn = match tool.needs.in_broker {
            // It is answered at once, however many others run.
            true => None,
            false => match self.turns.take(&way.caller).await {
                Ok(turn) => Some(turn),
                Err(error) => return self.refused(way.call_record(tool, &args), error).await,
            },
        };
        self.call_one(&way, tool, args, dry_run, None).await
    }

    /// Whoever calls this has a turn.
    async fn call_one(
        self: &Arc<Self>,
        way: &Way,
        tool: &'static Declaration,
        args: String,
        dry_run: bool,
        part_of: Option<u64>,
    ) -> Result<CallDone, CallError> {
        let call = way.call_record(tool, &args);
        let limit = Duration::from_millis(tool.timeout_ms.into());
        let size = args.len();
        match self.start(tool, way, args, limit).await {
            Ok(Begun::Done(finished)) => self.looked(call, finished).await,
            Ok(Begun::Prepared(change)) if dry_run => {
                self.previewed(call, &way.case(tool, true), *change).await
            }
            Ok(Begun::Prepared(change)) => self.change(call, *change, way, tool, size, part_of).await,
            Err(error) => self.refused(call, error).await,
        }
    }

    fn brief(&self, tool: &'static Declaration, way: &Way, limit: Duration) -> Brief {
        let (caller, reason, progress) = (way.caller.clone(), way.meta.has_reason(), way.progress.clone());
        Brief { tool, caller, reason, policy: self.policy.clone(), limit, progress }
    }

    /// Write down that somebody was turned away who may not even ask.
    pub async fn turned_away(&self, by: String, request: &ToolRequest, error: &CallError) {
        let tool = match request {
            ToolRequest::List => "list",
            ToolRequest::Call { tool, .. } => tool::by_number(*tool).map_or("unknown", |tool| tool.name),
            ToolRequest::Undo { .. } => UNDO,
            ToolRequest::Together { .. } => together::NAME,
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
        if tool.needs.in_broker {
            return in_broker(tool, way.caller.clone(), self.policy.clone(), &args).map(Begun::Done);
        }
        let brief = self.brief(tool, way, limit);
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
        Ok(look(finished, audit))
    }

    async fn previewed(
        &self,
        call: CallRecord,
        case: &Case<'_>,
        change: Prepared,
    ) -> Result<CallDone, CallError> {
        if let Err(error) = self.judge.may_change(case, &self.policy, &change.target, 0) {
            return self.refused(call, error).await;
        }
        let summary = format!("dry run: would {}", change.preview.would);
        let finished = finish(&change.preview, summary)?;
        self.looked(call, finished).await
    }

    async fn change(
        &self,
        call: CallRecord,
        mut change: Prepared,
        way: &Way,
        tool: &'static Declaration,
        asked: usize,
        part_of: Option<u64>,
    ) -> Result<CallDone, CallError> {
        let target = change.target.clone();
        let replaced = change.kept.as_ref().and_then(|kept| kept.content.as_ref()).map_or(0, Vec::len);
        let bytes = asked.saturating_add(replaced) as u64;
        let allowed = self.judge.may_change(&way.case(tool, false), &self.policy, &target, bytes);
        let hold = match allowed.and_then(|()| self.holds.hold(&target)) {
            Ok(hold) => hold,
            Err(error) => return self.refused(call, error).await,
        };
        let (audit, undoable) = match self.begin(&call, way, target, change.kept.take(), part_of).await {
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
        let done = result.map(|finished| CallDone {
            result: finished.result,
            summary: finished.summary,
            audit,
            undoable,
            repeated: false,
        });
        self.ended(way, audit, part_of, &done).await;
        done
    }

    /// Write down how a change ended. It was made or not: that this cannot be written changes nothing about it.
    async fn ended(&self, way: &Way, of: u64, part_of: Option<u64>, done: &Result<CallDone, CallError>) {
        let entry = Entry::End { of, outcome: outcome(done.as_ref().map(|done| done.summary.as_str())) };
        let once = way.once_for(part_of, Some(done));
        // Who has the answer under a key gets it again, wherever the machine stops after it.
        let need = if once.is_some() { Need::Durable } else { Need::Soon };
        if let Err(error) = self.audit.append_once(entry, need, once).await {
            tracing::error!("the end of change {of} has no record: {error}");
        }
    }

    /// Everything that must be on disk before the change: undo data, then the record.
    async fn begin(
        &self,
        call: &CallRecord,
        way: &Way,
        target: Target,
        kept: Option<undo::Kept>,
        part_of: Option<u64>,
    ) -> Result<(u64, bool), CallError> {
        let saved = kept.map(|kept| undo::Saved { tool: call.tool.clone(), target, kept, part_of });
        let undoable = saved.is_some();
        // The disk is waited for aside: others are answered meanwhile.
        let store = self.undo.clone();
        let draft = blocking(move || saved.map(|saved| store.save(&saved)).transpose()).await?;
        let entry = Entry::Begin { call: call.clone(), undoable };
        let audit = self.audit.append_once(entry, Need::Durable, way.once_for(part_of, None)).await?;
        if let Some(draft) = draft
            && let Err(error) = blocking(move || draft.keep(audit)).await
        {
            let failed = Err(error);
            self.ended(way, audit, part_of, &failed).await;
            return failed.map(|_| (audit, undoable));
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
}

/// What the audit chain says of a call.
fn record(caller: &Caller, meta: &Meta, tool: &str, effect: Effect, args: String) -> CallRecord {
    CallRecord {
        tool: tool.into(),
        effect,
        args,
        why: meta.why.clone(),
        incident: meta.incident.clone(),
        by: caller.by.clone(),
        person: caller.person.clone(),
    }
}

/// A call that needs no process of its own.
fn in_broker(
    tool: &Declaration,
    caller: Caller,
    policy: Arc<Policy>,
    args: &str,
) -> Result<Finished, CallError> {
    let until = Instant::now() + Duration::from_millis(tool.timeout_ms.into());
    match tool.code.start(&Ctx::new(caller, policy, until, Box::new(Alone)), args)? {
        Started::Done(finished) => Ok(finished),
        Started::Change(_) => Err(CallError::failed("what changes something needs a worker")),
    }
}

/// What the caller of a look gets.
fn look(Finished { result, summary }: Finished, audit: u64) -> CallDone {
    CallDone { result, summary, audit, undoable: false, repeated: false }
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
