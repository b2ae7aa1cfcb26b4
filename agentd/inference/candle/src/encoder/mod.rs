//! A BERT sentence encoder with an adapter (Hu et al., "LoRA", 2021): beside each matrix of each layer two thin
//! ones, which are computed while it works. Beside an encoder without it this takes the memory of the thin ones only.

mod adapter;
mod ops;
mod reader;

pub use adapter::Adapter;
pub use reader::{Implied, Reader, Row, Sheet};

use crate::adapt::ops::Product;
use candle_core::{Device, Result, Tensor, bail};
use candle_transformers::models::bert::{Config, HiddenAct};
use ops::{Attention, Dropped, Gelu, Lengths, Mean, Normal};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

/// Tokens of a sentence that count; the model was trained on fewer.
pub const MAX_TOKENS: usize = 256;

/// The matrices of a layer, by their names in the file.
pub(crate) const MATRICES: [&str; 6] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
];

/// The files of an encoder.
pub struct Files {
    /// `config.json`.
    pub config: Config,
    /// `tokenizer.json`.
    pub tokenizer: Tokenizer,
    /// `model.safetensors`.
    pub tensors: HashMap<String, Tensor>,
}

impl Files {
    /// Read `config.json`, `tokenizer.json` and `model.safetensors` from the folder; `progress` hears percents.
    ///
    /// # Errors
    /// One sentence that names the file and what is wrong with it.
    pub fn read(folder: &Path, progress: &dyn Fn(u8)) -> std::result::Result<Self, String> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|e| format!("{}: cannot be read: {e}", path.display()))
        };
        let broken = |name: &str, why: &dyn std::fmt::Display| {
            format!("{}: is not what it should be: {why}", folder.join(name).display())
        };
        let config = serde_json::from_slice(&read("config.json")?).map_err(|e| broken("config.json", &e))?;
        let mut tokenizer =
            Tokenizer::from_bytes(read("tokenizer.json")?).map_err(|e| broken("tokenizer.json", &e))?;
        tokenizer
            .with_padding(Some(PaddingParams::default()))
            .with_truncation(Some(TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() }))
            .map_err(|e| broken("tokenizer.json", &e))?;
        progress(10);
        let weights = read("model.safetensors")?;
        progress(60);
        let tensors = candle_core::safetensors::load_buffer(&weights, &Device::Cpu);
        let tensors = tensors.map_err(|e| broken("model.safetensors", &e))?;
        Ok(Self { config, tokenizer, tensors })
    }
}

/// Tokens of sentences side by side.
pub struct Tokens {
    ids: Vec<u32>,
    lengths: Lengths,
}

impl Tokens {
    /// Cut sentences.
    ///
    /// # Errors
    /// The tokenizer's own, which real vocabularies have no reason for.
    pub fn of(tokenizer: &Tokenizer, texts: &[String]) -> std::result::Result<Self, String> {
        let encoded = tokenizer.encode_batch(texts.to_vec(), true).map_err(|e| e.to_string())?;
        let (mut ids, mut lengths) = (Vec::new(), Vec::new());
        for one in &encoded {
            // Without what fills them up to one length, which stands at the end.
            let length = one.get_attention_mask().iter().map(|is_word| *is_word as usize).sum();
            ids.extend(&one.get_ids()[..length]);
            lengths.push(length);
        }
        Ok(Self { ids, lengths: lengths.into() })
    }
}

/// An encoder whose weights stay as they are.
pub struct Encoder {
    words: Tensor,
    positions: Tensor,
    kind: Tensor,
    normal: Normal,
    layers: Vec<Layer>,
    heads: usize,
}

struct Layer {
    /// In the order of [`MATRICES`].
    matrices: [(Tensor, Arc<[f32]>); 6],
    attention: Normal,
    feed: Normal,
}

impl Encoder {
    /// The encoder of these tensors, which it shares.
    ///
    /// # Errors
    /// A tensor that is missing or has another size than the configuration says.
    pub fn of(config: &Config, tensors: &HashMap<String, Tensor>) -> Result<Self> {
        if config.hidden_act != HiddenAct::Gelu
            || !config.hidden_size.is_multiple_of(config.num_attention_heads.max(1))
        {
            bail!("the adapter is computed for encoders with gelu and whole heads");
        }
        let tensor = |name: &str, shape: &[usize]| match tensors.get(name) {
            Some(tensor) if tensor.dims() == shape => tensor.contiguous(),
            Some(tensor) => bail!("{name} has the size {:?}, not {shape:?}", tensor.dims()),
            None => bail!("{name} is not there"),
        };
        let numbers = |name: &str, count: usize| {
            Ok::<Arc<[f32]>, candle_core::Error>(tensor(name, &[count])?.to_vec1::<f32>()?.into())
        };
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let normal = |name: &str| {
            Ok::<_, candle_core::Error>(Normal {
                weight: numbers(&format!("{name}.weight"), width)?,
                bias: numbers(&format!("{name}.bias"), width)?,
                epsilon: config.layer_norm_eps as f32,
            })
        };
        let embedding =
            |name: &str, rows| tensor(&format!("embeddings.{name}_embeddings.weight"), &[rows, width]);
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for n in 0..config.num_hidden_layers {
            let matrix = |place: usize| {
                let name = format!("encoder.layer.{n}.{}", MATRICES[place]);
                let (outer, inner) = sizes(place, width, inner);
                let weight = tensor(&format!("{name}.weight"), &[outer, inner])?;
                Ok::<_, candle_core::Error>((weight, numbers(&format!("{name}.bias"), outer)?))
            };
            layers.push(Layer {
                matrices: [matrix(0)?, matrix(1)?, matrix(2)?, matrix(3)?, matrix(4)?, matrix(5)?],
                attention: normal(&format!("encoder.layer.{n}.attention.output.LayerNorm"))?,
                feed: normal(&format!("encoder.layer.{n}.output.LayerNorm"))?,
            });
        }
        Ok(Self {
            words: embedding("word", config.vocab_size)?,
            positions: embedding("position", config.max_position_embeddings)?,
            kind: embedding("token_type", config.type_vocab_size)?.narrow(0, 0, 1)?,
            normal: normal("embeddings.LayerNorm")?,
            layers,
            heads: config.num_attention_heads,
        })
    }

    /// A unit vector for each sentence. While it is learned a part of the numbers is dropped.
    ///
    /// # Errors
    /// Those of the arithmetic: too little memory, most likely.
    pub fn vectors(
        &self,
        adapter: &Adapter,
        tokens: &Tokens,
        dropped: Option<(f32, &mut fastrand::Rng)>,
    ) -> Result<Tensor> {
        let mean = self.states(adapter, tokens, dropped)?.apply_op1(Mean(tokens.lengths.clone()))?;
        let length = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        mean.broadcast_div(&length)
    }

    /// A vector for each token.
    fn states(
        &self,
        adapter: &Adapter,
        tokens: &Tokens,
        mut dropped: Option<(f32, &mut fastrand::Rng)>,
    ) -> Result<Tensor> {
        let Tokens { ids, lengths } = tokens;
        let mut drop = |x: Tensor| match &mut dropped {
            Some((part, random)) if *part > 0.0 => x.apply_op1(Dropped { part: *part, seed: random.u64(..) }),
            _ => Ok(x),
        };
        let places: Vec<u32> = lengths.iter().flat_map(|length| (0u32..).take(*length)).collect();
        let x = self.words.index_select(&Tensor::new(ids.as_slice(), &Device::Cpu)?, 0)?;
        let x = (x + self.positions.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?)?;
        let mut x = drop(x.broadcast_add(&self.kind)?.apply_op1(self.normal.clone())?)?;
        let attention = Attention { lengths: lengths.clone(), head: x.dim(1)? / self.heads };
        for (n, layer) in self.layers.iter().enumerate() {
            let product = |x: &Tensor, place: usize| {
                let (weight, bias) = &layer.matrices[place];
                let (a, b) = adapter.part(n, place)?;
                let product =
                    Product { weight: weight.clone(), bias: Some(bias.clone()), scale: adapter::SCALE };
                x.apply_op3(a, b, product)
            };
            let all = Tensor::cat(&[product(&x, 0)?, product(&x, 1)?, product(&x, 2)?], 1)?;
            let mixed = product(&all.apply_op1(attention.clone())?, 3)?;
            x = (x + drop(mixed)?)?.apply_op1(layer.attention.clone())?;
            let inner = product(&product(&x, 4)?.apply_op1(Gelu)?, 5)?;
            x = (x + drop(inner)?)?.apply_op1(layer.feed.clone())?;
        }
        Ok(x)
    }

    /// Numbers of a vector.
    fn width(&self) -> usize {
        self.words.dims().last().copied().unwrap_or(0)
    }

    /// Rows and columns of each matrix that is adapted, by layer.
    fn sizes(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let of_layer = |(n, layer): (usize, &Layer)| {
            let sizes = layer.matrices.each_ref().map(|(weight, _)| weight.dims2().unwrap_or_default());
            sizes.into_iter().enumerate().map(move |(place, (outer, inner))| (n, place, outer, inner))
        };
        self.layers.iter().enumerate().flat_map(of_layer)
    }

    /// What tells this encoder from another one of the same size: FNV-1a (Fowler, Noll and Vo) of all weights of its
    /// normalisations.
    pub fn fingerprint(&self) -> u64 {
        let normals = self.layers.iter().flat_map(|layer| [&layer.attention, &layer.feed]);
        let numbers = std::iter::once(&self.normal).chain(normals).flat_map(|normal| normal.weight.iter());
        adapter::fingerprint(numbers.copied())
    }
}

/// Rows and columns of a matrix.
fn sizes(place: usize, width: usize, inner: usize) -> (usize, usize) {
    match place {
        4 => (inner, width),
        5 => (width, inner),
        _ => (width, width),
    }
}
