//! What netd hears on the link: DHCP answers (as they are, and in whole headers for us) and ARP.
//!
//! netd is a program without a library, so its sources are compiled in here.
#![cfg_attr(feature = "link", no_main)]
#![allow(dead_code, unused_imports)]

#[path = "../../../../tools/netd/src/arp.rs"]
mod arp;
#[path = "../../../../tools/netd/src/dhcp/mod.rs"]
mod dhcp;
#[path = "../../../../tools/netd/src/resolver.rs"]
mod resolver;
#[path = "../../../../tools/netd/src/rng.rs"]
mod rng;

use aios_fuzz::fuzz_target;
use dhcp::{Answer, wire};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn check(packet: &[u8]) {
    let Some(Answer::Offer(lease) | Answer::Ack(lease)) = wire::decode(packet, MAC, 7) else { return };
    assert!((1..=32).contains(&lease.prefix));
    assert!(lease.seconds.is_sorted() && lease.seconds[0] >= 5, "{:?}", lease.seconds);
    assert!(lease.dns.len() <= 16 && lease.routes.len() <= 16);
    assert!(lease.domain.is_none_or(|domain| !domain.contains(char::is_whitespace)));
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let _ = arp::Arp::decode(bytes);
    // An answer to our request with these options; behind the magic cookie everything is foreign.
    let mut message = vec![2, 1, 6, 0, 0, 0, 0, 7];
    message.resize(28, 10);
    message.extend(MAC);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    message.extend(bytes);
    let mut packet = wire::broadcast(&message);
    packet.splice(22..24, wire::CLIENT_PORT.to_be_bytes());
    check(&packet);
});
