//! How much memory a model takes, reckoned from its header before anything is loaded.

use std::collections::BTreeMap;

/// Tokens that the workers keep at most of all conversations together.
pub const CONTEXT: u64 = 4096;
/// Tokens that are computed at once.
const BATCH: u64 = 512;
/// A worker without any model, with its vocabulary and grammars.
const WORKER: u64 = 48 << 20;
/// Bytes of a number of the cache: 16 bits.
const CACHED: u64 = 2;
/// Bytes of a number that is computed with.
const COMPUTED: u64 = 4;
/// Vectors as wide as the model that are there at once while a layer is computed.
const WIDE: u64 = 8;

/// What a model's memory is reckoned from. Zero is what the file does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measures {
    /// Layers.
    pub layers: u64,
    /// Width of the hidden states.
    pub width: u64,
    /// Width inside the feed-forward part.
    pub inner: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Numbers that a head keeps of a token: key and value.
    pub kept: u64,
    /// Tokens that it knows.
    pub vocabulary: u64,
}

/// What a loaded model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Its weights. They are the file's pages, so the kernel can drop what is not being read, and reads it again.
    pub weights: u64,
    /// Keys and values of the conversations.
    pub cache: u64,
    /// What is computed with, and the worker itself.
    pub work: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.fixed())
    }

    /// What must be in memory at any time.
    pub fn fixed(&self) -> u64 {
        self.cache.saturating_add(self.work)
    }
}

impl Measures {
    pub(crate) fn of(architecture: &str, values: &BTreeMap<String, String>, vocabulary: u64) -> Self {
        let number = |key: &str| {
            values
                .get(&format!("{architecture}.{key}"))
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let (width, heads) = (number("embedding_length"), number("attention.head_count"));
        let head = width.checked_div(heads).unwrap_or(0);
        let or = |value: u64, other: u64| if value == 0 { other } else { value };
        let kept = |key| or(number(key), head);
        Self {
            layers: number("block_count"),
            width,
            inner: number("feed_forward_length"),
            kv_heads: or(number("attention.head_count_kv"), heads),
            kept: kept("attention.key_length").saturating_add(kept("attention.value_length")),
            vocabulary,
        }
    }
}

impl crate::Summary {
    /// What it takes, loaded with the context that the workers give it.
    pub fn memory(&self) -> Memory {
        let Measures { layers, width, inner, kv_heads, kept, vocabulary } = self.measures;
        let context = self.context.clamp(1, CONTEXT);
        let all = |numbers: &[u64]| numbers.iter().fold(1u64, |product, n| product.saturating_mul(*n));
        let wide = vocabulary.saturating_add(all(&[WIDE, width])).saturating_add(all(&[2, inner]));
        Memory {
            weights: self.bytes,
            cache: all(&[layers, kv_heads, kept, CACHED, context]),
            work: WORKER.saturating_add(all(&[BATCH, COMPUTED, wide])),
        }
    }

    /// Whether both are the same model, perhaps with weights of other types: what one of them learned beside its weights
    /// then fits the other.
    pub fn is_kin_of(&self, other: &Self) -> bool {
        let same = |one: &Self| (one.architecture.clone(), one.name.clone(), one.parameters, one.measures);
        same(self) == same(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Summary;

    fn summary(bytes: u64, context: u64, measures: Measures) -> Summary {
        Summary {
            architecture: "llama".into(),
            name: "x".into(),
            parameters: 1,
            context,
            chat_template: None,
            quantisation: "Q4_K",
            measures,
            tools: Vec::new(),
            bytes,
        }
    }

    #[test]
    fn a_model_of_seven_thousand_million_keeps_half_a_gibibyte_of_its_conversations() {
        let measures =
            Measures { layers: 32, width: 4096, inner: 14336, kv_heads: 8, kept: 256, vocabulary: 32_000 };
        let memory = summary(4 << 30, 8192, measures).memory();
        assert_eq!((memory.weights, memory.cache), (4 << 30, 512 << 20));
        assert!((100 << 20..500 << 20).contains(&memory.work), "{}", memory.work);
        assert_eq!(memory.total(), memory.weights + memory.cache + memory.work);
    }

    #[test]
    fn a_file_that_lies_about_its_measures_takes_more_than_there_is_and_nothing_overflows() {
        let most = u64::MAX;
        let lies =
            Measures { layers: most, width: most, inner: most, kv_heads: most, kept: most, vocabulary: most };
        assert_eq!(summary(most, most, lies).memory().total(), most);
    }

    #[test]
    fn the_same_model_with_other_weights_is_kin_and_one_of_the_same_size_is_not() {
        let one = summary(1, 1, Measures::default());
        let other = Summary { bytes: 2, quantisation: "Q8_0", ..one.clone() };
        assert!(one.is_kin_of(&other));
        assert!(!one.is_kin_of(&Summary { name: "y".into(), ..other }));
    }
}
