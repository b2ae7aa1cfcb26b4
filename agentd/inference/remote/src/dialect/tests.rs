use super::*;
use crate::config::Settings;
use aios_abi::engine::Sampling;
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

pub(crate) fn settings(kind: &str, more: &str) -> Settings {
    let text = format!(
        "kind = \"{kind}\"\nurl = \"https://a.example\"\nmodel = \"m\"\ncontext = 4096\nmax_tokens = 200\n{more}\n\
         [budget]\ncurrency = \"EUR\"\nper_month = \"20\"\nper_request = \"1\"\ninput_per_million = \"1\"\noutput_per_million = \"2\"\n"
    );
    Settings::parse(Path::new("/data/config/strategic.toml"), &text).expect("it is right")
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into() }
}

fn question() -> Generate {
    Generate {
        messages: vec![message("system", "Be short."), message("user", "Why?")],
        max_tokens: 50,
        sampling: Sampling { temperature_milli: 700, top_p_milli: 900, seed: 7 },
        stop: vec!["\n\n".into()],
        ..Generate::default()
    }
}

fn written(settings: &Settings, generate: &Generate) -> Value {
    let request = Request::new(settings, generate).expect("it can be asked");
    serde_json::from_slice(&request.body).expect("JSON")
}

#[test]
fn a_question_is_written_in_both_languages() {
    let openai = json!({
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}],
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n\n"],
    });
    assert_eq!(written(&settings("openai", ""), &question()), openai);
    let anthropic = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "Why?"}],
        "system": "Be short.",
        "max_tokens": 50,
        "stream": true,
        "temperature": 0.7,
        "top_p": 0.9,
        "stop_sequences": ["\n\n"],
    });
    assert_eq!(written(&settings("anthropic", ""), &question()), anthropic);
    let plain = Generate { sampling: Sampling::default(), stop: Vec::new(), max_tokens: 9_999, ..question() };
    let picky = settings("openai", "sampling = false\nlimit_field = \"max_completion_tokens\"");
    let body = written(&picky, &plain);
    assert_eq!(body["max_completion_tokens"], 200, "no more than the settings allow");
    for absent in ["max_tokens", "temperature", "top_p", "seed", "stop", "response_format"] {
        assert!(body.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn an_answer_that_is_begun_or_follows_a_schema_is_written_so() {
    let begun = Generate { prefix: "Because".into(), ..question() };
    let last = json!({"role": "assistant", "content": "Because"});
    let body = written(&settings("openai", "prefill = true"), &begun);
    assert_eq!((&body["messages"][2], &body["continue_final_message"]), (&last, &true.into()));
    assert_eq!(written(&settings("anthropic", ""), &begun)["messages"][1], last);
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    let formed = Generate { grammar: Some(Grammar::Schema(schema.to_string())), ..question() };
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": false, "schema": schema}});
    assert_eq!(written(&settings("openai", ""), &formed)["response_format"], format);
    let body = written(&settings("anthropic", ""), &formed);
    assert_eq!(body["tools"][0]["input_schema"], schema);
    assert_eq!(body["tool_choice"]["name"], body["tools"][0]["name"]);
}

#[test]
fn what_a_server_cannot_do_is_said_and_not_tried() {
    let with = |change: fn(&mut Generate)| {
        let mut generate = question();
        change(&mut generate);
        generate
    };
    for (kind, generate, expected) in [
        ("openai", with(|it| it.prefix = "x".into()), "write prefill = true"),
        ("openai", with(|it| it.messages.clear()), "answers conversations"),
        ("openai", with(|it| it.max_tokens = 0), "at most 0 tokens"),
        (
            "openai",
            with(|it| it.grammar = Some(Grammar::Lark("start: \"a\"".into()))),
            "cannot follow a grammar",
        ),
        ("openai", with(|it| it.grammar = Some(Grammar::Schema("{".into()))), "is no JSON"),
        ("openai", with(|it| it.messages[0].role = "tool".into()), "there are system, user and assistant"),
        ("anthropic", with(|it| it.messages.truncate(1)), "system messages alone"),
        (
            "anthropic",
            with(|it| it.grammar = Some(Grammar::Schema("true".into()))),
            "schemas of objects alone",
        ),
        (
            "anthropic",
            with(|it| (it.prefix, it.grammar) = ("x".into(), Some(Grammar::Schema("{}".into())))),
            "leave one of both out",
        ),
    ] {
        let why = Request::new(&settings(kind, ""), &generate).expect_err(expected).message;
        assert!(why.contains(expected), "{why}");
    }
}

proptest! {
    /// What the budget counts on: whatever is said, no text of it can have more tokens than were reserved, even if each
    /// byte were one and each message had ten around it.
    #[test]
    fn there_are_never_more_tokens_than_bytes(texts in proptest::collection::vec("\\PC{0,60}|[\\x00-\\x1f\"\\\\]{0,20}", 1..8), prefix in "\\PC{0,20}") {
        let messages: Vec<Message> = texts.iter().map(|text| message("user", text)).collect();
        let bytes: usize = texts.iter().map(String::len).sum::<usize>() + prefix.len();
        let generate = Generate { messages, prefix, ..question() };
        for settings in [settings("openai", "prefill = true"), settings("anthropic", "")] {
            let request = Request::new(&settings, &generate).expect("it can be asked");
            let tokens = bytes as u64 + 10 * (texts.len() as u64 + 1);
            prop_assert!(request.most_prompt > tokens + 1024);
            prop_assert!(request.worst(&settings) >= settings.prices.most(tokens, request.max_tokens.into()));
        }
    }
}
