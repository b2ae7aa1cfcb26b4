//! A BERT sentence encoder: mean of the token vectors, scaled to length one (Reimers and Gurevych, 2019).

use aios_abi::CallError;
use aios_abi::engine::ModelInfo;
use aios_engine::{Begun, Engine, Options, Told, Work};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

/// Tokens of a sentence that count; the model was trained on fewer.
const MAX_TOKENS: usize = 256;
/// Sentences that are computed at once.
const BATCH: usize = 32;

/// A loaded encoder.
pub struct MiniLm {
    info: ModelInfo,
    model: BertModel,
    tokenizer: Tokenizer,
    job: Option<Job>,
}

/// Sentences under way.
struct Job {
    id: u64,
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

impl MiniLm {
    /// Load `config.json`, `tokenizer.json` and `model.safetensors` from the folder.
    pub fn load(options: &Options, progress: Box<dyn Fn(u8) + Send>) -> Result<Self, String> {
        let read = |name: &str| {
            let path = options.model.join(name);
            std::fs::read(&path).map_err(|e| format!("{}: cannot be read: {e}", path.display()))
        };
        let broken = |name: &str, why: &dyn std::fmt::Display| {
            format!("{}: is not what it should be: {why}", options.model.join(name).display())
        };
        let config: Config =
            serde_json::from_slice(&read("config.json")?).map_err(|e| broken("config.json", &e))?;
        let mut tokenizer =
            Tokenizer::from_bytes(read("tokenizer.json")?).map_err(|e| broken("tokenizer.json", &e))?;
        tokenizer
            .with_padding(Some(PaddingParams::default()))
            .with_truncation(Some(TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() }))
            .map_err(|e| broken("tokenizer.json", &e))?;
        progress(10);
        let weights = read("model.safetensors")?;
        progress(60);
        let parameters = weights.len() as u64 / 4;
        let wrong = |e: candle_core::Error| broken("model.safetensors", &e);
        let builder =
            VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).map_err(wrong)?;
        let model = BertModel::load(builder, &config).map_err(wrong)?;
        let name = options.model.file_name().map_or("embed".into(), |n| n.to_string_lossy().into_owned());
        let info = ModelInfo {
            name: format!("BERT sentence encoder ({name})"),
            parameters,
            context: MAX_TOKENS as u32,
            dimensions: u32::try_from(config.hidden_size).unwrap_or(0),
            threads: options.threads(),
            slots: 1,
            adapter: None,
        };
        Ok(Self { info, model, tokenizer, job: None })
    }

    /// Vectors of any number of sentences.
    ///
    /// # Errors
    /// Those of the tokenizer and of the arithmetic, as a sentence.
    pub fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        let parts = texts.chunks(BATCH).map(|part| self.batch(part).map_err(|e| e.to_string()));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn batch(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Box<dyn std::error::Error + Send + Sync>> {
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

impl Engine for MiniLm {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn begin(&mut self, id: u64, work: Work) -> Result<Begun, CallError> {
        let Work::Embed(texts) = work else {
            return Err(CallError::invalid("this engine writes no text"));
        };
        if self.job.is_some() {
            return Ok(Begun::Later(Work::Embed(texts)));
        }
        self.job = Some(Job { id, texts, vectors: Vec::new() });
        Ok(Begun::Yes)
    }

    fn end(&mut self, id: u64) {
        self.job.take_if(|job| job.id == id);
    }

    fn step(&mut self, tell: &mut dyn FnMut(u64, Told)) {
        let Some(mut job) = self.job.take() else { return };
        let from = job.vectors.len();
        let part = &job.texts[from..job.texts.len().min(from + BATCH)];
        match self.batch(part) {
            Ok(vectors) => job.vectors.extend(vectors),
            Err(error) => {
                let error = CallError::failed(format!("the sentences cannot be embedded: {error}"));
                return tell(job.id, Told::Failed(error));
            }
        }
        if job.vectors.len() == job.texts.len() {
            tell(job.id, Told::Embeddings(job.vectors));
        } else {
            self.job = Some(job);
        }
    }
}
