//! Going on with a conversation.

use super::answer::{Chat, Head};
use super::error::Error;
use super::fields::Fields;
use super::messages::{instruct, messages};
use super::options::{Manner, Options};
use super::tools::Shape;
use super::{Body, Caller, models, writing};
use crate::api::App;
use aios_abi::engine::Message;
use aios_abi::infer::{Complete, Tier};
use axum::response::Response;

/// Tokens of an answer where the request does not say; inferd has a limit of its own.
const MAX_TOKENS: u32 = 512;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chatting {
    messages: Vec<Message>,
    shape: Shape,
    options: Options,
}

impl Chatting {
    /// Read it.
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, Error> {
        if fields.flag("logprobs")? {
            return Err(Error::invalid(
                "logprobs",
                "the models of this machine do not tell them; leave it out",
            ));
        }
        let options = Options::of(fields, MAX_TOKENS)?;
        Ok(Self { messages: messages(fields)?, shape: Shape::of(fields)?, options })
    }

    /// In inferd's words.
    pub(super) fn complete(self, tier: Tier) -> Complete {
        let Self { mut messages, shape, options: Options { max_tokens, sampling, stop, .. } } = self;
        if let Some(words) = shape.words() {
            instruct(&mut messages, &words);
        }
        let (prefix, grammar) = (shape.prefix(), shape.grammar());
        Complete { tier, messages, prefix, grammar, max_tokens, sampling, stop }
    }
}

pub(super) async fn answer(app: App, caller: Caller, body: Body) -> Result<Response, Error> {
    let chatting = Chatting::of(&body.fields()?)?;
    let model = models::writer(&models::status(&app, &caller).await?, models::named(&body)?)?;
    let manner = chatting.options.manner;
    let head = Head::new("chatcmpl-", model.name, manner == Manner::Stream { usage: true })?;
    let telling = Chat::new(head, &chatting.shape)?;
    writing::answer(app, caller, chatting.complete(model.tier), manner, telling).await
}

#[cfg(test)]
mod tests {
    use super::super::tools::tests::two;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_becomes_one_of_inferds() {
        let body = json!({
            "messages": [{ "role": "user", "content": "Weather in Oslo?" }], "tools": two(), "tool_choice": "required",
            "temperature": 0, "seed": 7, "stop": "\n\n", "max_tokens": 40
        });
        let chatting = Chatting::of(&Fields::whole(&body).expect("an object")).expect("fits");
        let complete = chatting.complete(Tier::Tactical);
        assert_eq!((complete.tier, complete.max_tokens, complete.sampling.seed), (Tier::Tactical, 40, 7));
        assert_eq!(
            (complete.prefix.as_str(), &complete.stop[..]),
            ("<tool_call>\n", &["\n\n".to_owned()][..])
        );
        let [system, user] = &complete.messages[..] else { panic!("{:?}", complete.messages) };
        assert!(system.role == "system" && system.content.contains("Weather of a city"), "{system:?}");
        assert_eq!((user.role.as_str(), user.content.as_str()), ("user", "Weather in Oslo?"));
        assert!(complete.grammar.is_some());
    }
}
