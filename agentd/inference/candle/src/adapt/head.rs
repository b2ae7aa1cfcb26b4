//! A linear layer over sentence vectors that says which tool is meant: softmax regression.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};

/// Steps over all sentences at once; the problem is convex, more change nothing that counts.
const STEPS: usize = 300;
const RATE: f64 = 0.1;
/// Weight of the squared weights against the sum of the losses; what others write as a C of 20, one
/// over twice this.
const DECAY: f64 = 0.025;

/// What held-back questions say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// How many there were.
    pub count: usize,
    /// For how many the right tool was the likeliest.
    pub first: usize,
    /// For how many it was among the eight likeliest.
    pub eighth: usize,
    /// Mean of the natural logarithm of its probability, negated.
    pub loss: f64,
    /// How many there were, and how many were right, by tenths of the likeliest tool's probability.
    pub tenths: [(usize, usize); 10],
}

/// Weights and biases, one row for each tool.
#[derive(Clone)]
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
        let weight = Var::zeros((names.len(), width), DType::F32, &Device::Cpu)?;
        let bias = Var::zeros(names.len(), DType::F32, &Device::Cpu)?;
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

    /// The layer in these bytes.
    ///
    /// # Errors
    /// A file that lacks something.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let (_, about) = safetensors::SafeTensors::read_metadata(bytes).map_err(candle_core::Error::wrap)?;
        let names = about.metadata().as_ref().and_then(|about| about.get("tools"));
        let Some(names) = names else { candle_core::bail!("the file does not name its tools") };
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let (Some(weight), Some(bias)) = (tensors.get("weight"), tensors.get("bias")) else {
            candle_core::bail!("the file holds no layer")
        };
        let tools: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        if weight.dims2()?.0 != tools.len() || bias.dims1()? != tools.len() {
            candle_core::bail!("the file names {} tools and has a layer for others", tools.len())
        }
        Ok(Self { tools, weight: Var::from_tensor(weight)?, bias: Var::from_tensor(bias)? })
    }

    /// The same with rows for more tools: each begins as what the vectors that mean the tool have in common and others have not, as
    /// long as the rows that are there are on average. `others` are vectors of any questions.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub fn with_more(self, more: &[(&str, Vec<Vec<f32>>)], others: &[Vec<f32>]) -> Result<Self> {
        if more.is_empty() {
            return Ok(self);
        }
        let mean = |vectors: &[Vec<f32>]| {
            let width = vectors.first().map_or(0, Vec::len);
            Tensor::from_vec(vectors.concat(), (vectors.len(), width), &Device::Cpu)?.mean(0)
        };
        let centre = mean(others)?;
        let (mut names, width) = (self.tools, self.weight.dim(1)?);
        let length = self.weight.sqr()?.sum(1)?.sqrt()?.mean_all()?.to_scalar::<f32>()?;
        let bias = self.bias.mean_all()?.to_scalar::<f32>()?;
        let (mut rows, mut biases) = (Vec::new(), Vec::new());
        for (name, vectors) in more {
            let own = (mean(vectors)? - &centre)?;
            let row = (&own / f64::from(own.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?))?;
            let row = (row * f64::from(length))?;
            // For any question it is as likely as the mean of the others.
            let any = (&row * &centre)?.sum_all()?.to_scalar::<f32>()?;
            let of_others =
                self.weight.broadcast_mul(&centre.unsqueeze(0)?)?.sum(1)?.mean_all()?.to_scalar::<f32>()?;
            biases.push(bias + of_others - any);
            rows.extend(row.to_vec1::<f32>()?);
            names.push((*name).to_owned());
        }
        let rows = Tensor::from_vec(rows, (more.len(), width), &Device::Cpu)?;
        let weight = Tensor::cat(&[self.weight.as_tensor(), &rows], 0)?;
        let biases = Tensor::from_vec(biases, more.len(), &Device::Cpu)?;
        let bias = Tensor::cat(&[self.bias.as_tensor(), &biases], 0)?;
        Ok(Self { tools: names, weight: Var::from_tensor(&weight)?, bias: Var::from_tensor(&bias)? })
    }

    /// The row of a tool.
    pub fn place(&self, tool: &str) -> Option<u32> {
        self.tools.iter().zip(0u32..).find(|(known, _)| *known == tool).map(|(_, place)| place)
    }

    /// All that is learned.
    pub(super) fn variables(&self) -> [Var; 2] {
        [self.weight.clone(), self.bias.clone()]
    }

    /// The same tools with other numbers.
    pub(super) fn with(&self, [weight, bias]: [&Tensor; 2]) -> Result<Self> {
        let (weight, bias) = (Var::from_tensor(weight)?, Var::from_tensor(bias)?);
        Ok(Self { tools: self.tools.clone(), weight, bias })
    }

    /// The same with numbers so many times larger.
    pub(super) fn times(&self, factor: f64) -> Result<Self> {
        self.with([
            &(self.weight.as_tensor() * factor)?.detach(),
            &(self.bias.as_tensor() * factor)?.detach(),
        ])
    }

    /// How well it knows the tools that vectors mean; none as a row is a tool that it does not know.
    pub(super) fn judged(&self, vectors: Vec<Vec<f32>>, targets: &[Option<u32>]) -> Result<Score> {
        let mut score = Score { count: targets.len(), ..Score::default() };
        let mut sum = 0.0;
        let vectors = Tensor::from_vec(vectors.concat(), (targets.len(), self.weight.dim(1)?), &Device::Cpu)?;
        for (row, target) in self.logarithms(&vectors)?.to_vec2::<f32>()?.iter().zip(targets) {
            let own = target.and_then(|target| row.get(target as usize)).copied();
            let own = own.unwrap_or(f32::NEG_INFINITY);
            let before = row.iter().filter(|other| **other > own).count();
            score.first += usize::from(before == 0);
            score.eighth += usize::from(before < 8);
            // A tool that it does not know would make any mean infinite.
            sum += f64::from(own.max(-20.0));
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max).exp();
            let (all, right) = &mut score.tenths[((most * 10.0) as usize).min(9)];
            *all += 1;
            *right += usize::from(before == 0);
        }
        score.loss = -sum / score.count.max(1) as f64;
        Ok(score)
    }

    /// The natural logarithm of each tool's probability, a row for each vector.
    pub(super) fn logarithms(&self, vectors: &Tensor) -> Result<Tensor> {
        let logits = vectors.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        candle_nn::ops::log_softmax(&logits, D::Minus1)
    }

    /// Names and tensors of the file.
    pub(super) fn written(&self) -> [(String, Tensor); 2] {
        [("weight", &self.weight), ("bias", &self.bias)]
            .map(|(name, tensor)| (name.to_owned(), tensor.as_tensor().clone()))
    }

    /// The tools, in the order of the rows.
    pub(super) fn tools(&self) -> &[String] {
        &self.tools
    }
}
