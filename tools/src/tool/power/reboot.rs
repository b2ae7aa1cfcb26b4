//! `power.reboot`

use super::shared::{Args, Down, NEEDS, prepare, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use aios_abi::service::PowerChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 90,
    name: "power.reboot",
    summary: "Restart the machine, at once or after a delay",
    effect: Effect::Irreversible,
    touches: &["the whole machine: all services are stopped"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        (r#"reboot the machine, reason "kernel update""#, r#"{"reason":"kernel update"}"#),
        (
            r#"restart the computer in 300 seconds because of "maintenance""#,
            r#"{"delay_seconds":300,"reason":"maintenance"}"#,
        ),
        (r#"do a reboot at once for "stuck network""#, r#"{"reason":"stuck network"}"#),
        (r#"shutdown -r 600 "new disk""#, r#"{"delay_seconds":600,"reason":"new disk"}"#),
        (
            r#"let the appliance start anew after 3600 seconds with the reason "update""#,
            r#"{"delay_seconds":3600,"reason":"update"}"#,
        ),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare: begin, summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Down, CallError> {
    prepare(ctx, args, PowerChange::Reboot)
}
