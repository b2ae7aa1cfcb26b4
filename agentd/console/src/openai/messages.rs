//! A conversation in inferd's words. Models know three roles: what a tool said comes as a user's message, and a call of
//! the assistant as its text, both between the marks that [`tools`](super::tools) explains to the model.

use super::error::Error;
use super::fields::{Fields, Item};
use super::tools::{CLOSE, OPEN, call_text};
use aios_abi::engine::Message;
use serde_json::Value;

/// The conversation.
pub(super) fn messages(fields: &Fields<'_>) -> Result<Vec<Message>, Error> {
    let list = fields.need("messages")?;
    let items = list.items()?;
    if items.is_empty() {
        return Err(Error::invalid(list.place, "is empty; at least one message is needed"));
    }
    let mut messages: Vec<Message> = Vec::new();
    // Calls that were made together are answered one by one, and read as one message.
    let mut is_answer = false;
    for item in items {
        let (message, from_tool) = message(&item.fields()?)?;
        match messages.last_mut() {
            Some(last) if from_tool && is_answer => last.content.push_str(&format!("\n{}", message.content)),
            _ => messages.push(message),
        }
        is_answer = from_tool;
    }
    Ok(messages)
}

/// Words for the model, with the system's own if there are any, else before all.
pub(super) fn instruct(messages: &mut Vec<Message>, words: &str) {
    match messages.first_mut() {
        Some(first) if first.role == "system" => first.content.push_str(&format!("\n\n{words}")),
        _ => messages.insert(0, Message { role: "system".into(), content: words.to_owned() }),
    }
}

/// One message, and whether a tool said it.
fn message(fields: &Fields<'_>) -> Result<(Message, bool), Error> {
    let role = fields.need("role")?;
    let say = |role: &str, content: String| Message { role: role.to_owned(), content };
    let told = || content(&fields.need("content")?);
    match role.text()? {
        // `developer` is the newer name (API reference, "Developer message").
        "system" | "developer" => Ok((say("system", told()?), false)),
        "user" => Ok((say("user", told()?), false)),
        "assistant" => Ok((say("assistant", assistant(fields)?), false)),
        "tool" | "function" => {
            let words = format!("<tool_response>\n{}\n</tool_response>", told()?);
            Ok((say("user", words), true))
        }
        _ => Err(role.is_no("a role: system, developer, user, assistant or tool")),
    }
}

/// What the assistant said and called.
fn assistant(fields: &Fields<'_>) -> Result<String, Error> {
    let said = fields.get("content").map(|item| content(&item)).transpose()?;
    let mut parts: Vec<String> = said.into_iter().filter(|said| !said.is_empty()).collect();
    let Some(calls) = fields.get("tool_calls") else {
        return parts.pop().map_or_else(|| content(&fields.need("content")?), Ok);
    };
    for call in calls.items()? {
        let call = call.fields()?;
        let function = call.need("function")?.fields()?;
        let name = function.need("name")?.text()?;
        let arguments = function.need("arguments")?;
        // As they were sent; what is no JSON any more is a text.
        let text = arguments.text()?.trim();
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        parts.push(format!("{OPEN}\n{}\n{CLOSE}", call_text(name, &value)));
    }
    Ok(parts.join("\n"))
}

/// A text, or the texts of a list of parts.
fn content(item: &Item<'_>) -> Result<String, Error> {
    match item.value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) => {
            let parts = item.items()?.into_iter().map(|part| part_text(&part.fields()?));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        _ => Err(item.is_no("a string or a list of parts")),
    }
}

fn part_text(part: &Fields<'_>) -> Result<String, Error> {
    let kind = part.need("type")?;
    match kind.text()? {
        "text" => part.need("text")?.text().map(str::to_owned),
        "refusal" => part.need("refusal")?.text().map(str::to_owned),
        _ => {
            Err(kind
                .is_no("a kind of part that is read here: the models of this machine read \"text\" alone"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(list: Value) -> Result<Vec<(String, String)>, Error> {
        let body = json!({ "messages": list });
        let messages = messages(&Fields::whole(&body)?)?;
        Ok(messages.into_iter().map(|message| (message.role, message.content)).collect())
    }

    fn said(role: &str, content: &str) -> (String, String) {
        (role.to_owned(), content.to_owned())
    }

    #[test]
    fn a_conversation_with_a_call_is_told_in_three_roles() {
        let call = json!({ "id": "call_1", "type": "function", "function": { "name": "time", "arguments": "{\"zone\":\"UTC\"}" } });
        let told = of(json!([
            { "role": "developer", "content": "Be short." },
            { "role": "user", "name": "ada", "content": [{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }] },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "call_1", "content": "12:00" },
            { "role": "tool", "tool_call_id": "call_2", "content": "13:00" },
            { "role": "assistant", "content": "Noon." },
            { "role": "user", "content": "" }
        ]));
        assert_eq!(
            told.expect("fits"),
            [
                said("system", "Be short."),
                said("user", "one\ntwo"),
                said(
                    "assistant",
                    "<tool_call>\n{\"name\": \"time\", \"arguments\": {\"zone\":\"UTC\"}}\n</tool_call>"
                ),
                said(
                    "user",
                    "<tool_response>\n12:00\n</tool_response>\n<tool_response>\n13:00\n</tool_response>"
                ),
                said("assistant", "Noon."),
                said("user", ""),
            ]
        );
    }

    #[test]
    fn what_is_no_message_is_said_with_its_place() {
        let picture =
            json!([{ "type": "text", "text": "what is this?" }, { "type": "image_url", "image_url": {} }]);
        for (list, place, words) in [
            (json!([]), "messages", "is empty"),
            (json!("hello"), "messages", "not a list"),
            (json!(["hello"]), "messages[0]", "not an object"),
            (json!([{ "content": "x" }]), "messages[0].role", "missing"),
            (json!([{ "role": "judge", "content": "x" }]), "messages[0].role", "not a role"),
            (json!([{ "role": "user" }]), "messages[0].content", "missing"),
            (json!([{ "role": "user", "content": 7 }]), "messages[0].content", "not a string"),
            (
                json!([{ "role": "user", "content": picture }]),
                "messages[0].content[1].type",
                "\"text\" alone",
            ),
            (json!([{ "role": "assistant", "content": null }]), "messages[0].content", "missing"),
            (
                json!([{ "role": "assistant", "tool_calls": [{ "function": { "name": "x" } }] }]),
                "messages[0].tool_calls[0].function.arguments",
                "missing",
            ),
        ] {
            let error = of(list.clone()).expect_err("no messages");
            assert_eq!(error.param.as_deref(), Some(place), "{list}: {error}");
            assert!(error.message.contains(words), "{list}: {error}");
        }
    }

    #[test]
    fn words_for_the_model_join_the_systems_own() {
        let message = |role: &str| Message { role: role.into(), content: "x".into() };
        let mut messages = vec![message("system"), message("user")];
        instruct(&mut messages, "more");
        assert_eq!((messages.len(), messages[0].content.as_str()), (2, "x\n\nmore"));
        let mut messages = vec![message("user")];
        instruct(&mut messages, "more");
        assert_eq!(
            (messages.len(), messages[0].role.as_str(), messages[0].content.as_str()),
            (2, "system", "more")
        );
    }
}
