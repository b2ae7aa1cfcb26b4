//! `net.routes`

use super::shared::dump;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use aios_unit::Family;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Show the routes of the main table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only the routes that fit everything, which lead to the gateway.
    #[serde(default)]
    only_default: bool,
}

/// The routes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Routes {
    /// The routes, default ones first.
    routes: Vec<Route>,
}

/// One route.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Route {
    /// `ipv4` or `ipv6`.
    family: &'static str,
    /// Network with prefix length, or `default`.
    destination: String,
    /// Address of the next router.
    gateway: Option<String>,
    /// Interface that it leaves by.
    interface: Option<String>,
    /// Own address that is used.
    source: Option<String>,
    /// The lower one wins.
    metric: Option<u32>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 31,
    name: "net.routes",
    summary: "Show the routing table and the default gateway",
    effect: Effect::Read,
    touches: &["the kernel's network state"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("what is the default gateway?", r#"{"only_default":true}"#),
        ("show the routing table", "{}"),
        ("which router does this machine use?", r#"{"only_default":true}"#),
        ("list all network routes", "{}"),
        ("how do packets leave this host?", "{}"),
    ],
    needs: Needs::NOTHING.families(&[Family::Netlink]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Routes, CallError> {
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
    let mut routes = Vec::new();
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for (family, message) in [("ipv4", v4), ("ipv6", v6)] {
        // A kernel without IPv6 refuses that question; the other answer still counts.
        match dump(ctx, |handle| handle.route().get(message).execute()) {
            Ok(found) => routes.extend(found.into_iter().filter_map(|m| route(family, m, &names))),
            Err(error) if family == "ipv4" => return Err(error),
            Err(_) => {}
        }
    }
    if args.only_default {
        routes.retain(|route| route.destination == "default");
    }
    routes.sort_by_key(|route| (route.destination != "default", route.family, route.metric));
    Ok(Routes { routes })
}

fn route(family: &'static str, message: RouteMessage, names: &HashMap<u32, String>) -> Option<Route> {
    if message.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let mut route = Route {
        family,
        destination: "default".into(),
        gateway: None,
        interface: None,
        source: None,
        metric: None,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.destination =
                    format!("{}/{}", text(&address)?, message.header.destination_prefix_length);
            }
            RouteAttribute::Gateway(address) => route.gateway = text(&address),
            RouteAttribute::PrefSource(address) => route.source = text(&address),
            RouteAttribute::Oif(index) => route.interface = names.get(&index).cloned(),
            RouteAttribute::Priority(metric) => route.metric = Some(metric),
            _ => {}
        }
    }
    Some(route)
}

fn text(address: &RouteAddress) -> Option<String> {
    match address {
        RouteAddress::Inet(address) => Some(address.to_string()),
        RouteAddress::Inet6(address) => Some(address.to_string()),
        _ => None,
    }
}

fn summary(found: &Routes) -> String {
    let gateways: Vec<_> = found
        .routes
        .iter()
        .filter(|r| r.destination == "default")
        .map(|r| {
            let gateway = r.gateway.as_deref().unwrap_or("no gateway");
            format!("{gateway} on {}", r.interface.as_deref().unwrap_or("?"))
        })
        .collect();
    let default = if gateways.is_empty() {
        "there is no default route".into()
    } else {
        format!("default via {}", gateways.join(", "))
    };
    format!("{} routes; {default}", found.routes.len())
}
