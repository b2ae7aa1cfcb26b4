//! `power.suspend`

use super::shared::{Args as When, Down, NEEDS, prepare, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use aios_abi::service::{MAX_DELAY_SECONDS, PowerChange};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the kernel says how it can sleep.
const STATE: &str = "/sys/power/state";

/// When the machine is to sleep, for how long, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Seconds until then; 0 is at once, a week (604800) the most.
    #[serde(default)]
    #[schemars(range(max = 604_800))]
    delay_seconds: u32,
    /// Seconds after which its clock wakes it; 0 leaves that to its button or network card.
    #[serde(default)]
    #[schemars(range(max = 604_800))]
    wake_after_seconds: u32,
    /// Why, in a few words (at most 200 characters): shown on the console and to everybody who asks.
    reason: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 219,
    name: "power.suspend",
    summary: "Send the machine to sleep, at once or after a delay, and let its clock wake it",
    effect: Effect::Irreversible,
    touches: &["the whole machine: everything stands still until it wakes"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("suspend the machine with the reason night", r#"{"reason":"night"}"#),
        ("sleep for 3600 seconds, reason lunch", r#"{"wake_after_seconds":3600,"reason":"lunch"}"#),
        (
            "go to sleep in 60 seconds and wake up 600 seconds later, reason test",
            r#"{"delay_seconds":60,"wake_after_seconds":600,"reason":"test"}"#,
        ),
        ("put the computer into standby, reason quiet", r#"{"reason":"quiet"}"#),
        ("suspend to RAM, reason energy", r#"{"reason":"energy"}"#),
    ],
    needs: NEEDS.read(&[STATE]),
    code: &Make { paths: no_paths, prepare: begin, summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Down, CallError> {
    let Args { delay_seconds, wake_after_seconds, reason } = args;
    if wake_after_seconds > MAX_DELAY_SECONDS {
        let text = format!("`wake_after_seconds` must be at most {MAX_DELAY_SECONDS}, a week");
        return Err(CallError::invalid(text));
    }
    let offered = std::fs::read_to_string(STATE).unwrap_or_default();
    if !offered.split_whitespace().any(|state| matches!(state, "mem" | "freeze")) {
        return Err(CallError::unavailable(
            "this machine cannot sleep: its kernel or firmware offers no way to",
        ));
    }
    prepare(ctx, When { delay_seconds, reason }, PowerChange::Suspend { wake_after_seconds })
}
