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
/// Bytes of 32 numbers of a small cache: 8 bits for each, and a scale.
const SMALL: u64 = 34;
/// Bytes of memory that are the machine's own, however large it is.
const HOUSE: u64 = 160 << 20;
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
    /// Its weights. llama.cpp arranges those of most types anew for the processor, so they are memory of the worker's own; the
    /// file's pages are read once and can be dropped.
    pub weights: u64,
    /// Keys and values of the conversations.
    pub cache: u64,
    /// What is computed with, and the worker itself.
    pub work: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.work)
    }

    /// The same with conversations remembered in 8 bits and a scale for each 32 numbers.
    pub fn small(self) -> Self {
        Self { cache: self.cache.saturating_mul(SMALL) / (32 * CACHED), ..self }
    }

    /// Whether a model of this name has room in what is free now.
    ///
    /// # Errors
    /// What it needs and what there is, in a sentence with its cure.
    pub fn has_room(&self, name: &str, free: Free) -> Result<(), String> {
        let all = self.total();
        let most = free.total.saturating_sub(HOUSE);
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        if all > most {
            return Err(format!(
                "{name} needs about {} MiB of memory and this machine has {} MiB for models; take a smaller one",
                mib(all),
                mib(most)
            ));
        }
        if all > free.available {
            return Err(format!(
                "{name} needs about {} MiB of memory that is free now, and there are {} MiB; stop something first",
                mib(all),
                mib(free.available)
            ));
        }
        Ok(())
    }
}

/// The machine's memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// All of it.
    pub total: u64,
    /// What can be had without pushing anything out.
    pub available: u64,
}

impl Free {
    /// As the kernel tells it (`MemTotal` and `MemAvailable` in proc_meminfo(5)).
    ///
    /// # Errors
    /// The file cannot be read, or says something else.
    pub fn now() -> std::io::Result<Self> {
        let text = std::fs::read_to_string("/proc/meminfo")?;
        Self::of(&text).ok_or_else(|| std::io::Error::other("/proc/meminfo tells no memory"))
    }

    fn of(text: &str) -> Option<Self> {
        let line = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { total: line("MemTotal")?, available: line("MemAvailable")? })
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
    fn what_does_not_fit_is_said_with_numbers() {
        let free = Free { total: 1 << 30, available: 300 << 20 };
        let memory =
            |weights: u64, cache: u64| Memory { weights: weights << 20, cache: cache << 20, work: 0 };
        assert_eq!(memory(200, 100).has_room("x", free), Ok(()));
        let why = memory(800, 200).has_room("x", free).expect_err("too large");
        assert!(why.starts_with("x needs about 1000 MiB of memory and this machine has 864 MiB"), "{why}");
        let why = memory(100, 300).has_room("x", free).expect_err("too large now");
        assert!(why.contains("400 MiB of memory that is free now, and there are 300 MiB"), "{why}");
        assert_eq!(memory(100, 300).small().has_room("x", free), Ok(()), "in 8 bits it has room");
    }

    #[test]
    fn what_the_kernel_tells_is_read() {
        let text = "MemTotal:        2048 kB\nMemFree:          5 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(Free::of(text), Some(Free { total: 2 << 20, available: 1 << 20 }));
        for text in
            ["", "MemTotal: 1 kB", "MemTotal: 1 kB\nMemAvailable: x kB", "MemTotal: 1\nMemAvailable: 2"]
        {
            assert_eq!(Free::of(text), None, "{text}");
        }
        assert!(Free::now().is_ok_and(|free| free.available <= free.total));
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
