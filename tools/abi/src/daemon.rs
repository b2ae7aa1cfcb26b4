//! What every daemon does at its start: log lines as PID 1 takes them, and its listening socket.

use crate::error::CallError;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio_seqpacket::UnixSeqpacketListener;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Write records from `info` on, or those that `RUST_LOG` asks for, to stderr: one line each, with the
/// `<N>` priority that PID 1 reads (sd-daemon(3)). PID 1 adds the time.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(Line)
        .init();
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Tell PID 1 that the daemon is ready, and from then on that it is alive, as often as PID 1 wants to hear it
/// (sd_watchdog_enabled(3)). To be called inside the runtime: one that makes no progress says nothing.
pub fn ready() {
    if let Some(pause) = ready_and_alive_every() {
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(pause);
            loop {
                tick.tick().await;
                alive();
            }
        });
    }
}

/// The same for a daemon without a runtime: it says itself that it is [`alive`], this often.
pub fn ready_and_alive_every() -> Option<Duration> {
    crate::sys::notify("READY=1");
    let variable = |name| std::env::var(name).ok();
    let limit = watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
    limit.map(|limit| limit / 2)
}

/// Tell PID 1 that the daemon makes progress.
pub fn alive() {
    crate::sys::notify("WATCHDOG=1");
}

/// The longest silence, if it is asked of this process.
fn watchdog(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec = usec.filter(|_| ours)?.parse().ok().filter(|usec| *usec >= 2);
    usec.map(Duration::from_micros)
}

/// The listening socket that PID 1 passed under this name or, for a daemon that is started by hand, a
/// new one at `path`.
pub fn listener(name: &str, path: Option<&Path>) -> Result<UnixSeqpacketListener, CallError> {
    listener_of(crate::sys::inherited_fds(), name, path)
}

/// The same among [descriptors](crate::sys::inherited_fds) of which the daemon has [taken](take) others.
pub fn listener_of(
    inherited: Vec<(String, OwnedFd)>,
    name: &str,
    path: Option<&Path>,
) -> Result<UnixSeqpacketListener, CallError> {
    UnixSeqpacketListener::try_from(listening_of(inherited, name, path)?)
        .map_err(|e| CallError::failed(format!("the listening socket {name} cannot be used: {e}")))
}

/// Take the descriptor of this name out of those that PID 1 passed, if it did.
pub fn take(inherited: &mut Vec<(String, OwnedFd)>, name: &str) -> Option<OwnedFd> {
    let place = inherited.iter().position(|(found, _)| found == name)?;
    Some(inherited.swap_remove(place).1)
}

/// [`listener`] for a daemon without a runtime.
pub fn listening(name: &str, path: Option<&Path>) -> Result<OwnedFd, CallError> {
    listening_of(crate::sys::inherited_fds(), name, path)
}

fn listening_of(
    mut inherited: Vec<(String, OwnedFd)>,
    name: &str,
    path: Option<&Path>,
) -> Result<OwnedFd, CallError> {
    match (take(&mut inherited, name), path) {
        (Some(fd), _) => Ok(fd),
        (None, Some(path)) => {
            // What an earlier run left behind.
            let _ = std::fs::remove_file(path);
            listen_at(path).map_err(|e| {
                let e = std::io::Error::from(e);
                CallError::failed(format!("{} cannot be listened on: {e}", path.display()))
            })
        }
        (None, None) => Err(CallError::invalid(format!(
            "no socket named {name} was inherited; give one with --socket PATH"
        ))),
    }
}

fn listen_at(path: &Path) -> rustix::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    /// As many as the kernel lets wait (`SOMAXCONN`).
    const WAITING: i32 = 4096;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, WAITING)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_is_meant_is_asked_to_say_that_it_lives() {
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(watchdog(text("2000000"), text("7"), 7), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(text("2000000"), None, 7), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(text("2000000"), text("8"), 7), None);
        assert_eq!(watchdog(text("0"), None, 7), None);
        assert_eq!(watchdog(text("soon"), None, 7), None);
        assert_eq!(watchdog(None, text("7"), 7), None);
    }
}
