//! ARP: who has an address on this link.

use std::net::Ipv4Addr;

/// An ARP packet (RFC 826), as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arp {
    /// Who sent it.
    pub(crate) mac: [u8; 6],
    /// The address that it has; 0.0.0.0 in a probe.
    pub(crate) sender: Ipv4Addr,
    /// The address that it asks for.
    pub(crate) target: Ipv4Addr,
}

impl Arp {
    /// As the payload of an Ethernet frame; always a request.
    pub(crate) fn encode(&self) -> [u8; 28] {
        let mut out = [0; 28];
        let (head, rest) = out.split_at_mut(8);
        head.copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
        let fields = [&self.mac[..], &self.sender.octets(), &[0; 6], &self.target.octets()].concat();
        rest.copy_from_slice(&fields);
        out
    }

    /// From the payload of an Ethernet frame.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..6)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
        Some(Self { mac: bytes.get(8..14)?.try_into().ok()?, sender: address(14)?, target: address(24)? })
    }

    /// Whether somebody other than `own` has the address, or wants it at the same moment: a probe is an
    /// answer for whoever probes as well (RFC 5227, section 2.1.1).
    pub(crate) fn claims(&self, address: Ipv4Addr, own: [u8; 6]) -> bool {
        let probes = self.sender.is_unspecified() && self.target == address;
        self.mac != own && (self.sender == address || probes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn who_has_or_probes_an_address_claims_it() {
        let address = Ipv4Addr::new(169, 254, 1, 2);
        let probe = Arp { mac: OTHER, sender: Ipv4Addr::UNSPECIFIED, target: address };
        assert!(probe.claims(address, MAC));
        assert!(Arp { sender: address, ..probe }.claims(address, MAC));
        assert!(!Arp { mac: MAC, ..probe }.claims(address, MAC));
        // Somebody who merely asks for it.
        assert!(!Arp { sender: Ipv4Addr::new(169, 254, 9, 9), ..probe }.claims(address, MAC));
    }

    proptest! {
        #[test]
        fn packets_survive_the_way_through_bytes(mac: [u8; 6], sender: u32, target: u32) {
            let arp = Arp { mac, sender: sender.into(), target: target.into() };
            prop_assert_eq!(Arp::decode(&arp.encode()), Some(arp));
        }

        #[test]
        fn any_frame_is_decoded_or_ignored(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Arp::decode(&bytes);
        }
    }
}
