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
        (r#"switch the machine off, reason "it is being moved""#, r#"{"reason":"it is being moved"}"#),
        (r#"power off in 900 seconds because of "weekend""#, r#"{"delay_seconds":900,"reason":"weekend"}"#),
        (r#"shut the computer down at once for "repair""#, r#"{"reason":"repair"}"#),
        (
            r#"shutdown -h 1800 "power cut announced""#,
            r#"{"delay_seconds":1800,"reason":"power cut announced"}"#,
        ),
        (r#"turn the appliance off with the reason "it overheats""#, r#"{"reason":"it overheats"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare: begin, summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Down, CallError> {
    prepare(ctx, args, PowerChange::Off)
}
