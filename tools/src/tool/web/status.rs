//! `web.status`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use aios_unit::Family;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Where nginx tells of itself; init opens this socket for it.
const SOCKET: &str = "/run/nginx/status.sock";
/// An answer that is longer is none of ours.
const MAX_ANSWER: u64 = 8 << 10;

/// Look what the web server is doing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What nginx counts (nginx.org, "Module ngx_http_stub_status_module"), this question among it.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// Connections of clients, also those that wait.
    active: u64,
    /// Connections since nginx was started.
    accepted: u64,
    /// Those of them that were handled; fewer than accepted when a limit was reached.
    handled: u64,
    /// Requests since then.
    requests: u64,
    /// Connections of which a request is being read.
    reading: u64,
    /// Connections to which an answer is being written.
    writing: u64,
    /// Connections that are kept open and wait for another request.
    waiting: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 137,
    name: "web.status",
    summary: "Tell how busy the nginx web server is: connections and requests",
    effect: Effect::Read,
    touches: &["nginx's counters"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("how busy is the web server?", "{}"),
        ("how many requests has nginx served?", "{}"),
        ("does nginx answer?", "{}"),
        ("show the active connections of the web server", "{}"),
        ("has the web server dropped any connections?", "{}"),
    ],
    // The socket is everybody's, its directory the service's alone.
    needs: Needs::NOTHING.families(&[Family::Unix]).capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, _args: Args) -> Result<Status, CallError> {
    look(ctx, Path::new(SOCKET))
}

pub(crate) fn look(ctx: &Ctx, socket: &Path) -> Result<Status, CallError> {
    let answer = ctx.wait(async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    })?;
    let answer = answer.map_err(|e| {
        CallError::unavailable(format!(
            "nginx does not answer at {} ({e}); install the extension nginx and start its service",
            socket.display()
        ))
    })?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let ok = head.split_ascii_whitespace().nth(1) == Some("200");
    ok.then(|| parse(body)).flatten().ok_or_else(|| {
        let said = head.lines().next().unwrap_or_default();
        CallError::failed(format!("nginx answered something else than its status: \"{said}\""))
    })
}

/// The numbers stand in this order, between words.
pub(crate) fn parse(body: &str) -> Option<Status> {
    if !body.starts_with("Active connections:") {
        return None;
    }
    let mut numbers = body.split_ascii_whitespace().filter_map(|word| word.parse().ok());
    let mut next = || numbers.next();
    let [active, accepted, handled, requests] = [next()?, next()?, next()?, next()?];
    let [reading, writing, waiting] = [next()?, next()?, next()?];
    next().is_none().then_some(Status { active, accepted, handled, requests, reading, writing, waiting })
}

fn summary(status: &Status) -> String {
    let Status { active, requests, accepted, handled, waiting, .. } = status;
    let dropped = accepted.saturating_sub(*handled);
    format!(
        "{active} connections, {waiting} of them waiting; {requests} requests so far, {dropped} connections dropped"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_stand_where_they_belong() {
        let body = "Active connections: 9 \nserver accepts handled requests\n 8 7 16 \nReading: 1 Writing: 2 Waiting: 6 \n";
        let expected =
            Status { active: 9, accepted: 8, handled: 7, requests: 16, reading: 1, writing: 2, waiting: 6 };
        assert_eq!(parse(body), Some(expected));
        assert_eq!(parse(&body.replace(" 8 7", " 8")), None);
        assert_eq!(parse("<html>1 2 3 4 5 6 7</html>"), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read(body in "Active connections: [0-9 a-z\n]{0,60}|\\PC{0,60}") {
            let _ = parse(&body);
        }
    }
}
