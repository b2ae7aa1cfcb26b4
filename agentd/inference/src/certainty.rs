//! How likely an answer is right, from what the models that gave it say.
//!
//! What a model holds likely is not how often it is right; a logistic curve over its logarithms is (Platt,
//! "Probabilistic Outputs for Support Vector Machines", 1999). The curves were fitted on `evaluation/dev.jsonl` by
//! `inferd-client SOCKET calibrate`, and the crate's README says how they hold on questions that they never saw.

use aios_abi::infer::Signals;

/// Below this certainty the next tier is asked.
pub const ENOUGH: f32 = 0.8;

/// Probability of being right, by some signals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logistic<const N: usize> {
    /// Logarithm of the odds where all signals are 0.
    pub bias: f32,
    /// What each signal adds to it.
    pub weights: [f32; N],
}

/// Layer and adapter name the same tool: what each says of it.
pub const AGREED: Logistic<2> = Logistic { bias: 4.86, weights: [2.07, 2.03] };
/// They do not: what each says of the tool with the best sum, and how far it is ahead.
pub const DIFFERING: Logistic<3> = Logistic { bias: 2.00, weights: [0.38, 0.31, 0.17] };
/// Nothing was trained for it: the cosine of the first, and how far it is ahead.
pub const NEAREST: Logistic<2> = Logistic { bias: -2.5, weights: [4.0, 8.0] };
/// Arguments: what the model says of them.
pub const FILLED: Logistic<1> = Logistic { bias: 2.59, weights: [2.65] };

/// How likely a tool is the one that is meant.
pub fn chosen(signals: &Signals) -> f32 {
    match signals.agree {
        true => AGREED.of([signals.layer, signals.adapter]),
        false => DIFFERING.of([signals.layer, signals.adapter, signals.ahead]),
    }
}

/// Signals are logarithms of probabilities; what is below this is as good as impossible.
const LEAST: f32 = -20.0;

impl<const N: usize> Logistic<N> {
    /// The probability, 0 to 1. A signal that is no number is the worst one.
    pub fn of(&self, signals: [f32; N]) -> f32 {
        1.0 / (1.0 + (-self.odds(signals.map(clean))).exp())
    }

    fn odds(&self, signals: [f32; N]) -> f32 {
        self.bias + self.weights.iter().zip(signals).map(|(weight, signal)| weight * signal).sum::<f32>()
    }

    /// The curve that makes these outcomes likeliest, drawn a little towards a flat one so that few of them do not
    /// make it steep; found by gradient descent.
    pub fn fit(outcomes: &[([f32; N], bool)]) -> Self {
        /// Enough for the second digit, which is more than some hundred outcomes can tell.
        const STEPS: usize = 20_000;
        const RATE: f32 = 0.05;
        const DECAY: f32 = 0.001;
        let mut curve = Self { bias: 0.0, weights: [0.0; N] };
        if outcomes.is_empty() {
            return curve;
        }
        let count = outcomes.len() as f32;
        for _ in 0..STEPS {
            let (mut bias, mut weights) = (0.0, [0.0; N]);
            for (signals, is_right) in outcomes {
                let signals = signals.map(clean);
                let error = curve.of(signals) - f32::from(u8::from(*is_right));
                bias += error;
                for (sum, signal) in weights.iter_mut().zip(signals) {
                    *sum += error * signal;
                }
            }
            curve.bias -= RATE * bias / count;
            for (weight, sum) in curve.weights.iter_mut().zip(weights) {
                *weight -= RATE * (sum / count + DECAY * *weight);
            }
        }
        curve
    }
}

fn clean(signal: f32) -> f32 {
    if signal.is_nan() { LEAST } else { signal.clamp(LEAST, -LEAST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_found_again_from_what_it_made() {
        let curve = Logistic { bias: 1.0, weights: [0.8, -0.5] };
        let mut random = 7u32;
        let mut draw = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as f32 / (1 << 24) as f32
        };
        let outcomes: Vec<([f32; 2], bool)> = (0..4000)
            .map(|_| {
                let signals = [draw() * 6.0 - 3.0, draw() * 6.0 - 3.0];
                (signals, draw() < curve.of(signals))
            })
            .collect();
        let found = Logistic::fit(&outcomes);
        assert!((found.bias - 1.0).abs() < 0.15, "{found:?}");
        assert!(found.weights.iter().zip(curve.weights).all(|(a, b)| (a - b).abs() < 0.1), "{found:?}");
    }

    #[test]
    fn agreement_and_likelihood_make_sure_and_nonsense_does_not() {
        let signals = |agree, layer, adapter, ahead| Signals { agree, layer, adapter, ahead };
        assert!(chosen(&signals(true, -0.01, -0.01, 0.0)) > ENOUGH);
        assert!(chosen(&signals(false, -3.0, -2.0, 0.1)) < ENOUGH);
        for bad in [f32::NAN, f32::NEG_INFINITY] {
            assert!(chosen(&signals(true, bad, bad, 0.0)) < 0.1);
            assert!((0.0..1.0).contains(&chosen(&signals(false, bad, -1.0, bad))));
        }
        assert_eq!(Logistic::<1>::fit(&[]).of([0.3]), 0.5);
    }
}
