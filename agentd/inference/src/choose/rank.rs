//! From vectors and likelihoods to a choice: the arithmetic of [`choose`](super::choose), without engines.

use aios_abi::infer::Scored;

/// Tools that are looked at more closely.
pub const SHORTLIST: usize = 5;

/// The better of these decide. They were chosen with the evaluation in the crate's README.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Below this cosine no tool fits.
    pub none: f32,
    /// From this cosine on, with [`Limits::ahead`], the embeddings alone decide.
    pub sure: f32,
    /// How far the first must be before the second then.
    pub ahead: f32,
    /// Weight of the language model's log-ratio against the cosine.
    pub weight: f32,
    /// Below this the best combined score is no fit.
    pub fit: f32,
    /// How far the first must be before the second when there is no language model.
    pub alone: f32,
}

/// The limits that inferd uses.
pub const LIMITS: Limits =
    Limits { none: 0.35, sure: 0.62, ahead: 0.10, weight: 0.02, fit: 0.40, alone: 0.02 };

/// What the embeddings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The first one, surely.
    Sure,
    /// None of them.
    Nothing,
    /// It takes a closer look.
    Unsure,
}

/// Cosine of two unit vectors; 0 for vectors that cannot be compared.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return 0.0;
    }
    let product: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    if product.is_finite() { product } else { 0.0 }
}

/// The best tools for a question, best first; each tool counts with its nearest sentence. Tools with the
/// same score stay in their order.
pub fn shortlist<'a>(
    question: &[f32],
    tools: impl IntoIterator<Item = (&'a str, Vec<&'a [f32]>)>,
) -> Vec<Scored> {
    let mut scored: Vec<Scored> = tools
        .into_iter()
        .map(|(name, sentences)| {
            let score = sentences.iter().map(|s| cosine(question, s)).fold(-1.0, f32::max);
            Scored { name: name.to_owned(), score }
        })
        .collect();
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    scored.truncate(SHORTLIST);
    scored
}

/// Score of the first less score of the second.
pub fn margin(scores: &[f32]) -> f32 {
    match scores {
        [] => 0.0,
        [only] => *only,
        [first, second, ..] => first - second,
    }
}

/// What the embeddings say about a shortlist.
pub fn verdict(limits: &Limits, shortlist: &[Scored]) -> Verdict {
    let scores: Vec<f32> = shortlist.iter().map(|s| s.score).collect();
    match scores.first() {
        None => Verdict::Nothing,
        Some(best) if *best < limits.none => Verdict::Nothing,
        Some(best) if *best >= limits.sure && margin(&scores) >= limits.ahead => Verdict::Sure,
        Some(_) => Verdict::Unsure,
    }
}

/// Without a language model: the first one unless it is hardly before the second.
pub fn alone(limits: &Limits, shortlist: &[Scored]) -> Option<usize> {
    let scores: Vec<f32> = shortlist.iter().map(|s| s.score).collect();
    let best = scores.first()?;
    (*best >= limits.fit && margin(&scores) >= limits.alone).then_some(0)
}

/// With a language model: the one with the best sum of cosine and weighted log-ratio, if that is enough.
/// `ratios` tells for each tool of the shortlist how much likelier the question makes it.
pub fn combined(limits: &Limits, shortlist: &[Scored], ratios: &[f32]) -> Option<usize> {
    let mean = ratios.iter().sum::<f32>() / ratios.len().max(1) as f32;
    let total = |(index, scored): (usize, &Scored)| {
        let ratio = ratios.get(index).copied().unwrap_or(mean) - mean;
        (index, scored.score + limits.weight * ratio)
    };
    let (index, best) = shortlist.iter().enumerate().map(total).max_by(|a, b| a.1.total_cmp(&b.1))?;
    (best >= limits.fit).then_some(index)
}
