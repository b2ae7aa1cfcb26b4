//! From a sentence to calls, without a model.

use crate::catalog::{Catalog, Tool};
use crate::lexicon::Fit;
use crate::{extract, order, schema, words};
use aios_abi::tool::Effect;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Share of a sentence's meaning that a tool must know for a sure answer.
const SURE_COVERAGE: f32 = 0.75;
/// How much better than the second the first must be for a sure answer.
const SURE_LEAD: f32 = 1.3;
/// The same when there is nobody better to ask.
const LIKELY_COVERAGE: f32 = 0.35;
const LIKELY_LEAD: f32 = 1.1;
/// Questions in one sentence.
const PARTS: usize = 4;

/// A call that is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<'a> {
    /// The tool.
    pub tool: &'a Tool,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// It may be carried out at once: it only looks, or it was ordered in so many words.
    pub ordered: bool,
    /// Why this is what the words mean, for people.
    pub why: Cow<'static, str>,
}

/// What is known of a sentence.
#[derive(Debug, PartialEq)]
pub enum Understood<'a> {
    /// These calls are meant, in this order.
    Calls(Vec<Call<'a>>),
    /// A call was written out, and this is wrong with it.
    Wrong(String),
    /// Nothing is sure.
    Unsure,
}

/// Understand a sentence as far as fixed rules can. `services` are the names of the services.
pub fn understand<'a>(sentence: &str, catalog: &'a Catalog, services: &[String]) -> Understood<'a> {
    if let Some(order) = order::parse(sentence, catalog) {
        return match order.args {
            Ok(args) => {
                let why = "the call was written out".into();
                Understood::Calls(vec![Call { tool: order.tool, args, ordered: true, why }])
            }
            Err(wrong) => Understood::Wrong(wrong),
        };
    }
    if let Some(call) = by_pattern(sentence, catalog, services) {
        return Understood::Calls(vec![call]);
    }
    if let Some(calls) = parts(sentence, catalog, services) {
        return Understood::Calls(calls);
    }
    match by_words(sentence, catalog, services, SURE_COVERAGE, SURE_LEAD) {
        Some(call) => Understood::Calls(vec![call]),
        None => Understood::Unsure,
    }
}

/// The most likely call when no model can be asked; only one that looks and changes nothing.
pub fn likely<'a>(sentence: &str, catalog: &'a Catalog, services: &[String]) -> Option<Call<'a>> {
    by_words(sentence, catalog, services, LIKELY_COVERAGE, LIKELY_LEAD)
}

/// The tools nearest to a sentence by its words, best first.
pub fn nearest<'a>(sentence: &str, catalog: &'a Catalog, services: &[String]) -> Vec<(&'a Tool, f32)> {
    let fits = catalog.lexicon.rank(&words::split(sentence), services);
    fits.iter().filter_map(|fit| Some((catalog.tools.get(fit.tool)?, fit.score))).collect()
}

/// The declared sentence that has most words in common.
fn by_pattern<'a>(sentence: &str, catalog: &'a Catalog, services: &[String]) -> Option<Call<'a>> {
    let words = words::split(sentence);
    let mut best: Option<(usize, Call<'a>)> = None;
    for tool in &catalog.tools {
        for pattern in &tool.patterns {
            let Some(found) = pattern.find(sentence, &words, &tool.properties) else { continue };
            if confuses_a_service(pattern, &found.args, services) {
                continue;
            }
            if best.as_ref().is_none_or(|(most, _)| found.words > *most) {
                // What cannot be taken back is done on a written-out call or a second word.
                let ordered = tool.info.effect != Effect::Irreversible;
                let why = "it is asked for in these words".into();
                best = Some((found.words, Call { tool, args: found.args, ordered, why }));
            }
        }
    }
    best.map(|(_, call)| call)
}

/// "is eth0 up" and "is netd up" are the same words about different things: the name of a service only
/// stands where the declaration's own sentence names one, or where any text may stand.
fn confuses_a_service(
    pattern: &crate::pattern::Pattern,
    args: &Map<String, Value>,
    services: &[String],
) -> bool {
    pattern.parts.iter().any(|part| {
        let crate::pattern::Part::Slot { name, many: false, sample, .. } = part else { return false };
        let value = args.get(name).and_then(Value::as_str).unwrap_or_default().to_lowercase();
        services.contains(&value) && !services.contains(&sample.to_lowercase())
    })
}

fn by_words<'a>(
    sentence: &str,
    catalog: &'a Catalog,
    services: &[String],
    coverage: f32,
    lead: f32,
) -> Option<Call<'a>> {
    let words = words::split(sentence);
    if words.iter().any(|word| catalog.changes(&word.key)) {
        return None;
    }
    let fits = catalog.lexicon.rank(&words, services);
    // Values that a tool has no place for belong to another tool.
    let spare =
        words.iter().filter(|w| w.key.starts_with('/') || w.quoted || services.contains(&w.key)).count();
    let mut callable = fits.iter().filter_map(|fit| {
        let tool = catalog.tools.get(fit.tool)?;
        let args = extract::extract(tool, sentence, &words, services);
        let placed = args.values().filter(|value| value.is_string()).count();
        let fits = spare <= placed && schema::is_complete(&tool.properties, &args);
        let why = "the words of the question are its words".into();
        (fits && tool.info.effect == Effect::Read).then_some((fit, Call { tool, args, ordered: true, why }))
    });
    let (best, call) = callable.next()?;
    let second = callable.next().map_or(0.0, |(fit, _)| fit.score);
    let beyond = fits.first().map_or(0.0, |fit: &Fit| fit.score);
    (best.coverage >= coverage && best.score >= second * lead && beyond <= best.score * lead).then_some(call)
}

/// Several questions in one: each part must be sure for itself and only look.
fn parts<'a>(sentence: &str, catalog: &'a Catalog, services: &[String]) -> Option<Vec<Call<'a>>> {
    let pieces: Vec<&str> = sentence
        .split(['?', ';', ','])
        .flat_map(|piece| piece.split(" and "))
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
        .collect();
    if !(2..=PARTS).contains(&pieces.len()) {
        return None;
    }
    let mut calls: Vec<Call<'a>> = Vec::new();
    for piece in pieces {
        let call = by_pattern(piece, catalog, services)
            .or_else(|| by_words(piece, catalog, services, SURE_COVERAGE, SURE_LEAD))?;
        if call.tool.info.effect != Effect::Read {
            return None;
        }
        if !calls.contains(&call) {
            calls.push(call);
        }
    }
    Some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::catalog;
    use proptest::prelude::*;

    fn services() -> Vec<String> {
        ["agentd", "console", "inferd", "netd", "toold"].map(str::to_owned).to_vec()
    }

    /// The calls in the form `tool {"arg":…}`, with `?` behind what needs a second word.
    fn meant(sentence: &str) -> String {
        match understand(sentence, &catalog(), &services()) {
            Understood::Calls(calls) => {
                let one = |call: &Call<'_>| {
                    let args = Value::Object(call.args.clone());
                    format!("{} {args}{}", call.tool.info.name, if call.ordered { "" } else { "?" })
                };
                calls.iter().map(one).collect::<Vec<_>>().join(" + ")
            }
            Understood::Wrong(why) => format!("wrong: {why}"),
            Understood::Unsure => "unsure".into(),
        }
    }

    #[test]
    fn common_questions_need_no_model() {
        for (sentence, wanted) in [
            ("how much memory is free?", "memory.info {}"),
            ("How much memory do we have?", "memory.info {}"),
            ("memory", "memory.info {}"),
            ("show me the RAM", "memory.info {}"),
            ("how full is the disk?", "disk.usage {}"),
            ("disk space", "disk.usage {}"),
            ("which services are running?", "service.list {}"),
            ("services", "service.list {}"),
            ("is inferd running?", r#"service.status {"name":"inferd"}"#),
            ("who is listening?", "net.listen {}"),
            ("open ports", "net.listen {}"),
            ("what is listening on port 443?", r#"net.listen {"port":443}"#),
            ("show the network interfaces", "net.interfaces {}"),
            ("what's my ip address", "net.interfaces {}"),
            ("show me the latest log lines", "log.search {}"),
            ("logs", "log.search {}"),
            ("are there errors in the logs?", r#"log.search {"level":"error"}"#),
            ("uptime", "system.info {}"),
            ("which packages are installed?", "pkg.list {}"),
            ("run a security audit", "sec.audit {}"),
            ("read /etc/os-release", r#"fs.read {"path":"/etc/os-release"}"#),
            ("what time is it?", "time.now {}"),
            ("show the top 3 processes by memory", r#"process.list {"limit":3,"sort":"memory"}"#),
        ] {
            assert_eq!(meant(sentence), wanted, "{sentence}");
        }
    }

    #[test]
    fn an_order_is_an_order_and_what_cannot_be_taken_back_waits_for_a_second_word() {
        assert_eq!(
            meant("write \"kept in mind\" to /data/note.txt"),
            r#"fs.write {"content":"kept in mind","path":"/data/note.txt"}"#
        );
        assert_eq!(meant("restart netd"), r#"service.restart {"name":"netd"}?"#);
        assert_eq!(meant("kill process 1234"), r#"process.kill {"pid":1234}?"#);
        assert_eq!(meant("process.kill pid=1234"), r#"process.kill {"pid":1234}"#);
    }

    #[test]
    fn several_questions_are_several_calls() {
        assert_eq!(
            meant("how much memory is free and how full is the disk?"),
            "memory.info {} + disk.usage {}"
        );
        assert_eq!(meant("which services are running, who is listening?"), "service.list {} + net.listen {}");
        assert_eq!(meant("how much memory is free and restart netd"), "unsure");
    }

    #[test]
    fn what_is_not_sure_is_left_to_others() {
        for sentence in [
            "what is the capital of France?",
            "tell me a long story about a ship and the sea",
            "could you tell me which programs eat the most RAM at the moment",
            "write a poem",
            "restart the universe and everything",
            "delete all files",
            "",
            "?",
        ] {
            assert_eq!(meant(sentence), "unsure", "{sentence}");
        }
    }

    #[test]
    fn a_name_of_a_service_is_no_interface() {
        assert_eq!(meant("is eth0 up?"), r#"net.interfaces {"name":"eth0"}"#);
        assert!(!meant("is netd up?").starts_with("net.interfaces"), "{}", meant("is netd up?"));
    }

    #[test]
    fn without_a_model_the_likely_tool_answers_if_it_only_looks() {
        let catalog = catalog();
        let name = |sentence| likely(sentence, &catalog, &services()).map(|call| call.tool.info.name.clone());
        assert_eq!(name("is there anything wrong with the memory of this box"), Some("memory.info".into()));
        assert_eq!(name("what is the capital of France?"), None);
        assert_eq!(name("restart everything"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_sentence_makes_it_panic_or_change_something_by_guessing(text in "\\PC{0,60}") {
            let catalog = catalog();
            if let Understood::Calls(calls) = understand(&text, &catalog, &services()) {
                for call in calls {
                    prop_assert!(schema::is_complete(&call.tool.properties, &call.args));
                }
            }
            if let Some(call) = likely(&text, &catalog, &services()) {
                prop_assert_eq!(call.tool.info.effect, Effect::Read);
            }
        }
    }
}
