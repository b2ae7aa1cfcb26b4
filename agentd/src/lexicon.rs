//! Which tool a sentence is about, by its words alone.
//!
//! A word counts for the tools whose declarations use it, the more the fewer tools do (inverse document
//! frequency), and the more of a tool's sentences have it. What no tool ever says counts against all.

use crate::pattern::Part;
use crate::words::{Word, stem};
use std::collections::HashMap;

/// Words that say nothing about which tool is meant.
const COMMON: &[&str] = &[
    "am",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "been",
    "being",
    "but",
    "by",
    "did",
    "do",
    "does",
    "for",
    "from",
    "get",
    "give",
    "got",
    "had",
    "has",
    "have",
    "here",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "let",
    "list",
    "look",
    "like",
    "many",
    "may",
    "much",
    "need",
    "of",
    "off",
    "on",
    "or",
    "our",
    "out",
    "over",
    "see",
    "show",
    "so",
    "some",
    "that",
    "their",
    "them",
    "these",
    "they",
    "this",
    "those",
    "to",
    "us",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "who",
    "will",
    "with",
    "your",
    "all",
    "want",
    "know",
    "find",
    "print",
    "display",
    "output",
    "current",
    "right",
    "moment",
    "anything",
    "something",
    "about",
    "today",
    "thing",
    "long",
    // This is what every question here is about.
    "machine",
    "system",
    "computer",
    "box",
    "host",
    "server",
    "device",
    "appliance",
];

/// Words that many questions have in common: they count, but little.
const WEAK: &[&str] = &[
    "free",
    "used",
    "use",
    "usage",
    "left",
    "available",
    "run",
    "running",
    "status",
    "state",
    "high",
    "big",
    "most",
    "check",
];
const WEAK_SHARE: f32 = 0.25;

/// How a tool fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Index of the tool.
    pub tool: usize,
    /// Weight of the words that it shares with the sentence.
    pub score: f32,
    /// Share of the sentence's weight that it knows, 0 to 1.
    pub coverage: f32,
}

/// Words of all tools.
#[derive(Debug, Default)]
pub struct Lexicon {
    /// For each stem the tools that have it and the share of their sentences that do.
    stems: HashMap<String, HashMap<usize, f32>>,
    tools: usize,
}

impl Lexicon {
    /// Learn from sentences: for each tool those that its declaration has.
    pub fn learn(tools: &[Vec<Vec<String>>]) -> Self {
        let mut lexicon = Self { stems: HashMap::new(), tools: tools.len() };
        for (tool, sentences) in tools.iter().enumerate() {
            for sentence in sentences {
                let mut once = sentence.clone();
                once.sort();
                once.dedup();
                for word in once {
                    *lexicon.stems.entry(word).or_default().entry(tool).or_default() +=
                        1.0 / sentences.len() as f32;
                }
            }
        }
        lexicon
    }

    fn weight(&self, word: &str) -> f32 {
        let tools = self.stems.get(word).map_or(1, HashMap::len) as f32;
        let rare = (1.0 + self.tools as f32 / tools).ln();
        if WEAK.contains(&word) { rare * WEAK_SHARE } else { rare }
    }

    /// The tools that share words with a sentence, best first. Words that are arguments by their looks
    /// (paths, numbers, quotations) do not count; nor do those in `names`.
    pub fn rank(&self, words: &[Word], names: &[String]) -> Vec<Fit> {
        let mut total = 0.0;
        let mut scores: HashMap<usize, (f32, f32)> = HashMap::new();
        for word in content(words, names) {
            let weight = self.weight(&word);
            total += weight;
            for (&tool, share) in self.stems.get(&word).into_iter().flatten() {
                let (score, known) = scores.entry(tool).or_default();
                // One sentence of many says less than all of them.
                *score += weight * (0.25 + 0.75 * share);
                *known += weight;
            }
        }
        let mut fits: Vec<Fit> = scores
            .into_iter()
            .map(|(tool, (score, known))| Fit {
                tool,
                score,
                coverage: known / f32::max(total, f32::EPSILON),
            })
            .collect();
        fits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.tool.cmp(&b.tool)));
        fits
    }
}

/// Stems of the words that mean something, each once.
fn content(words: &[Word], names: &[String]) -> Vec<String> {
    let mut stems: Vec<String> = words
        .iter()
        .filter(|word| !word.idle && !word.quoted && !names.contains(&word.key) && !is_value(&word.key))
        .filter(|word| !COMMON.contains(&word.key.as_str()))
        .flat_map(|word| word.key.split(['-', '/', '_']).map(stem).collect::<Vec<_>>())
        .filter(|stem| !stem.is_empty() && !COMMON.contains(&stem.as_str()))
        .collect();
    stems.sort();
    stems.dedup();
    stems
}

fn is_value(key: &str) -> bool {
    key.starts_with('/') || key.bytes().any(|b| b.is_ascii_digit()) || key.contains('.')
}

/// The words of a declaration's sentence that count.
pub fn sentence(text: &str) -> Vec<String> {
    content(&crate::words::split(text), &[])
}

/// The same of a pattern: what stands for an argument does not count.
pub fn pattern(parts: &[Part]) -> Vec<String> {
    let words = parts.iter().filter_map(|part| match part {
        Part::Word(word) => Some(word.clone()),
        Part::Slot { .. } => None,
    });
    words.filter(|word| !COMMON.contains(&word.as_str()) && !is_value(word)).collect()
}
