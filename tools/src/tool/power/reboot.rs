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
        ("reboot with the reason maintenance", r#"{"reason":"maintenance"}"#),
        ("restart the computer in 300 seconds, reason update", r#"{"delay_seconds":300,"reason":"update"}"#),
        ("boot anew at once, reason hang", r#"{"reason":"hang"}"#),
        ("shutdown -r 600 upgrade", r#"{"delay_seconds":600,"reason":"upgrade"}"#),
        (
            "let the appliance start over after 3600 seconds, reason repair",
            r#"{"delay_seconds":3600,"reason":"repair"}"#,
        ),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare: begin, summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Down, CallError> {
    prepare(ctx, args, PowerChange::Reboot)
}
