//! `log.rotate`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::stored::DIRECTORY;
use crate::tool::process::shared::human_bytes;
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The service that keeps the logs.
const KEEPER: &str = "log";
/// How long it has for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Begin a new log file on the disk; of the eight that are kept the oldest goes. It happens by itself every 4 MiB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What is on the disk now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rotated {
    /// Log files.
    files: u32,
    /// Bytes of all of them.
    bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 182,
    name: "log.rotate",
    summary: "Begin a new log file on the disk; the oldest one goes",
    effect: Effect::Irreversible,
    touches: &["/data/log"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("rotate the logs", "{}"),
        ("begin a new log file", "{}"),
        ("let the log keeper start a fresh file", "{}"),
        ("logrotate now", "{}"),
        ("close the current log file and drop the oldest", "{}"),
    ],
    needs: Needs::NOTHING
        .read(&[DIRECTORY])
        .capabilities(CapabilitySet::DAC_READ_SEARCH)
        .asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Rotate {
    before: (u64, u64),
}

/// Device and inode of the file that is written.
fn current() -> Result<(u64, u64), CallError> {
    let path = format!("{DIRECTORY}/current.log");
    let stat = rustix::fs::stat(path.as_str()).map_err(|_| {
        CallError::unavailable(
            "no log is kept on a disk here: /data is in memory, or its keeper does not run",
        )
    })?;
    Ok((stat.st_dev, stat.st_ino))
}

fn prepare(_ctx: &Ctx, _args: Args) -> Result<Rotate, CallError> {
    Ok(Rotate { before: current()? })
}

impl Change for Rotate {
    type Output = Rotated;

    fn target(&self) -> Target {
        Target::Service(KEEPER.into())
    }

    fn preview(&self) -> Preview {
        Preview { would: "begin a new log file; the oldest of eight goes for good".into(), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Rotated, CallError> {
        let errno = std::io::Error::from;
        let watch = inotify::init(CreateFlags::CLOEXEC).map_err(errno)?;
        inotify::add_watch(&watch, DIRECTORY, WatchFlags::CREATE).map_err(errno)?;
        let InitReply::Status(_) = ask(ctx, InitRequest::Reload { name: KEEPER.into() })? else {
            return Err(unexpected());
        };
        let until = ctx.left().saturating_sub(PATIENCE);
        // The keeper says nothing when it is done; its file does.
        while current().ok().is_none_or(|now| now == self.before) {
            let left = Timespec::try_from(ctx.left().saturating_sub(until)).map_err(|_| late())?;
            match poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(late()),
                Ok(_) => drop(rustix::io::read(&watch, &mut [0; 4096][..]).map_err(errno)?),
                Err(Errno::INTR) => {}
                Err(e) => return Err(errno(e).into()),
            }
        }
        let (mut files, mut bytes) = (0, 0);
        for entry in std::fs::read_dir(DIRECTORY)?.flatten() {
            files += 1;
            bytes += entry.metadata().map_or(0, |facts| facts.len());
        }
        Ok(Rotated { files, bytes })
    }
}

fn late() -> CallError {
    CallError::failed("the log keeper has not begun a new file; service.status of `log` says more")
}

fn summary(rotated: &Rotated) -> String {
    format!("a new log file is begun; {} files have {}", rotated.files, human_bytes(rotated.bytes))
}
