//! The broker's side of a worker: orders it, passes on its questions, hears its result. Everything here blocks, and
//! runs on a thread that may.

use super::{Answer, Job, Order, Said, Told, Work, packet};
use crate::audit::Log;
use crate::baseline::Keeper;
use crate::caller::Caller;
use crate::declaration::{Declaration, Finished, Preview};
use crate::judge::{Case, Judge};
use crate::policy::{Policy, Target};
use crate::reach::{Question, Way};
use crate::schedule::Schedule;
use crate::undo::Kept;
use aios_abi::accounts::Accounts;
use aios_abi::call::{Meta, Protocol};
use aios_abi::client::{Client, Next};
use aios_abi::infer::{Infer, InferEvent, InferReply, InferRequest};
use aios_abi::net::Net;
use aios_abi::service::{Init, InitEvent, InitRequest, LogLine};
use aios_abi::tool::Progress;
use aios_abi::who::Person;
use aios_abi::{CallError, ErrorCode};
use aios_policy::Object;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, socketpair};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

/// How long the answer to a call travels before init is asked what ends the broker.
const GRACE: Duration = Duration::from_millis(300);

/// Paths that are looked up before anybody asks.
const FORETOLD: usize = 4;

/// New lines that are passed on at once.
const MAX_LINES: u32 = 256;
/// Milliseconds for which a log is followed before the worker has to ask again.
const MAX_FOLLOWED: u32 = 10_000;
/// Lines that come together are passed on together.
const TOGETHER: Duration = Duration::from_millis(20);

/// The way to the workshop.
pub struct Workshop {
    path: PathBuf,
    line: Mutex<Option<Arc<OwnedFd>>>,
    jobs: AtomicU64,
}

/// Whom the broker asks for its workers.
#[derive(Clone)]
pub struct Sources {
    /// PID 1.
    pub init: Client<Init>,
    /// The network daemon.
    pub net: Client<Net>,
    /// The console.
    pub accounts: Client<Accounts>,
    /// The inference daemon.
    pub infer: Client<Infer>,
    /// The audit chain.
    pub audit: Log,
    /// The judge.
    pub judge: Arc<Judge>,
    /// What is planned.
    pub schedule: Arc<Schedule>,
    /// The baseline of files.
    pub baseline: Arc<Keeper>,
}

/// What a worker is to do, and for whom.
pub struct Brief {
    /// The tool.
    pub tool: &'static Declaration,
    /// Who asks.
    pub caller: Caller,
    /// A reason was given.
    pub reason: bool,
    /// What may be touched.
    pub policy: Arc<Policy>,
    /// How long it may take.
    pub limit: Duration,
    /// Takes what happens in between.
    pub progress: Option<mpsc::Sender<Progress>>,
}

/// Where a call stands after its first step.
pub enum Begun {
    /// It only looked, and is done.
    Done(Finished),
    /// A change that is ready to be made.
    Prepared(Box<Prepared>),
}

/// A change that waits for a word. Dropped, it is not made.
pub struct Prepared {
    /// What is to be changed.
    pub target: Target,
    /// What would change.
    pub preview: Preview,
    /// What undo will need, if the change can be taken back.
    pub kept: Option<Kept>,
    worker: Worker,
}

/// A worker at work. Dropped, it is ended.
struct Worker {
    shop: Arc<Workshop>,
    job: u64,
    given_up: Arc<Notify>,
    conversation: OwnedFd,
    sources: Sources,
    tool: &'static Declaration,
    caller: Caller,
    reason: bool,
    policy: Arc<Policy>,
    limit: Duration,
    progress: Option<mpsc::Sender<Progress>>,
    over: bool,
}

/// Names a job, so that it can be ended by somebody who does not wait for it.
#[derive(Clone)]
pub struct Ticket {
    shop: Arc<Workshop>,
    job: u64,
    /// Told when the job is ended, for what its worker has asked meanwhile.
    given_up: Arc<Notify>,
}

impl Ticket {
    /// End the worker, whatever it does; whoever waits for it hears that.
    pub fn end(&self) {
        self.shop.kill(self.job);
        self.given_up.notify_one();
    }

    /// The same off the thread that serves others: the workshop may be busy.
    pub fn end_aside(self) {
        tokio::task::spawn_blocking(move || self.end());
    }
}

impl Workshop {
    /// The workshop that listens here; nothing is opened yet.
    pub fn at(path: impl AsRef<Path>) -> Arc<Self> {
        Arc::new(Self { path: path.as_ref().into(), line: Mutex::new(None), jobs: AtomicU64::new(0) })
    }

    /// A number for a job that is to be ordered.
    pub fn ticket(self: &Arc<Self>) -> Ticket {
        let job = self.jobs.fetch_add(1, Ordering::Relaxed);
        Ticket { shop: self.clone(), job, given_up: Arc::default() }
    }

    fn line(&self) -> Result<Arc<OwnedFd>, CallError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*line {
            return Ok(open.clone());
        }
        let open = || -> rustix::io::Result<OwnedFd> {
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
            Ok(socket)
        };
        let open = Arc::new(open().map_err(|e| {
            let e = std::io::Error::from(e);
            CallError::unavailable(format!("the workshop cannot be reached at {}: {e}", self.path.display()))
        })?);
        *line = Some(open.clone());
        Ok(open)
    }

    /// Give an order. A workshop that was started again is found again.
    fn order(&self, order: &Order, conversation: Option<&OwnedFd>) -> Result<(), CallError> {
        for last in [false, true] {
            let line = self.line()?;
            match packet::send(&*line, order, conversation.map(AsFd::as_fd)) {
                Err(e) if last => return Err(e),
                Err(_) => *self.line.lock().unwrap_or_else(PoisonError::into_inner) = None,
                Ok(()) => break,
            }
        }
        Ok(())
    }

    fn kill(&self, job: u64) {
        // A workshop that cannot be reached has ended, and its workers with it.
        let _ = self.order(&Order::Kill(job), None);
    }

    fn hire(ticket: &Ticket, sources: Sources, brief: Brief, work: Work) -> Result<Worker, CallError> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(std::io::Error::from)?;
        let Brief { tool, caller, reason, policy, limit, progress } = brief;
        let limit_ms = milliseconds(limit);
        let (id, number) = (ticket.job, tool.number);
        let seen = match &work {
            Work::Call { args } => {
                let case = Case { caller: &caller, tool, reason, dry_run: false };
                foretold(&sources.judge, &case, &policy, args)
            }
            Work::Undo(_) | Work::Tidy { .. } => Vec::new(),
        };
        let (whose, rules) = (caller.clone(), Policy::clone(&policy));
        let job = Job { id, tool: number, caller: whose, policy: rules, limit_ms, seen, work };
        ticket.shop.order(&Order::Job(Box::new(job)), Some(&theirs))?;
        Ok(Worker {
            shop: ticket.shop.clone(),
            job: ticket.job,
            given_up: ticket.given_up.clone(),
            conversation: ours,
            sources,
            tool,
            caller,
            reason,
            policy,
            limit,
            progress,
            over: false,
        })
    }

    /// Begin a call.
    pub fn call(ticket: &Ticket, sources: Sources, brief: Brief, args: String) -> Result<Begun, CallError> {
        let mut worker = Self::hire(ticket, sources, brief, Work::Call { args })?;
        match worker.hear()? {
            Heard::Done(finished) => Ok(Begun::Done(finished)),
            Heard::Prepared { target, preview, kept } => {
                Ok(Begun::Prepared(Box::new(Prepared { target, preview, kept, worker })))
            }
        }
    }

    /// Take back a change; in a few words what was done.
    pub fn undo(ticket: &Ticket, sources: Sources, brief: Brief, kept: Kept) -> Result<String, CallError> {
        Self::hire(ticket, sources, brief, Work::Undo(kept))?.finish().map(|finished| finished.summary)
    }

    /// Remove what a change to this file left behind when it was cut off.
    pub fn tidy(ticket: &Ticket, sources: Sources, brief: Brief, target: String) -> Result<(), CallError> {
        Self::hire(ticket, sources, brief, Work::Tidy { target })?.finish().map(drop)
    }
}

impl Prepared {
    /// Names its worker, and how long that may take for the change.
    pub fn bounds(&self) -> (Ticket, Duration) {
        let Worker { shop, job, given_up, limit, .. } = &self.worker;
        (Ticket { shop: shop.clone(), job: *job, given_up: given_up.clone() }, *limit)
    }

    /// Make the change.
    pub fn go(self) -> Result<Finished, CallError> {
        self.worker.tell(&Told::Go)?;
        self.worker.finish()
    }
}

enum Heard {
    Done(Finished),
    Prepared { target: Target, preview: Preview, kept: Option<Kept> },
}

impl Worker {
    /// What it says that is not for others.
    fn hear(&mut self) -> Result<Heard, CallError> {
        loop {
            let said = match packet::receive::<Said>(&self.conversation)? {
                Some((said, _)) => said,
                None => Said::Ended(
                    "the workshop itself has ended; it is being started again, try once more".into(),
                ),
            };
            self.over = matches!(said, Said::Done(_) | Said::Failed(_) | Said::Ended(_));
            match said {
                Said::Progress(progress) => {
                    if let Some(sender) = &self.progress {
                        let _ = sender.try_send(progress);
                    }
                }
                Said::Asks(question) => {
                    let answer = self.pass_on(question);
                    self.tell(&Told::Answer(answer))?;
                }
                Said::Prepared { target, preview, kept } => {
                    return Ok(Heard::Prepared { target, preview, kept });
                }
                Said::Done(finished) => return Ok(Heard::Done(finished)),
                Said::Failed(error) => return Err(error),
                Said::Ended(how) => {
                    tracing::error!("the worker of {}: {how}", self.tool.name);
                    return Err(CallError::failed(format!(
                        "{} has no result: its worker: {how}",
                        self.tool.name
                    )));
                }
            }
        }
    }

    /// Say something to it. Where nobody listens any more, what is heard next is why.
    fn tell(&self, told: &Told) -> Result<(), CallError> {
        match packet::send(&self.conversation, told, None) {
            Err(error) if error.code == ErrorCode::Unavailable => Ok(()),
            other => other,
        }
    }

    fn finish(mut self) -> Result<Finished, CallError> {
        match self.hear()? {
            Heard::Done(finished) => Ok(finished),
            Heard::Prepared { .. } => Err(CallError::failed("the worker prepared what was already decided")),
        }
    }

    fn pass_on(&self, question: Question) -> Result<Answer, CallError> {
        let name = self.tool.name;
        if !self.tool.needs.may_ask(&question) {
            tracing::error!("{name} asked what it did not declare");
            return Err(CallError::denied(format!("{name} did not declare that it asks this")));
        }
        let Sources { init, net, accounts, infer, audit, judge, schedule, baseline } = &self.sources;
        match question {
            Question::Init(request) => self.call(init, request).map(Answer::Init),
            Question::InitLater(request) => {
                let (init, meta) = (init.clone(), Meta::why(name));
                Handle::current().spawn(async move {
                    tokio::time::sleep(GRACE).await;
                    if let Err(error) = init.call(meta, request).await {
                        tracing::error!("what init was to be asked later was refused: {error}");
                    }
                });
                Ok(Answer::Later)
            }
            Question::NewLines { unit, contains, after, wait_ms } => {
                let request = InitRequest::Logs { unit, contains, limit: MAX_LINES, follow: true };
                let meta = Meta::why(name).deadline_ms(wait_ms.clamp(1, MAX_FOLLOWED));
                Handle::current().block_on(new_lines(init, meta, request, after)).map(Answer::Lines)
            }
            Question::Net(request) => self.call(net, request).map(Answer::Net),
            Question::Accounts(request) => self.call(accounts, request).map(Answer::Accounts),
            Question::Infer(request) => {
                self.infer(infer, request).map(|reply| Answer::Infer(Box::new(reply)))
            }
            Question::Baseline => baseline.read().map(Answer::Baseline),
            Question::SetBaseline(text) => baseline.write(text.as_deref()).map(|()| Answer::Baseline(None)),
            Question::Record(seq) => audit.record(seq).map(|record| Answer::Record(record.map(Box::new))),
            Question::Records { from, limit } => {
                audit.page(from, limit).map(|(records, head)| Answer::Records(records, Box::new(head)))
            }
            Question::Verify => audit.verify().map(|head| Answer::Verified(Box::new(head))),
            Question::Policy(question) => judge
                .answer(&self.caller, &self.policy, question)
                .map(|answer| Answer::Policy(Box::new(answer))),
            Question::Schedule(question) => schedule
                .answer(&self.caller, judge, question)
                .map(|answer| Answer::Schedule(Box::new(answer))),
            Question::MayLook { path, private } => {
                let case =
                    Case { caller: &self.caller, tool: self.tool, reason: self.reason, dry_run: false };
                may_look(judge, &case, &self.policy, path, private).map(|()| Answer::MayLook)
            }
        }
    }

    /// A change of models takes minutes; what inferd tells meanwhile is passed on.
    fn infer(&self, client: &Client<Infer>, request: InferRequest) -> Result<InferReply, CallError> {
        let meta = Meta::why(self.tool.name).deadline_ms(milliseconds(self.limit));
        let asking = async {
            let call = client.start(meta, request).await?;
            call.finish(|event| {
                if let (InferEvent::Progress { text, percent }, Some(sender)) = (event, &self.progress) {
                    // Who does not read misses some of it.
                    let _ = sender.try_send(Progress { text, percent });
                }
            })
            .await
        };
        Handle::current().block_on(async {
            tokio::select! {
                answer = asking => answer,
                // Dropped, it is taken back: the model before stays in use.
                () = self.given_up.notified() => Err(CallError::new(ErrorCode::Cancelled, "the call was given up")),
            }
        })
    }

    fn call<P: Protocol>(&self, client: &Client<P>, request: P::Request) -> Result<P::Reply, CallError> {
        let meta = Meta::why(self.tool.name).deadline_ms(milliseconds(self.limit));
        // Who asks, with the role that was found here: nobody makes an account that may do more.
        let Caller { by, person, role } = &self.caller;
        let name = person.as_ref().map_or(by, |person| &person.name).clone();
        let meta = meta.on_behalf_of(Some(Person { name, role: *role }));
        Handle::current().block_on(async {
            tokio::select! {
                answer = client.call(meta, request) => answer,
                // Dropped, the question is taken back: nobody is left to answer.
                () = self.given_up.notified() => Err(CallError::new(ErrorCode::Cancelled, "the call was given up")),
            }
        })
    }
}

fn may_look(
    judge: &Judge,
    case: &Case<'_>,
    policy: &Policy,
    path: PathBuf,
    private: bool,
) -> Result<(), CallError> {
    let area = policy.area(&path);
    judge.may_look(case, &Object::File { path, area, private })
}

/// Those of the paths that the arguments name to be looked at which this caller may look at. To be asked for them costs a call
/// two wake-ups.
fn foretold(judge: &Judge, case: &Case<'_>, policy: &Policy, args: &str) -> Vec<PathBuf> {
    let paths = case.tool.code.paths(args).unwrap_or_default();
    let looks = paths.into_iter().filter(|(way, _)| *way != Way::Change).map(|(_, path)| path);
    looks.take(FORETOLD).filter(|path| may_look(judge, case, policy, path.clone(), false).is_ok()).collect()
}

/// Follow init's logs until there is a line that is newer than this one, or time is over.
async fn new_lines(
    init: &Client<Init>,
    meta: Meta,
    request: InitRequest,
    after: u64,
) -> Result<Vec<LogLine>, CallError> {
    let mut following = init.start(meta, request).await?;
    let mut lines = Vec::new();
    loop {
        let next = match lines.is_empty() {
            true => following.next().await,
            false => match tokio::time::timeout(TOGETHER, following.next()).await {
                Ok(next) => next,
                Err(_) => return Ok(lines),
            },
        };
        match next {
            Next::Event(InitEvent::Line(line)) if line.seq > after => lines.push(line),
            Next::Event(_) => {}
            Next::Reply(Err(e)) if e.code == ErrorCode::Timeout => return Ok(lines),
            Next::Reply(Err(e)) => return Err(e),
            Next::Reply(Ok(_)) => {
                return Err(CallError::unavailable("init does not let its logs be followed"));
            }
        }
        if lines.len() >= MAX_LINES as usize {
            return Ok(lines);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.over {
            self.shop.kill(self.job);
        }
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// What a caller hears when a call's time is over.
pub(crate) fn late(tool: &Declaration) -> CallError {
    let text = format!("{} was not done within its limit of {} ms", tool.name, tool.timeout_ms);
    CallError::new(ErrorCode::Timeout, text)
}
