//! `sec.rotate_credentials`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::users::shared::{self, unexpected};
use aios_abi::accounts::{AccountsReply, AccountsRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// End all sessions and tokens, of one person or of everybody, at once. Whoever has them logs in again; passwords stay.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only those of this person; without a name everybody is logged out, also whoever calls this.
    #[serde(default)]
    name: Option<String>,
}

/// What has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ended {
    /// Whose; none where they were everybody's.
    name: Option<String>,
    /// Sessions of browsers.
    sessions: u32,
    /// Tokens of programs.
    tokens: u32,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 212,
    name: "sec.rotate_credentials",
    summary: "End all sessions and API tokens of a person or of everybody",
    effect: Effect::Irreversible,
    touches: &["sessions and tokens of the console"],
    role: Role::Admin,
    timeout_ms: 20_000,
    examples: &[
        ("log everybody out", "{}"),
        ("end all sessions and tokens", "{}"),
        ("a token of bob was stolen, end them all", r#"{"name":"bob"}"#),
        ("log carol out everywhere", r#"{"name":"carol"}"#),
        ("revoke the API tokens of dave", r#"{"name":"dave"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::AccountsToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Ending {
    name: Option<String>,
    sessions: u32,
    tokens: u32,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Ending, CallError> {
    let meant = match &args.name {
        Some(name) => vec![shared::one(ctx, name)?],
        None => shared::all(ctx)?,
    };
    let (sessions, tokens) =
        meant.iter().fold((0, 0), |(s, t), account| (s + account.sessions, t + account.tokens));
    Ok(Ending { name: args.name, sessions, tokens })
}

impl Change for Ending {
    type Output = Ended;

    fn target(&self) -> Target {
        self.name.clone().map_or(Target::Console, Target::Account)
    }

    fn preview(&self) -> Preview {
        let whose = self.name.as_deref().unwrap_or("everybody");
        let would = format!("end {} sessions and {} tokens of {whose}", self.sessions, self.tokens);
        Preview { would, diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Ended, CallError> {
        match ctx.accounts(AccountsRequest::EndLogins { name: self.name.clone() })? {
            AccountsReply::Ended { sessions, tokens } => {
                Ok(Ended { name: self.name.clone(), sessions, tokens })
            }
            _ => Err(unexpected()),
        }
    }
}

fn summary(ended: &Ended) -> String {
    let whose = ended.name.as_deref().unwrap_or("everybody");
    format!("{} sessions and {} tokens of {whose} have ended", ended.sessions, ended.tokens)
}
