//! A GGUF text model of the llama family, in Rust alone.
//!
//! For tiny models, and to measure llama.cpp against: the same request gives the same words. A request has a
//! memory of its own; nothing is shared between two of them.

use crate::vocabulary::Vocabulary;
use aios_abi::CallError;
use aios_abi::engine::{Generate, Message, ModelInfo};
use aios_engine::{
    Begun, Engine, Grammars, Next, Options, Pieces, Tokens, Told, Work, Writer, log_probability,
};
use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use std::fs::File;
use std::sync::Arc;

/// Requests that are worked on in turn.
const SLOTS: usize = 2;
/// Tokens of a prompt that are computed at once; between two such pieces a cancellation is noticed.
const BATCH: usize = 128;

/// A loaded model.
pub struct Text {
    info: ModelInfo,
    weights: ModelWeights,
    vocabulary: Arc<Vocabulary>,
    grammars: Grammars,
    jobs: Vec<Job>,
}

/// A request under way.
struct Job {
    id: u64,
    /// The weights, which all share, and its own memory.
    model: ModelWeights,
    /// Tokens that are computed.
    past: usize,
    /// Tokens that are still to be computed.
    pending: Vec<u32>,
    kind: Kind,
}

enum Kind {
    /// Text that must come first, and what writes the rest; nothing is pending when that was all.
    Writing(String, Box<Writer>),
    Scoring(Vec<Vec<u32>>),
}

impl Pieces for Vocabulary {
    fn piece(&self, token: u32) -> Vec<u8> {
        self.bytes(token).to_vec()
    }

    fn is_end(&self, token: u32) -> bool {
        self.ends(token)
    }
}

impl Text {
    /// Check the file and load it.
    ///
    /// # Errors
    /// One sentence that says why this is no model for this engine.
    pub fn load(options: &Options, progress: Box<dyn Fn(u8) + Send>) -> Result<Self, String> {
        let summary = aios_gguf::check(&options.model).map_err(|e| e.to_string())?;
        let named = |what: &dyn std::fmt::Display| format!("{}: {what}", options.model.display());
        if summary.architecture != "llama" {
            return Err(named(&format!(
                "candle is given models of the architecture llama, this one is {}; use llama.cpp for it",
                summary.architecture
            )));
        }
        let mut file = File::open(&options.model).map_err(|e| named(&e))?;
        let content = Content::read(&mut file).map_err(|e| named(&e))?;
        progress(10);
        let vocabulary = Arc::new(Vocabulary::of(&content).map_err(|e| named(&e))?);
        let cut = vocabulary.clone();
        let tokens = Tokens {
            pieces: vocabulary.all().to_vec(),
            end: vocabulary.end_of_turn().map_err(|e| named(&e))?,
            cut: Box::new(move |bytes| cut.words(&String::from_utf8_lossy(bytes)).unwrap_or_default()),
        };
        let grammars = Grammars::new(tokens).map_err(|e| named(&e))?;
        progress(50);
        let dimensions = content.metadata.get("llama.embedding_length").and_then(|v| v.to_u32().ok());
        let weights = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).map_err(|e| named(&e))?;
        let longest = u32::try_from(summary.context).unwrap_or(u32::MAX).min(MAX_SEQ_LEN as u32);
        let info = ModelInfo {
            name: summary.name,
            parameters: summary.parameters,
            context: options.context.min(longest.max(1)),
            dimensions: dimensions.unwrap_or(0),
            threads: options.threads(),
            slots: SLOTS as u32,
            adapter: None,
            reads: Vec::new(),
            budget: None,
            offload: None,
        };
        Ok(Self { info, weights, vocabulary, grammars, jobs: Vec::new() })
    }

    fn prompt(&self, messages: &[Message], prefix: &str) -> Result<Vec<u32>, CallError> {
        // Without a conversation the text goes on as it is.
        let mut tokens = match messages {
            [] => Vec::new(),
            messages => self.vocabulary.chat(messages).map_err(CallError::failed)?,
        };
        tokens.extend(self.vocabulary.words(prefix).map_err(CallError::failed)?);
        Ok(tokens)
    }

    fn writing(&self, id: u64, request: &Generate) -> Result<Job, CallError> {
        let mut pending = self.prompt(&request.messages, &request.prefix)?;
        self.require_room(pending.len(), request.max_tokens as usize)?;
        let mut writer = Box::new(Writer::new(request, pending.len(), &self.grammars)?);
        let mut text = String::new();
        match writer.first(&*self.vocabulary, &mut |piece| text.push_str(piece)) {
            Next::Tokens(tokens) => pending.extend(tokens),
            Next::End => pending.clear(),
        }
        let model = self.weights.clone();
        Ok(Job { id, model, past: 0, pending, kind: Kind::Writing(text, writer) })
    }

    fn scoring(&self, id: u64, messages: &[Message], continuations: &[String]) -> Result<Job, CallError> {
        let pending = self.prompt(messages, "")?;
        let continuations = continuations.iter().map(|text| self.vocabulary.words(text));
        let continuations = continuations.collect::<Result<Vec<_>, _>>().map_err(CallError::failed)?;
        self.require_room(pending.len(), continuations.iter().map(Vec::len).max().unwrap_or(0))?;
        let model = self.weights.clone();
        Ok(Job { id, model, past: 0, pending, kind: Kind::Scoring(continuations) })
    }

    fn require_room(&self, prompt: usize, answer: usize) -> Result<(), CallError> {
        if prompt + answer > self.info.context as usize {
            return Err(CallError::invalid(format!(
                "the prompt has {prompt} tokens and the answer may have {answer}, but the model's context holds {}; ask with fewer words",
                self.info.context
            )));
        }
        Ok(())
    }
}

impl Job {
    /// Go on a little; the end, if this was the last.
    fn step(&mut self, vocabulary: &Vocabulary, tell: &mut dyn FnMut(Told)) -> Option<Told> {
        if let Kind::Writing(first, writer) = &mut self.kind {
            if !first.is_empty() {
                tell(Told::Text(std::mem::take(first)));
            }
            if self.pending.is_empty() {
                return Some(Told::Done(writer.cost(0)));
            }
        }
        let piece: Vec<u32> = self.pending.drain(..self.pending.len().min(BATCH)).collect();
        let logits = match computed(&mut self.model, &piece, self.past) {
            Ok(logits) => logits,
            Err(error) => return Some(Told::Failed(failed(&error))),
        };
        self.past += piece.len();
        if !self.pending.is_empty() {
            return None;
        }
        match &mut self.kind {
            Kind::Scoring(continuations) => {
                Some(match judged(&self.model, self.past, &logits, continuations) {
                    Ok(scores) => Told::Scores(scores),
                    Err(error) => Told::Failed(failed(&error)),
                })
            }
            Kind::Writing(_, writer) => {
                match writer.next(&logits, vocabulary, &mut |text| tell(Told::Text(text.to_owned()))) {
                    Ok(Next::Tokens(tokens)) => {
                        self.pending = tokens;
                        None
                    }
                    Ok(Next::End) => Some(Told::Done(writer.cost(0))),
                    Err(error) => Some(Told::Failed(error)),
                }
            }
        }
    }
}

/// Logits after these tokens.
fn computed(model: &mut ModelWeights, tokens: &[u32], past: usize) -> candle_core::Result<Vec<f32>> {
    model.forward(&Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?, past)?.squeeze(0)?.to_vec1()
}

/// The natural logarithm of each continuation's probability after what the model remembers.
fn judged(
    model: &ModelWeights,
    past: usize,
    logits: &[f32],
    continuations: &[Vec<u32>],
) -> candle_core::Result<Vec<f32>> {
    let mut scores = Vec::with_capacity(continuations.len());
    for words in continuations {
        let (mut model, mut sum) = (model.clone(), 0.0);
        let mut now = logits.to_vec();
        for (n, word) in words.iter().enumerate() {
            sum += log_probability(&now, *word);
            if n + 1 < words.len() {
                now = computed(&mut model, &[*word], past + n)?;
            }
        }
        scores.push(sum);
    }
    Ok(scores)
}

fn failed(what: &dyn std::fmt::Display) -> CallError {
    CallError::failed(format!("candle could not compute: {what}"))
}

impl Engine for Text {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn begin(&mut self, id: u64, work: Work) -> Result<Begun, CallError> {
        if self.jobs.len() >= SLOTS {
            return Ok(Begun::Later(work));
        }
        let job = match &work {
            Work::Generate(request) => self.writing(id, request)?,
            Work::Score { messages, continuations, .. } => self.scoring(id, messages, continuations)?,
            Work::Embed { .. } | Work::Read { .. } => {
                return Err(CallError::invalid("this engine embeds no sentences"));
            }
        };
        self.jobs.push(job);
        Ok(Begun::Yes)
    }

    fn end(&mut self, id: u64) {
        self.jobs.retain(|job| job.id != id);
    }

    fn step(&mut self, tell: &mut dyn FnMut(u64, Told)) {
        let vocabulary = &*self.vocabulary;
        self.jobs.retain_mut(|job| {
            let id = job.id;
            let end = job.step(vocabulary, &mut |told| tell(id, told));
            let goes_on = end.is_none();
            if let Some(end) = end {
                tell(id, end);
            }
            goes_on
        });
    }
}
