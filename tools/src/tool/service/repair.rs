//! `service.repair`

use super::shared::{Service, one};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::run::shared::{Args as Named, Begin, Ran, prepare as find, wait};
use aios_abi::run::RunHow;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Repair a service in a way that it declares itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `shop`.
    name: String,
    /// What is to be done.
    action: Action,
}

/// What a service may offer: its file declares a command of this name with `-` for `_`, and what that does is up to the
/// service. Whoever asks can add nothing to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Empty its cache, which it fills again by itself.
    ClearCache,
    /// Write its environment or generated configuration anew from what it is made of.
    RegenerateEnv,
    /// Work with what stands in for a part that has failed.
    SwitchToFallback,
    /// Work with the part itself again.
    SwitchBack,
}

impl Action {
    fn command(self) -> &'static str {
        match self {
            Self::ClearCache => "clear-cache",
            Self::RegenerateEnv => "regenerate-env",
            Self::SwitchToFallback => "switch-to-fallback",
            Self::SwitchBack => "switch-back",
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Repaired {
    /// What the command of the service came to.
    ran: Ran,
    /// The service afterwards.
    service: Service,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 218,
    name: "service.repair",
    summary: "Repair a service in a way that it declares: clear its cache, write its environment anew, switch to its fallback or back",
    effect: Effect::Irreversible,
    touches: &["what the sandbox of the service lets it change"],
    role: Role::Operator,
    timeout_ms: 600_000,
    examples: &[
        ("clear the cache of shop", r#"{"name":"shop","action":"clear_cache"}"#),
        ("empty web's cache, it serves stale pages", r#"{"name":"web","action":"clear_cache"}"#),
        ("regenerate the environment of the service api", r#"{"name":"api","action":"regenerate_env"}"#),
        ("write the env file of worker anew", r#"{"name":"worker","action":"regenerate_env"}"#),
        ("switch shop to its fallback", r#"{"name":"shop","action":"switch_to_fallback"}"#),
        (
            "let api work with its main database again, switch it back",
            r#"{"name":"api","action":"switch_back"}"#,
        ),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

/// A repair that was found.
pub(crate) struct Repair {
    name: String,
    begin: Begin,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Repair, CallError> {
    // A service that is not there is told apart from one that offers nothing.
    let name = one(ctx, &args.name)?.name;
    let command = Named::of(name.clone(), args.action.command().into());
    Ok(Repair { begin: find(ctx, command, RunHow::Wait)?, name })
}

impl Change for Repair {
    type Output = Repaired;

    fn target(&self) -> Target {
        self.begin.target()
    }

    fn preview(&self) -> Preview {
        self.begin.preview()
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Repaired, CallError> {
        Ok(Repaired { ran: wait(ctx, self.begin.request())?, service: one(ctx, &self.name)? })
    }

    fn verify(&self, _ctx: &Ctx, done: &Repaired) -> Result<(), CallError> {
        done.ran.succeeded()
    }
}

/// The result in one line.
fn summary(done: &Repaired) -> String {
    let Service { name, state, .. } = &done.service;
    format!("{name} is {state}; {}", crate::tool::run::shared::summary(&done.ran))
}
