//! Packets of all five protocols, from clients and from servers.
#![cfg_attr(feature = "link", no_main)]

use aios_abi::call::{ClientFrame, Protocol, ServerFrame};
use aios_abi::{agent::Agent, frame, infer::Infer, net::Net, service::Init, tool::Tools};
use aios_fuzz::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

/// What was understood says the same after another trip (compared as bytes: NaN is in no way equal).
fn trip<T: Serialize + DeserializeOwned>(packet: &[u8]) {
    let Ok(value) = frame::decode::<T>(packet) else { return };
    let bytes = frame::encode(&value).expect("what was decoded can be encoded");
    let again = frame::decode::<T>(&bytes).expect("what was encoded can be decoded");
    assert_eq!(frame::encode(&again).expect("encodes"), bytes);
}

fn both<P: Protocol>(packet: &[u8]) {
    trip::<ClientFrame<P::Request>>(packet);
    trip::<ServerFrame<P::Event, P::Reply>>(packet);
}

fuzz_target!(|packet: &[u8]| {
    both::<Init>(packet);
    both::<Tools>(packet);
    both::<Infer>(packet);
    both::<Agent>(packet);
    both::<Net>(packet);
});
