//! From logits to a token.

use crate::grammar::Constraint;
use aios_abi::CallError;
use aios_abi::engine::Sampling;

/// Part of the probability that is drawn from where the request does not say.
const TOP_P: f32 = 0.95;

/// Chooses tokens for one answer: the likeliest one, or by chance with a seed.
pub struct Sampler {
    temperature: f32,
    top_p: f32,
    random: fastrand::Rng,
}

/// A token that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picked {
    /// Its number in the vocabulary.
    pub token: u32,
    /// Natural logarithm of its probability among those that the constraint allowed; none without a constraint.
    pub log_likelihood: Option<f32>,
}

impl Sampler {
    /// As a request wants it.
    pub fn of(sampling: Sampling) -> Self {
        let top_p = match sampling.top_p_milli {
            0 => TOP_P,
            milli => milli as f32 / 1000.0,
        };
        Self {
            temperature: sampling.temperature_milli as f32 / 1000.0,
            top_p,
            random: fastrand::Rng::with_seed(sampling.seed.into()),
        }
    }

    /// The next token: one that the constraint allows, if there is one.
    ///
    /// # Errors
    /// Logits that are no numbers, and a constraint that allows nothing.
    pub fn pick(&mut self, logits: &[f32], constraint: Option<&mut Constraint>) -> Result<Picked, CallError> {
        let allowed = constraint.map(Constraint::allowed).transpose()?;
        let candidates = || {
            (0u32..).zip(logits.iter().copied()).filter(|(token, logit)| {
                logit.is_finite() && allowed.as_ref().is_none_or(|allowed| allowed.is_allowed(*token))
            })
        };
        // Of equals the first, whichever engine computed them.
        let best = match allowed {
            None => first_of_the_largest(logits),
            Some(_) => None,
        };
        let best =
            best.or_else(|| candidates().reduce(|best, next| if next.1 > best.1 { next } else { best }));
        let Some((likeliest, most)) = best else {
            return Err(CallError::failed("the model gives no token a probability; its file may be damaged"));
        };
        let token = match self.temperature > 0.0 {
            true => self.draw(candidates(), most).unwrap_or(likeliest),
            false => likeliest,
        };
        let log_likelihood = allowed.is_some().then(|| {
            let all: f32 = candidates().map(|(_, logit)| (logit - most).exp()).sum();
            let own = usize::try_from(token).ok().and_then(|index| logits.get(index)).copied();
            own.unwrap_or(most) - most - all.ln()
        });
        Ok(Picked { token, log_likelihood })
    }

    /// One of the candidates by chance, of those that make up the greater part of the probability.
    fn draw(&mut self, candidates: impl Iterator<Item = (u32, f32)>, most: f32) -> Option<u32> {
        let mut candidates: Vec<(u32, f32)> =
            candidates.map(|(token, logit)| (token, ((logit - most) / self.temperature).exp())).collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let all: f32 = candidates.iter().map(|(_, p)| p).sum();
        let mut sum = 0.0;
        let kept = candidates.iter().take_while(|(_, p)| {
            let before = sum;
            sum += p / all;
            before < self.top_p
        });
        let kept: Vec<(u32, f32)> = kept.copied().collect();
        let mut draw = self.random.f32() * kept.iter().map(|(_, p)| p).sum::<f32>();
        let drawn = kept.iter().find(|(_, p)| {
            draw -= p;
            draw <= 0.0
        });
        drawn.or(kept.last()).map(|(token, _)| *token)
    }
}

/// The first of the largest logits; none when one of them is infinite, or all are no numbers. Some vocabularies have a quarter of a
/// million tokens: the lanes are what processors compare at once.
fn first_of_the_largest(logits: &[f32]) -> Option<(u32, f32)> {
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let larger = |most: f32, logit: f32| if logit > most { logit } else { most };
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *logit);
        }
    }
    let most = lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger);
    let place = logits.iter().position(|logit| *logit == most).filter(|_| most.is_finite())?;
    Some((u32::try_from(place).ok()?, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(temperature_milli: u32, top_p_milli: u32, seed: u32) -> Sampler {
        Sampler::of(Sampling { temperature_milli, top_p_milli, seed })
    }

    fn picked(sampler: &mut Sampler, logits: &[f32]) -> Option<u32> {
        sampler.pick(logits, None).ok().map(|picked| picked.token)
    }

    #[test]
    fn without_chance_the_likeliest_is_taken_and_of_equals_the_first() {
        assert_eq!(picked(&mut sampler(0, 0, 0), &[0.0, 3.0, 3.0, f32::NAN, f32::INFINITY]), Some(1));
        assert!(sampler(0, 0, 0).pick(&[f32::NAN], None).is_err());
    }

    proptest! {
        #[test]
        fn the_first_of_the_largest_is_found_wherever_it_is(
            logits in prop::collection::vec(prop_oneof![-3f32..3.0, Just(3.0), Just(f32::NAN)], 0..70)
        ) {
            let mut expected: Option<(usize, f32)> = None;
            for (place, logit) in logits.iter().copied().enumerate() {
                if !logit.is_nan() && expected.is_none_or(|(_, most)| logit > most) {
                    expected = Some((place, logit));
                }
            }
            let found = first_of_the_largest(&logits).map(|(place, most)| (place as usize, most));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn chance_follows_the_seed_and_leaves_out_the_unlikely() {
        let logits = [2.0, 2.0, -5.0];
        let draws = |top_p, seed| {
            let mut sampler = sampler(1000, top_p, seed);
            (0..200).filter_map(|_| picked(&mut sampler, &logits)).collect::<Vec<u32>>()
        };
        let first = draws(0, 7);
        assert_eq!(first, draws(0, 7));
        assert!(first.contains(&0) && first.contains(&1) && !first.contains(&2), "{first:?}");
        assert!(draws(400, 7).iter().all(|token| *token == 0), "the likeliest alone makes up 40 %");
        assert!(sampler(1000, 1000, 7).pick(&[-1e30, 0.0], None).is_ok_and(|picked| picked.token == 1));
    }
}
