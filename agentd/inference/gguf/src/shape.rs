//! Writes a file that is a model in everything but its words: real size, real types, random weights.
//!
//! Loading, memory and speed of such a file are those of a trained one of its shape, which is what it is for:
//! to prove and measure the larger tiers where no trained model can be had. The vocabulary is copied from a
//! real model.

use crate::read::Reader;
use std::io::{self, Read, Write};

/// `GGML_TYPE_F32`.
const F32: u32 = 0;
/// `GGML_TYPE_Q4_K`: blocks of 256 weights in 144 bytes.
const Q4_K: u32 = 12;
const BLOCK: u64 = 256;
const BLOCK_BYTES: usize = 144;
/// Alignment of tensors in bytes, the default of the format.
const ALIGNMENT: u64 = 32;

/// The measures of a model of the llama family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Layers.
    pub layers: u32,
    /// Width of the hidden states.
    pub width: u32,
    /// Width inside the feed-forward part.
    pub inner: u32,
    /// Heads of queries; each is `width / heads` wide.
    pub heads: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
}

impl Shape {
    /// That of Mistral 7B (Jiang et al., 2023): 7.2 thousand million parameters with 32,000 tokens.
    pub const SEVEN: Self = Self { layers: 32, width: 4096, inner: 14336, heads: 32, kv_heads: 8 };
    /// A few million parameters, for tests.
    pub const SMALL: Self = Self { layers: 2, width: 256, inner: 512, heads: 4, kv_heads: 2 };

    /// All tensors: name, dimensions (the row's length first), whether the weights are 32-bit ones.
    fn tensors(&self, tokens: u64) -> Vec<(String, Vec<u64>, bool)> {
        let (width, inner) = (u64::from(self.width), u64::from(self.inner));
        let kv = width / u64::from(self.heads) * u64::from(self.kv_heads);
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![width, tokens], false),
            ("output.weight".to_owned(), vec![width, tokens], false),
            ("output_norm.weight".to_owned(), vec![width], true),
        ];
        for n in 0..self.layers {
            let parts: [(&str, Vec<u64>, bool); 9] = [
                ("attn_norm", vec![width], true),
                ("attn_q", vec![width, width], false),
                ("attn_k", vec![width, kv], false),
                ("attn_v", vec![width, kv], false),
                ("attn_output", vec![width, width], false),
                ("ffn_norm", vec![width], true),
                ("ffn_gate", vec![width, inner], false),
                ("ffn_up", vec![width, inner], false),
                ("ffn_down", vec![inner, width], false),
            ];
            let named = |(name, dimensions, exact)| (format!("blk.{n}.{name}.weight"), dimensions, exact);
            tensors.extend(parts.into_iter().map(named));
        }
        tensors
    }
}

/// A vocabulary out of a model's file: the keys `tokenizer.*` as they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    pairs: Vec<(String, Vec<u8>)>,
    tokens: u64,
}

impl Vocabulary {
    /// Read it from a file of `length` bytes.
    ///
    /// # Errors
    /// What is wrong with the file, and a file without a vocabulary.
    pub fn of(source: impl Read, length: u64) -> Result<Self, String> {
        let mut reader = Reader::new(source, length);
        let (_, pairs) = crate::begin(&mut reader)?;
        let mut found = Self { pairs: Vec::new(), tokens: 0 };
        for _ in 0..pairs {
            let key = reader.text("a key", 65535)?;
            if !key.starts_with("tokenizer.") {
                let kind = reader.u32(&key)?;
                reader.value(kind, &key, 0)?;
                continue;
            }
            let bytes = reader.copy(&key)?;
            if key == "tokenizer.ggml.tokens" {
                // Type of the list, type of its elements, and their number.
                found.tokens = bytes.get(8..16).and_then(|n| n.try_into().ok()).map_or(0, u64::from_le_bytes);
            }
            found.pairs.push((key, bytes));
        }
        if found.tokens == 0 {
            return Err("has no vocabulary (key tokenizer.ggml.tokens); name a text model".into());
        }
        Ok(found)
    }
}

/// Write the model; `told` hears how many of how many bytes of weights are written.
///
/// # Errors
/// Those of the output.
pub fn write(
    shape: &Shape,
    vocabulary: &Vocabulary,
    name: &str,
    seed: u64,
    out: &mut impl Write,
    told: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    let tensors = shape.tensors(vocabulary.tokens);
    let mut head = Vec::new();
    let number = |head: &mut Vec<u8>, key: &str, value: u32| {
        text(head, key);
        head.extend(4u32.to_le_bytes());
        head.extend(value.to_le_bytes());
    };
    let real = |head: &mut Vec<u8>, key: &str, value: f32| {
        text(head, key);
        head.extend(6u32.to_le_bytes());
        head.extend(value.to_le_bytes());
    };
    head.extend(b"GGUF");
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((11 + vocabulary.pairs.len() as u64).to_le_bytes());
    for (key, value) in [("general.architecture", "llama"), ("general.name", name)] {
        text(&mut head, key);
        head.extend(8u32.to_le_bytes());
        text(&mut head, value);
    }
    for (key, value) in [
        ("llama.block_count", shape.layers),
        ("llama.context_length", 8192),
        ("llama.embedding_length", shape.width),
        ("llama.feed_forward_length", shape.inner),
        ("llama.attention.head_count", shape.heads),
        ("llama.attention.head_count_kv", shape.kv_heads),
        ("llama.rope.dimension_count", shape.width / shape.heads),
    ] {
        number(&mut head, key, value);
    }
    real(&mut head, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    real(&mut head, "llama.rope.freq_base", 10_000.0);
    for (key, value) in &vocabulary.pairs {
        text(&mut head, key);
        head.extend(value);
    }
    let (mut offset, mut sizes) = (0, Vec::new());
    for (name, dimensions, exact) in &tensors {
        let elements: u64 = dimensions.iter().product();
        let size = if *exact { elements * 4 } else { elements / BLOCK * BLOCK_BYTES as u64 };
        text(&mut head, name);
        head.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|n| head.extend(n.to_le_bytes()));
        head.extend(if *exact { F32 } else { Q4_K }.to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += size.next_multiple_of(ALIGNMENT);
        sizes.push((size, *exact));
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(&head)?;
    let mut random = Random(seed | 1);
    let (mut written, mut buffer) = (0, Vec::new());
    for (size, exact) in sizes {
        let mut left = size;
        while left > 0 {
            buffer.clear();
            match exact {
                true => (0..left / 4).for_each(|_| buffer.extend(1f32.to_le_bytes())),
                false => {
                    let blocks = (left as usize / BLOCK_BYTES).min(8192);
                    (0..blocks).for_each(|_| random.block(&mut buffer));
                }
            }
            out.write_all(&buffer)?;
            left -= buffer.len() as u64;
            written += buffer.len() as u64;
            told(written, offset);
        }
        let padding = size.next_multiple_of(ALIGNMENT) - size;
        out.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
    }
    out.flush()
}

/// A string as the format has it.
fn text(head: &mut Vec<u8>, text: &str) {
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text.as_bytes());
}

/// xorshift64 (Marsaglia, 2003): weights need no better.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One block of Q4_K: two 16-bit scales (of the weights, and of what is subtracted), twelve bytes of
    /// finer ones, 256 weights. The scales make weights of the size that trained ones have, about zero.
    fn block(&mut self, out: &mut Vec<u8>) {
        // 0.0001 and 0.00075 as IEEE 754 half precision.
        out.extend(0x068e_u16.to_le_bytes());
        out.extend(0x1225_u16.to_le_bytes());
        let start = out.len();
        while out.len() < start + 136 {
            out.extend(self.next().to_le_bytes());
        }
        out.resize(start + 140, 0);
        let last = self.next().to_le_bytes();
        let end = out.len();
        out[end - 4..].copy_from_slice(&last[..4]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let mut tokens = 9u32.to_le_bytes().to_vec();
        tokens.extend(8u32.to_le_bytes());
        tokens.extend(2u64.to_le_bytes());
        ["a", "b"].iter().for_each(|token| text(&mut tokens, token));
        Vocabulary { pairs: vec![("tokenizer.ggml.tokens".into(), tokens)], tokens: 2 }
    }

    #[test]
    fn what_is_written_is_a_whole_model_with_the_vocabulary() {
        let mut bytes = Vec::new();
        let mut last = (0, 1);
        write(&Shape::SMALL, &vocabulary(), "small", 1, &mut bytes, &mut |done, all| last = (done, all))
            .expect("writes");
        assert_eq!(last.0, last.1);
        let summary = crate::check_bytes(bytes.as_slice(), bytes.len() as u64, "x").expect("a model");
        assert_eq!((summary.name.as_str(), summary.architecture.as_str()), ("small", "llama"));
        let again = Vocabulary::of(bytes.as_slice(), bytes.len() as u64).expect("a vocabulary");
        assert_eq!(again, vocabulary());
        bytes.pop();
        assert!(crate::check_bytes(bytes.as_slice(), bytes.len() as u64, "x").is_err());
    }

    #[test]
    fn seven_is_seven_thousand_million() {
        let tensors = Shape::SEVEN.tensors(32_000);
        let parameters: u64 = tensors.iter().map(|(_, d, _)| d.iter().product::<u64>()).sum();
        assert_eq!(parameters / 10_000_000, 724);
    }
}
