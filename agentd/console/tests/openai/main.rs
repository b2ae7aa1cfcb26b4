//! OpenAI's API as its clients ask it, over TLS; only inferd is played.

#[allow(unreachable_pub, reason = "a helper of tests")]
mod house;

use aios_abi::engine::{Grammar, Sampling};
use aios_abi::infer::Tier;
use aios_abi::who::{Person, Role};
use house::{Heard, House, grammar, read, say, tools};
use reqwest::Method;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const EMBED: &str = "/v1/embeddings";

/// What a stream says, piece by piece.
fn words(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str()).collect()
}

#[tokio::test]
async fn the_models_that_are_ready_are_listed_under_all_their_names() {
    let house = House::start();
    let (status, list) = house.get("/v1/models").await;
    let ids: Vec<&str> =
        list["data"].as_array().expect("a list").iter().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!((status, &list["object"]), (200, &json!("list")));
    assert_eq!(ids, ["default", "operational", "house/small", "embed", "MiniLM"]);
    for id in ids {
        let (status, model) = house.get(&format!("/v1/models/{id}")).await;
        assert_eq!((status, &model["id"], &model["object"]), (200, &json!(id), &json!("model")));
    }
    for id in ["tactical", "gpt-4o"] {
        let (status, error) = house.get(&format!("/v1/models/{id}")).await;
        assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")));
    }
    // The pages see the same tiers.
    let (_, overview) = house.get("/api/v1/overview").await;
    let tier = overview.pointer("/inference/Ok/tiers/0").expect("a tier");
    assert_eq!((&tier["tier"], &tier["done"]["requests"]), (&json!("operational"), &json!(3)));
}

#[tokio::test]
async fn a_conversation_is_gone_on_with() {
    let mut house = House::start();
    let body = json!({
        "model": "house/small", "messages": say("tell me a story"), "temperature": 0.5, "top_p": 0.9, "seed": 7,
        "stop": ["\n\n"], "max_completion_tokens": 99, "n": 1, "frequency_penalty": 0, "user": "x", "unknown": {}
    });
    let answer = house.good(CHAT, body).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("house/small")));
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Once upon a time");
    assert_eq!(choice["finish_reason"], "stop");
    let usage = json!({
        "prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "prompt_tokens_details": { "cached_tokens": 12 }
    });
    assert_eq!(answer["usage"], usage);
    let Heard::Asked(asked, person) = house.heard().await else { panic!("something else") };
    // inferd queues fairly between people, so it has to know whom this is for.
    assert_eq!(person, Some(Person { name: "vera".into(), role: Role::Viewer }));
    assert_eq!(
        (asked.tier, asked.max_tokens, &asked.stop[..]),
        (Tier::Operational, 99, &["\n\n".to_owned()][..])
    );
    assert_eq!(asked.sampling, Sampling { temperature_milli: 500, top_p_milli: 900, seed: 7 });
    assert_eq!(asked.grammar, None);

    let cut = house.good(CHAT, json!({ "model": "default", "messages": say("x"), "max_tokens": 1 })).await;
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn an_answer_comes_in_pieces_if_it_is_wanted() {
    let house = House::start();
    let mut body = json!({ "model": "default", "messages": say("tell me a story"), "stream": true });
    let chunks = house.stream(CHAT, body.clone()).await;
    assert_eq!(words(&chunks), "Once upon a time");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk.get("usage").is_none()));
    assert_eq!(chunks.last().expect("some")["choices"][0]["finish_reason"], "stop");

    body["stream_options"] = json!({ "include_usage": true });
    let chunks = house.stream(CHAT, body).await;
    let [rest @ .., count] = &chunks[..] else { panic!("none") };
    assert!(rest.iter().all(|chunk| chunk["usage"].is_null() && chunk["choices"][0]["index"] == 0));
    assert_eq!((&count["choices"], &count["usage"]["completion_tokens"]), (&json!([]), &json!(5)));
}

#[tokio::test]
async fn a_tool_is_called_under_a_grammar_and_its_result_goes_back() {
    let mut house = House::start();
    let body =
        json!({ "model": "default", "messages": say("call"), "tools": tools(), "tool_choice": "required" });
    let answer = house.good(CHAT, body.clone()).await;
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"], json!({ "name": "weather", "arguments": "{\"city\": \"Oslo\"}" }));
    let asked = house.asked().await;
    assert_eq!(asked.prefix, "<tool_call>\n");
    assert!(asked.messages[0].role == "system" && asked.messages[0].content.contains("The time"));
    assert!(matches!(asked.grammar, Some(Grammar::Lark(_))) && grammar(&asked).contains("weather"));

    // The same in pieces: the name first, then the arguments.
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let chunks = house.stream(CHAT, streamed).await;
    let parts: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).collect();
    let arguments: String = parts.iter().filter_map(|part| part["function"]["arguments"].as_str()).collect();
    assert_eq!(
        (&parts[0]["function"]["name"], arguments.as_str()),
        (&json!("weather"), "{\"city\": \"Oslo\"}")
    );
    assert_eq!(chunks.last().expect("some")["choices"][0]["finish_reason"], "tool_calls");
    house.asked().await;

    // What the tool said goes back with the call.
    let mut messages = say("What is the weather?");
    let own = messages.as_array_mut().expect("a list");
    own.push(choice["message"].clone());
    own.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "rain" }));
    let body = json!({ "model": "default", "messages": messages, "tools": tools(), "tool_choice": "none" });
    assert_eq!(house.good(CHAT, body).await["choices"][0]["finish_reason"], "stop");
    let asked = house.asked().await;
    let roles: Vec<&str> = asked.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert!(asked.messages[2].content.contains("rain") && asked.messages[1].content.contains("Oslo"));
}

#[tokio::test]
async fn the_model_may_choose_between_words_and_a_call() {
    let mut house = House::start();
    let mut body = json!({ "model": "default", "messages": say("look first"), "tools": tools() });
    let answer = house.good(CHAT, body.clone()).await;
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "Let me look.");
    assert_eq!(message["tool_calls"][0]["function"], json!({ "name": "now", "arguments": "{}" }));
    assert!(grammar(&house.asked().await).contains("TEXT"));
    body["stream"] = json!(true);
    assert_eq!(words(&house.stream(CHAT, body.clone()).await), "Let me look.");
    body["stream"] = json!(false);
    body["messages"] = say("just talk");
    let answer = house.good(CHAT, body).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(answer["choices"][0]["message"].get("tool_calls").is_none());
}

#[tokio::test]
async fn an_answer_follows_a_schema() {
    let mut house = House::start();
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "count", "schema": schema } });
    let answer = house
        .good(CHAT, json!({ "model": "default", "messages": say("json"), "response_format": format }))
        .await;
    assert_eq!(answer["choices"][0]["message"]["content"], "{\"n\": 3}");
    let asked = house.asked().await;
    assert!(matches!(asked.grammar, Some(Grammar::Schema(_))));
    let schema: Value = serde_json::from_str(grammar(&asked)).expect("JSON");
    assert_eq!(schema["required"], json!(["n"]));
    house.good(CHAT, json!({ "model": "default", "messages": say("json"), "response_format": { "type": "json_object" } })).await;
    assert!(grammar(&house.asked().await).contains("\"object\""));
}

#[tokio::test]
async fn a_text_is_gone_on_with_as_it_is() {
    let mut house = House::start();
    let body = json!({ "model": "default", "prompt": ["There was"], "max_tokens": 9, "echo": true });
    let answer = house.good(TEXT, body.clone()).await;
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["text"], "There wasOnce upon a time");
    let asked = house.asked().await;
    assert_eq!((asked.messages.len(), asked.prefix.as_str(), asked.max_tokens), (0, "There was", 9));
    let mut body = body;
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let chunks = house.stream(TEXT, body).await;
    let text: String = chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/text")?.as_str()).collect();
    assert_eq!(text, "There wasOnce upon a time");
    assert_eq!(chunks.last().expect("some")["usage"]["total_tokens"], 25);
}

#[tokio::test]
async fn texts_become_vectors() {
    let mut house = House::start();
    let answer = house.good(EMBED, json!({ "model": "embed", "input": "four" })).await;
    assert_eq!((&answer["model"], &answer["data"][0]["embedding"]), (&json!("MiniLM"), &json!([4.0, -0.5])));
    assert_eq!(house.heard().await, Heard::Embed(1));

    // More than inferd takes at once.
    let many: Vec<String> = (0..600).map(|n| "x".repeat(n % 7 + 1)).collect();
    let body = json!({ "model": "MiniLM", "input": many, "encoding_format": "base64", "dimensions": 2 });
    let answer = house.good(EMBED, body).await;
    let data = answer["data"].as_array().expect("a list");
    assert_eq!((data.len(), &data[599]["index"]), (600, &json!(599)));
    // 599 % 7 + 1 = 5.0 and -0.5 as little-endian float32.
    assert_eq!(data[599]["embedding"], "AACgQAAAAL8=");
    let wrong = house.post(EMBED, json!({ "model": "embed", "input": "x", "dimensions": 3 })).await;
    assert_eq!((wrong.0, &wrong.1["error"]["param"]), (400, &json!("dimensions")));
}

#[tokio::test]
async fn what_fails_is_told_in_the_apis_own_form() {
    let house = House::start();
    let chat = |words: &str| json!({ "model": "default", "messages": say(words) });
    let picture =
        json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "x" } }] }]);
    for (path, body, status, part, is) in [
        (CHAT, json!({ "messages": say("x") }), 400, "param", "model"),
        (CHAT, json!({ "model": "gpt-4o", "messages": say("x") }), 404, "code", "model_not_found"),
        (CHAT, json!({ "model": "embed", "messages": say("x") }), 400, "param", "model"),
        (EMBED, json!({ "model": "default", "input": "x" }), 400, "param", "model"),
        (CHAT, json!({ "model": "tactical", "messages": say("x") }), 503, "type", "server_error"),
        (CHAT, json!({ "model": "default", "messages": [] }), 400, "param", "messages"),
        (
            CHAT,
            json!({ "model": "default", "messages": picture }),
            400,
            "param",
            "messages[0].content[0].type",
        ),
        (CHAT, json!({ "model": "default", "messages": say("x"), "n": 2 }), 400, "param", "n"),
        (
            CHAT,
            json!({ "model": "default", "messages": say("x"), "logprobs": true }),
            400,
            "param",
            "logprobs",
        ),
        (CHAT, json!([]), 400, "type", "invalid_request_error"),
        (CHAT, chat("be busy"), 429, "code", "rate_limit_exceeded"),
        (CHAT, chat("misunderstand"), 400, "type", "invalid_request_error"),
        (CHAT, chat("begin and die"), 503, "type", "server_error"),
        (CHAT, chat(&"x".repeat(100_000)), 400, "type", "invalid_request_error"),
        (CHAT, chat(&"x".repeat(300_000)), 413, "type", "invalid_request_error"),
        ("/v1/responses", json!({}), 404, "code", "unknown_url"),
        ("/v1/models", json!({}), 405, "type", "invalid_request_error"),
    ] {
        let (got, answer) = house.post(path, body.clone()).await;
        let error = &answer["error"];
        let shown = body.to_string().chars().take(80).collect::<String>();
        assert_eq!((got, &error[part]), (status, &json!(is)), "{path} {shown}: {answer}");
        assert!(error["message"].as_str().is_some_and(|sentence| sentence.len() > 10), "{answer}");
    }
    // Before the first word a stream fails like any other request.
    let (status, _) =
        house.post(CHAT, json!({ "model": "default", "messages": say("be busy"), "stream": true })).await;
    assert_eq!(status, 429);

    let broken = house.request(Method::POST, CHAT).header("content-type", "application/json").body("{half");
    let (status, answer) = read(broken.send().await.expect("answered")).await;
    assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")));
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().expect("client");
    let response = client.get(format!("{}/v1/models", house.url)).bearer_auth("nobody's").send().await;
    let response = response.expect("answered");
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let (status, answer) = read(response).await;
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("invalid_api_key")));
}

#[tokio::test]
async fn what_breaks_in_the_middle_of_a_stream_is_its_last_piece() {
    let house = House::start();
    let body = json!({ "model": "default", "messages": say("begin and die"), "stream": true });
    let response = house.request(Method::POST, CHAT).json(&body).send().await.expect("answered");
    let text = response.text().await.expect("whole");
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().expect("a piece");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert!(text.contains("Once") && !text.contains("[DONE]"), "{text}");
    assert_eq!(last["error"]["type"], "server_error");
}

#[tokio::test]
async fn who_goes_away_cancels_what_was_asked() {
    let mut house = House::start();
    // Before anything was answered, as a whole and in pieces.
    for stream in [false, true] {
        let body = json!({ "model": "default", "messages": say("wait"), "stream": stream });
        let asking = tokio::spawn(house.request(Method::POST, CHAT).json(&body).send());
        house.asked().await;
        asking.abort();
        assert_eq!(house.heard().await, Heard::Dropped, "stream: {stream}");
    }
    // In the middle of the pieces.
    let body = json!({ "model": "default", "messages": say("begin and wait"), "stream": true });
    let mut response = house.request(Method::POST, CHAT).json(&body).send().await.expect("answered");
    house.asked().await;
    let first = response.chunk().await.expect("read").expect("a piece");
    assert!(first.starts_with(b"data: "));
    drop(response);
    assert_eq!(house.heard().await, Heard::Dropped);
}

#[tokio::test]
async fn a_stream_ends_with_its_login() {
    let mut house = House::start();
    let body = json!({ "model": "default", "messages": say("begin and wait"), "stream": true });
    let response = house.request(Method::POST, CHAT).json(&body).send().await.expect("answered");
    house.asked().await;
    let out = house.request(Method::POST, "/api/v1/logout").send().await.expect("answered");
    assert_eq!(out.status(), 200);
    let text = response.text().await.expect("ended");
    assert!(text.contains("Once") && !text.contains("[DONE]"), "{text}");
    assert_eq!(house.heard().await, Heard::Dropped);
    assert_eq!(house.get("/v1/models").await.0, 401);
}
