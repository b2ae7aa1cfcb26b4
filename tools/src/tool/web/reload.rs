//! `web.reload`

use super::shared::{SERVICE, Tested, test};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::service::shared::{ask, logs, one, unexpected};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How long nginx has to say what it did.
const WAIT: Duration = Duration::from_secs(10);
/// What nginx says when it works by the new configuration.
const TAKEN: &str = "start worker process";
/// What it says when it stays with the old one.
const REFUSED: &str = "[emerg]";

/// Make nginx work by its configuration as it is written now.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reloaded {
    /// What nginx found when the configuration was tested first: warnings at most.
    tested: Tested,
    /// nginx said that it works by it; otherwise it has said nothing yet.
    taken: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 136,
    name: "web.reload",
    summary: "Have nginx test its configuration and, if it is good, work by it without dropping a connection",
    // What was in force before is written nowhere: the files are changed already. To go back, undo that change of the
    // files, and reload again.
    effect: Effect::Irreversible,
    touches: &["nginx, which works by the files in /data/nginx/conf.d afterwards"],
    // The files decide; here they are only taken over, and bad ones are not.
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("put the changed site into force", "{}"),
        ("nginx -s reload", "{}"),
        ("let the web server take over its new configuration", "{}"),
        ("activate the new virtual host", "{}"),
        ("have nginx pick up the renewed certificate", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct, Asks::InitToLook]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Reload {
    tested: Tested,
}

fn prepare(ctx: &Ctx, _args: Args) -> Result<Reload, CallError> {
    let service = one(ctx, SERVICE)?;
    if service.state != "running" {
        let text =
            format!("nginx is {}; service.start starts it with the present configuration", service.state);
        return Err(CallError::unavailable(text));
    }
    let tested = test(ctx)?;
    match tested.good {
        true => Ok(Reload { tested }),
        false => Err(CallError::new(
            ErrorCode::Conflict,
            format!("nothing was done, nginx would refuse its configuration: {}", tested.why()),
        )),
    }
}

impl Change for Reload {
    type Output = Reloaded;

    fn target(&self) -> Target {
        Target::Service(SERVICE.into())
    }

    fn preview(&self) -> Preview {
        let warns = match self.tested.findings.len() {
            0 => String::new(),
            many => format!(", which it takes with {many} warnings"),
        };
        Preview { would: format!("have nginx work by the files in /data/nginx/conf.d{warns}"), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Reloaded, CallError> {
        let unit = Some(SERVICE.to_owned());
        let mut after = logs(ctx, unit, None, 1)?.0.last().map_or(0, |line| line.seq);
        match ask(ctx, InitRequest::Reload { name: SERVICE.into() })? {
            InitReply::Status(_) => {}
            _ => return Err(unexpected()),
        }
        let tested = self.tested.clone();
        let until = Instant::now() + WAIT.min(ctx.left() / 2);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Reloaded { tested, taken: false });
            }
            for line in ctx.new_lines(Some(SERVICE), None, after, left)? {
                after = after.max(line.seq);
                if line.text.contains(TAKEN) {
                    return Ok(Reloaded { tested, taken: true });
                }
                if line.text.contains(REFUSED) {
                    let text = format!("nginx goes on as before: {}", line.text);
                    return Err(CallError::failed(text));
                }
            }
        }
    }
}

fn summary(done: &Reloaded) -> String {
    let warns = match done.tested.findings.len() {
        0 => String::new(),
        many => format!("; it warns of {many} things"),
    };
    match done.taken {
        true => format!("nginx works by its present configuration{warns}"),
        false => {
            format!("nginx was told to take its present configuration and has not said that it did{warns}")
        }
    }
}
