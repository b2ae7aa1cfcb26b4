//! `dev.test`

use super::shared::{Args, Made, make, summary};
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::who::Role;

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 199,
    name: "dev.test",
    summary: "Run the tests of a commit of a repository in a sandbox that is thrown away, and report what failed",
    effect: Effect::Read,
    touches: &[
        "a copy of the commit in memory, in a sandbox without a network and without any other file to change",
    ],
    role: Role::Operator,
    timeout_ms: 600000,
    examples: &[
        ("run the tests of site", r#"{"repository":"site"}"#),
        (
            "do the tests of shop pass on the branch fix-login?",
            r#"{"repository":"shop","revision":"fix-login"}"#,
        ),
        ("make test in firmware", r#"{"repository":"firmware"}"#),
        ("which tests of docs fail?", r#"{"repository":"docs"}"#),
        ("test the release v1.2 of billing", r#"{"repository":"billing","revision":"v1.2"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look {
        paths: no_paths,
        run: |ctx, args: Args| -> Result<Made, _> { make(ctx, "test", args) },
        summary,
    },
};
