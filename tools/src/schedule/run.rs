//! The clock's hand: waits for the next moment, and makes the calls that are due.

use super::{Entry, Schedule, now};
use crate::broker::{Broker, Way};
use crate::caller::Caller;
use crate::tool;
use aios_abi::accounts::{AccountsReply, AccountsRequest};
use aios_abi::call::Meta;
use aios_abi::tool::{CallDone, ToolReply, ToolRequest};
use aios_abi::who::Person;
use aios_abi::{CallError, ErrorCode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use tokio::runtime::Handle;

/// With no moment of the calendar ahead the kernel still tells when the clock is set: seconds since 1970.
const NEVER: u64 = 1 << 40;
/// Milliseconds that the console has to say who still has an account.
const ANSWER_MS: u32 = 10_000;

/// Do what is planned, on a thread of its own, as long as the broker is there.
pub fn keep(broker: &Arc<Broker>) -> io::Result<()> {
    let clock = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let (schedule, runtime) = (broker.schedule().clone(), Handle::current());
    let broker = Arc::downgrade(broker);
    let wait = move || {
        if let Err(e) = wait(&broker, &schedule, &runtime, &clock) {
            tracing::error!("nothing that is planned is done any more: {e}");
        }
    };
    std::thread::Builder::new().name("schedule".into()).spawn(wait).map(drop)
}

fn wait(
    broker: &Weak<Broker>,
    schedule: &Arc<Schedule>,
    runtime: &Handle,
    clock: &OwnedFd,
) -> io::Result<()> {
    loop {
        let Some(here) = broker.upgrade() else { return Ok(()) };
        for entry in schedule.begin(now()) {
            runtime.spawn(carry_out(here.clone(), schedule.clone(), entry));
        }
        drop(here);
        let (wall, boot) = schedule.next();
        if arm(clock, wall.unwrap_or(NEVER))? == Told::Set {
            schedule.clock_was_set(now());
            continue;
        }
        let pause = boot.map(|at| at.saturating_sub(now().boot));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        let mut ready = [PollFd::new(clock, PollFlags::IN), PollFd::new(&schedule.changed, PollFlags::IN)];
        match poll(&mut ready, pause.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        schedule.heard();
        let mut count = [0; 8];
        match rustix::io::read(clock, &mut count) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::CANCELED) => schedule.clock_was_set(now()),
            Err(e) => return Err(e.into()),
        }
    }
}

#[derive(PartialEq)]
enum Told {
    Nothing,
    /// Somebody has set the clock.
    Set,
}

/// Have the calendar's clock tell when it is so many seconds since 1970, or when it is set (timerfd_create(2)).
fn arm(clock: &OwnedFd, at: u64) -> io::Result<Told> {
    let tv_sec = i64::try_from(at.max(1)).unwrap_or(i64::MAX);
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let time = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec, tv_nsec: 0 } };
    match timerfd_settime(clock, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &time) {
        // It is armed all the same: the clock was set since the last time.
        Err(Errno::CANCELED) => Ok(Told::Set),
        Err(e) => Err(e.into()),
        Ok(_) => Ok(Told::Nothing),
    }
}

async fn carry_out(broker: Arc<Broker>, schedule: Arc<Schedule>, entry: Entry) {
    let name = entry.name.clone();
    let result = call(broker, entry).await;
    if let Err(error) = &result {
        tracing::warn!("schedule {name}: {error}");
    }
    let result = result.map(|done| (done.summary, done.audit)).map_err(|error| error.to_string());
    let end = move || schedule.end(&name, now(), result);
    let _ = tokio::task::spawn_blocking(end).await;
}

/// Who planned it, with no more power than they still have: the console knows whether they have an account, and which role.
async fn as_now(broker: &Broker, maker: Caller) -> Result<Caller, CallError> {
    let Some(person) = &maker.person else { return Ok(maker) };
    let meta = Meta::why("schedule").deadline_ms(ANSWER_MS);
    let AccountsReply::Accounts(all) = broker.accounts().call(meta, AccountsRequest::List).await? else {
        return Err(CallError::failed("the console answered something else than was asked"));
    };
    let planned = |why: &str| {
        let text = format!("{}, who planned it, {why}; somebody else has to plan it anew", person.name);
        CallError::denied(text)
    };
    match all.iter().find(|account| account.name == person.name) {
        None => Err(planned("has no account any more")),
        Some(account) if account.disabled => Err(planned("may not log in any more")),
        Some(account) => {
            let role = maker.role.min(account.role);
            let person = Some(Person { name: person.name.clone(), role });
            Ok(Caller { person, role, ..maker })
        }
    }
}

async fn call(broker: Arc<Broker>, entry: Entry) -> Result<CallDone, CallError> {
    let Entry { name, tool, args, purpose, maker, .. } = entry;
    let tool = tool::by_name(&tool)
        .ok_or_else(|| CallError::not_found(format!("this release has no tool {tool}")))?;
    let maker = as_now(&broker, maker).await?;
    let person = maker.person.clone();
    let meta = Meta::why(format!("schedule {name}: {purpose}")).on_behalf_of(person);
    let request = ToolRequest::Call { tool: tool.number, args, dry_run: false };
    // A fault of the call must not leave the entry running for ever.
    let answer = tokio::spawn(broker.answer(Way::new(maker, meta), request));
    match answer.await {
        Ok(Ok(ToolReply::Done(done))) => Ok(done),
        Ok(Ok(_)) => Err(CallError::failed("the broker answered something else than was asked")),
        Ok(Err(error)) => Err(error),
        Err(fault) => Err(CallError::new(ErrorCode::Failed, format!("a fault of the broker's own: {fault}"))),
    }
}
