//! From logits to a token.

use crate::grammar::Constraint;
use aios_abi::CallError;
use aios_abi::engine::Generate;

/// Part of the probability that is drawn from (Holtzman et al., "The Curious Case of Neural Text
/// Degeneration", 2020).
const TOP_P: f32 = 0.95;

/// Chooses tokens for one answer: the likeliest one, or by chance with a seed.
pub struct Sampler {
    temperature: f32,
    random: fastrand::Rng,
}

impl Sampler {
    /// As the request wants it.
    pub fn of(request: &Generate) -> Self {
        Self {
            temperature: request.temperature_milli as f32 / 1000.0,
            random: fastrand::Rng::with_seed(request.seed.into()),
        }
    }

    /// The next token: one that the constraint allows, if there is one.
    ///
    /// # Errors
    /// Logits that are no numbers, and a constraint that allows nothing.
    pub fn pick(&mut self, logits: &[f32], constraint: Option<&mut Constraint>) -> Result<u32, CallError> {
        let allowed = constraint.map(Constraint::allowed).transpose()?;
        let candidates = (0u32..).zip(logits.iter().copied()).filter(|(token, logit)| {
            logit.is_finite() && allowed.as_ref().is_none_or(|allowed| allowed.is_allowed(*token))
        });
        let none = || CallError::failed("the model gives no token a probability; its file may be damaged");
        if self.temperature <= 0.0 {
            // Of equals the first, whichever engine computed them.
            let best = candidates.reduce(|best, next| if next.1 > best.1 { next } else { best });
            return best.map(|(token, _)| token).ok_or_else(none);
        }
        let mut candidates: Vec<(u32, f32)> = candidates.collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let most = candidates.first().ok_or_else(none)?.1;
        for (_, logit) in &mut candidates {
            *logit = ((*logit - most) / self.temperature).exp();
        }
        let all: f32 = candidates.iter().map(|(_, p)| p).sum();
        let mut sum = 0.0;
        let kept = candidates.iter().take_while(|(_, p)| {
            let before = sum;
            sum += p / all;
            before < TOP_P
        });
        let kept: Vec<(u32, f32)> = kept.copied().collect();
        let mut draw = self.random.f32() * kept.iter().map(|(_, p)| p).sum::<f32>();
        let drawn = kept.iter().find(|(_, p)| {
            draw -= p;
            draw <= 0.0
        });
        drawn.or(kept.last()).map(|(token, _)| *token).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature_milli: u32, seed: u32) -> Sampler {
        Sampler::of(&Generate {
            id: 1,
            messages: Vec::new(),
            prefix: String::new(),
            grammar: None,
            adapted: false,
            max_tokens: 1,
            temperature_milli,
            seed,
        })
    }

    #[test]
    fn without_chance_the_likeliest_is_taken_and_of_equals_the_first() {
        assert_eq!(sampler(0, 0).pick(&[0.0, 3.0, 3.0, f32::NAN, f32::INFINITY], None), Ok(1));
        assert!(sampler(0, 0).pick(&[f32::NAN], None).is_err());
    }

    #[test]
    fn chance_follows_the_seed_and_leaves_out_the_unlikely() {
        let logits = [2.0, 2.0, -5.0];
        let draws = |seed| (0..200).map(|_| 0).scan(sampler(1000, seed), |s, _| s.pick(&logits, None).ok());
        let (first, again): (Vec<u32>, Vec<u32>) = (draws(7).collect(), draws(7).collect());
        assert_eq!(first, again);
        assert!(first.contains(&0) && first.contains(&1) && !first.contains(&2), "{first:?}");
    }
}
