//! The mean of weights over the last steps, which is better than the last weights are (Polyak and Juditsky, 1992).

use candle_core::{Result, Tensor, Var};

/// Variables and their mean.
pub(super) struct Average {
    variables: Vec<Var>,
    /// Detached: a mean that remembered what it was computed from would hold the weights of all steps.
    mean: Vec<Tensor>,
    /// Steps over which it is taken.
    over: f64,
    steps: f64,
}

impl Average {
    pub(super) fn of(variables: Vec<Var>, over: f64) -> Result<Self> {
        let mean =
            variables.iter().map(|variable| variable.as_detached_tensor().copy()).collect::<Result<_>>()?;
        Ok(Self { variables, mean, over, steps: 0.0 })
    }

    /// Take in what the variables are after a step.
    pub(super) fn add(&mut self) -> Result<()> {
        self.steps += 1.0;
        let keep = 1.0 - 1.0 / self.steps.min(self.over);
        for (mean, variable) in self.mean.iter_mut().zip(&self.variables) {
            *mean = ((&*mean * keep)? + (variable.as_detached_tensor() * (1.0 - keep))?)?.detach();
        }
        Ok(())
    }

    /// In the order of the variables.
    pub(super) fn mean(&self) -> &[Tensor] {
        &self.mean
    }
}
