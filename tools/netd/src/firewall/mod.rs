//! The firewall: who may reach this machine.
//!
//! | Module | What |
//! |---|---|
//! | [`state`] | rules and bans, and which changes of them are sound; pure |
//! | [`guard`] | who guesses passwords; pure |
//! | [`file`] | the state on disk |
//! | [`nft`] | the language of nf_tables |
//! | [`kernel`] | the state in the kernel |
//!
//! On a fresh machine everything passes, so that nobody is locked out and what an extension serves can be reached; what is
//! to be closed is a rule (`firewall.deny`), "everything" included. The kernel keeps the rules when this daemon ends, ends bans by
//! itself, and counts.

mod file;
mod guard;
mod kernel;
mod nft;
mod state;

use crate::trial::Attempt;
use aios_abi::firewall::{Ban, BanNow, FirewallChange, FirewallNow, FirewallRequest, RuleNow};
use aios_abi::net::NetReply;
use aios_abi::{CallError, ErrorCode};
use guard::{Due, Guard};
use state::State;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The firewall of this machine.
pub(crate) struct Firewall {
    path: PathBuf,
    begun: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    /// As it is in the kernel.
    now: State,
    /// As it is on disk: without what may still be taken back.
    lasting: State,
    /// Whether it is in the kernel at all.
    installed: bool,
    guard: Guard,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Firewall {
    /// Put into force what this folder holds. Whatever fails is said, and the network goes on.
    pub(crate) fn start(folder: &Path) -> Self {
        let path = folder.join("firewall.toml");
        let state = match file::load(&path, now_ms()) {
            Ok(state) => state.unwrap_or_else(State::open),
            Err(why) => {
                let aside = file::set_aside(&path);
                eprintln!(
                    "<3>{why}; {aside}, and until somebody says otherwise (firewall.remove) nothing but the console can be reached"
                );
                let closed = State::closed();
                if let Err(error) = file::save(&path, &closed) {
                    eprintln!("<3>{error}");
                }
                closed
            }
        };
        let inner = Inner { now: state.clone(), lasting: state, installed: false, guard: Guard::default() };
        let this = Self { path, begun: Instant::now(), inner: Mutex::new(inner) };
        if let Err(error) = this.inner() {
            eprintln!("<3>the firewall is not in force: {error}");
        }
        this
    }

    /// The firewall in force.
    fn inner(&self) -> Result<MutexGuard<'_, Inner>, CallError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.installed {
            // What an earlier run of this daemon has left is replaced, without losing what was counted.
            let counted = kernel::counted().unwrap_or_default();
            kernel::install(&inner.now, &counted, now_ms()).map_err(CallError::unavailable)?;
            inner.installed = true;
        }
        Ok(inner)
    }

    /// A change to be tried.
    pub(crate) fn attempt(self: Arc<Self>, change: FirewallChange) -> Attempt {
        let step = |change: FirewallChange, work: fn(&Self, &FirewallChange) -> Result<(), CallError>| {
            let this = Arc::clone(&self);
            Box::pin(async move { work(&this, &change) })
        };
        Attempt {
            what: change.to_string(),
            make: step(change.clone(), Self::make),
            keep: step(change.clone(), Self::keep),
            back: step(change.reversed(), Self::make),
        }
    }

    /// Answer a request that is no attempt.
    pub(crate) fn answer(&self, request: FirewallRequest) -> Result<NetReply, CallError> {
        match request {
            FirewallRequest::List => self.list().map(|now| NetReply::Firewall(Box::new(now))),
            FirewallRequest::Change(change) | FirewallRequest::Try { change, .. } => {
                self.change(&change).map(|()| NetReply::Done)
            }
            FirewallRequest::Login { address, good } => {
                let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let due = self.inner()?.guard.login(address, good, now);
                due.map_or(Ok(()), |due| self.ban(due)).map(|()| NetReply::Done)
            }
        }
    }

    fn list(&self) -> Result<FirewallNow, CallError> {
        let inner = self.inner()?;
        let counted = kernel::counted().map_err(CallError::unavailable)?;
        let rules = inner.now.in_order().into_iter();
        let rules = rules.map(|(id, rule)| RuleNow { id, rule: rule.clone(), count: counted.of_rule(id) });
        let bans = inner.now.bans.iter().filter_map(|(of, ban)| {
            let (left_ms, count) = counted.of_ban(of)?;
            Some(BanNow { of: *of, ban: ban.clone(), left_ms, count })
        });
        Ok(FirewallNow {
            rules: rules.collect(),
            bans: bans.collect(),
            rest: kernel::REST.map(|name| (name.to_owned(), counted.named(name))).into(),
            next_id: inner.now.next,
        })
    }

    /// Make a change that lasts.
    fn change(&self, change: &FirewallChange) -> Result<(), CallError> {
        self.make(change)?;
        self.keep(change).inspect_err(|_| {
            if let Err(error) = self.make(&change.clone().reversed()) {
                eprintln!("<3>the firewall's change was not taken back ({change}): {error}");
            }
        })
    }

    /// Make a change in the kernel; a restart takes it back.
    pub(crate) fn make(&self, change: &FirewallChange) -> Result<(), CallError> {
        let mut inner = self.inner()?;
        let now = now_ms();
        if let Some(new) = inner.now.changed(change, now)? {
            kernel::change(&inner.now, &new, now).map_err(CallError::failed)?;
            inner.now = new;
            eprintln!("<5>firewall: {change}");
        }
        Ok(())
    }

    /// Write down a change that was made.
    pub(crate) fn keep(&self, change: &FirewallChange) -> Result<(), CallError> {
        let mut inner = self.inner()?;
        let now = now_ms();
        if inner.now.clone().apply(change, now)? {
            let text = format!("this was changed once more meanwhile: {change}");
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        // Numbers are never given twice, also not that of a rule that was only tried.
        let mut lasting = State { next: inner.now.next, ..inner.lasting.clone() };
        lasting.apply(change, now)?;
        file::save(&self.path, &lasting).map_err(CallError::failed)?;
        inner.lasting = lasting;
        Ok(())
    }

    fn ban(&self, Due { of, seconds, reason }: Due) -> Result<(), CallError> {
        let before = self.inner()?.now.bans.get(&of).cloned();
        let until_ms = now_ms().saturating_add(u64::from(seconds) * 1_000);
        let after = Some(Ban { until_ms, seconds, reason: reason.clone() });
        let banned = self.change(&FirewallChange::Ban { of, before, after });
        match &banned {
            Ok(()) => eprintln!("<4>{of} is banned for {seconds} s: {reason}"),
            Err(error) => eprintln!("<4>{of} is not banned ({reason}): {error}"),
        }
        banned
    }
}
