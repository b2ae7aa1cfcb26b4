//! A BERT sentence encoder: mean of the token vectors, scaled to length one (Reimers and Gurevych, 2019).

use crate::encoder::{Adapter, Encoder, Files, MAX_TOKENS, Reader, Sheet, Tokens};
use aios_abi::CallError;
use aios_abi::engine::{Adapter as Known, Form, ModelInfo, Reading};
use aios_engine::{Begun, Engine, Options, Told, Work};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use std::collections::HashMap;
use std::path::Path;
use tokenizers::Tokenizer;

/// Sentences that are computed at once.
const BATCH: usize = 32;

/// Length of an adapter's file in bytes, at most: several times what one has.
const MAX_BYTES: u64 = 16 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A loaded encoder.
pub struct MiniLm {
    info: ModelInfo,
    model: BertModel,
    tokenizer: Tokenizer,
    adapted: Option<Adapted>,
    reader: Option<Learned<Reader>>,
    job: Option<Job>,
}

/// The same encoder, whose tensors it shares, with what it learned beside them.
struct Learned<T> {
    known: Known,
    encoder: Encoder,
    what: T,
}

type Adapted = Learned<Adapter>;

/// A request under way.
struct Job {
    id: u64,
    task: Task,
}

enum Task {
    /// Sentences, and the vectors of the first of them.
    Embed { texts: Vec<String>, adapted: bool, vectors: Vec<Vec<f32>> },
    /// A question and a form.
    Read { form: Form, question: String },
}

impl MiniLm {
    /// Load `config.json`, `tokenizer.json` and `model.safetensors` from the folder, and the adapter.
    ///
    /// # Errors
    /// One sentence that names the file and what is wrong with it.
    pub fn load(options: &Options, progress: Box<dyn Fn(u8) + Send>) -> Result<Self, String> {
        let Files { config, tokenizer, tensors } = Files::read(&options.model, &progress)?;
        let wrong = |e: candle_core::Error| {
            format!("{}: is not what it should be: {e}", options.model.join("model.safetensors").display())
        };
        let parameters = tensors.values().map(|tensor| tensor.elem_count() as u64).sum();
        // Without either the encoder still embeds: tools are told apart, and arguments found, without its help then.
        let adapted = options.adapter.as_deref().and_then(|path| {
            Learned::load(path, &config, &tensors, Adapter::read).unwrap_or_else(|why| {
                eprintln!("<4>the adapter is not used: {}: {why}", path.display());
                None
            })
        });
        let reader = options.reader.as_deref().and_then(|path| {
            let read = |encoder: &Encoder, bytes: &[u8]| Reader::read(encoder, bytes).map(Some);
            Learned::load(path, &config, &tensors, read).unwrap_or_else(|why| {
                eprintln!("<4>arguments are not read: {}: {why}", path.display());
                None
            })
        });
        let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let model = BertModel::load(builder, &config).map_err(wrong)?;
        let name = options.model.file_name().map_or("embed".into(), |n| n.to_string_lossy().into_owned());
        let info = ModelInfo {
            name: format!("BERT sentence encoder ({name})"),
            parameters,
            context: MAX_TOKENS as u32,
            dimensions: u32::try_from(config.hidden_size).unwrap_or(0),
            threads: options.threads(),
            slots: 1,
            adapter: adapted.as_ref().map(|adapted| adapted.known.clone()),
            reads: reader.as_ref().map_or_else(Vec::new, |reader| reader.known.tools.clone()),
            budget: None,
            offload: None,
        };
        Ok(Self { info, model, tokenizer, adapted, reader, job: None })
    }

    /// Vectors of any number of sentences.
    ///
    /// # Errors
    /// Those of the tokenizer and of the arithmetic, as a sentence.
    pub fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        let parts = texts.chunks(BATCH).map(|part| self.plain(part).map_err(|e| e.to_string()));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn batch(&self, texts: &[String], adapted: bool) -> Result<Vec<Vec<f32>>, Failure> {
        match &self.adapted {
            Some(Learned { encoder, what: adapter, .. }) if adapted => {
                let tokens = Tokens::of(&self.tokenizer, texts)?;
                Ok(encoder.vectors(adapter, &tokens, None)?.to_vec2()?)
            }
            _ => self.plain(texts),
        }
    }

    fn plain(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let encoded = self.tokenizer.encode_batch(texts.to_vec(), true)?;
        let rows = |pick: fn(&tokenizers::Encoding) -> &[u32]| {
            encoded.iter().map(|e| Tensor::new(pick(e), &Device::Cpu)).collect::<Result<Vec<_>, _>>()
        };
        let ids = Tensor::stack(&rows(tokenizers::Encoding::get_ids)?, 0)?;
        let mask = Tensor::stack(&rows(tokenizers::Encoding::get_attention_mask)?, 0)?;
        let types = ids.zeros_like()?;
        let hidden = self.model.forward(&ids, &types, Some(&mask))?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sum = hidden.broadcast_mul(&mask)?.sum(1)?;
        let mean = sum.broadcast_div(&mask.sum(1)?)?;
        let length = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(mean.broadcast_div(&length)?.to_vec2()?)
    }
}

impl<T> Learned<T> {
    /// Nothing when the file has none of it.
    fn load(
        path: &Path,
        config: &Config,
        tensors: &HashMap<String, Tensor>,
        read: impl Fn(&Encoder, &[u8]) -> Result<Option<(Known, T)>, String>,
    ) -> Result<Option<Self>, String> {
        let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
        if length > MAX_BYTES {
            return Err(format!("has {length} bytes, at most {MAX_BYTES} are read"));
        }
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        let encoder = Encoder::of(config, tensors).map_err(|e| e.to_string())?;
        Ok(read(&encoder, &bytes)?.map(|(known, what)| Self { known, encoder, what }))
    }
}

impl MiniLm {
    fn read(&self, form: &Form, question: &str) -> Result<Reading, Failure> {
        let Some(Learned { encoder, what: reader, .. }) = &self.reader else {
            return Err("this encoder has not learned to read arguments".into());
        };
        let sheet = Sheet::of(&self.tokenizer, form, &reader.implied, question)?;
        let readings = reader.readings(encoder, &[&sheet])?;
        readings.into_iter().next().ok_or_else(|| "nothing was read".into())
    }
}

impl Engine for MiniLm {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn begin(&mut self, id: u64, work: Work) -> Result<Begun, CallError> {
        if self.job.is_some() {
            return Ok(Begun::Later(work));
        }
        let task = match work {
            Work::Embed { texts, adapted } => Task::Embed { texts, adapted, vectors: Vec::new() },
            Work::Read { form, question } => Task::Read { form, question },
            Work::Generate(_) | Work::Score { .. } => {
                return Err(CallError::invalid("this engine writes no text"));
            }
        };
        self.job = Some(Job { id, task });
        Ok(Begun::Yes)
    }

    fn end(&mut self, id: u64) {
        self.job.take_if(|job| job.id == id);
    }

    fn step(&mut self, tell: &mut dyn FnMut(u64, Told)) {
        let Some(Job { id, task }) = self.job.take() else { return };
        let (texts, adapted, mut vectors) = match task {
            Task::Embed { texts, adapted, vectors } => (texts, adapted, vectors),
            Task::Read { form, question } => {
                return tell(
                    id,
                    match self.read(&form, &question) {
                        Ok(reading) => Told::Reading(reading),
                        Err(error) => {
                            Told::Failed(CallError::failed(format!("the question cannot be read: {error}")))
                        }
                    },
                );
            }
        };
        let part = &texts[vectors.len()..texts.len().min(vectors.len() + BATCH)];
        match self.batch(part, adapted) {
            Ok(more) => vectors.extend(more),
            Err(error) => {
                let error = CallError::failed(format!("the sentences cannot be embedded: {error}"));
                return tell(id, Told::Failed(error));
            }
        }
        if vectors.len() == texts.len() {
            tell(id, Told::Embeddings(vectors));
        } else {
            self.job = Some(Job { id, task: Task::Embed { texts, adapted, vectors } });
        }
    }
}
