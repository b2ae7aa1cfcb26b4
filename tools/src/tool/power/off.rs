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
        ("switch the machine off, it is being moved", r#"{"reason":"it is being moved"}"#),
        ("power off in 10 minutes because of the weekend", r#"{"delay_seconds":600,"reason":"weekend"}"#),
        ("shut the computer down now for a repair", r#"{"reason":"repair"}"#),
        ("shutdown -h +60 power cut announced", r#"{"delay_seconds":3600,"reason":"power cut announced"}"#),
        ("turn the appliance off, it overheats", r#"{"reason":"it overheats"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare: begin, summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Down, CallError> {
    prepare(ctx, args, PowerChange::Off)
}
