//! Vectors of texts.

use super::error::Error;
use super::fields::Fields;
use super::{Body, Caller, models};
use crate::api::App;
use crate::state::unexpected;
use aios_abi::infer::{InferReply, InferRequest};
use axum::Json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

/// Texts of one request (API reference, "input").
const MAX_TEXTS: usize = 2_048;
/// Texts that inferd is given at once.
const BATCH: usize = 256;
/// Their bytes, which have to fit into one packet ([`aios_abi::frame::MAX_PACKET`]).
const BATCH_BYTES: usize = 48 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Embedding {
    texts: Vec<String>,
    form: Form,
    dimensions: Option<u64>,
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A list of numbers.
    Float,
    /// The base64 of its numbers, four bytes each, the lowest first: what the official clients ask for by themselves.
    Base64,
}

impl Embedding {
    /// Read it.
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, Error> {
        let form = match fields.get("encoding_format") {
            None => Form::Float,
            Some(item) => match item.text()? {
                "float" => Form::Float,
                "base64" => Form::Base64,
                _ => return Err(item.is_no("float or base64")),
            },
        };
        Ok(Self { texts: texts(fields)?, form, dimensions: fields.count("dimensions", 1)? })
    }
}

fn texts(fields: &Fields<'_>) -> Result<Vec<String>, Error> {
    let input = fields.need("input")?;
    let place = input.place.clone();
    let items = match input.value {
        Value::String(_) => vec![input],
        _ => input.items().map_err(|_| input.is_no("a text or a list of texts"))?,
    };
    if items.is_empty() || items.len() > MAX_TEXTS {
        return Err(Error::invalid(place, format!("has {} texts; 1 to {MAX_TEXTS} are taken", items.len())));
    }
    let text = items.iter().map(|item| match item.value.as_str() {
        Some("") => Err(Error::invalid(item.place.clone(), "is empty; an empty text has no vector")),
        Some(text) => Ok(text.to_owned()),
        None => Err(item.is_no("a text (tokens of another model mean nothing to this one)")),
    });
    text.collect()
}

/// Texts in an order that fits into packets.
fn batches(texts: Vec<String>) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        bytes += text.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= BATCH_BYTES => batch.push(text),
            _ => {
                bytes = text.len();
                batches.push(vec![text]);
            }
        }
    }
    batches
}

/// The answer (API reference, "The embedding object").
#[derive(Debug, Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<One>,
    model: String,
    usage: Usage,
}

/// inferd does not count the tokens of sentences.
#[derive(Debug, Default, Serialize)]
struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
}

#[derive(Debug, Serialize)]
struct One {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

impl Vector {
    fn of(numbers: Vec<f32>, form: Form) -> Self {
        match form {
            Form::Float => Self::Float(numbers),
            Form::Base64 => {
                let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
                Self::Base64(STANDARD.encode(bytes))
            }
        }
    }
}

pub(super) async fn answer(app: App, caller: Caller, body: Body) -> Result<Json<List>, Error> {
    let Embedding { texts, form, dimensions } = Embedding::of(&body.fields()?)?;
    let model = models::embedder(&models::status(&app, &caller).await?, models::named(&body)?)?;
    let mut vectors: Vec<Vec<f32>> = Vec::with_capacity(texts.len());
    for texts in batches(texts) {
        let request = InferRequest::Embed { texts };
        match app.daemons.inferd.call(caller.meta("openai: vectors"), request).await? {
            InferReply::Embeddings(some) => vectors.extend(some),
            _ => return Err(unexpected("inferd").into()),
        }
    }
    if let (Some(wanted), Some(first)) = (dimensions, vectors.first())
        && usize::try_from(wanted) != Ok(first.len())
    {
        let sentence =
            format!("{wanted} is not the length of this model's vectors, which is {}", first.len());
        return Err(Error::invalid("dimensions", sentence));
    }
    let one = |(index, numbers)| One { object: "embedding", index, embedding: Vector::of(numbers, form) };
    let data = vectors.into_iter().enumerate().map(one).collect();
    Ok(Json(List { object: "list", data, model, usage: Usage::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(body: Value) -> Result<Embedding, Error> {
        Embedding::of(&Fields::whole(&body)?)
    }

    #[test]
    fn one_text_and_several_are_taken() {
        let one = of(json!({ "input": "a" })).expect("fits");
        assert_eq!((&one.texts[..], one.form, one.dimensions), (&["a".to_owned()][..], Form::Float, None));
        let two =
            of(json!({ "input": ["a", "b"], "encoding_format": "base64", "dimensions": 384 })).expect("fits");
        assert_eq!((two.texts.len(), two.form, two.dimensions), (2, Form::Base64, Some(384)));
    }

    #[test]
    fn what_is_no_text_is_said_with_its_place() {
        for (body, place) in [
            (json!({}), "input"),
            (json!({ "input": [] }), "input"),
            (json!({ "input": 7 }), "input"),
            (json!({ "input": "" }), "input"),
            (json!({ "input": ["a", ""] }), "input[1]"),
            (json!({ "input": [1, 2, 3] }), "input[0]"),
            (json!({ "input": vec!["a"; 3000] }), "input"),
            (json!({ "input": "a", "encoding_format": "hex" }), "encoding_format"),
            (json!({ "input": "a", "dimensions": 0 }), "dimensions"),
        ] {
            let error = of(body.clone()).expect_err("does not fit");
            assert_eq!(error.param.as_deref(), Some(place), "{error}");
        }
    }

    #[test]
    fn a_vector_is_written_as_the_official_client_reads_it() {
        // python3 -c 'import base64, struct; print(base64.b64encode(struct.pack("<2f", 1.0, -0.5)))'
        assert_eq!(Vector::of(vec![1.0, -0.5], Form::Base64), Vector::Base64("AACAPwAAAL8=".into()));
        let float = serde_json::to_string(&Vector::of(vec![0.1, -0.5], Form::Float)).expect("JSON");
        assert_eq!(float, "[0.1,-0.5]");
    }

    proptest! {
        #[test]
        fn batches_keep_all_texts_in_order_and_fit(lengths in proptest::collection::vec(0usize..30_000, 0..400)) {
            let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(length % 3000 * (length % 17))).collect();
            let batches = batches(texts.clone());
            for batch in &batches {
                let bytes: usize = batch.iter().map(String::len).sum();
                prop_assert!(batch.len() == 1 || (batch.len() <= BATCH && bytes <= BATCH_BYTES));
            }
            prop_assert_eq!(batches.concat(), texts);
        }
    }
}
