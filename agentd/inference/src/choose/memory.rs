//! Vectors of the tools' sentences, so that each is computed once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sentences that are remembered before all are forgotten.
const CAPACITY: usize = 4_096;
/// Sentences that are embedded at once: others get a turn in between, and what was done stays done when
/// the caller goes.
const BATCH: usize = 16;

/// Remembers vectors by sentence.
#[derive(Debug, Default)]
pub struct Memory {
    known: Mutex<Known>,
    learning: tokio::sync::Mutex<()>,
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Known {
    /// The model that made the vectors.
    model: Option<String>,
    vectors: HashMap<String, Vec<f32>>,
}

impl Known {
    /// The vector of a sentence.
    pub fn get(&self, sentence: &str) -> Option<&[f32]> {
        self.vectors.get(sentence).map(Vec::as_slice)
    }
}

impl Memory {
    /// What is known now.
    pub fn read(&self) -> MutexGuard<'_, Known> {
        // Nothing in the critical sections can panic half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to have sentences embedded.
    pub async fn learning(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.learning.lock().await
    }

    /// The sentences that this model has not embedded yet, each once, in batches.
    pub fn missing(&self, model: Option<&str>, sentences: impl Iterator<Item = String>) -> Vec<Vec<String>> {
        let mut known = self.read();
        if known.model.as_deref() != model {
            *known = Known { model: model.map(str::to_owned), vectors: HashMap::new() };
        }
        let sentences: HashSet<String> = sentences.collect();
        let is_new = |known: &Known| sentences.iter().filter(|s| known.get(s).is_none()).count();
        if known.vectors.len() + is_new(&known) > CAPACITY {
            // Tool sets differ by role at most, so somebody sent others; those in use come back at once.
            known.vectors.clear();
        }
        let mut missing: Vec<String> = sentences.iter().filter(|s| known.get(s).is_none()).cloned().collect();
        missing.sort_unstable();
        missing.chunks(BATCH).map(<[String]>::to_vec).collect()
    }

    /// Remember what was embedded, unless another model is loaded by now.
    pub fn learn(&self, model: Option<&str>, sentences: Vec<String>, vectors: Vec<Vec<f32>>) {
        let mut known = self.read();
        if known.model.as_deref() == model {
            known.vectors.extend(sentences.into_iter().zip(vectors));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_embedded_once_for_each_model() {
        let memory = Memory::default();
        let sentences = || ["one", "two", "one"].into_iter().map(str::to_owned);
        assert_eq!(memory.missing(Some("a"), sentences()), [["one", "two"]]);
        memory.learn(Some("a"), vec!["one".into()], vec![vec![1.0]]);
        assert_eq!(memory.missing(Some("a"), sentences()), [["two"]]);
        assert_eq!(memory.read().get("one"), Some([1.0].as_slice()));
        assert_eq!(memory.missing(Some("b"), sentences()), [["one", "two"]]);
        memory.learn(Some("a"), vec!["two".into()], vec![vec![2.0]]);
        assert_eq!(memory.read().get("two"), None, "vectors of another model say nothing");
    }
}
