//! `fs.watch`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// Seconds that somebody may watch.
const MAX_SECONDS: u32 = 600;
/// Events in one answer.
const MAX_EVENTS: u32 = 1_000;

/// Watch a file, or what is right in a directory, for a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file or the directory; directories in it are not watched.
    path: String,
    /// For how many seconds.
    #[serde(default = "default_seconds")]
    #[schemars(range(min = 1, max = 600))]
    seconds: u32,
    /// End when so much has happened; 1 waits for the first event.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: u32,
}

fn default_seconds() -> u32 {
    10
}

fn default_limit() -> u32 {
    100
}

/// What happened.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Watched {
    /// The real path that was watched.
    path: String,
    /// What happened, in order; the same to one name, one after the other, is one event.
    events: Vec<Event>,
    /// For how many milliseconds it was watched.
    milliseconds: u64,
    /// More happened than the kernel could hold; some of it is missing.
    missed: bool,
}

/// One thing that happened.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Event {
    /// When it was seen first, RFC 3339, UTC.
    time: String,
    /// Name in the directory; none for what was watched itself. Bytes that are no UTF-8 are replaced.
    name: Option<String>,
    /// What happened.
    what: What,
    /// How often, one after the other.
    times: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum What {
    /// It is new.
    Created,
    /// Its content was changed.
    Changed,
    /// Somebody who had it open for writing has closed it.
    Written,
    /// Its permissions, owner or times were changed.
    Facts,
    /// It came from another name.
    MovedHere,
    /// It went to another name.
    MovedAway,
    /// It is gone.
    Removed,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 113,
    name: "fs.watch",
    summary: "Watch a file or a directory for changes for some seconds",
    effect: Effect::Read,
    touches: &["names of the files in the directory, while they change"],
    role: Role::Viewer,
    timeout_ms: 610_000,
    examples: &[
        ("watch /data/inbox for 30 seconds", r#"{"path":"/data/inbox","seconds":30}"#),
        ("tell me when /data/report.csv changes", r#"{"path":"/data/report.csv","seconds":60,"limit":1}"#),
        (
            "wait until a file arrives in /data/incoming",
            r#"{"path":"/data/incoming","seconds":60,"limit":1}"#,
        ),
        (
            "who keeps writing to /data/state.json? look for 20 seconds",
            r#"{"path":"/data/state.json","seconds":20}"#,
        ),
        ("inotifywait /data/drop", r#"{"path":"/data/drop"}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::List, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Watched, CallError> {
    if args.seconds == 0 || args.seconds > MAX_SECONDS {
        return Err(CallError::invalid(format!("`seconds` must be 1 to {MAX_SECONDS}")));
    }
    if args.limit == 0 || args.limit > MAX_EVENTS {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX_EVENTS} events")));
    }
    let found = file::find(&args.path, true)?;
    ctx.may_see(&found.path)?;
    if !matches!(found.kind(), FileType::RegularFile | FileType::Directory) {
        let kind = file::kind_name(found.kind());
        return Err(CallError::invalid(format!("{} is a {kind}; it is not watched", found.path.display())));
    }
    let io = |e: Errno| CallError::from(std::io::Error::from(e));
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io)?;
    let wanted = WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
        | WatchFlags::MOVE
        | WatchFlags::MOVE_SELF
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF;
    // What was found is watched, whatever its path names by now.
    inotify::add_watch(&watch, found.itself(), wanted).map_err(|e| match e {
        Errno::NOSPC => CallError::unavailable("the kernel watches as much as it may; try again later"),
        e => io(e),
    })?;
    let path = found.path.display().to_string();
    let begun = Instant::now();
    let until = begun + Duration::from_secs(args.seconds.into());
    ctx.progress(format!("{path} is being watched"), None);
    let mut watched = Watched { path, events: Vec::new(), milliseconds: 0, missed: false };
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut reader = Reader::new(&watch, &mut buffer);
    'watching: while (watched.events.len() as u32) < args.limit {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap_or_default();
        let mut fds = [PollFd::new(&watch, PollFlags::IN)];
        if poll(&mut fds, Some(&left)).map_err(io)? == 0 {
            break;
        }
        loop {
            let (flags, name) = match reader.next() {
                Ok(event) => (event.events(), event.file_name().map(|n| n.to_string_lossy().into_owned())),
                Err(Errno::AGAIN) => break,
                Err(e) => return Err(io(e)),
            };
            watched.missed |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            if flags.contains(ReadFlags::IGNORED) {
                // What was watched does not exist any more.
                break 'watching;
            }
            let Some(what) = meaning(flags) else { continue };
            if note(&mut watched.events, what, name) {
                let event = watched.events.last().map(told).unwrap_or_default();
                ctx.progress(event, None);
            }
            if watched.events.len() as u32 >= args.limit && reader.is_buffer_empty() {
                break 'watching;
            }
        }
    }
    watched.events.truncate(args.limit as usize);
    watched.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(watched)
}

fn meaning(flags: ReadFlags) -> Option<What> {
    [
        (ReadFlags::CREATE, What::Created),
        (ReadFlags::MODIFY, What::Changed),
        (ReadFlags::CLOSE_WRITE, What::Written),
        (ReadFlags::MOVED_TO, What::MovedHere),
        (ReadFlags::MOVED_FROM | ReadFlags::MOVE_SELF, What::MovedAway),
        (ReadFlags::DELETE | ReadFlags::DELETE_SELF, What::Removed),
        (ReadFlags::ATTRIB, What::Facts),
    ]
    .into_iter()
    .find_map(|(any, what)| flags.intersects(any).then_some(what))
}

/// Count it to the last event if that was the same; whether it is a new one.
fn note(events: &mut Vec<Event>, what: What, name: Option<String>) -> bool {
    if let Some(last) = events.last_mut().filter(|last| last.what == what && last.name == name) {
        last.times = last.times.saturating_add(1);
        return false;
    }
    events.push(Event { time: format!("{:.3}", Timestamp::now()), name, what, times: 1 });
    true
}

fn told(event: &Event) -> String {
    let what = match event.what {
        What::Created => "was created",
        What::Changed => "was changed",
        What::Written => "was written and closed",
        What::Facts => "got other permissions, owner or times",
        What::MovedHere => "was moved here",
        What::MovedAway => "was moved away",
        What::Removed => "was removed",
    };
    format!("{} {what}", event.name.as_deref().unwrap_or("it"))
}

fn summary(watched: &Watched) -> String {
    let seconds = (watched.milliseconds as f64 / 100.0).round() / 10.0;
    match watched.events.as_slice() {
        [] => format!("nothing happened to {} in {seconds} s", watched.path),
        [only] => format!("{}: {} ({seconds} s)", watched.path, told(only)),
        [.., last] => format!(
            "{}: {} events in {seconds} s, the last: {}",
            watched.path,
            watched.events.len(),
            told(last)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_is_counted_and_something_else_is_a_new_event() {
        let mut events = Vec::new();
        let name = || Some("a".to_owned());
        assert!(note(&mut events, What::Changed, name()));
        assert!(!note(&mut events, What::Changed, name()));
        assert!(note(&mut events, What::Changed, None));
        assert!(note(&mut events, What::Written, None));
        let told: Vec<_> = events.iter().map(|e| (e.what, e.times)).collect();
        assert_eq!(told, [(What::Changed, 2), (What::Changed, 1), (What::Written, 1)]);
        assert_eq!(meaning(ReadFlags::DELETE_SELF), Some(What::Removed));
        assert_eq!(meaning(ReadFlags::ISDIR), None);
    }
}
