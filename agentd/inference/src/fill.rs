//! The arguments of a chosen tool, taken from the words of a question.

use crate::ask::{Asker, Watch, milliseconds};
use crate::certainty;
use crate::engine::Engine;
use crate::evidence;
use crate::grammar::{Grammar as Rules, Offer, Offers, Texts};
use crate::read::{Call, Read};
use crate::tiers::{Decided, Question, Tiers};
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Generate, Grammar, Message};
use aios_abi::infer::{Tier, ToolBrief, Usage};
use aios_words::Words;
use aios_words::schema::{Arguments, Shape};
use serde_json::{Map, Value};
use std::time::Instant;

/// Tokens of the arguments.
const MAX_TOKENS: u32 = 256;
/// Examples that the model reads.
const MAX_EXAMPLES: usize = 8;

/// The arguments of a call.
pub(crate) struct Filled {
    /// A JSON object that fits the tool's schema.
    pub(crate) args: String,
    /// Natural logarithm of their probability among those that the question allows.
    pub(crate) log_likelihood: Option<f32>,
    pub(crate) certainty: f32,
    pub(crate) tier: Tier,
    pub(crate) usage: Usage,
}

/// What is filled in, and of what.
struct Task<'a> {
    question: &'a str,
    tool: &'a ToolBrief,
    arguments: Arguments,
    known: Map<String, Value>,
    words: Words,
    read: Option<Read>,
}

/// How a model is asked.
enum How {
    /// It has learned the tool and reads the question alone.
    Learned,
    /// It reads examples, and writes under rules that let it only point at the question.
    Examples,
    /// It reads examples, and writes under the tool's schema.
    Schema,
}

/// Weight of what the language model says of a call, when the reader holds several possible.
const WEIGHT: f32 = 0.5;

/// Fill in the arguments of a tool.
pub(crate) async fn fill(
    tiers: &Tiers,
    embed: &Engine,
    asker: &Asker<'_>,
    question: &str,
    tool: &ToolBrief,
    known: &str,
) -> Result<Filled, CallError> {
    let named = |e: &dyn std::fmt::Display| CallError::invalid(format!("{}: {e}", tool.name));
    let arguments = Arguments::parse(&tool.args_schema).map_err(|e| named(&e))?;
    let known: Map<String, Value> = serde_json::from_str(known)
        .map_err(|e| named(&format!("the arguments that are known are not a JSON object: {e}")))?;
    arguments.check_given(&known).map_err(|e| named(&e))?;
    let mut task = Task { question, tool, arguments, known, words: Words::of(question), read: None };
    let adapter = tiers.operational.snapshot().adapter;
    let how = match adapter.is_some_and(|adapter| adapter.tools.contains(&tool.name)) {
        true => How::Learned,
        false => How::Examples,
    };
    let rules = task.rules(&how);
    if let Ok(Some(only)) = rules.as_ref().map(Rules::only) {
        // Nothing to decide, so nothing to ask: this works without a model.
        let args = task.judged(&only)?;
        let usage = Usage::default();
        return Ok(Filled { args, log_likelihood: None, certainty: 1.0, tier: Tier::Operational, usage });
    }
    task.read = Read::of(embed, asker, question, &tool.name, &task.arguments, &task.known).await;
    if task.read.is_none() {
        // What is missing or cannot be filled in is said before a language model is asked.
        rules?;
    }
    let calls = |arguments| task.read.as_ref().and_then(|read| read.calls(arguments, &task.known));
    let own = match calls(&task.arguments) {
        Some(calls) => task.weighed(tiers, asker, calls, &how).await,
        None => match task.written(&tiers.operational, asker.until(), asker, how).await {
            Ok(written) => Ok(written),
            // What the reader has read stands, without what the text model alone could have added.
            Err(error) => match task.readable().as_ref().and_then(calls) {
                Some(calls) => task.weighed(tiers, asker, calls, &How::Examples).await,
                None => Err(error),
            },
        },
    };
    let (value, certainty, usage) = match own {
        Ok((args, certainty, usage)) => (Ok(args), certainty, usage),
        Err(error) => (Err(error), 0.0, Usage::default()),
    };
    let decided = Decided { value, certainty, tier: Tier::Operational, usage };
    let Decided { value, certainty, tier, usage } = tiers.escalate(asker, decided, &task).await;
    let (args, log_likelihood) = value?;
    Ok(Filled { args, log_likelihood, certainty, tier, usage })
}

impl Question for Task<'_> {
    type Answer = Result<(String, Option<f32>), CallError>;

    async fn ask(
        &self,
        engine: &Engine,
        until: Instant,
        asker: &Asker<'_>,
    ) -> Result<(Self::Answer, f32, Usage), CallError> {
        let how = match engine.is_local() {
            true => How::Examples,
            false => How::Schema,
        };
        let (args, certainty, usage) = self.written(engine, until, asker, how).await?;
        Ok((Ok(args), certainty, usage))
    }
}

impl Task<'_> {
    fn rules(&self, how: &How) -> Result<Rules, CallError> {
        let Self { arguments, known, words, tool, .. } = self;
        let offers = self.offers();
        let rules = match how {
            How::Learned => Rules::of(arguments, &offers, words, Texts::Pieces),
            How::Examples | How::Schema => {
                let narrowed = evidence::narrowed(arguments, known, &tool.examples, words);
                Rules::of(&narrowed, &offers, words, Texts::Words)
            }
        };
        rules.map_err(|e| self.named(&e))
    }

    /// The arguments that the reader reads or that are known, if the others may be absent.
    fn readable(&self) -> Option<Arguments> {
        let read = self.read.as_ref()?;
        let (kept, others): (Vec<_>, Vec<_>) = self
            .arguments
            .fields
            .iter()
            .cloned()
            .partition(|field| read.knows(&field.name) || self.known.contains_key(&field.name));
        others.iter().all(|field| !field.required).then_some(Arguments { fields: kept })
    }

    /// What the reader holds possible, and what is known.
    fn offers(&self) -> Offers {
        let mut offers = self.read.as_ref().map(Read::offers).unwrap_or_default();
        offers.extend(self.known.iter().map(|(name, value)| (name.clone(), Offer::only(value.clone()))));
        offers
    }

    /// The best of the calls that the reader holds possible; where they are several, a model that has learned the tool
    /// says how likely it holds each.
    async fn weighed(
        &self,
        tiers: &Tiers,
        asker: &Asker<'_>,
        calls: Vec<Call>,
        how: &How,
    ) -> Result<((String, Option<f32>), f32, Usage), CallError> {
        let mut usage = Usage::default();
        if let Some(read) = &self.read {
            usage.ms = milliseconds(read.took);
        }
        let line = |args: &Map<String, Value>| {
            Adapter::line(&self.tool.name) + &Value::from(args.clone()).to_string()
        };
        let texts: Vec<String> = calls.iter().map(|(args, _)| line(args)).collect();
        let mut sums: Vec<f32> = calls.iter().map(|(_, likely)| *likely).collect();
        if calls.len() > 1 && matches!(how, How::Learned) {
            let prompt = Adapter::prompt(self.question);
            match asker.score(&tiers.operational, asker.until(), prompt, texts, true).await {
                Ok((likelihoods, took)) => {
                    tracing::debug!(target: "read", "{calls:?} {likelihoods:?}");
                    usage.ms = usage.ms.saturating_add(milliseconds(took));
                    sums.iter_mut().zip(likelihoods).for_each(|(sum, likely)| *sum += WEIGHT * likely);
                }
                // The reader alone is right more often than the model alone.
                Err(error) => tracing::warn!("the calls are not weighed: {error}"),
            }
        }
        let best = sums.iter().zip(&calls).max_by(|(a, _), (b, _)| a.total_cmp(b));
        let Some((best, (args, likely))) = best else {
            return Err(self.named(&"the question says nothing that fits the arguments"));
        };
        // How likely it is among these, or as the reader holds it where there is no choice.
        let likelihood = match calls.len() {
            1 => *likely,
            _ => -sums.iter().map(|sum| (sum - best).exp()).sum::<f32>().ln(),
        };
        let args = self.judged(&Value::from(args.clone()).to_string())?;
        Ok(((args, Some(likelihood)), certainty::FILLED.of([likelihood]), usage))
    }

    fn named(&self, e: &dyn std::fmt::Display) -> CallError {
        CallError::invalid(format!("{}: {e}", self.tool.name))
    }

    /// Have a model write them: the arguments with their log-likelihood, how sure that is, and what it cost.
    async fn written(
        &self,
        engine: &Engine,
        until: Instant,
        asker: &Asker<'_>,
        how: How,
    ) -> Result<((String, Option<f32>), f32, Usage), CallError> {
        let grammar = match how {
            How::Schema => Grammar::Schema(self.tool.args_schema.clone()),
            _ => Grammar::Lark(self.rules(&how)?.to_string()),
        };
        let (messages, prefix) = match how {
            How::Learned => (Adapter::prompt(self.question), Adapter::line(&self.tool.name)),
            _ => (prompt(self.question, self.tool, &self.arguments), String::new()),
        };
        let adapted = matches!(how, How::Learned);
        let generate = Generate {
            messages,
            prefix,
            grammar: Some(grammar),
            adapted,
            max_tokens: MAX_TOKENS,
            ..Generate::default()
        };
        let written = asker.generate(engine, until, generate, Watch::End).await?;
        let args = self.judged(&written.text)?;
        let mut log_likelihood = written.cost.log_likelihood;
        if let (Some(read), Ok(args)) = (&self.read, serde_json::from_str(&args)) {
            log_likelihood = log_likelihood.map(|likelihood| likelihood + read.likelihood(&args));
        }
        let certainty = match (log_likelihood, adapted) {
            (Some(likelihood), true) => certainty::FILLED.of([likelihood]),
            (Some(likelihood), false) => likelihood.exp(),
            // A model that tells no likelihood has the last word.
            (None, _) => certainty::ENOUGH,
        };
        Ok(((args, log_likelihood), certainty, written.usage()))
    }

    /// Take nothing on trust.
    fn judged(&self, answer: &str) -> Result<String, CallError> {
        let args = judge(&self.arguments, &self.known, &self.offers(), &self.words, answer)
            .map_err(|e| CallError::failed(format!("{}: {e}", self.tool.name)))?;
        Ok(Value::from(args).to_string())
    }
}

/// What the model reads: the task, how others asked for it and what they meant, and the question.
fn prompt(question: &str, tool: &ToolBrief, arguments: &Arguments) -> Vec<Message> {
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let task = format!(
        "{}. Write the arguments as JSON, with words of the question only. Leave out what it does not say.",
        tool.summary.trim_end_matches('.')
    );
    let mut messages = vec![message("system", &task)];
    for example in tool.examples.iter().take(MAX_EXAMPLES) {
        messages.push(message("user", &example.ask));
        messages.push(message("assistant", &in_order(&example.args, arguments)));
    }
    messages.push(message("user", question));
    messages
}

/// An example as the grammar would have it: compact, with the arguments in the schema's order.
fn in_order(args: &str, arguments: &Arguments) -> String {
    let Ok(args) = serde_json::from_str::<Map<String, Value>>(args) else { return args.to_owned() };
    let fields = arguments.fields.iter();
    let ordered: Map<String, Value> =
        fields.filter_map(|f| args.get(&f.name).map(|value| (f.name.clone(), value.clone()))).collect();
    Value::from(ordered).to_string()
}

/// Take nothing on trust: the answer must be JSON, fit the schema, keep what was known, and have its
/// texts and numbers from the question or be among those that were offered.
fn judge(
    arguments: &Arguments,
    known: &Map<String, Value>,
    offers: &Offers,
    words: &Words,
    answer: &str,
) -> Result<Map<String, Value>, String> {
    let args: Map<String, Value> = serde_json::from_str(answer)
        .map_err(|e| format!("the model's answer is not a JSON object ({e}); say it in other words"))?;
    arguments.check(&args).map_err(|e| format!("the model's answer does not fit: {e}"))?;
    for (name, value) in known {
        if args.get(name) != Some(value) {
            return Err(format!("the model changed `{name}`, which was certain"));
        }
    }
    for field in &arguments.fields {
        let Some(value) = args.get(&field.name) else { continue };
        let is_offered = offers.get(&field.name).is_some_and(|offer| offer.values.contains(value));
        if is_offered || field.default.as_ref() == Some(value) {
            continue;
        }
        if let Some(invented) = invented(&field.shape, value, words) {
            return Err(format!(
                "the model made up {invented} for `{}`, which the question does not say; name it in the question",
                field.name
            ));
        }
    }
    Ok(args)
}

/// The first part of a value that does not come from the question.
fn invented<'a>(shape: &Shape, value: &'a Value, words: &Words) -> Option<&'a Value> {
    let is_said = match (shape, value) {
        (Shape::Text | Shape::Pattern(_), Value::String(text)) => words.contains(text),
        (Shape::Whole { .. }, Value::Number(number)) => {
            number.as_i64().is_some_and(|n| words.numbers.contains(&n))
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            return items.iter().find_map(|value| invented(item, value, words));
        }
        (Shape::Object(arguments), Value::Object(given)) => {
            return given.iter().find_map(|(name, value)| {
                let field = arguments.field(name).filter(|field| field.default.as_ref() != Some(value))?;
                invented(&field.shape, value, words)
            });
        }
        // Words of a fixed set, true and false; and null, which says nothing.
        _ => true,
    };
    (!is_said).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(answer: &str, known: Value) -> Result<Map<String, Value>, String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "default": "lo"},
                "hosts": {"type": "array", "items": {"type": "string"}},
                "count": {"type": "integer", "minimum": 1, "default": 4},
                "family": {"enum": ["any", "ipv6"], "default": "any"},
            },
        });
        let arguments = Arguments::parse(&schema.to_string()).expect("is a schema");
        let known = known.as_object().cloned().expect("an object");
        let offers = known.iter().map(|(name, value)| (name.clone(), Offer::only(value.clone()))).collect();
        judge(&arguments, &known, &offers, &Words::of("Ping Gateway.lan 3 times"), answer)
    }

    #[test]
    fn what_the_question_says_and_what_is_the_default_may_be_given() {
        for answer in [
            r#"{"name":"gateway.lan","count":3,"family":"ipv6"}"#,
            r#"{"name":"lo","count":4}"#,
            r#"{"hosts":["gateway.lan"]}"#,
            "{}",
        ] {
            assert!(judged(answer, json!({})).is_ok(), "{answer}");
        }
    }

    #[test]
    fn what_the_model_made_up_is_refused() {
        for (answer, what) in [
            (r#"{"name":"example.org"}"#, r#"made up "example.org" for `name`"#),
            (r#"{"name":""}"#, r#"made up "" for `name`"#),
            (r#"{"count":5}"#, "made up 5 for `count`"),
            (r#"{"hosts":["gateway.lan","x"]}"#, r#"made up "x" for `hosts`"#),
            (r#"{"count":0}"#, "does not fit: count: 0 is not a whole number of at least 1"),
            (r#"{"colour":1}"#, "does not fit: colour: there is no such argument"),
            (r#"{"name":"gate"#, "not a JSON object"),
        ] {
            let error = judged(answer, json!({})).expect_err("is refused");
            assert!(error.contains(what), "{answer}: {error}");
        }
    }

    #[test]
    fn what_was_certain_is_kept_even_if_the_question_does_not_say_it() {
        assert!(judged(r#"{"name":"eth0"}"#, json!({"name": "eth0"})).is_ok());
        assert!(judged(r#"{"name":"lan"}"#, json!({"name": "eth0"})).is_err());
        assert!(judged("{}", json!({"name": "eth0"})).is_err());
    }
}
