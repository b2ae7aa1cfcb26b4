//! `service.list`

use super::shared::{Service, all};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// List the services.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only services that are not well: dead, failed, retried or degraded.
    #[serde(default)]
    only_unhealthy: bool,
}

/// The services.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Services {
    /// The services, by name.
    services: Vec<Service>,
    /// Service files that init refused, one sentence each.
    refused: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 20,
    name: "service.list",
    summary: "List the services and their state",
    effect: Effect::Read,
    touches: &["state of the services"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("which services are running?", "{}"),
        ("list all services", "{}"),
        ("are all daemons healthy?", "{}"),
        ("has any service failed or crashed?", r#"{"only_unhealthy":true}"#),
        ("show the status of everything that init supervises", "{}"),
        ("what is not working?", r#"{"only_unhealthy":true}"#),
        ("services", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Services, CallError> {
    let (mut services, refused) = all(ctx)?;
    if args.only_unhealthy {
        services.retain(|service| !is_well(service));
    }
    Ok(Services { services, refused })
}

fn is_well(service: &Service) -> bool {
    !service.degraded && matches!(service.state.as_str(), "running" | "stopped" | "starting" | "waiting")
}

fn summary(found: &Services) -> String {
    let ill: Vec<_> =
        found.services.iter().filter(|s| !is_well(s)).map(|s| format!("{} is {}", s.name, s.state)).collect();
    let running = found.services.iter().filter(|s| s.state == "running").count();
    let mut text = format!("{running} of {} services are running", found.services.len());
    if !ill.is_empty() {
        text += &format!("; {}", ill.join(", "));
    }
    if !found.refused.is_empty() {
        text += &format!("; {} service files were refused", found.refused.len());
    }
    text
}
