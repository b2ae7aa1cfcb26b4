//! `power.status`

use super::shared::{Planned, planned};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show whether the machine is to go down, and in which ways its kernel lets it sleep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What is to come.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// A restart or a power-off that is planned.
    planned: Option<Planned>,
    /// Ways in which the kernel lets the machine sleep, such as `freeze` and `mem`; none on most servers.
    sleeps: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 93,
    name: "power.status",
    summary: "Show whether a restart or power-off is planned, and whether the machine can be suspended",
    effect: Effect::Read,
    touches: &["what is planned for the whole machine"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("is a reboot planned?", "{}"),
        ("when will the machine be switched off?", "{}"),
        ("why is the machine going down?", "{}"),
        ("can this machine be suspended?", "{}"),
        ("is a shutdown scheduled?", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/sys/power"]).asks(&[Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, _args: Args) -> Result<Status, CallError> {
    // A kernel that was built without sleep has no such file.
    let text = std::fs::read_to_string("/sys/power/state").unwrap_or_default();
    Ok(Status {
        planned: planned(ctx)?,
        sleeps: text.split_whitespace().take(8).map(str::to_owned).collect(),
    })
}

fn summary(status: &Status) -> String {
    let sleep = match status.sleeps.as_slice() {
        [] => "its kernel cannot suspend it".to_owned(),
        ways => format!("its kernel could suspend it ({})", ways.join(", ")),
    };
    match &status.planned {
        Some(planned) => format!("{}; {sleep}", planned.words()),
        None => format!("nothing is planned for the machine; {sleep}"),
    }
}
