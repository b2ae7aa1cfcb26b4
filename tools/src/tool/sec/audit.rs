//! `sec.audit`

use super::shared::{CHECKS, Check, Verdict};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Check the machine's own security.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The checks and their score.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// 0 to 100: the weight of the checks that pass, warnings count half, unknown ones do not count.
    score: u32,
    /// Each check with what it saw.
    checks: Vec<Check>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 80,
    name: "sec.audit",
    summary: "Check the security of this machine and give it a score",
    effect: Effect::Read,
    touches: &["ports, services, modes of files, mounts, kernel settings, the audit chain, the certificate"],
    role: Role::Viewer,
    timeout_ms: 30_000,
    examples: &[
        ("is this machine secure?", "{}"),
        ("run a security audit", "{}"),
        ("check the system for security problems", "{}"),
        ("what is the security score?", "{}"),
        ("are there any vulnerabilities or weak settings?", "{}"),
        ("was the audit log tampered with?", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc"]).list(&["/"]).capabilities(CapabilitySet::DAC_READ_SEARCH).asks(&[
        Asks::InitToLook,
        Asks::Audit,
        Asks::AccountsToLook,
    ]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, _args: Args) -> Result<Report, CallError> {
    let mut checks = Vec::with_capacity(CHECKS.len());
    for (index, check) in CHECKS.iter().enumerate() {
        ctx.check()?;
        let done = check(ctx);
        ctx.progress(done.name, u8::try_from((index + 1) * 100 / CHECKS.len()).ok());
        checks.push(done);
    }
    Ok(Report { score: score(&checks), checks })
}

/// 0 to 100: what passes, by weight.
pub(crate) fn score(checks: &[Check]) -> u32 {
    let known: u32 = checks.iter().filter(|c| c.verdict != Verdict::Unknown).map(|c| c.weight).sum();
    let reached: u32 = checks
        .iter()
        .map(|c| match c.verdict {
            Verdict::Pass => 2 * c.weight,
            Verdict::Warn => c.weight,
            Verdict::Fail | Verdict::Unknown => 0,
        })
        .sum();
    (reached * 50).checked_div(known).unwrap_or(0)
}

fn summary(report: &Report) -> String {
    let of =
        |verdict| report.checks.iter().filter(|c| c.verdict == verdict).map(|c| c.name).collect::<Vec<_>>();
    let mut text = format!("score {} of 100", report.score);
    for (verdict, word) in
        [(Verdict::Fail, "failed"), (Verdict::Warn, "worth a look"), (Verdict::Unknown, "unknown")]
    {
        let names = of(verdict);
        if !names.is_empty() {
            text += &format!("; {word}: {}", names.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict, weight: u32) -> Check {
        Check { name: "x", verdict, evidence: String::new(), advice: "", weight }
    }

    #[test]
    fn what_is_unknown_neither_helps_nor_hurts_the_score() {
        use Verdict::{Fail, Pass, Unknown, Warn};
        assert_eq!(score(&[check(Pass, 10), check(Unknown, 90)]), 100);
        assert_eq!(score(&[check(Pass, 10), check(Warn, 10)]), 75);
        assert_eq!(score(&[check(Pass, 50), check(Fail, 50)]), 50);
        assert_eq!(score(&[check(Unknown, 5)]), 0);
    }
}
