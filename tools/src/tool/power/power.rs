//! What the power tools share: the machine goes down, at once or later. init does it, and keeps what is planned.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::service::shared::unexpected;
use aios_abi::service::{InitReply, InitRequest, MAX_DELAY_SECONDS, PlannedPower, PowerChange};
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters of a reason.
const MAX_REASON: usize = 200;

/// What it takes.
pub(crate) const NEEDS: Needs = Needs::NOTHING.asks(&[Asks::InitToAct]);

/// When the machine is to go down, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Seconds until then; 0 is at once, a week (604800) the most.
    #[serde(default)]
    #[schemars(range(max = 604_800))]
    pub(crate) delay_seconds: u32,
    /// Why, in a few words (at most 200 characters): shown on the console and to everybody who asks.
    pub(crate) reason: String,
}

/// What is to come.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Planned {
    /// `off`, `reboot` or `suspend`.
    pub(crate) power: &'static str,
    /// Seconds until then.
    pub(crate) in_seconds: u64,
    /// Why.
    pub(crate) reason: String,
}

impl From<PlannedPower> for Planned {
    fn from(planned: PlannedPower) -> Self {
        let power = match planned.power {
            PowerChange::Off => "off",
            PowerChange::Reboot => "reboot",
            PowerChange::Suspend { .. } => "suspend",
        };
        Self { power, in_seconds: planned.in_ms.div_ceil(1000), reason: planned.why }
    }
}

impl Planned {
    /// In words.
    pub(crate) fn words(&self) -> String {
        let what = match self.power {
            "off" => "is switched off",
            "suspend" => "goes to sleep",
            _ => "restarts",
        };
        match self.in_seconds {
            0 => format!("the machine {what} now: {}", self.reason),
            seconds => format!("the machine {what} in {seconds} s: {}", self.reason),
        }
    }
}

/// The machine is to go down.
pub(crate) struct Down {
    power: PowerChange,
    delay_seconds: u32,
    reason: String,
}

/// What is planned now.
pub(crate) fn planned(ctx: &Ctx) -> Result<Option<Planned>, CallError> {
    match ctx.init(InitRequest::Planned)? {
        InitReply::Planned(planned) => Ok(planned.map(Planned::from)),
        _ => Err(unexpected()),
    }
}

/// Look at what is asked for, and at what is planned already.
pub(crate) fn prepare(ctx: &Ctx, args: Args, power: PowerChange) -> Result<Down, CallError> {
    let reason = args.reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(CallError::invalid(format!("`reason` must be a text of 1 to {MAX_REASON} characters")));
    }
    if args.delay_seconds > MAX_DELAY_SECONDS {
        return Err(CallError::invalid(format!(
            "`delay_seconds` must be at most {MAX_DELAY_SECONDS}, a week"
        )));
    }
    if !goes_down_now(power, args.delay_seconds)
        && let Some(other) = planned(ctx)?
    {
        let text = format!("{}; power.cancel calls that off", other.words());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    Ok(Down { power, delay_seconds: args.delay_seconds, reason })
}

/// Whether nobody is left who could hear of it; a sleep is told of first, and ends.
fn goes_down_now(power: PowerChange, delay_seconds: u32) -> bool {
    delay_seconds == 0 && !matches!(power, PowerChange::Suspend { .. })
}

impl Down {
    fn planned(&self) -> Planned {
        let (power, in_ms) = (self.power, u64::from(self.delay_seconds) * 1000);
        PlannedPower { power, in_ms, why: self.reason.clone() }.into()
    }
}

impl Change for Down {
    type Output = Planned;

    fn target(&self) -> Target {
        Target::Machine
    }

    fn preview(&self) -> Preview {
        let (what, then) = match self.power {
            PowerChange::Off => ("switch the machine off", "all services are stopped first".to_owned()),
            PowerChange::Reboot => ("restart the machine", "all services are stopped first".to_owned()),
            PowerChange::Suspend { wake_after_seconds: 0 } => (
                "send the machine to sleep",
                "nothing answers until its button or network card wakes it".to_owned(),
            ),
            PowerChange::Suspend { wake_after_seconds } => (
                "send the machine to sleep",
                format!("nothing answers until it wakes {wake_after_seconds} s later"),
            ),
        };
        let when = match self.delay_seconds {
            0 => "at once".into(),
            seconds => format!("in {seconds} s"),
        };
        Preview { would: format!("{what} {when}: {then}"), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Planned, CallError> {
        let (power, delay_seconds, why) = (self.power, self.delay_seconds, self.reason.clone());
        let request = InitRequest::GoDown { power, delay_seconds, why };
        if goes_down_now(power, delay_seconds) {
            // Nobody hears the answer of a broker that has ended, so the answer goes first.
            ctx.init_later(request)?;
            return Ok(self.planned());
        }
        match ctx.init(request)? {
            InitReply::Planned(Some(planned)) => Ok(planned.into()),
            _ => Err(unexpected()),
        }
    }
}

/// The result in one line.
pub(crate) fn summary(planned: &Planned) -> String {
    planned.words()
}
