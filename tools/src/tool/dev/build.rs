//! `dev.build`

use super::shared::{Args, Made, make, summary};
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::who::Role;

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 198,
    name: "dev.build",
    summary: "Build a commit of a repository in a sandbox that is thrown away, and report what failed",
    effect: Effect::Read,
    touches: &[
        "a copy of the commit in memory, in a sandbox without a network and without any other file to change",
    ],
    role: Role::Operator,
    timeout_ms: 600000,
    examples: &[
        ("build site", r#"{"repository":"site"}"#),
        ("does the branch fix-login of shop compile?", r#"{"repository":"shop","revision":"fix-login"}"#),
        ("make firmware", r#"{"repository":"firmware"}"#),
        ("try to compile the code of docs", r#"{"repository":"docs"}"#),
        ("is billing at v1.2 still buildable?", r#"{"repository":"billing","revision":"v1.2"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look {
        paths: no_paths,
        run: |ctx, args: Args| -> Result<Made, _> { make(ctx, "build", args) },
        summary,
    },
};
