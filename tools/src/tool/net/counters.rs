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
const MAX_WINDOW: u32 = 60_000;

/// Lost packets below which nobody is told: since the interface exists, and in a moment.
const MANY: u64 = 100;
const A_FEW: u64 = 3;

/// Show what went through the network interfaces, and measure for a moment what goes through now.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only the interface with this name, such as `eth0`.
    #[serde(default)]
    name: Option<String>,
    /// Milliseconds to measure; 0 only shows what was counted so far.
    #[serde(default = "default_window")]
    #[schemars(range(max = 60_000))]
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
    /// What is out of line, in words; nothing if all is well.
    unusual: Vec<String>,
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
    timeout_ms: 65_000,
    examples: &[
        ("how much traffic is there right now?", "{}"),
        ("how many bytes a second go through eth0?", r#"{"name":"eth0","window_ms":1000}"#),
        ("does the network card lose packets?", "{}"),
        ("how much was sent and received since boot?", r#"{"window_ms":0}"#),
        ("measure the bandwidth in use for 2 seconds", r#"{"window_ms":2000}"#),
        ("ifstat", "{}"),
        ("is anything unusual about the network traffic?", r#"{"window_ms":2000}"#),
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
            let meanwhile = earlier.map(|(_, earlier)| since(earlier, &[received, sent]));
            let unusual = unusual(&[received, sent], meanwhile.as_ref());
            Interface { name, received, sent, now, unusual }
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

impl Direction {
    /// Packets that did not get through.
    fn lost(&self) -> u64 {
        self.errors.saturating_add(self.dropped)
    }
}

/// Counters that go back (the interface was made anew) count as standing still.
fn since(before: &[Direction; 2], after: &[Direction; 2]) -> [Direction; 2] {
    let more = |before: &Direction, after: &Direction| Direction {
        bytes: after.bytes.saturating_sub(before.bytes),
        packets: after.packets.saturating_sub(before.packets),
        errors: after.errors.saturating_sub(before.errors),
        dropped: after.dropped.saturating_sub(before.dropped),
    };
    [more(&before[0], &after[0]), more(&before[1], &after[1])]
}

fn rate(before: &[Direction; 2], after: &[Direction; 2], seconds: f64) -> Rate {
    let [received, sent] = since(before, after);
    let each = |count: u64| (count as f64 / seconds.max(0.001) * 10.0).round() / 10.0;
    Rate {
        received_bytes: each(received.bytes),
        sent_bytes: each(sent.bytes),
        received_packets: each(received.packets),
        sent_packets: each(sent.packets),
        errors_and_drops: received.lost().saturating_add(sent.lost()),
    }
}

/// Losses that are more than a few, and more than one in a hundred.
fn unusual(so_far: &[Direction; 2], meanwhile: Option<&[Direction; 2]>) -> Vec<String> {
    let mut found = Vec::new();
    let spans = [(Some(so_far), MANY, "so far"), (meanwhile, A_FEW, "while it was measured")];
    for (counted, least, when) in spans.into_iter().filter_map(|(c, least, when)| Some((c?, least, when))) {
        for (direction, way) in counted.iter().zip(["come in", "go out"]) {
            let (lost, all) = (direction.lost(), direction.packets.saturating_add(direction.lost()));
            if lost >= least && lost > all / 100 {
                found.push(format!("{lost} of {all} packets that were to {way} were lost {when}"));
            }
        }
    }
    found
}

fn summary(found: &Counters) -> String {
    let words: Vec<_> = found
        .interfaces
        .iter()
        .take(10)
        .map(|interface| {
            let Interface { name, received, sent, .. } = interface;
            let bad = received.lost().saturating_add(sent.lost());
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

    #[test]
    fn many_lost_packets_are_unusual_and_a_few_are_not() {
        let one = |packets, dropped| Direction { bytes: 0, packets, errors: 0, dropped };
        let quiet = [one(1_000_000, 99), one(100_000, 900)];
        assert!(unusual(&quiet, Some(&[one(10, 2), one(1_000, 5)])).is_empty());
        let said = unusual(&[one(1_000, 100), one(0, 0)], Some(&[one(0, 0), one(7, 3)]));
        assert_eq!(
            said,
            [
                "100 of 1100 packets that were to come in were lost so far",
                "3 of 10 packets that were to go out were lost while it was measured"
            ]
        );
        assert!(unusual(&quiet, None).is_empty());
    }
}
