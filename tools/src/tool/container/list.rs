//! `container.list`

use super::shared::{LOOKS_AT, all};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::tool::service::shared::{self, Service};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// List the containers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only those that run.
    #[serde(default)]
    running: bool,
}

/// The containers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Containers {
    /// By name.
    containers: Vec<Container>,
}

/// One container.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Container {
    /// Its name, which is that of its service.
    name: String,
    /// Version of its image.
    version: String,
    /// Bytes of its image.
    bytes: u64,
    /// Its service; none while init does not know it.
    service: Option<Service>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 155,
    name: "container.list",
    summary: "List the containers (extensions made from OCI bundles): version, state, memory",
    effect: Effect::Read,
    touches: &["/data/extensions", "state of the services"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("which containers are there?", "{}"),
        ("list the running containers", r#"{"running":true}"#),
        ("docker ps", r#"{"running":true}"#),
        ("show all containers, even the stopped ones", "{}"),
        ("do any containers run on this machine?", r#"{"running":true}"#),
    ],
    needs: LOOKS_AT,
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Containers, CallError> {
    let (services, _) = shared::all(ctx)?;
    let containers = all(ctx)?.into_iter().map(|image| {
        let name = image.manifest.name;
        let service = services.iter().find(|service| service.name == name).cloned();
        Container { name, version: image.manifest.version, bytes: image.seal.file_bytes(), service }
    });
    let runs = |one: &Container| one.service.as_ref().is_some_and(|service| service.pid.is_some());
    Ok(Containers { containers: containers.filter(|one| !args.running || runs(one)).collect() })
}

fn summary(found: &Containers) -> String {
    let state =
        |one: &Container| one.service.as_ref().map_or("unknown to init", |s| s.state.as_str()).to_owned();
    let words: Vec<String> = found
        .containers
        .iter()
        .map(|one| format!("{} {} is {}", one.name, one.version, state(one)))
        .collect();
    match words.is_empty() {
        true => "no container".into(),
        false => words.join(", "),
    }
}
