//! `service.reload`

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

/// Make a service read its configuration again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `netd`.
    name: String,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reloaded {
    /// The service now.
    service: Service,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 24,
    name: "service.reload",
    summary: "Make a service read its configuration again without a restart",
    effect: Effect::Irreversible,
    touches: &["the service named"],
    // Harmless, but there is nothing to take back.
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("reload netd", r#"{"name":"netd"}"#),
        ("make the console read its configuration again", r#"{"name":"console"}"#),
        ("reload the configuration of the service inferd", r#"{"name":"inferd"}"#),
        ("let netd take over its changed settings", r#"{"name":"netd"}"#),
        ("send agentd its reload signal", r#"{"name":"agentd"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Reload {
    before: Service,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Reload, CallError> {
    Ok(Reload { before: one(ctx, &args.name)? })
}

impl Change for Reload {
    type Output = Reloaded;

    fn target(&self) -> Target {
        Target::Service(self.before.name.clone())
    }

    fn preview(&self) -> Preview {
        let Service { name, state, .. } = &self.before;
        Preview { would: format!("send {name}, which is {state}, its reload signal"), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Reloaded, CallError> {
        match ask(ctx, InitRequest::Reload { name: self.before.name.clone() })? {
            InitReply::Status(status) => Ok(Reloaded { service: status.into() }),
            _ => Err(unexpected()),
        }
    }
}

fn summary(done: &Reloaded) -> String {
    format!("{} was told to read its configuration again; it is {}", done.service.name, done.service.state)
}
