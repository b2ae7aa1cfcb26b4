//! What the firewall tools share: the firewall as netd tells of it, and changes of it that netd makes.

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::policy::Target;
use crate::reach::Paths;
use crate::tool::net::shared::unexpected;
use crate::tool::net::trial::Trial;
use crate::undo::Kept;
use aios_abi::firewall::{
    self, Action, BanNow, Count, FirewallChange, FirewallNow, FirewallRequest, Ports, Prefix, RuleNow,
    Transport,
};
use aios_abi::net::{NetReply, NetRequest};
use aios_abi::netconf::{MAX_TRIAL_SECONDS, MIN_TRIAL_SECONDS, SENDERS_FORM, TRIAL_SECONDS};
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Protocol above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    /// Connections: the web, SSH and most others.
    Tcp,
    /// Single packets: names, time, calls.
    Udp,
}

/// A rule as a caller describes it: what it says nothing of is all of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Whose packets: an address such as `192.0.2.7` or a prefix such as `192.0.2.0/24` or `2001:db8::/32`; everybody's if
    /// none is given.
    #[serde(default)]
    #[schemars(regex(pattern = SENDERS_FORM))]
    pub(crate) from: Option<String>,
    /// Port of this machine; all ports if none is given.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// The last port, if it is about several that follow each other.
    #[serde(default)]
    pub(crate) last_port: Option<u16>,
    /// Protocol; of ports TCP if none is given, and otherwise all.
    #[serde(default)]
    pub(crate) protocol: Option<Protocol>,
    /// Interface by which the packets come, such as `eth0`; any if none is given.
    #[serde(default)]
    pub(crate) interface: Option<String>,
}

/// The addresses that a caller wrote.
pub(crate) fn prefix(text: &str) -> Result<Prefix, CallError> {
    text.trim().parse().map_err(CallError::invalid)
}

impl Args {
    fn rule(self, action: Action) -> Result<firewall::Rule, CallError> {
        let transport = match self.protocol {
            None | Some(Protocol::Tcp) => Transport::Tcp,
            Some(Protocol::Udp) => Transport::Udp,
        };
        let ports = match (self.port, self.last_port) {
            (None, Some(_)) => return Err(CallError::invalid("`last_port` needs `port`, the first one")),
            (None, None) => self.protocol.map(|_| Ports { transport, first: 0, last: u16::MAX }),
            (Some(first), last) => Some(Ports { transport, first, last: last.unwrap_or(first) }),
        };
        let from = self.from.as_deref().map(prefix).transpose()?;
        let rule = firewall::Rule { action, from, ports, interface: self.interface };
        rule.check().map_err(CallError::invalid)?;
        Ok(rule)
    }
}

/// Seconds for a confirmation when nobody says how many.
pub(crate) fn default_seconds() -> u16 {
    TRIAL_SECONDS
}

/// The firewall as it is in force.
pub(crate) fn now(ctx: &Ctx) -> Result<FirewallNow, CallError> {
    match ctx.net(NetRequest::Firewall(FirewallRequest::List))? {
        NetReply::Firewall(now) => Ok(*now),
        _ => Err(unexpected()),
    }
}

/// A rule in force.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Rule {
    /// Its number.
    pub(crate) id: u32,
    /// What it says, in words.
    pub(crate) says: String,
    /// `allow` or `deny`.
    action: &'static str,
    /// Whose packets; everybody's if none.
    pub(crate) from: Option<String>,
    /// `tcp` or `udp`; all if none.
    pub(crate) protocol: Option<Protocol>,
    /// First and last port; all if none.
    ports: Option<(u16, u16)>,
    /// Interface by which they come; any if none.
    pub(crate) interface: Option<String>,
    /// Packets that it was about, since it was made or the machine started.
    packets: u64,
    /// Bytes of these packets.
    bytes: u64,
}

impl From<RuleNow> for Rule {
    fn from(RuleNow { id, rule, count: Count { packets, bytes } }: RuleNow) -> Self {
        let ports = rule.ports.filter(|ports| (ports.first, ports.last) != (0, u16::MAX));
        Self {
            id,
            says: rule.to_string(),
            action: if rule.action == Action::Allow { "allow" } else { "deny" },
            from: rule.from.map(String::from),
            protocol: rule.ports.map(|ports| match ports.transport {
                Transport::Tcp => Protocol::Tcp,
                Transport::Udp => Protocol::Udp,
            }),
            ports: ports.map(|ports| (ports.first, ports.last)),
            interface: rule.interface,
            packets,
            bytes,
        }
    }
}

/// A ban in force.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ban {
    /// The address, or the prefix.
    pub(crate) address: String,
    /// Why.
    reason: String,
    /// Seconds until it ends.
    left_seconds: u64,
    /// Seconds that it lasts altogether.
    seconds: u32,
    /// Packets that were thrown away.
    packets: u64,
    /// Bytes of these packets.
    bytes: u64,
}

impl From<BanNow> for Ban {
    fn from(BanNow { of, ban, left_ms, count: Count { packets, bytes } }: BanNow) -> Self {
        let left_seconds = left_ms.div_ceil(1_000);
        Self {
            address: of.to_string(),
            reason: ban.reason,
            left_seconds,
            seconds: ban.seconds,
            packets,
            bytes,
        }
    }
}

/// What came of a change.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// Number of the rule, if it is about one.
    id: Option<u32>,
    /// The change, in words.
    change: String,
    /// It is taken back unless it is confirmed; none if it lasts.
    trial: Option<Trial>,
}

/// A change that is to be made.
pub(crate) struct Edit {
    change: FirewallChange,
    /// How long it is tried if it might cut somebody off.
    seconds: u16,
}

/// A new rule.
pub(crate) fn rule(ctx: &Ctx, args: Args, action: Action, seconds: u16) -> Result<Edit, CallError> {
    let rule = args.rule(action)?;
    let now = now(ctx)?;
    if let Some(RuleNow { id, rule, .. }) = now.rules.iter().find(|other| other.rule.same_packets(&rule)) {
        let text = match rule.action == action {
            true => format!("rule {id} says that already: {rule}"),
            false => format!("rule {id} says the opposite: {rule}; remove it first with firewall.remove"),
        };
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    edit(FirewallChange::Rule { id: now.next_id, before: None, after: Some(rule) }, seconds)
}

/// A change that was put together.
pub(crate) fn edit(change: FirewallChange, seconds: u16) -> Result<Edit, CallError> {
    match (MIN_TRIAL_SECONDS..=MAX_TRIAL_SECONDS).contains(&seconds) {
        true => Ok(Edit { change, seconds }),
        false => Err(CallError::invalid(format!(
            "`seconds` must be {MIN_TRIAL_SECONDS} to {MAX_TRIAL_SECONDS}: so long a change is tried that might cut somebody off"
        ))),
    }
}

impl Change for Edit {
    type Output = Changed;

    fn target(&self) -> Target {
        Target::Firewall(match &self.change {
            FirewallChange::Rule { id, .. } => format!("rule {id}"),
            FirewallChange::Ban { of, .. } => format!("ban {of}"),
        })
    }

    fn preview(&self) -> Preview {
        let would = match self.change.may_cut_off() {
            true => format!("try for {} s, because it is about the console: {}", self.seconds, self.change),
            false => format!("set {}", self.change),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&self.change, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Changed, CallError> {
        let request = match self.change.may_cut_off() {
            true => FirewallRequest::Try { change: self.change.clone(), seconds: self.seconds },
            false => FirewallRequest::Change(self.change.clone()),
        };
        let trial = match ctx.net(NetRequest::Firewall(request))? {
            NetReply::Trial(trial) => trial.map(Trial::from),
            NetReply::Done => None,
            _ => return Err(unexpected()),
        };
        let id = match self.change {
            FirewallChange::Rule { id, .. } => Some(id),
            FirewallChange::Ban { .. } => None,
        };
        Ok(Changed { id, change: self.change.to_string(), trial })
    }

    fn verify(&self, ctx: &Ctx, _changed: &Changed) -> Result<(), CallError> {
        let now = now(ctx)?;
        let holds = match &self.change {
            FirewallChange::Rule { id, after, .. } => {
                now.rules.iter().find(|rule| rule.id == *id).map(|found| &found.rule) == after.as_ref()
            }
            FirewallChange::Ban { of, after, .. } => {
                let found = now.bans.iter().find(|ban| ban.of == *of).map(|found| &found.ban.reason);
                found == after.as_ref().map(|ban| &ban.reason)
            }
        };
        match holds {
            true => Ok(()),
            false => Err(CallError::failed(format!("the kernel does not hold to it: {}", self.change))),
        }
    }
}

/// The change the other way round. It is not tried: what was before did not cut anybody off.
pub(crate) const UNDO: Undo = Undo { paths: |_| Ok(Paths::new()), run: take_back };

fn take_back(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let change = kept.read::<FirewallChange>()?.reversed();
    match ctx.net(NetRequest::Firewall(FirewallRequest::Change(change.clone())))? {
        NetReply::Done => Ok(format!("the firewall has {change}")),
        _ => Err(unexpected()),
    }
}

/// In one line.
pub(crate) fn summary(changed: &Changed) -> String {
    match &changed.trial {
        Some(trial) => trial.words(),
        None => format!("it counts now: {}", changed.change),
    }
}
