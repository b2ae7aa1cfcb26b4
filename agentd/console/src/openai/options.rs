//! What requests for text have in common: how long, how chosen, how sent.

use super::error::Error;
use super::fields::Fields;
use crate::store::random;
use aios_abi::engine::Sampling;
use serde_json::Value;

/// Texts at which an answer ends.
const MAX_STOPS: usize = 4;
/// The temperature where a request says none (API reference, "temperature").
const TEMPERATURE: f64 = 1.0;

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// At once.
    Whole,
    /// In pieces.
    Stream {
        /// With a last piece that counts tokens.
        usage: bool,
    },
}

/// Options of chat and completions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    pub(super) manner: Manner,
    pub(super) max_tokens: u32,
    pub(super) sampling: Sampling,
    pub(super) stop: Vec<String>,
}

impl Options {
    /// Read them. `max_tokens` is for requests that do not say.
    pub(super) fn of(fields: &Fields<'_>, max_tokens: u32) -> Result<Self, Error> {
        for (name, why) in [("n", "one answer at a time"), ("best_of", "the one answer that is written")] {
            if let Some(item) = fields.get(name).filter(|item| item.value != 1) {
                return Err(item.is_no(&format!("1, which is all that is taken: {why}")));
            }
        }
        let newer = fields.count("max_completion_tokens", 1)?;
        let asked = fields.count("max_tokens", 1)?;
        let most = newer.or(asked).map_or(max_tokens, |most| u32::try_from(most).unwrap_or(u32::MAX));
        Ok(Self {
            manner: manner(fields)?,
            max_tokens: most,
            sampling: sampling(fields)?,
            stop: stop(fields)?,
        })
    }
}

fn manner(fields: &Fields<'_>) -> Result<Manner, Error> {
    let options = fields.object("stream_options")?;
    let usage = options.map(|options| options.flag("include_usage")).transpose()?.unwrap_or(false);
    Ok(if fields.flag("stream")? { Manner::Stream { usage } } else { Manner::Whole })
}

fn sampling(fields: &Fields<'_>) -> Result<Sampling, Error> {
    let temperature = fields.number("temperature", 0.0..=2.0)?.unwrap_or(TEMPERATURE);
    // 0 would leave it to the worker; so little is one token.
    let top_p_milli = fields.number("top_p", 0.0..=1.0)?.map_or(0, |part| milli(part).max(1));
    let seed = match fields.get("seed") {
        None => u32::from_le_bytes(random()?),
        Some(item) => match (item.value.as_i64(), item.value.as_u64()) {
            (Some(seed), _) => folded(seed.cast_unsigned()),
            (None, Some(seed)) => folded(seed),
            (None, None) => return Err(item.is_no("a whole number of 64 bits")),
        },
    };
    Ok(Sampling { temperature_milli: milli(temperature), top_p_milli, seed })
}

/// In thousandths; the fields' ranges are small.
fn milli(number: f64) -> u32 {
    (number * 1000.0).round() as u32
}

/// All bits of a longer seed count; one that fits stays as it is.
fn folded(seed: u64) -> u32 {
    (seed ^ (seed >> 32)) as u32
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, Error> {
    let Some(item) = fields.get("stop") else { return Ok(Vec::new()) };
    let items = match item.value {
        Value::String(_) => vec![item],
        _ => {
            let items = item.items().map_err(|_| item.is_no("a string, or a list of up to 4"))?;
            if items.len() > MAX_STOPS {
                let sentence = format!("{} texts are too many, up to {MAX_STOPS} are taken", items.len());
                return Err(Error::invalid(item.place, sentence));
            }
            items
        }
    };
    let texts = items.iter().map(|item| match item.text()? {
        "" => Err(item.is_no("a text at which an answer can end; leave it out")),
        text => Ok(text.to_owned()),
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(body: Value) -> Result<Options, Error> {
        Options::of(&Fields::whole(&body)?, 512)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let options = of(json!({})).expect("fits");
        assert_eq!((options.manner, options.max_tokens), (Manner::Whole, 512));
        assert_eq!((options.sampling.temperature_milli, options.sampling.top_p_milli), (1000, 0));
        assert!(options.stop.is_empty());
        // Not two of 2^32 alike.
        assert_ne!(of(json!({})).map(|o| o.sampling.seed), of(json!({})).map(|o| o.sampling.seed));
    }

    #[test]
    fn what_is_said_is_taken() {
        let options = of(json!({
            "stream": true, "stream_options": { "include_usage": true }, "n": 1, "best_of": 1, "max_tokens": 7,
            "max_completion_tokens": 9, "temperature": 0, "top_p": 0.25, "seed": -1, "stop": "end", "logit_bias": {}
        }));
        let options = options.expect("fits");
        assert_eq!((options.manner, options.max_tokens), (Manner::Stream { usage: true }, 9));
        assert_eq!(options.sampling, Sampling { temperature_milli: 0, top_p_milli: 250, seed: 0 });
        assert_eq!(options.stop, ["end"]);
        let options = of(json!({ "seed": 42, "stop": ["a", "b"], "max_tokens": 1e3 as u64, "top_p": 0 }))
            .expect("fits");
        assert_eq!((options.sampling.seed, options.sampling.top_p_milli), (42, 1));
        assert_eq!((options.stop.len(), options.max_tokens), (2, 1000));
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_place() {
        for (body, place) in [
            (json!({ "n": 2 }), "n"),
            (json!({ "best_of": 2 }), "best_of"),
            (json!({ "stream": "yes" }), "stream"),
            (json!({ "stream_options": { "include_usage": 1 } }), "stream_options.include_usage"),
            (json!({ "max_tokens": 0 }), "max_tokens"),
            (json!({ "max_tokens": -5 }), "max_tokens"),
            (json!({ "max_completion_tokens": "9" }), "max_completion_tokens"),
            (json!({ "temperature": 3 }), "temperature"),
            (json!({ "top_p": 1.5 }), "top_p"),
            (json!({ "seed": 1.5 }), "seed"),
            (json!({ "stop": "" }), "stop"),
            (json!({ "stop": 7 }), "stop"),
            (json!({ "stop": ["a", 7] }), "stop[1]"),
            (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop"),
        ] {
            let error = of(body.clone()).expect_err("does not fit");
            assert_eq!(error.param.as_deref(), Some(place), "{body}: {error}");
        }
    }
}
