//! `net.interfaces`

use super::shared::{dump, hardware};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use aios_unit::Family;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show the network interfaces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only the interface with this name, such as `eth0`.
    #[serde(default)]
    name: Option<String>,
}

/// The interfaces.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Interfaces {
    /// The interfaces, by index.
    interfaces: Vec<Interface>,
}

/// One interface.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Interface {
    /// The kernel's number of it.
    index: u32,
    /// Name, such as `eth0`.
    name: String,
    /// It is switched on.
    up: bool,
    /// State of the link: `up`, `down`, `unknown` (many virtual ones never say) and others.
    state: String,
    /// Hardware address.
    mac: Option<String>,
    /// Largest packet in bytes.
    mtu: Option<u32>,
    /// Addresses with prefix length, such as `10.0.2.15/24`.
    addresses: Vec<String>,
    /// Bytes received.
    received_bytes: u64,
    /// Bytes sent.
    sent_bytes: u64,
    /// Packets received.
    received_packets: u64,
    /// Packets sent.
    sent_packets: u64,
    /// Packets that were broken or dropped, in both directions.
    errors_and_drops: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 30,
    name: "net.interfaces",
    summary: "Show network interfaces with their IP addresses and traffic counters",
    effect: Effect::Read,
    touches: &["the kernel's network state"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("what is my IP address?", "{}"),
        ("show the network interfaces", "{}"),
        ("is eth0 up?", r#"{"name":"eth0"}"#),
        ("which address does this machine have on the network?", "{}"),
        ("how much traffic went through eth0?", r#"{"name":"eth0"}"#),
        ("what is the mac address of the network card?", "{}"),
        ("is the network working?", "{}"),
        ("ip addr", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/sys"]).families(&[Family::Netlink]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Interfaces, CallError> {
    let links = dump(ctx, |handle| handle.link().get().execute())?;
    let addresses = dump(ctx, |handle| handle.address().get().execute())?;
    let mut interfaces: Vec<_> = links.into_iter().map(interface).collect();
    if let Some(wanted) = &args.name {
        interfaces.retain(|interface| interface.name == *wanted);
        if interfaces.is_empty() {
            return Err(CallError::not_found(format!("there is no network interface named {wanted}")));
        }
    }
    for message in &addresses {
        let owner = interfaces.iter_mut().find(|interface| interface.index == message.header.index);
        if let (Some(owner), Some(address)) = (owner, address(message)) {
            owner.addresses.push(address);
        }
    }
    interfaces.sort_by_key(|interface| interface.index);
    Ok(Interfaces { interfaces })
}

fn interface(link: LinkMessage) -> Interface {
    let mut interface = Interface {
        index: link.header.index,
        up: link.header.flags.contains(LinkFlags::Up),
        state: "unknown".into(),
        ..Interface::default()
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::Mtu(mtu) => interface.mtu = Some(mtu),
            LinkAttribute::Address(bytes) => interface.mac = hardware(&bytes),
            LinkAttribute::OperState(state) => interface.state = state_name(state).into(),
            LinkAttribute::Stats64(stats) => {
                interface.received_bytes = stats.rx_bytes;
                interface.sent_bytes = stats.tx_bytes;
                interface.received_packets = stats.rx_packets;
                interface.sent_packets = stats.tx_packets;
                interface.errors_and_drops =
                    stats.rx_errors + stats.tx_errors + stats.rx_dropped + stats.tx_dropped;
            }
            _ => {}
        }
    }
    interface
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Down => "down",
        State::LowerLayerDown => "lower layer down",
        State::NotPresent => "not present",
        State::Dormant => "dormant",
        State::Testing => "testing",
        _ => "unknown",
    }
}

fn address(message: &AddressMessage) -> Option<String> {
    // On a point-to-point link `Address` is the other end and `Local` is ours (rtnetlink(7)).
    let own = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(address),
        _ => None,
    });
    own.or(any).map(|address| format!("{address}/{}", message.header.prefix_len))
}

fn summary(found: &Interfaces) -> String {
    let words: Vec<_> = found
        .interfaces
        .iter()
        .map(|i| {
            let addresses = if i.addresses.is_empty() { "no address".into() } else { i.addresses.join(", ") };
            let power = if i.up { "up" } else { "down" };
            format!(
                "{} is {power} with {addresses}, {} in, {} out",
                i.name,
                human_bytes(i.received_bytes),
                human_bytes(i.sent_bytes)
            )
        })
        .collect();
    if words.is_empty() { "no network interface".into() } else { words.join("; ") }
}
