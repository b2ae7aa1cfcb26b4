//! Calls run in processes of their own. The broker decides and keeps the books, without any power over the machine;
//! the *workshop* ([`shop`]), a service beside it, makes a process for each call, which takes away from itself what
//! the tool did not declare for these arguments ([`hand`]) and then speaks with the broker alone ([`hire`]).

pub mod hand;
pub mod hire;
mod packet;
pub mod shop;
mod slots;

use crate::caller::Caller;
use crate::declaration::{Finished, Preview};
use crate::judge::PolicyAnswer;
use crate::policy::{Policy, Target};
use crate::reach::Question;
use crate::schedule::ScheduleAnswer;
use crate::undo::Kept;
use aios_abi::CallError;
use aios_abi::accounts::AccountsReply;
use aios_abi::audit::{Head, Record};
use aios_abi::infer::InferReply;
use aios_abi::net::NetReply;
use aios_abi::service::{InitReply, LogLine};
use aios_abi::tool::Progress;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the broker sends the workshop.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Make a worker; one descriptor comes with it, the worker's end of the conversation.
    Job(Box<Job>),
    /// End the worker of this job, whatever it does.
    Kill(u64),
}

/// One call.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    id: u64,
    /// Wire number of the tool.
    tool: u16,
    caller: Caller,
    policy: Policy,
    /// Milliseconds that it may take.
    limit_ms: u32,
    /// What the caller may look at, so that it need not be asked: real paths, if they are not private.
    seen: Vec<PathBuf>,
    work: Work,
}

#[derive(Debug, Serialize, Deserialize)]
enum Work {
    /// A call with these arguments.
    Call { args: String },
    /// Take back a change.
    Undo(Kept),
    /// Remove what a change to this file left behind when it was cut off.
    Tidy { target: String },
}

/// What a worker says, and at the end the workshop for it.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Progress(Progress),
    /// It waits for the [`Told::Answer`].
    Asks(Question),
    /// It waits for the [`Told::Go`].
    Prepared {
        target: Target,
        preview: Preview,
        kept: Option<Kept>,
    },
    Done(Finished),
    Failed(CallError),
    /// It has ended without a result: how.
    Ended(String),
}

/// What a worker is told.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Answer(Result<Answer, CallError>),
    /// Make the change.
    Go,
}

/// An answer to a [`Question`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Of init.
    Init(InitReply),
    /// It will be asked later.
    Later,
    /// New lines of init's logs, oldest first; none when time was over.
    Lines(Vec<LogLine>),
    /// Of netd.
    Net(NetReply),
    /// A record, if there is one.
    Record(Option<Box<Record>>),
    /// Records and the head.
    Records(Vec<Record>, Box<Head>),
    /// The chain is whole up to here.
    Verified(Box<Head>),
    /// Of the judge.
    Policy(Box<PolicyAnswer>),
    /// It may be looked at.
    MayLook,
    /// What is planned.
    Schedule(Box<ScheduleAnswer>),
    /// Of the console.
    Accounts(AccountsReply),
    /// Of inferd.
    Infer(Box<InferReply>),
    /// The baseline of files that is kept.
    Baseline(Option<String>),
}

/// Take this for a packet that the broker, the workshop or a worker was sent: for tests of hostile bytes.
pub fn foreign(packet: &[u8]) {
    let _ = aios_abi::frame::decode::<Order>(packet);
    let _ = aios_abi::frame::decode::<Job>(packet);
    let _ = aios_abi::frame::decode::<Told>(packet);
    let _ = aios_abi::frame::decode::<Said>(packet);
}
