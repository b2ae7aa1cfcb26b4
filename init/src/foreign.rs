//! The parsers that are given bytes from outside PID 1, for the fuzzer and for property tests.

use aios_abi::call::ClientFrame;
use aios_abi::service::InitRequest;

/// Takes any bytes at all.
pub(crate) type Parser = fn(&[u8]);

/// Name and parser of each kind of foreign bytes. None of them may panic, whatever it is given.
pub const FOREIGN: &[(&str, Parser)] = &[
    ("notify", |bytes| drop(crate::notify::parse(1, bytes))),
    ("uevent", |bytes| drop(crate::device::parse(bytes))),
    ("cmdline", |bytes| drop(crate::cmdline::parse(&String::from_utf8_lossy(bytes)))),
    ("control", |bytes| drop(aios_abi::frame::decode::<ClientFrame<InitRequest>>(bytes))),
    ("ext4", |bytes| {
        if let Some(found) = crate::boot::ext4::Superblock::parse(bytes) {
            let rest = bytes.get(crate::boot::ext4::LENGTH..).unwrap_or_default();
            let _ = (crate::boot::groups::place(&found, 0), crate::boot::groups::sound(&found, rest));
        }
    }),
    ("order", |bytes| drop(crate::boot::order::Order::parse(bytes))),
    ("kmsg", |bytes| drop(crate::logs::kernel_record(bytes))),
    ("service-file", |bytes| {
        let (file, users) =
            ("/etc/aios/services/x.toml".as_ref(), aios_unit::Users::parse("root:x:0:0::/:", ""));
        drop(aios_unit::parse(file, &String::from_utf8_lossy(bytes), &users));
    }),
    ("output", |bytes| {
        let mut lines = crate::logs::Lines::default();
        lines.feed(bytes, |_| {});
        lines.finish(|_| {});
    }),
];

#[cfg(test)]
mod tests {
    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            super::FOREIGN.iter().for_each(|(_, parse)| parse(&bytes));
        }
    }
}
