//! Arguments that nobody meant, for every tool.

use aios_toold::undo::Kept;
use aios_toold::{redact, tool};
use proptest::prelude::*;
use serde_json::Value;

/// JSON of any shape, with names and texts that tools know.
fn json() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        Just("/etc/passwd".to_owned()),
        Just("../..".to_owned()),
        Just("\0".to_owned()),
        Just("netd".to_owned()),
        ".{0,20}",
    ];
    let numbers = prop_oneof![any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        numbers,
        words.prop_map(Value::from),
    ];
    let names = prop_oneof![
        proptest::sample::select(&["path", "name", "pid", "content", "limit", "mode", "to", "unit"][..])
            .prop_map(str::to_owned),
        ".{0,8}",
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(names.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_and_any_text_is_understood_or_refused(value in json(), text in ".*") {
        for args in [value.to_string(), text] {
            for tool in tool::all() {
                prop_assert_eq!(tool.code.check_args(&args).is_ok(), tool.code.paths(&args).is_ok());
                let kept = redact::for_audit(&args, tool);
                prop_assert!(serde_json::from_str::<Value>(&kept).is_ok(), "{}", kept);
                let _ = tool.code.undo_paths(&Kept { note: args.clone(), content: None });
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_of_packets_or_undo_data_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        aios_toold::worker::foreign(&bytes);
        aios_toold::worker::foreign(&[&[aios_abi::frame::VERSION][..], &bytes[..]].concat());
        prop_assert!(aios_toold::undo::read(&bytes).is_none());
        let _ = aios_toold::undo::read(&[&bytes[..], blake3::hash(&bytes).as_bytes()].concat());
    }
}
