//! `process.spawn`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use crate::tool::run::shared::{Args, Spawn, prepare, running_summary};
use aios_abi::run::RunHow;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 154,
    name: "process.spawn",
    summary: "Start a process in the background: a command of a service, whose output goes to the service's log",
    effect: Effect::Irreversible,
    touches: &["what the sandbox of the service lets it change"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("spawn the command dump of postgresql", r#"{"service":"postgresql","command":"dump"}"#),
        ("start the backup of redis in the background", r#"{"service":"redis","command":"backup"}"#),
        ("launch a process: crawl of the service search", r#"{"service":"search","command":"crawl"}"#),
        (
            "kick off import of the service library with the file books.csv and do not wait for it",
            r#"{"service":"library","command":"import","arguments":["books.csv"]}"#,
        ),
        ("begin the long build of site as a background job", r#"{"service":"site","command":"build"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare: begin, summary: running_summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Spawn, CallError> {
    prepare(ctx, args, RunHow::Background).map(Spawn)
}
