//! From vectors and likelihoods to a choice: the arithmetic of [`choose`](super::choose), without engines.

use aios_abi::infer::Scored;

/// Tools that are looked at more closely.
pub const SHORTLIST: usize = 8;

/// Tools of the shortlist that the language model judges.
pub const JUDGED: usize = 3;

/// What decides. The numbers come from the evaluation in the crate's README.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Below this cosine no tool fits.
    pub none: f32,
    /// The first tool is taken without asking the language model if it is this far before the second.
    pub ahead: f32,
    /// Weight of the language model's log-likelihood against the cosine.
    pub weight: f32,
    /// How far the first must be before the second when there is no language model.
    pub alone: f32,
}

/// The limits that inferd uses.
pub const LIMITS: Limits = Limits { none: 0.36, ahead: 0.04, weight: 0.015, alone: 0.02 };

/// What decides between the trained layer and the adapter of the language model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calls {
    /// Weight of the layer's logarithm against the adapter's.
    pub weight: f32,
    /// Probability from which the layer decides where there is no language model.
    pub alone: f32,
}

/// The numbers that inferd uses; the crate's README says how they were found.
pub const CALLS: Calls = Calls { weight: 2.0, alone: 0.4 };

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

/// The best tools for a question, best first. Tools with the same score stay in their order.
pub fn shortlist<'a>(
    question: &[f32],
    tools: impl IntoIterator<Item = (&'a str, Vec<&'a [f32]>)>,
) -> Vec<Scored> {
    let mut scored: Vec<Scored> = tools
        .into_iter()
        .map(|(name, sentences)| Scored { name: name.to_owned(), score: nearness(question, &sentences) })
        .collect();
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    scored.truncate(SHORTLIST);
    scored
}

/// How near a tool is: mostly its nearest sentence, and a little the one after that, since one sentence
/// may be near by chance.
fn nearness(question: &[f32], sentences: &[&[f32]]) -> f32 {
    let mut cosines: Vec<f32> = sentences.iter().map(|s| cosine(question, s)).collect();
    cosines.sort_by(|a, b| b.total_cmp(a));
    match cosines.as_slice() {
        [] => -1.0,
        [only] => *only,
        [first, second, ..] => 0.7 * first + 0.3 * second,
    }
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
        Some(_) if margin(&scores) >= limits.ahead => Verdict::Sure,
        Some(_) => Verdict::Unsure,
    }
}

/// Without a language model: the first one unless it is hardly before the second.
pub fn alone(limits: &Limits, shortlist: &[Scored]) -> Option<usize> {
    let scores: Vec<f32> = shortlist.iter().map(|s| s.score).collect();
    (margin(&scores) >= limits.alone).then_some(0)
}

/// With a language model: the one with the best sum of cosine and weighted log-likelihood, of those that
/// it judged. Likelihoods that are no numbers count for nothing.
pub fn combined(limits: &Limits, shortlist: &[Scored], likelihoods: &[f32]) -> Option<usize> {
    let total = |(scored, likelihood): (&Scored, &f32)| {
        if likelihood.is_finite() { scored.score + limits.weight * likelihood } else { f32::NEG_INFINITY }
    };
    let totals = shortlist.iter().zip(likelihoods).map(total).enumerate();
    totals.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(index, _)| index)
}

/// The best of candidates by the logarithms of the layer and of the adapter, and how far it is before the next one;
/// what is no number counts for nothing.
pub fn best(calls: &Calls, judged: &[(f32, f32)]) -> Option<(usize, f32)> {
    let total = |(layer, adapter): &(f32, f32)| {
        let sum = calls.weight * layer + adapter;
        if sum.is_finite() { sum } else { f32::MIN }
    };
    let mut totals: Vec<(usize, f32)> = judged.iter().map(total).enumerate().collect();
    // Stable: of equals the one that the layer likes better.
    totals.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (index, most) = *totals.first()?;
    Some((index, totals.get(1).map_or(0.0, |(_, next)| most - next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(scores: &[f32]) -> Vec<Scored> {
        scores.iter().map(|score| Scored { name: format!("t{score}"), score: *score }).collect()
    }

    #[test]
    fn a_clear_winner_is_taken_a_foreign_question_is_left_and_the_rest_is_unsure() {
        let limits = Limits { none: 0.3, ahead: 0.1, weight: 0.1, alone: 0.05 };
        for (scores, expected) in [
            (vec![0.7, 0.5], Verdict::Sure),
            (vec![0.7, 0.65], Verdict::Unsure),
            (vec![0.5, 0.1], Verdict::Sure),
            (vec![0.29, 0.1], Verdict::Nothing),
            (vec![0.7], Verdict::Sure),
            (vec![], Verdict::Nothing),
        ] {
            assert_eq!(verdict(&limits, &scored(&scores)), expected, "{scores:?}");
        }
        assert_eq!(alone(&limits, &scored(&[0.5, 0.49])), None);
        assert_eq!(alone(&limits, &scored(&[0.5, 0.4])), Some(0));
    }

    #[test]
    fn the_language_model_can_turn_the_order_but_not_with_nonsense() {
        let shortlist = scored(&[0.5, 0.45, 0.2]);
        assert_eq!(combined(&LIMITS, &shortlist, &[-30.0, -20.0, -25.0]), Some(1));
        assert_eq!(combined(&LIMITS, &shortlist, &[-20.0, -20.0, -20.0]), Some(0));
        assert_eq!(combined(&LIMITS, &shortlist, &[f32::NAN, -20.0, f32::INFINITY]), Some(1));
        assert_eq!(combined(&LIMITS, &[], &[]), None);
    }

    #[test]
    fn a_tool_is_as_near_as_its_two_nearest_sentences_and_bad_vectors_are_far() {
        let (right, up) = ([1.0, 0.0], [0.0, 1.0]);
        let tools = [("a", vec![&up[..], &right[..], &up[..]]), ("b", vec![&up[..]]), ("c", vec![])];
        let shortlist = shortlist(&right, tools);
        assert_eq!(
            shortlist.iter().map(|s| (s.name.as_str(), s.score)).collect::<Vec<_>>(),
            [("a", 0.7), ("b", 0.0), ("c", -1.0)]
        );
        assert_eq!(cosine(&[f32::NAN], &[1.0]), 0.0);
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), 0.0);
    }
}
