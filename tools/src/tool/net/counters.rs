//! `net.counters`

use super::shared::dump;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use aios_unit::Family;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, Stats64};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Milliseconds that it measures at most.
const MAX_WINDOW: u32 = 10_000;

/// Show what went through the network interfaces, and measure for a moment what goes through now.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only the interface with this name, such as `eth0`.
    #[serde(default)]
    name: Option<String>,
    /// Milliseconds to measure; 0 only shows what was counted so far.
    #[serde(default = "default_window")]
    #[schemars(range(max = 10_000))]
    window_ms: u32,
}

fn default_window() -> u32 {
    500
}

/// The counters.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Counters {
    /// The interfaces, by name.
    interfaces: Vec<Interface>,
}

/// One interface.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Interface {
    /// Its name.
    name: String,
    /// What came in since the interface exists.
    received: Direction,
    /// What went out since the interface exists.
    sent: Direction,
    /// What went through while it was measured; none if it was not.
    now: Option<Rate>,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Direction {
    /// Bytes.
    bytes: u64,
    /// Packets.
    packets: u64,
    /// Packets that were broken.
    errors: u64,
    /// Packets that were thrown away, for example for want of room.
    dropped: u64,
}

/// What went through while it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    /// Bytes a second that came in.
    received_bytes: f64,
    /// Bytes a second that went out.
    sent_bytes: f64,
    /// Packets a second that came in.
    received_packets: f64,
    /// Packets a second that went out.
    sent_packets: f64,
    /// Packets that were broken or thrown away meanwhile, in both directions.
    errors_and_drops: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 36,
    name: "net.counters",
    summary: "Show traffic and errors of the network interfaces, in all and per second",
    effect: Effect::Read,
    touches: &["the kernel's network state"],
    role: Role::Viewer,
    timeout_ms: 15_000,
    examples: &[
        ("how much traffic is there right now?", "{}"),
        ("how many bytes a second go through eth0?", r#"{"name":"eth0","window_ms":1000}"#),
        ("does the network card lose packets?", "{}"),
        ("how much was sent and received since boot?", r#"{"window_ms":0}"#),
        ("measure the bandwidth in use for 2 seconds", r#"{"window_ms":2000}"#),
        ("ifstat", "{}"),
    ],
    needs: Needs::NOTHING.families(&[Family::Netlink]),
    code: &Look { paths: no_paths, run, summary },
};

type Counted = (String, [Direction; 2]);

fn run(ctx: &Ctx, args: Args) -> Result<Counters, CallError> {
    if args.window_ms > MAX_WINDOW {
        return Err(CallError::invalid(format!("`window_ms` must be at most {MAX_WINDOW}")));
    }
    let count = || -> Result<Vec<Counted>, CallError> {
        Ok(dump(ctx, |handle| handle.link().get().execute())?.into_iter().filter_map(counted).collect())
    };
    let before = (args.window_ms > 0).then(count).transpose()?;
    let begun = Instant::now();
    ctx.pause(Duration::from_millis(args.window_ms.into()))?;
    let (after, seconds) = (count()?, begun.elapsed().as_secs_f64());
    let mut interfaces: Vec<Interface> = after
        .into_iter()
        .filter(|(name, _)| args.name.as_ref().is_none_or(|wanted| wanted == name))
        .map(|(name, [received, sent])| {
            let earlier = before.iter().flatten().find(|(earlier, _)| *earlier == name);
            let now = earlier.map(|(_, earlier)| rate(earlier, &[received, sent], seconds));
            Interface { name, received, sent, now }
        })
        .collect();
    if let (Some(wanted), true) = (&args.name, interfaces.is_empty()) {
        return Err(CallError::not_found(format!("there is no network interface named {wanted}")));
    }
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Counters { interfaces })
}

fn counted(link: LinkMessage) -> Option<Counted> {
    let (mut name, mut counters) = (None, None);
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(own) => name = Some(own),
            LinkAttribute::Stats64(stats) => counters = Some(directions(&stats)),
            _ => {}
        }
    }
    name.zip(counters)
}

fn directions(stats: &Stats64) -> [Direction; 2] {
    let of = |bytes, packets, errors, dropped| Direction { bytes, packets, errors, dropped };
    [
        of(stats.rx_bytes, stats.rx_packets, stats.rx_errors, stats.rx_dropped),
        of(stats.tx_bytes, stats.tx_packets, stats.tx_errors, stats.tx_dropped),
    ]
}

/// Counters that go back (the interface was made anew) count as standing still.
fn rate(before: &[Direction; 2], after: &[Direction; 2], seconds: f64) -> Rate {
    let more = |which: usize, of: fn(&Direction) -> u64| of(&after[which]).saturating_sub(of(&before[which]));
    let each = |count: u64| (count as f64 / seconds.max(0.001) * 10.0).round() / 10.0;
    let bad = |which| more(which, |d| d.errors).saturating_add(more(which, |d| d.dropped));
    Rate {
        received_bytes: each(more(0, |d| d.bytes)),
        sent_bytes: each(more(1, |d| d.bytes)),
        received_packets: each(more(0, |d| d.packets)),
        sent_packets: each(more(1, |d| d.packets)),
        errors_and_drops: bad(0).saturating_add(bad(1)),
    }
}

fn summary(found: &Counters) -> String {
    let words: Vec<_> = found
        .interfaces
        .iter()
        .take(10)
        .map(|interface| {
            let Interface { name, received, sent, .. } = interface;
            let bad = [received, sent]
                .iter()
                .map(|d| d.errors.saturating_add(d.dropped))
                .fold(0, u64::saturating_add);
            let bad = if bad > 0 { format!(", {bad} packets lost so far") } else { String::new() };
            match interface.now {
                Some(now) => format!(
                    "{name} {}/s in, {}/s out{bad}",
                    human_bytes(now.received_bytes as u64),
                    human_bytes(now.sent_bytes as u64)
                ),
                None => {
                    format!("{name} {} in, {} out{bad}", human_bytes(received.bytes), human_bytes(sent.bytes))
                }
            }
        })
        .collect();
    if words.is_empty() { "no network interface".into() } else { words.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_and_never_negative() {
        let one = |bytes| Direction { bytes, packets: bytes / 10, errors: 1, dropped: 2 };
        let rate = rate(&[one(1_000), one(500)], &[one(3_000), one(0)], 2.0);
        assert_eq!((rate.received_bytes, rate.sent_bytes, rate.errors_and_drops), (1_000.0, 0.0, 0));
    }
}
