//! `policy.test`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::judge::{Hypothesis, PolicyAnswer, PolicyQuestion};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Explain what the policy would decide about a call that nobody makes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The tool, `family.verb`; `undo` for taking back.
    tool: String,
    /// To what: an absolute path, `service NAME`, `process NUMBER`; without one, whether it may be called at all.
    #[serde(default)]
    target: String,
    /// Who would ask.
    #[serde(default, rename = "as")]
    by: By,
    /// The person's name, where rules speak of one.
    #[serde(default)]
    person: Option<String>,
    /// When, UTC (RFC 3339); now if it is left out.
    #[serde(default)]
    at: Option<String>,
    /// A person has approved it.
    #[serde(default)]
    approved: bool,
    /// No reason is given.
    #[serde(default)]
    no_reason: bool,
    /// Under this document (TOML) instead of the one that counts.
    #[serde(default)]
    document: Option<String>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    /// The agent, when nobody has told it to.
    #[default]
    Agent,
    /// A person who may look.
    Viewer,
    /// A person who may make changes that can be taken back.
    Operator,
    /// A person who may also approve what the agent proposes.
    Approver,
    /// A person who may do all that is not forbidden to everyone.
    Admin,
}

/// What would be decided, and why.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Decided {
    /// `allow`, `ask` (once a person has approved it) or `deny`.
    verdict: String,
    /// What whoever asks would be told.
    says: Option<String>,
    /// The rules that made it so, by name; `policy.show` has their text. None: no rule allows it.
    rules: Vec<String>,
    /// The agent's level of autonomy for this.
    autonomy: String,
    /// Which exception of the document gives that level, counted from 1.
    exception: Option<u32>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 96,
    name: "policy.test",
    summary: "Explain whether somebody may do something under the policy, and which rules decide it",
    effect: Effect::Read,
    touches: &["the policy"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        (
            "may the agent restart web on its own?",
            r#"{"tool":"service.restart","target":"service web","as":"agent"}"#,
        ),
        (
            "can an operator write /data/notes.txt?",
            r#"{"tool":"fs.write","target":"/data/notes.txt","as":"operator"}"#,
        ),
        ("why can't viewers kill processes?", r#"{"tool":"process.kill","as":"viewer"}"#),
        (
            "would the agent be allowed to stop nginx at 3 a.m. on 2026-12-01?",
            r#"{"tool":"service.stop","target":"service nginx","as":"agent","at":"2026-12-01T03:00:00Z"}"#,
        ),
        ("test the policy for fs.remove on /data/www", r#"{"tool":"fs.remove","target":"/data/www"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::Policy]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Decided, CallError> {
    let at = args.at.as_deref().map(|text| {
        let time = text.parse::<Timestamp>().map_err(|e| {
            CallError::invalid(format!("at: `{text}` is no time ({e}); write it as 2026-12-01T03:00:00Z"))
        })?;
        u64::try_from(time.as_second())
            .map_err(|_| CallError::invalid("at: before 1970 there was nothing to decide"))
    });
    let (role, agent) = match args.by {
        By::Agent => (Role::Operator, true),
        By::Viewer => (Role::Viewer, false),
        By::Operator => (Role::Operator, false),
        By::Approver => (Role::Approver, false),
        By::Admin => (Role::Admin, false),
    };
    let hypothesis = Hypothesis {
        tool: args.tool,
        target: args.target,
        role,
        person: args.person,
        agent,
        approved: args.approved,
        no_reason: args.no_reason,
        at: at.transpose()?,
        document: args.document,
    };
    match ctx.policy(PolicyQuestion::Decide(Box::new(hypothesis)))? {
        PolicyAnswer::Decided { verdict, says, rules, autonomy, exception } => {
            Ok(Decided { verdict, says, rules, autonomy, exception })
        }
        _ => Err(super::shared::unexpected()),
    }
}

fn summary(decided: &Decided) -> String {
    let rules = decided.rules.join(", ");
    match &decided.says {
        None => format!("{}: {rules}", decided.verdict),
        Some(says) => format!("{}: {says}", decided.verdict),
    }
}
