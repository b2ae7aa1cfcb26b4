//! One answer while it is written: the same for every engine.

use crate::grammar::{Constraint, Grammars};
use crate::sample::Sampler;
use aios_abi::CallError;
use aios_abi::engine::{Cost, Generate};

/// What an engine needs to know of its vocabulary to write.
pub trait Pieces {
    /// The bytes of a token.
    fn piece(&self, token: u32) -> Vec<u8>;
    /// Whether this token ends an answer.
    fn is_end(&self, token: u32) -> bool;
}

/// Writes one answer: takes logits, gives tokens and text.
pub struct Writer {
    sampler: Sampler,
    constraint: Option<Constraint>,
    /// Bytes of a character that is not whole yet.
    bytes: Vec<u8>,
    /// Characters that may be the beginning of a text at which the answer ends.
    held: String,
    stop: Vec<String>,
    most: u32,
    cost: Cost,
}

/// What is to be computed next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These tokens belong to the answer; logits are needed after the last of them.
    Tokens(Vec<u32>),
    /// The answer is complete.
    End,
}

impl Writer {
    /// Begin an answer to a prompt of so many tokens.
    ///
    /// # Errors
    /// A grammar that is none, and an empty text to end at.
    pub fn new(request: &Generate, prompt: usize, grammars: &Grammars) -> Result<Self, CallError> {
        let constraint = request.grammar.as_ref().map(|grammar| grammars.constrain(grammar)).transpose()?;
        if request.stop.iter().any(String::is_empty) {
            return Err(CallError::invalid("an answer cannot end before an empty text; name one or none"));
        }
        let cost = Cost {
            prompt: u32::try_from(prompt).unwrap_or(u32::MAX),
            log_likelihood: constraint.is_some().then_some(0.0),
            ..Cost::default()
        };
        Ok(Self {
            sampler: Sampler::of(request.sampling),
            constraint,
            bytes: Vec::new(),
            held: String::new(),
            stop: request.stop.clone(),
            most: request.max_tokens,
            cost,
        })
    }

    /// What it cost so far, with as many tokens of the prompt still known as the engine says.
    pub fn cost(&self, reused: u32) -> Cost {
        Cost { reused, ..self.cost }
    }

    /// What the answer must begin with: tokens that can be computed together with the prompt.
    pub fn first(&mut self, pieces: &dyn Pieces, on_text: &mut dyn FnMut(&str)) -> Next {
        let forced = self.constraint.as_mut().map(Constraint::forced).unwrap_or_default();
        self.take(forced, 0, pieces, on_text)
    }

    /// Choose the next token by these logits, and take with it what must follow.
    ///
    /// # Errors
    /// Those of [`Sampler::pick`].
    pub fn next(
        &mut self,
        logits: &[f32],
        pieces: &dyn Pieces,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<Next, CallError> {
        let picked = self.sampler.pick(logits, self.constraint.as_mut())?;
        if let (Some(sum), Some(own)) = (&mut self.cost.log_likelihood, picked.log_likelihood) {
            *sum += own;
        }
        if pieces.is_end(picked.token) {
            return Ok(self.finish(on_text));
        }
        let mut tokens = vec![picked.token];
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(picked.token)?;
            tokens.extend(constraint.forced());
        }
        Ok(self.take(tokens, 1, pieces, on_text))
    }

    /// Take tokens into the answer, of which so many were chosen and the others forced.
    fn take(
        &mut self,
        mut tokens: Vec<u32>,
        chosen: usize,
        pieces: &dyn Pieces,
        on_text: &mut dyn FnMut(&str),
    ) -> Next {
        let room = (self.most - self.cost.generated) as usize;
        let is_cut = tokens.len() > room;
        tokens.truncate(room);
        let end = tokens.iter().position(|token| pieces.is_end(*token));
        tokens.truncate(end.unwrap_or(tokens.len()));
        for token in &tokens {
            self.cost.generated += 1;
            self.bytes.extend(pieces.piece(*token));
        }
        self.cost.forced += u32::try_from(tokens.len().saturating_sub(chosen)).unwrap_or(0);
        let held = &mut self.held;
        whole_characters(&mut self.bytes, &mut |text| held.push_str(text));
        if let Some(start) = self.stop.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(start);
            self.bytes.clear();
            return self.finish(on_text);
        }
        let keep = self.held.len() - begun(&self.held, &self.stop);
        let rest = self.held.split_off(keep);
        let ready = std::mem::replace(&mut self.held, rest);
        if !ready.is_empty() {
            on_text(&ready);
        }
        if end.is_some() || self.constraint.as_ref().is_some_and(Constraint::is_done) {
            return self.finish(on_text);
        }
        if is_cut || self.cost.generated >= self.most {
            self.cost.is_cut = true;
            return self.finish(on_text);
        }
        Next::Tokens(tokens)
    }

    fn finish(&mut self, on_text: &mut dyn FnMut(&str)) -> Next {
        let mut rest = std::mem::take(&mut self.held);
        rest.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.bytes)));
        if !rest.is_empty() {
            on_text(&rest);
        }
        Next::End
    }
}

/// Bytes at the end of a text with which one of these others begins.
fn begun(text: &str, others: &[String]) -> usize {
    let longest = |other: &String| {
        let most = other.len().saturating_sub(1).min(text.len());
        let is_begun = |length: &usize| {
            other.get(..*length).is_some_and(|start| text.as_bytes().ends_with(start.as_bytes()))
        };
        (1..=most).rev().find(is_begun).unwrap_or(0)
    };
    others.iter().map(longest).max().unwrap_or(0)
}

/// Hand on what is valid UTF-8 so far; the beginning of a character waits for its rest.
fn whole_characters(bytes: &mut Vec<u8>, on_text: &mut dyn FnMut(&str)) {
    loop {
        let (valid, broken) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.len(), None),
            Err(error) => (error.valid_up_to(), error.error_len()),
        };
        if valid > 0 {
            on_text(&String::from_utf8_lossy(&bytes[..valid]));
        }
        bytes.drain(..valid);
        match broken {
            // Bytes that no further byte can make valid.
            Some(length) => {
                on_text("\u{fffd}");
                bytes.drain(..length);
            }
            None => return,
        }
    }
}

/// Natural logarithm of the probability of a token among all.
pub fn log_probability(logits: &[f32], token: u32) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - most).exp()).sum();
    let logit = usize::try_from(token).ok().and_then(|i| logits.get(i)).copied();
    logit.unwrap_or(f32::NEG_INFINITY) - most - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::Tokens;

    #[test]
    fn characters_are_emitted_whole() {
        let mut out = Vec::new();
        let mut bytes = vec![b'a', 0xc3];
        whole_characters(&mut bytes, &mut |t| out.push(t.to_owned()));
        bytes.extend([0xa4, 0xff, b'b']);
        whole_characters(&mut bytes, &mut |t| out.push(t.to_owned()));
        assert_eq!(out.concat(), "aä\u{fffd}b");
        assert!(bytes.is_empty());
    }

    struct Letters;

    impl Pieces for Letters {
        fn piece(&self, token: u32) -> Vec<u8> {
            vec![u8::try_from(token).unwrap_or(b'?')]
        }

        fn is_end(&self, token: u32) -> bool {
            token == 0
        }
    }

    /// What is told when the model would say these letters, with what it cost.
    fn told(letters: &str, stop: &[&str], max_tokens: u32) -> (Vec<String>, Cost) {
        let tokens = Tokens {
            pieces: (0..=u8::MAX).map(|byte| vec![byte]).collect(),
            end: 0,
            cut: Box::new(|bytes| bytes.iter().map(|byte| u32::from(*byte)).collect()),
        };
        let grammars = Grammars::new(tokens).expect("a vocabulary");
        let stop = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let request = Generate { max_tokens, stop, ..Generate::default() };
        let mut writer = Writer::new(&request, 3, &grammars).expect("begins");
        let mut out = Vec::new();
        for byte in letters.bytes().chain([0]) {
            let mut logits = vec![0.0; 256];
            logits[usize::from(byte)] = 9.0;
            if writer.next(&logits, &Letters, &mut |text| out.push(text.to_owned())) == Ok(Next::End) {
                break;
            }
        }
        (out, writer.cost(2))
    }

    #[test]
    fn an_answer_ends_before_a_text_at_which_it_shall_end() {
        let (pieces, cost) = told("one stone stop two", &["stop", "never"], 99);
        assert_eq!(pieces.concat(), "one stone ");
        assert_eq!((cost.prompt, cost.reused, cost.generated, cost.is_cut), (3, 2, 14, false));
        assert!(pieces.contains(&"sto".to_owned()) || pieces.contains(&"ston".to_owned()), "{pieces:?}");
        assert_eq!(told("ab sto", &["stop"], 99).0.concat(), "ab sto", "what was held comes at the end");
        assert_eq!(told("grün", &["ün"], 99).0.concat(), "gr");
        let (pieces, cost) = told("abcdef", &[], 3);
        assert_eq!((pieces.concat().as_str(), cost.generated, cost.is_cut), ("abc", 3, true));
        let (_, cost) = told("abc", &[], 99);
        assert!(!cost.is_cut && cost.log_likelihood.is_none());
    }

    #[test]
    fn probabilities_sum_to_one() {
        let sum: f32 = (0..3).map(|token| log_probability(&[1.0, 2.0, 3.0], token).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert_eq!(log_probability(&[1.0], 7), f32::NEG_INFINITY);
    }
}
