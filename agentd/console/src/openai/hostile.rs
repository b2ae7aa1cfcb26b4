//! Requests that nobody would write: each is taken or refused in one sentence, none makes anything panic.

use super::chat::Chatting;
use super::completions::Completing;
use super::embeddings::Embedding;
use super::fields::Fields;
use aios_abi::infer::Tier;
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Names that the routes know, so that more is reached than with names at random.
const NAMES: &str = "model|messages|role|content|type|text|tool_calls|function|name|arguments|tools|tool_choice|\
    parameters|description|response_format|json_schema|schema|stream|stream_options|include_usage|max_tokens|stop|\
    temperature|top_p|seed|n|prompt|echo|input|dimensions|encoding_format|[a-z]{0,3}";
/// Words that stand for something.
const WORDS: &str = "user|assistant|system|tool|function|text|auto|required|none|json_object|json_schema|float|base64|\
    \\PC{0,8}";

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        WORDS.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((NAMES, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A body with members of the routes.
fn any_body() -> impl Strategy<Value = Value> {
    proptest::collection::vec((NAMES, any_value()), 0..10)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_body_is_taken_or_refused(body in any_body()) {
        let fields = Fields::whole(&body).expect("an object");
        let chat = Chatting::of(&fields).map(|chatting| chatting.complete(Tier::Operational));
        // Without messages the model would go on with a raw text.
        prop_assert!(chat.as_ref().is_ok_and(|chat| !chat.messages.is_empty()) || chat.is_err());
        let text = Completing::of(&fields).map(|completing| completing.complete(Tier::Operational));
        prop_assert!(text.as_ref().is_ok_and(|text| !text.prefix.is_empty()) || text.is_err());
        let refused = [chat.err(), text.err(), Embedding::of(&fields).err()];
        for error in refused.into_iter().flatten() {
            prop_assert!(error.status == 400 && error.message.len() < 1_000, "{}", error);
        }
    }

    #[test]
    fn any_value_is_taken_or_refused(value in any_value()) {
        drop(Fields::whole(&value).map(|fields| Chatting::of(&fields)));
    }
}
