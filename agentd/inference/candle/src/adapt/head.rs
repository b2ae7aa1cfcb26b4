//! A linear layer over sentence vectors that says which tool is meant: softmax regression.

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use std::collections::HashMap;
use std::path::Path;

/// Steps over all sentences at once; the problem is convex, more change nothing that counts.
const STEPS: usize = 300;
const RATE: f64 = 0.1;
/// Weight of the squared weights against the sum of the losses; found on `evaluation/dev.jsonl`.
const DECAY: f64 = 0.025;

/// Weights and biases, one row for each tool.
pub struct Head {
    tools: Vec<String>,
    weight: Var,
    bias: Var,
}

impl Head {
    /// Learn from unit vectors and the tools that they mean.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub fn learn(vectors: Vec<Vec<f32>>, tools: &[&str], told: &mut dyn FnMut(usize, f64)) -> Result<Self> {
        let mut names: Vec<String> = tools.iter().map(|tool| (*tool).to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        let place =
            |tool: &&str| names.binary_search_by(|name| name.as_str().cmp(tool)).map_or(0, |n| n as u32);
        let targets: Vec<u32> = tools.iter().map(place).collect();
        let (count, width) = (vectors.len(), vectors.first().map_or(0, Vec::len));
        let vectors = Tensor::from_vec(vectors.concat(), (count, width), &Device::Cpu)?;
        let targets = Tensor::from_vec(targets, count, &Device::Cpu)?;
        let weight = Var::zeros((names.len(), width), candle_core::DType::F32, &Device::Cpu)?;
        let bias = Var::zeros(names.len(), candle_core::DType::F32, &Device::Cpu)?;
        let parameters = ParamsAdamW { lr: RATE, weight_decay: 0.0, ..ParamsAdamW::default() };
        let mut optimizer = AdamW::new(vec![weight.clone(), bias.clone()], parameters)?;
        let head = Self { tools: names, weight, bias };
        for step in 1..=STEPS {
            optimizer.set_learning_rate(RATE * (1.0 - (step - 1) as f64 / STEPS as f64));
            let likely = head.logarithms(&vectors)?;
            let loss = likely.gather(&targets.unsqueeze(1)?, 1)?.mean_all()?.neg()?;
            let decay = (head.weight.sqr()?.sum_all()? * (DECAY / count as f64))?;
            optimizer.backward_step(&(&loss + decay)?)?;
            told(step, f64::from(loss.to_scalar::<f32>()?));
        }
        Ok(head)
    }

    /// The natural logarithm of each tool's probability, a row for each vector.
    fn logarithms(&self, vectors: &Tensor) -> Result<Tensor> {
        let logits = vectors.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        candle_nn::ops::log_softmax(&logits, D::Minus1)
    }

    /// The likeliest tool for each vector.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub fn likeliest(&self, vectors: Vec<Vec<f32>>) -> Result<Vec<&str>> {
        let shape = (vectors.len(), self.weight.dim(1)?);
        let vectors = Tensor::from_vec(vectors.concat(), shape, &Device::Cpu)?;
        let best = self.logarithms(&vectors)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
        Ok(best.iter().filter_map(|n| self.tools.get(*n as usize)).map(String::as_str).collect())
    }

    /// Write it as safetensors: `weight`, `bias`, and the tools' names, in the order of the rows, as `tools`.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let tensors = [("weight", self.weight.as_tensor()), ("bias", self.bias.as_tensor())];
        let about = HashMap::from([("tools".to_owned(), self.tools.join(" "))]);
        safetensors::serialize_to_file(tensors, Some(about), path).map_err(candle_core::Error::wrap)
    }
}
