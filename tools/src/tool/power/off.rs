//! `power.off`

use super::shared::{Args, Down, NEEDS, prepare, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use aios_abi::service::PowerChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 91,
    name: "power.off",
    summary: "Switch the machine off, at once or after a delay",
    effect: Effect::Irreversible,
    touches: &["the whole machine: all services are stopped"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("switch the machine off with the reason moving", r#"{"reason":"moving"}"#),
        ("power off in 900 seconds, reason weekend", r#"{"delay_seconds":900,"reason":"weekend"}"#),
        ("shut the computer down, reason repairs", r#"{"reason":"repairs"}"#),
        ("shutdown -h 1800 powercut", r#"{"delay_seconds":1800,"reason":"powercut"}"#),
        ("turn the appliance off, reason overheating", r#"{"reason":"overheating"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare: begin, summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Down, CallError> {
    prepare(ctx, args, PowerChange::Off)
}
