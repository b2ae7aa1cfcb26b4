//! The way of a call through the broker.

use crate::audit::{Log, Need};
use crate::caller::Caller;
use crate::ctx::{Ctx, House};
use crate::declaration::{Declaration, Finished, Started, finish};
use crate::judge::{Case, Judge};
use crate::policy::{Policy, Target};
use crate::reach::Question;
use crate::worker::Answer;
use crate::worker::hire::{Begun, Brief, Prepared, Sources, Workshop, late};
use crate::{redact, tool, undo};
use aios_abi::audit::{CallRecord, Entry, Outcome};
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::net::Net;
use aios_abi::service::Init;
use aios_abi::tool::{CallDone, Effect, Progress, Step, ToolReply, ToolRequest};
use aios_abi::{CallError, ErrorCode};
use aios_policy::UNDO;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};

/// Calls that run at once; the next ones wait.
const MAX_RUNNING: u32 = 32;
/// Of these, so many of one caller: nobody takes the turns of all others with calls that last.
const MAX_OF_ONE: usize = 16;
/// How long a call waits for its turn before it is answered `Busy`.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Time limit of an undo.
const UNDO_TIMEOUT: Duration = Duration::from_secs(30);

/// Name of several changes where a tool's name is expected.
const TOGETHER: &str = "together";
/// Changes that are made together.
const MAX_STEPS: usize = 32;

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
    policy: Arc<Policy>,
    judge: Arc<Judge>,
    workshop: Arc<Workshop>,
    sources: Sources,
    audit: Log,
    undo: Arc<undo::Store>,
    /// Changes that the broker before this one did not see the end of.
    cut_off: Mutex<Vec<(u64, undo::Saved)>>,
    turns: Semaphore,
    /// The turns of each caller, a person or a daemon.
    own_turns: Mutex<HashMap<String, Arc<Semaphore>>>,
    busy: Mutex<HashSet<String>>,
}

/// A change and its record.
type Part = (u64, undo::Saved);

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

    fn has_reason(&self) -> bool {
        !self.meta.why.trim().is_empty()
    }

    fn case(&self, tool: &'static Declaration, dry_run: bool) -> Case<'_> {
        Case { caller: &self.caller, tool, reason: self.has_reason(), dry_run }
    }

    fn call_record(&self, tool: &Declaration, args: &str) -> CallRecord {
        self.record(tool.name, tool.effect, redact::for_audit(args, tool))
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
        let undo = Arc::new(undo::Store::open(setup.data.join("undo"))?);
        let judge = Arc::new(Judge::open(setup.data)?);
        let cut_off = interrupted.into_iter().filter_map(|seq| Some((seq, undo.load(seq).ok()?))).collect();
        Ok(Self {
            policy: setup.policy.into(),
            workshop: setup.workshop,
            sources: Sources { init: setup.init, net: setup.net, audit: audit.clone(), judge: judge.clone() },
            judge,
            cut_off: Mutex::new(cut_off),
            audit,
            undo,
            turns: Semaphore::new(MAX_RUNNING as usize),
            own_turns: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    /// The audit chain.
    pub fn audit(&self) -> &Log {
        &self.audit
    }

    /// Remove what changes left behind that were cut off with the broker before this one, and take back those that belong to
    /// others which were not made any more. Nobody changes their targets meanwhile, from the moment on when this returns.
    pub fn tidy(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        let cut_off = std::mem::take(&mut *self.cut_off.lock().unwrap_or_else(PoisonError::into_inner));
        let left_open: Vec<(u64, Vec<Part>)> =
            self.undo.left_open().into_iter().map(|seq| (seq, self.undo.parts(seq))).collect();
        let targets = cut_off.iter().chain(left_open.iter().flat_map(|(_, parts)| parts));
        let mut holds: Vec<Hold> =
            targets.filter_map(|(_, saved)| self.hold_key(saved.target.to_string()).ok()).collect();
        async move {
            for (_, saved) in cut_off {
                let Some(tool) = tool::by_name(&saved.tool) else { continue };
                if !matches!(saved.target, Target::File(_)) {
                    continue;
                }
                let (ticket, sources) = (this.workshop.ticket(), this.sources.clone());
                let brief = this.brief(tool, Caller::broker(), true, UNDO_TIMEOUT, None);
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
            holds.clear();
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

    async fn turn(&self, caller: &Caller) -> Result<Turn<'_>, CallError> {
        let busy = |text: String| CallError::new(ErrorCode::Busy, text);
        let stopped = |_| CallError::unavailable("toold is being stopped; try again in a moment");
        let who = caller.person.as_ref().map_or(&caller.by, |person| &person.name);
        let own = {
            let mut all = self.own_turns.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(who.clone()).or_insert_with(|| Arc::new(Semaphore::new(MAX_OF_ONE))).clone()
        };
        let own = tokio::time::timeout(MAX_WAIT, own.acquire_owned())
            .await
            .map_err(|_| busy(format!("{MAX_OF_ONE} calls of {who} are running; wait for one of them")))?;
        let turn = tokio::time::timeout(MAX_WAIT, self.turns.acquire())
            .await
            .map_err(|_| busy(format!("{MAX_RUNNING} calls are running; try again in a moment")))?;
        Ok(Turn { _own: own.map_err(stopped)?, _of_all: turn.map_err(stopped)? })
    }

    /// Answer one request. It must not be dropped half-way: the server runs it in a task of its own.
    pub async fn answer(self: Arc<Self>, way: Way, request: ToolRequest) -> Result<ToolReply, CallError> {
        match request {
            ToolRequest::List => Ok(ToolReply::List(tool::all().iter().map(|tool| tool.info()).collect())),
            ToolRequest::Call { tool, args, dry_run } => {
                self.call(way, tool, args, dry_run).await.map(ToolReply::Done)
            }
            ToolRequest::Together { steps } => self.together(way, steps).await.map(ToolReply::Done),
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
        if let Err(error) = self.judge.may_call(&way.case(tool, dry_run)) {
            return self.refused(way.call_record(tool, &args), error).await;
        }
        let _turn = match tool.needs.in_broker {
            // It is answered at once, however many others run.
            true => None,
            false => match self.turn(&way.caller).await {
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
            Ok(Begun::Prepared(change)) => {
                self.clone().change(call, *change, &way.case(tool, false), size, part_of).await
            }
            Err(error) => self.refused(call, error).await,
        }
    }

    fn brief(
        &self,
        tool: &'static Declaration,
        caller: Caller,
        reason: bool,
        limit: Duration,
        progress: Option<mpsc::Sender<Progress>>,
    ) -> Brief {
        Brief { tool, caller, reason, policy: self.policy.clone(), limit, progress }
    }

    /// Write down that somebody was turned away who may not even ask.
    pub async fn turned_away(&self, by: String, request: &ToolRequest, error: &CallError) {
        let tool = match request {
            ToolRequest::List => "list",
            ToolRequest::Call { tool, .. } => tool::by_number(*tool).map_or("unknown", |tool| tool.name),
            ToolRequest::Undo { .. } => UNDO,
            ToolRequest::Together { .. } => TOGETHER,
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
        let brief = self.brief(tool, way.caller.clone(), way.has_reason(), limit, way.progress.clone());
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
        self: Arc<Self>,
        call: CallRecord,
        mut change: Prepared,
        case: &Case<'_>,
        asked: usize,
        part_of: Option<u64>,
    ) -> Result<CallDone, CallError> {
        let target = change.target.clone();
        let replaced = change.kept.as_ref().and_then(|kept| kept.content.as_ref()).map_or(0, Vec::len);
        let bytes = asked.saturating_add(replaced) as u64;
        let allowed = self.judge.may_change(case, &self.policy, &target, bytes);
        let hold = match allowed.and_then(|()| self.hold(&target)) {
            Ok(hold) => hold,
            Err(error) => return self.refused(call, error).await,
        };
        let (audit, undoable) = match self.begin(&call, target, change.kept.take(), part_of).await {
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
        part_of: Option<u64>,
    ) -> Result<(u64, bool), CallError> {
        let saved = kept.map(|kept| undo::Saved { tool: call.tool.clone(), target, kept, part_of });
        let undoable = saved.is_some();
        // The disk is waited for aside: others are answered meanwhile.
        let store = self.undo.clone();
        let draft = blocking(move || saved.map(|saved| store.save(&saved)).transpose()).await?;
        let audit = self.audit.append(Entry::Begin { call: call.clone(), undoable }, Need::Durable).await?;
        if let Some(draft) = draft
            && let Err(error) = blocking(move || draft.keep(audit)).await
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
        let reason = way.has_reason();
        if let Err(error) = self.judge.may_undo(&way.caller, reason) {
            return self.refused(call, error).await;
        }
        let _turn = match self.turn(&way.caller).await {
            Ok(turn) => turn,
            Err(error) => return self.refused(call, error).await,
        };
        let this = self.clone();
        let hold = match self.hold_key(format!("undo {seq}")) {
            Ok(hold) => hold,
            Err(error) => return self.refused(call, error).await,
        };
        // An undo that was begun is carried through, whoever has gone meanwhile.
        let found = blocking(move || this.to_take_back(seq)).await;
        let result = match found {
            Ok((saved, parts)) if saved.target == Target::Several => match self.hold_all(&parts) {
                Ok(_holds) => self.take_back_parts(&way, parts).await,
                Err(error) => Err(error),
            },
            Ok((saved, _)) => match self.hold(&saved.target) {
                Ok(_hold) => self.undo_one(&way, saved).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let outcome = outcome(result.as_ref().map(String::as_str));
        let entry = Entry::Undone { of: seq, call, outcome };
        let audit = self.audit.append(entry, Need::Soon).await;
        drop(hold);
        let summary = result?;
        self.undo.remove(seq);
        let result = serde_json::json!({ "undone": seq, "what": summary }).to_string();
        Ok(CallDone { result, summary, audit: audit?, undoable: false })
    }

    /// What was saved for this change, and those that were made together under it.
    fn to_take_back(&self, seq: u64) -> Result<(undo::Saved, Vec<Part>), CallError> {
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
        let saved = self.undo.load(seq)?;
        let parts = if saved.target == Target::Several { self.undo.parts(seq) } else { Vec::new() };
        Ok((saved, parts))
    }

    /// Whoever calls this holds its target.
    async fn undo_one(&self, way: &Way, saved: undo::Saved) -> Result<String, CallError> {
        let tool = tool::by_name(&saved.tool)
            .ok_or_else(|| CallError::not_found(format!("this release has no tool {}", saved.tool)))?;
        self.judge.may_take_back(&way.case(tool, false), &self.policy, &saved.target)?;
        let brief = self.brief(tool, way.caller.clone(), way.has_reason(), UNDO_TIMEOUT, None);
        let (ticket, sources) = (self.workshop.ticket(), self.sources.clone());
        blocking(move || Workshop::undo(&ticket, sources, brief, saved.kept)).await
    }

    /// Take back all of these, in this order; each has a record of its own. Whoever calls this holds their targets.
    async fn take_back_parts(&self, way: &Way, parts: Vec<Part>) -> Result<String, CallError> {
        let (mut done, all) = (Vec::new(), parts.len());
        for (seq, saved) in parts {
            let call = way.record(UNDO, Effect::Reversible, format!("{{\"audit\":{seq}}}"));
            let result = self.undo_one(way, saved).await;
            let outcome = outcome(result.as_ref().map(String::as_str));
            self.audit.append(Entry::Undone { of: seq, call, outcome }, Need::Soon).await?;
            match result {
                Ok(what) => done.push(what),
                Err(error) => {
                    let text = format!(
                        "{} of {all} changes were taken back; of record {seq} not: {error}",
                        done.len()
                    );
                    return Err(CallError::new(error.code, text));
                }
            }
            self.undo.remove(seq);
        }
        match done.is_empty() {
            true => Ok("nothing had been changed".into()),
            false => Ok(done.join("; ")),
        }
    }

    fn hold_all(self: &Arc<Self>, parts: &[Part]) -> Result<Vec<Hold>, CallError> {
        let mut keys: Vec<String> = parts.iter().map(|(_, saved)| saved.target.to_string()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().map(|key| self.hold_key(key)).collect()
    }

    /// All of these changes, or none.
    async fn together(self: Arc<Self>, way: Way, steps: Vec<Step>) -> Result<CallDone, CallError> {
        let tools = parts_of_one(&steps).and_then(|tools| {
            tools.iter().try_for_each(|tool| self.judge.may_call(&way.case(tool, false)))?;
            Ok(tools)
        });
        let names: Vec<&str> = tools.iter().flatten().map(|tool| tool.name).collect();
        let call =
            way.record(TOGETHER, Effect::Reversible, serde_json::json!({ "tools": names }).to_string());
        let tools = match tools {
            Ok(tools) => tools,
            Err(error) => return self.refused(call, error).await,
        };
        let _turn = match self.turn(&way.caller).await {
            Ok(turn) => turn,
            Err(error) => return self.refused(call, error).await,
        };
        let kept = Some(undo::Kept { note: String::new(), content: None });
        let audit = match self.begin(&call, Target::Several, kept, None).await {
            Ok((audit, _)) => audit,
            Err(error) => return self.refused(call, error).await,
        };
        let result = self.all_or_none(&way, audit, tools.into_iter().zip(steps)).await;
        let outcome = outcome(result.as_ref().map(|(summary, _)| summary.as_str()));
        if let Err(error) = self.audit.append(Entry::End { of: audit, outcome }, Need::Soon).await {
            tracing::error!("the end of change {audit} has no record: {error}");
        }
        let (summary, results) = result?;
        let result = serde_json::Value::Array(results).to_string();
        Ok(CallDone { result, summary, audit, undoable: true })
    }

    async fn all_or_none(
        self: &Arc<Self>,
        way: &Way,
        of: u64,
        steps: impl ExactSizeIterator<Item = (&'static Declaration, Step)>,
    ) -> Result<(String, Vec<serde_json::Value>), CallError> {
        let store = self.undo.clone();
        blocking(move || store.open_together(of)).await?;
        let all = steps.len();
        let (mut summaries, mut results) = (Vec::new(), Vec::new());
        for (index, (tool, step)) in steps.enumerate() {
            match self.call_one(way, tool, step.args, false, Some(of)).await {
                Ok(done) => {
                    let result: serde_json::Value = serde_json::from_str(&done.result).unwrap_or_default();
                    results.push(
                        serde_json::json!({ "tool": tool.name, "audit": done.audit, "result": result }),
                    );
                    summaries.push(done.summary);
                }
                Err(error) => {
                    let what = format!("step {} of {all} ({}): {error}", index + 1, tool.name);
                    let store = self.undo.clone();
                    let parts = blocking(move || Ok(store.parts(of))).await?;
                    let back = match self.hold_all(&parts) {
                        Ok(_holds) => self.take_back_parts(way, parts).await,
                        Err(error) => Err(error),
                    };
                    let then = match &back {
                        Ok(_) => "all of it was taken back".to_owned(),
                        Err(error) => format!("taking back: {error}"),
                    };
                    self.end_together(way, of, back).await;
                    return Err(CallError::new(error.code, format!("{what}; {then}")));
                }
            }
        }
        // From here on it stays.
        let store = self.undo.clone();
        blocking(move || store.close_together(of)).await?;
        Ok((summaries.join("; "), results))
    }

    /// Write down how taking back went. What could not be taken back is tried again at the next start.
    async fn end_together(&self, way: &Way, of: u64, back: Result<String, CallError>) {
        if let Err(error) = &back {
            tracing::error!("what record {of} began was not taken back: {error}");
        } else {
            if let Err(error) = self.undo.close_together(of) {
                tracing::error!("{error}");
            }
            self.undo.remove(of);
        }
        let call = way.record(UNDO, Effect::Reversible, format!("{{\"audit\":{of}}}"));
        let outcome = outcome(back.as_ref().map(String::as_str));
        if let Err(error) = self.audit.append(Entry::Undone { of, call, outcome }, Need::Soon).await {
            tracing::error!("that record {of} was taken back has no record: {error}");
        }
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

/// The tools of changes that are to be made together, if they all can be taken back.
fn parts_of_one(steps: &[Step]) -> Result<Vec<&'static Declaration>, CallError> {
    if steps.is_empty() || steps.len() > MAX_STEPS {
        let text = format!("{} changes cannot be made together; give 1 to {MAX_STEPS}", steps.len());
        return Err(CallError::invalid(text));
    }
    let tool = |step: &Step| {
        let tool = tool::by_number(step.tool)
            .ok_or_else(|| CallError::not_found(format!("there is no tool with the number {}", step.tool)))?;
        match tool.effect {
            Effect::Reversible => Ok(tool),
            Effect::Read => {
                Err(CallError::invalid(format!("{} changes nothing; call it by itself", tool.name)))
            }
            Effect::Irreversible => Err(CallError::invalid(format!(
                "{} cannot be taken back, so it cannot be one of several changes that are made together",
                tool.name
            ))),
        }
    };
    steps.iter().map(tool).collect()
}

/// Of the caller's own and of all.
struct Turn<'a> {
    _own: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'a>,
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
