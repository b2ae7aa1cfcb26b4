//! `service.restart`

use super::shared::{Service, ask, one, unexpected};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The broker's own service.
const SELF: &str = "toold";

/// Restart a service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `netd`.
    name: String,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Restarted {
    /// Name of the service.
    name: String,
    /// Its main process before.
    pid_before: Option<u32>,
    /// The service now; none for toold itself, which cannot see it.
    service: Option<Service>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 22,
    name: "service.restart",
    summary: "Restart a service",
    effect: Effect::Irreversible,
    touches: &["the service named"],
    // Harmless, but there is nothing to take back.
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("restart netd", r#"{"name":"netd"}"#),
        ("please restart the console", r#"{"name":"console"}"#),
        ("bounce the inference daemon inferd", r#"{"name":"inferd"}"#),
        ("stop and start the agentd service again", r#"{"name":"agentd"}"#),
        ("reboot the service toold", r#"{"name":"toold"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

/// A service that is to be restarted.
pub(crate) struct Restart {
    before: Service,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Restart, CallError> {
    restart(ctx, &args.name)
}

/// Look at it.
pub(crate) fn restart(ctx: &Ctx, name: &str) -> Result<Restart, CallError> {
    Ok(Restart { before: one(ctx, name)? })
}

impl Change for Restart {
    type Output = Restarted;

    fn target(&self) -> Target {
        Target::Service(self.before.name.clone())
    }

    fn preview(&self) -> Preview {
        Preview { would: format!("restart {}, which is {}", self.before.name, self.before.state), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Restarted, CallError> {
        let name = self.before.name.clone();
        let request = InitRequest::Restart { name: name.clone() };
        let service = if name == SELF {
            // Nobody hears the answer of a broker that has ended, so the answer goes first.
            ctx.init_later(request)?;
            None
        } else {
            match ask(ctx, request)? {
                InitReply::Status(status) => Some(status.into()),
                _ => return Err(unexpected()),
            }
        };
        Ok(Restarted { name, pid_before: self.before.pid, service })
    }

    fn verify(&self, _ctx: &Ctx, done: &Restarted) -> Result<(), CallError> {
        match &done.service {
            Some(service) if service.state != "running" && self.before.state == "running" => {
                Err(CallError::failed(format!(
                    "{} was restarted but is {} now{}; its log says more",
                    service.name,
                    service.state,
                    service.last_exit.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
                )))
            }
            _ => Ok(()),
        }
    }
}

/// The result in one line.
pub(crate) fn summary(done: &Restarted) -> String {
    match &done.service {
        Some(service) => format!("restarted {}: it is {}", done.name, service.state),
        None => format!("{} restarts now", done.name),
    }
}
