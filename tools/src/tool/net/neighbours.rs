//! `net.neighbours`

use super::shared::{dump, hardware};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use aios_unit::Family;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;

/// Neighbours in one answer.
const MAX: usize = 1_000;

/// Show the machines on the same network that this one knows (ARP and neighbour discovery).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only on the interface with this name, such as `eth0`.
    #[serde(default)]
    interface: Option<String>,
}

/// The neighbours.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Neighbours {
    /// The machines, by address.
    neighbours: Vec<Neighbour>,
    /// There are more than are listed.
    truncated: bool,
}

/// One machine.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Neighbour {
    /// Its address.
    address: String,
    /// Its hardware address; none while nobody has answered.
    mac: Option<String>,
    /// Interface that leads there.
    interface: Option<String>,
    /// `reachable`, `stale` (not heard of lately), `delay` or `probe` (being asked), `incomplete` (has not answered yet),
    /// `failed` (does not answer), `permanent` (set by hand) or `other`.
    state: &'static str,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 37,
    name: "net.neighbours",
    summary: "Show the neighbours on the local network with their hardware addresses (ARP table)",
    effect: Effect::Read,
    touches: &["the kernel's network state"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("show the arp table", "{}"),
        ("which machines are on the same network?", "{}"),
        ("ip neigh", "{}"),
        ("who are the neighbours on eth0?", r#"{"interface":"eth0"}"#),
        ("which hardware address does the gateway have?", "{}"),
    ],
    needs: Needs::NOTHING.families(&[Family::Netlink]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Neighbours, CallError> {
    let names: HashMap<u32, String> = dump(ctx, |handle| handle.link().get().execute())?
        .into_iter()
        .filter_map(|link| {
            let index = link.header.index;
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some((index, name)),
                _ => None,
            })
        })
        .collect();
    let mut found: Vec<(IpAddr, Neighbour)> = dump(ctx, |handle| handle.neighbours().get().execute())?
        .into_iter()
        .filter_map(|message| neighbour(message, &names))
        .filter(|(_, neighbour)| args.interface.is_none() || neighbour.interface == args.interface)
        .collect();
    found.sort_by_key(|(address, _)| *address);
    let truncated = found.len() > MAX;
    found.truncate(MAX);
    Ok(Neighbours { neighbours: found.into_iter().map(|(_, neighbour)| neighbour).collect(), truncated })
}

fn neighbour(message: NeighbourMessage, names: &HashMap<u32, String>) -> Option<(IpAddr, Neighbour)> {
    let state = match message.header.state {
        // Addresses that need no neighbour: multicast, loopback.
        NeighbourState::Noarp => return None,
        NeighbourState::Reachable => "reachable",
        NeighbourState::Stale => "stale",
        NeighbourState::Delay => "delay",
        NeighbourState::Probe => "probe",
        NeighbourState::Incomplete => "incomplete",
        NeighbourState::Failed => "failed",
        NeighbourState::Permanent => "permanent",
        _ => "other",
    };
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = hardware(&bytes),
            _ => {}
        }
    }
    let address = address?;
    let interface = names.get(&message.header.ifindex).cloned();
    Some((address, Neighbour { address: address.to_string(), mac, interface, state }))
}

fn summary(found: &Neighbours) -> String {
    let words: Vec<_> = found
        .neighbours
        .iter()
        .take(10)
        .map(|n| format!("{} is {} ({})", n.address, n.mac.as_deref().unwrap_or("not known"), n.state))
        .collect();
    match found.neighbours.len() {
        0 => "no neighbour is known".into(),
        n if n > 10 => format!("{n} neighbours: {} …", words.join(", ")),
        _ => words.join(", "),
    }
}
