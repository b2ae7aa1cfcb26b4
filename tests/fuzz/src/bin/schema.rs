//! Schemas of tools, questions and known arguments (in lines): from there to a grammar.
#![cfg_attr(feature = "link", no_main)]

use aios_fuzz::fuzz_target;
use aios_inferd::evidence::narrowed;
use aios_inferd::grammar::{Grammar, Offer, Texts};
use aios_words::Words;
use aios_words::schema::Arguments;
use serde_json::{Map, Value};

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let schema = lines.next().unwrap_or_default();
    let question = Words::of(lines.next().unwrap_or_default());
    let known: Map<String, Value> =
        lines.next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    aios_agentd::schema::properties(schema);
    let Ok(arguments) = Arguments::parse(schema) else { return };
    if arguments.check_given(&known).is_err() {
        return;
    }
    let offered = narrowed(&arguments, &known, &[], &question);
    let offers = known.into_iter().map(|(name, value)| (name, Offer::only(value))).collect();
    for texts in [Texts::Words, Texts::Pieces] {
        let Ok(grammar) = Grammar::of(&offered, &offers, &question, texts) else { return };
        assert!(grammar.to_string().starts_with("start: "));
        // What needs no model is taken as it is: it must be what the schema wants.
        if let Some(only) = grammar.only() {
            let args: Map<String, Value> = serde_json::from_str(&only).expect("is a JSON object");
            assert_eq!(arguments.check(&args), Ok(()), "{only}");
        }
    }
});
