//! The forward pass of a llama model with an adapter, over whole sequences, so that gradients can flow.

use super::ops::{Attention, Gate, Normal, Plain, Product, Turned};
use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::sync::Arc;

/// Rows of an adapter's first matrix.
const RANK: usize = 16;
/// Weight of an adapter: its product counts this divided by its rank.
const ALPHA: f32 = 32.0;
/// One of so many layers, the first ones, is not adapted: they know words, the later ones what is to be done
/// about them; and the way back ends there.
const SPARED: usize = 3;
/// The matrices of a layer that are adapted.
const ADAPTED: [&str; 7] = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// A model whose weights stay as they are.
pub struct Base {
    embedding: Tensor,
    /// From hidden states to the vocabulary; small models have one matrix for both ways.
    output: Tensor,
    layers: Vec<Layer>,
    normal: Normal,
    heads: usize,
    kv_heads: usize,
    head: usize,
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
}

struct Layer {
    attention: Normal,
    feed: Normal,
    /// By the names of [`ADAPTED`].
    weights: BTreeMap<&'static str, Tensor>,
}

/// Longest sequence that is learned from, in tokens.
pub(super) const LONGEST: usize = 256;

impl Base {
    /// Read the weights of a llama model, as 32-bit numbers: four bytes a parameter.
    ///
    /// # Errors
    /// A file of another architecture, or one that lacks something.
    pub fn read<R: Read + Seek>(content: &Content, file: &mut R) -> Result<Self> {
        let number = |key: &str| match content.metadata.get(key) {
            Some(value) => Ok(value),
            None => bail!("the key {key} is not there; adapters are learned for llama models"),
        };
        let count = |key: &str| Ok::<_, candle_core::Error>(number(key)?.to_u32()? as usize);
        let heads = count("llama.attention.head_count")?;
        let kv_heads = count("llama.attention.head_count_kv")?;
        let blocks = count("llama.block_count")?;
        let head = count("llama.rope.dimension_count")?;
        let base = f64::from(number("llama.rope.freq_base")?.to_f32()?);
        let epsilon = number("llama.attention.layer_norm_rms_epsilon")?.to_f32()?;
        let mut tensor = |name: &str| content.tensor(file, name, &Device::Cpu)?.dequantize(&Device::Cpu);
        let embedding = tensor("token_embd.weight")?;
        let output = match content.tensor_infos.contains_key("output.weight") {
            true => tensor("output.weight")?,
            false => embedding.clone(),
        };
        let mut normal = |name: &str| {
            Ok::<_, candle_core::Error>(Normal { weight: tensor(name)?.to_vec1::<f32>()?.into(), epsilon })
        };
        let last = normal("output_norm.weight")?;
        let mut normals = Vec::with_capacity(blocks);
        for n in 0..blocks {
            let attention = normal(&format!("blk.{n}.attn_norm.weight"))?;
            normals.push((attention, normal(&format!("blk.{n}.ffn_norm.weight"))?));
        }
        let mut layers = Vec::with_capacity(blocks);
        for (n, (attention, feed)) in normals.into_iter().enumerate() {
            let mut weights = BTreeMap::new();
            for name in ADAPTED {
                weights.insert(name, tensor(&format!("blk.{n}.{name}.weight"))?);
            }
            layers.push(Layer { attention, feed, weights });
        }
        let angles: Vec<f64> = (0..LONGEST)
            .flat_map(|place| {
                (0..head / 2).map(move |i| place as f64 / base.powf(2.0 * i as f64 / head as f64))
            })
            .collect();
        let cos = angles.iter().map(|angle| angle.cos() as f32).collect();
        let sin = angles.iter().map(|angle| angle.sin() as f32).collect();
        Ok(Self { embedding, output, layers, normal: last, heads, kv_heads, head, cos, sin })
    }

    /// What the model makes of each token: (batch × length, width), before the vocabulary.
    pub(super) fn hidden(&self, adapter: &Adapter, tokens: &Tensor) -> Result<Tensor> {
        let (batch, length) = tokens.dims2()?;
        let width = self.embedding.dim(1)?;
        let mut x = self.embedding.index_select(&tokens.flatten_all()?, 0)?;
        let turned = |x: Tensor| {
            let (cos, sin) = (self.cos.clone(), self.sin.clone());
            x.apply_op1(Turned { cos, sin, length, head: self.head, back: false })
        };
        // Each head of keys serves several of queries, which stand one after the other.
        let split = |x: Tensor, heads: usize| {
            let x = x.reshape((batch, length, heads, self.head))?.transpose(1, 2)?.contiguous()?;
            x.reshape((batch, self.kv_heads, heads / self.kv_heads * length, self.head))
        };
        let attention = Attention { scale: 1.0 / (self.head as f32).sqrt(), length };
        for (n, layer) in self.layers.iter().enumerate() {
            let product = |x: &Tensor, name: &'static str| adapter.product(layer, n, name, x);
            let normal = x.apply_op1(layer.attention.clone())?;
            let query = split(turned(product(&normal, "attn_q")?)?, self.heads)?;
            let key = split(turned(product(&normal, "attn_k")?)?, self.kv_heads)?;
            let value = split(product(&normal, "attn_v")?, self.kv_heads)?;
            let weights = query.matmul(&key.t()?)?.apply_op1(attention)?;
            let mixed = weights.matmul(&value)?.reshape((batch, self.heads, length, self.head))?;
            let mixed = mixed.transpose(1, 2)?.reshape((batch * length, width))?;
            x = (x + product(&mixed, "attn_output")?)?;
            let normal = x.apply_op1(layer.feed.clone())?;
            let inner = product(&normal, "ffn_gate")?.apply_op2(&product(&normal, "ffn_up")?, Gate)?;
            x = (x + product(&inner, "ffn_down")?)?;
        }
        x.apply_op1(self.normal.clone())
    }

    /// Logits of the vocabulary for rows of [`hidden`](Self::hidden).
    pub(super) fn logits(&self, rows: &Tensor) -> Result<Tensor> {
        rows.apply_op1(Plain(self.output.clone()))
    }
}

/// What is learned: for each matrix a thin one in and a thin one out.
pub struct Adapter {
    /// By layer and name.
    parts: BTreeMap<(usize, &'static str), (Var, Var)>,
}

impl Adapter {
    /// An adapter that changes nothing yet: the first matrices are random, the second ones zero.
    ///
    /// # Errors
    /// None that a whole model has reason for.
    pub fn new(base: &Base, random: &mut fastrand::Rng) -> Result<Self> {
        let mut parts = BTreeMap::new();
        for (n, layer) in base.layers.iter().enumerate().skip(base.layers.len() / SPARED) {
            for (name, weight) in &layer.weights {
                let (outer, inner) = weight.dims2()?;
                // Uniform with the variance that keeps a product's size (Kaiming et al., 2015).
                let bound = (3.0 / inner as f32).sqrt();
                let values: Vec<f32> =
                    (0..RANK * inner).map(|_| (random.f32() * 2.0 - 1.0) * bound).collect();
                let a = Tensor::from_vec(values, (RANK, inner), &Device::Cpu)?;
                let b = Tensor::zeros((outer, RANK), DType::F32, &Device::Cpu)?;
                parts.insert((n, *name), (Var::from_tensor(&a)?, Var::from_tensor(&b)?));
            }
        }
        Ok(Self { parts })
    }

    /// Read one that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// A file that lacks a matrix or has one of another size.
    pub fn read<R: Read + Seek>(base: &Base, file: &mut R) -> Result<Self> {
        let content = Content::read(file)?;
        let mut parts = BTreeMap::new();
        for (n, layer) in base.layers.iter().enumerate().skip(base.layers.len() / SPARED) {
            for (name, weight) in &layer.weights {
                let (outer, inner) = weight.dims2()?;
                let mut part = |which: &str, shape: (usize, usize)| {
                    let name = format!("blk.{n}.{name}.weight.lora_{which}");
                    let tensor = content.tensor(file, &name, &Device::Cpu)?.dequantize(&Device::Cpu)?;
                    if tensor.dims2()? != shape {
                        bail!("the adapter's {name} has another size than the model asks for");
                    }
                    Var::from_tensor(&tensor)
                };
                parts.insert((n, *name), (part("a", (RANK, inner))?, part("b", (outer, RANK))?));
            }
        }
        Ok(Self { parts })
    }

    /// Write it as GGUF in the form that llama.cpp loads (`gguf-py`: `Adapter.LORA`), in 16-bit numbers, with
    /// the names of the tools that it knows.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write<W: Write + Seek>(&self, name: &str, tools: &[String], file: &mut W) -> Result<()> {
        let text = |text: &str| Value::String(text.to_owned());
        let tools = tools.join(" ");
        let metadata = [
            ("general.architecture", text("llama")),
            ("general.type", text("adapter")),
            ("general.name", text(name)),
            ("adapter.type", text("lora")),
            ("adapter.lora.alpha", Value::F32(ALPHA)),
            ("aios.tools", text(&tools)),
        ];
        let mut tensors = Vec::new();
        for ((n, name), (a, b)) in &self.parts {
            for (which, part) in [("a", a), ("b", b)] {
                let part = QTensor::quantize(part, GgmlDType::F16)?;
                tensors.push((format!("blk.{n}.{name}.weight.lora_{which}"), part));
            }
        }
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(file, &metadata, &tensors)
    }

    /// All that is learned.
    pub(super) fn variables(&self) -> Vec<Var> {
        self.parts.values().flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
    }

    fn product(&self, layer: &Layer, n: usize, name: &'static str, x: &Tensor) -> Result<Tensor> {
        let Some(weight) = layer.weights.get(name) else { bail!("layer {n} has no {name}") };
        let Some((a, b)) = self.parts.get(&(n, name)) else { return x.apply_op1(Plain(weight.clone())) };
        let product = Product { weight: weight.clone(), bias: None, scale: f64::from(ALPHA / RANK as f32) };
        x.apply_op3(a.as_tensor(), b.as_tensor(), product)
    }
}
