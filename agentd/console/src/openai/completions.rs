//! Going on with a text as it is, without a conversation around it.

use super::answer::{Head, Text};
use super::error::Error;
use super::fields::Fields;
use super::options::{Manner, Options};
use super::{Body, Caller, models, writing};
use crate::api::App;
use aios_abi::infer::{Complete, Tier};
use axum::response::Response;
use serde_json::Value;

/// Tokens of an answer where the request does not say (API reference, "max_tokens" of completions).
const MAX_TOKENS: u32 = 16;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Completing {
    prompt: String,
    echo: bool,
    options: Options,
}

impl Completing {
    /// Read it.
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, Error> {
        for (name, why) in
            [("suffix", "models write forwards only"), ("logprobs", "the models do not tell them")]
        {
            if let Some(item) = fields.get(name).filter(|item| item.value != "" && item.value != false) {
                return Err(Error::invalid(item.place, format!("is not taken: {why}; leave it out")));
            }
        }
        let options = Options::of(fields, MAX_TOKENS)?;
        Ok(Self { prompt: prompt(fields)?, echo: fields.flag("echo")?, options })
    }

    /// In inferd's words.
    pub(super) fn complete(self, tier: Tier) -> Complete {
        let Self { prompt: prefix, options: Options { max_tokens, sampling, stop, .. }, .. } = self;
        Complete { tier, prefix, max_tokens, sampling, stop, ..Complete::default() }
    }
}

fn prompt(fields: &Fields<'_>) -> Result<String, Error> {
    const WANTED: &str = "a text, or a list of one";
    let item = fields.need("prompt")?;
    let item = match item.value {
        Value::Array(_) => match &item.items()?[..] {
            [one] => one.clone(),
            _ => return Err(item.is_no(WANTED)),
        },
        _ => item,
    };
    match item.value.as_str() {
        Some("") => Err(Error::invalid(item.place, "is empty; the model needs a text to go on with")),
        Some(text) => Ok(text.to_owned()),
        None => Err(item.is_no(WANTED)),
    }
}

pub(super) async fn answer(app: App, caller: Caller, body: Body) -> Result<Response, Error> {
    let completing = Completing::of(&body.fields()?)?;
    let model = models::writer(&models::status(&app, &caller).await?, models::named(&body)?)?;
    let manner = completing.options.manner;
    let head = Head::new("cmpl-", model.name, manner == Manner::Stream { usage: true })?;
    let echo = if completing.echo { completing.prompt.clone() } else { String::new() };
    writing::answer(app, caller, completing.complete(model.tier), manner, Text::new(head, echo)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(body: Value) -> Result<Completing, Error> {
        Completing::of(&Fields::whole(&body)?)
    }

    #[test]
    fn a_prompt_is_gone_on_with_as_it_is() {
        for prompt in [json!("Once <|im_start|>"), json!(["Once <|im_start|>"])] {
            let complete = of(json!({ "prompt": prompt, "suffix": null, "logprobs": null })).expect("fits");
            let complete = complete.complete(Tier::Operational);
            assert_eq!((complete.prefix.as_str(), complete.max_tokens), ("Once <|im_start|>", 16));
            assert!(complete.messages.is_empty() && complete.grammar.is_none());
        }
    }

    #[test]
    fn what_is_no_prompt_is_said_with_its_place() {
        for (body, place) in [
            (json!({}), "prompt"),
            (json!({ "prompt": "" }), "prompt"),
            (json!({ "prompt": [] }), "prompt"),
            (json!({ "prompt": ["a", "b"] }), "prompt"),
            (json!({ "prompt": [17] }), "prompt[0]"),
            (json!({ "prompt": "a", "echo": "yes" }), "echo"),
            (json!({ "prompt": "a", "suffix": "z" }), "suffix"),
            (json!({ "prompt": "a", "logprobs": 3 }), "logprobs"),
        ] {
            let error = of(body.clone()).expect_err("does not fit");
            assert_eq!(error.param.as_deref(), Some(place), "{body}: {error}");
        }
    }
}
