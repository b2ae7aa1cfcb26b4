//! The steps of a sentence encoder as single operations, each with its own derivative.
//!
//! Rows are the tokens of sentences side by side: each sentence begins where the one before ends, and nothing
//! is filled up, so nothing is computed for nothing.

use crate::adapt::ops::{result, slice};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// How many rows each sentence has.
pub(super) type Lengths = Arc<[usize]>;

/// The numbers of each sentence.
fn sentences<'a>(lengths: &[usize], width: usize, mut values: &'a [f32]) -> Vec<&'a [f32]> {
    let cut = |length: &usize| values.split_off(..length * width).unwrap_or_default();
    lengths.iter().map(cut).collect()
}

fn sentences_mut<'a>(lengths: &[usize], width: usize, mut values: &'a mut [f32]) -> Vec<&'a mut [f32]> {
    let cut = |length: &usize| values.split_off_mut(..length * width).unwrap_or_default();
    lengths.iter().map(cut).collect()
}

/// What each token takes from all tokens of its sentence: softmax of the scaled products of queries and keys,
/// times the values (Vaswani et al., 2017). A row is a token's queries, keys and values, one after the other.
#[derive(Clone)]
pub(super) struct Attention {
    pub(super) lengths: Lengths,
    /// Numbers of one head.
    pub(super) head: usize,
}

/// Queries, keys or values of one head in a sentence.
#[derive(Clone, Copy)]
struct Part<'a> {
    rows: &'a [f32],
    width: usize,
    from: usize,
    head: usize,
}

impl<'a> Part<'a> {
    fn row(&self, n: usize) -> &'a [f32] {
        let from = n * self.width + self.from;
        &self.rows[from..from + self.head]
    }
}

/// Eight sums at once, which processors add side by side; a single one would have to be added up in order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for n in 0..8 {
            sums[n] += a[n] * b[n];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    sum
}

fn add(to: &mut [f32], factor: f32, from: &[f32]) {
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<8>(), from.as_chunks::<8>());
    for (to, from) in to.iter_mut().zip(from) {
        for n in 0..8 {
            to[n] += factor * from[n];
        }
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to += factor * from;
    }
}

impl Attention {
    fn scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    /// For each head its place in a row, and its queries, keys and values.
    fn heads<'a>(
        &self,
        rows: &'a [f32],
        width: usize,
    ) -> impl Iterator<Item = (usize, [Part<'a>; 3])> + use<'a> {
        let head = self.head;
        (0..width / 3 / head).map(move |n| {
            let part = |which: usize| Part { rows, width, from: which * width / 3 + n * head, head };
            (n * head, [part(0), part(1), part(2)])
        })
    }

    /// How much a token takes from each.
    fn weights(&self, query: &[f32], keys: Part<'_>, weights: &mut [f32]) {
        let scale = self.scale();
        weights.iter_mut().enumerate().for_each(|(n, weight)| *weight = scale * dot(query, keys.row(n)));
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        weights.iter_mut().for_each(|weight| *weight = (*weight - most).exp());
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention within sentences"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (count, width) = layout.shape().dims2()?;
        let out_width = width / 3;
        let mut values = vec![0.0; count * out_width];
        let ins = sentences(&self.lengths, width, slice(x, layout)?);
        let outs = sentences_mut(&self.lengths, out_width, &mut values);
        outs.into_par_iter().zip(ins).for_each(|(out, rows)| {
            let mut weights = vec![0.0; rows.len() / width];
            for (from, [queries, keys, values]) in self.heads(rows, width) {
                for (n, out) in out.chunks_exact_mut(out_width).enumerate() {
                    self.weights(queries.row(n), keys, &mut weights);
                    let out = &mut out[from..from + self.head];
                    weights.iter().enumerate().for_each(|(m, weight)| add(out, *weight, values.row(m)));
                }
            }
        });
        Ok((CpuStorage::F32(values), (count, out_width).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.detach().apply_op2_no_bwd(&gradient.contiguous()?, &AttentionBack(self.clone()))?))
    }
}

struct AttentionBack(Attention);

impl CustomOp2 for AttentionBack {
    fn name(&self) -> &'static str {
        "derivative of attention within sentences"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Self(attention) = self;
        let (count, width) = layout.shape().dims2()?;
        let (out_width, head, scale) = (width / 3, attention.head, attention.scale());
        let mut values = vec![0.0; count * width];
        let ins = sentences(&attention.lengths, width, slice(x, layout)?);
        let gradients = sentences(&attention.lengths, out_width, slice(gradient, gradient_layout)?);
        let outs = sentences_mut(&attention.lengths, width, &mut values);
        outs.into_par_iter().zip(ins).zip(gradients).for_each(|((out, rows), gradients)| {
            let count = rows.len() / width;
            let (mut weights, mut of_weights) = (vec![0.0; count], vec![0.0; count]);
            for (from, [queries, keys, values]) in attention.heads(rows, width) {
                for (n, gradient) in gradients.chunks_exact(out_width).enumerate() {
                    let gradient = &gradient[from..from + head];
                    attention.weights(queries.row(n), keys, &mut weights);
                    let each = of_weights.iter_mut().enumerate();
                    each.for_each(|(m, of_weight)| *of_weight = dot(gradient, values.row(m)));
                    let mean = dot(&weights, &of_weights);
                    for (m, (weight, of_weight)) in weights.iter().zip(&of_weights).enumerate() {
                        let of_score = scale * weight * (of_weight - mean);
                        let mut to = |row: usize, part: usize, factor: f32, what: &[f32]| {
                            let from = row * width + part * out_width + from;
                            add(&mut out[from..from + head], factor, what);
                        };
                        to(n, 0, of_score, keys.row(m));
                        to(m, 1, of_score, queries.row(n));
                        to(m, 2, *weight, gradient);
                    }
                }
            }
        });
        Ok(result(values, layout))
    }
}

/// Rows of mean zero and size one, then weighted and moved (Ba et al., "Layer Normalization", 2016).
#[derive(Clone)]
pub(super) struct Normal {
    pub(super) weight: Arc<[f32]>,
    pub(super) bias: Arc<[f32]>,
    pub(super) epsilon: f32,
}

impl Normal {
    /// Mean of a row, and one over its size.
    fn measure(&self, row: &[f32]) -> (f32, f32) {
        let count = row.len() as f32;
        let mean = row.iter().sum::<f32>() / count;
        let squares: f32 = row.iter().map(|x| (x - mean) * (x - mean)).sum();
        (mean, 1.0 / (squares / count + self.epsilon).sqrt())
    }
}

impl CustomOp1 for Normal {
    fn name(&self) -> &'static str {
        "normal"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut values = slice(x, layout)?.to_vec();
        values.par_chunks_mut(self.weight.len()).with_min_len(16).for_each(|row| {
            let (mean, shrink) = self.measure(row);
            let each = row.iter_mut().zip(&*self.weight).zip(&*self.bias);
            each.for_each(|((x, weight), bias)| *x = (*x - mean) * shrink * weight + bias);
        });
        Ok(result(values, layout))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.detach().apply_op2_no_bwd(&gradient.contiguous()?, &NormalBack(self.clone()))?))
    }
}

struct NormalBack(Normal);

impl CustomOp2 for NormalBack {
    fn name(&self) -> &'static str {
        "normal's derivative"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = self.0.weight.len();
        let mut values = slice(gradient, layout)?.to_vec();
        let rows = values.par_chunks_mut(width).with_min_len(16).zip(slice(x, x_layout)?.par_chunks(width));
        rows.for_each(|(out, x)| {
            let (mean, shrink) = self.0.measure(x);
            out.iter_mut().zip(&*self.0.weight).for_each(|(g, weight)| *g *= weight);
            let moved = out.iter().sum::<f32>() / width as f32;
            let along: f32 = out.iter().zip(x).map(|(g, x)| g * (x - mean)).sum();
            let along = along * shrink * shrink / width as f32;
            out.iter_mut().zip(x).for_each(|(g, x)| *g = shrink * (*g - moved - (x - mean) * along));
        });
        Ok(result(values, layout))
    }
}

/// `x · Φ(x)` (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).
pub(super) struct Gelu;

impl Gelu {
    /// Distribution and density of the normal distribution: Abramowitz and Stegun, 7.1.26, right to seven digits.
    fn normal(x: f32) -> (f32, f32) {
        let bell = (-0.5 * x * x).exp();
        let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
        let series = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
        let tail = 0.5 * bell * series.iter().fold(0.0, |sum, part| (sum + part) * t);
        // One over the root of 2π.
        (if x < 0.0 { tail } else { 1.0 - tail }, 0.398_942_3 * bell)
    }
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?.par_iter().with_min_len(1 << 12);
        Ok(result(x.map(|x| x * Self::normal(*x).0).collect(), layout))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.detach().apply_op2_no_bwd(&gradient.contiguous()?, &GeluBack)?))
    }
}

struct GeluBack;

impl CustomOp2 for GeluBack {
    fn name(&self) -> &'static str {
        "gelu's derivative"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gradient = slice(gradient, layout)?.par_iter().with_min_len(1 << 12);
        let values = gradient.zip(slice(x, x_layout)?).map(|(gradient, x)| {
            let (below, density) = Gelu::normal(*x);
            gradient * (below + x * density)
        });
        Ok(result(values.collect(), layout))
    }
}

/// The mean of each sentence's rows.
#[derive(Clone)]
pub(super) struct Mean(pub(super) Lengths);

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        "mean of sentences"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let mut values = vec![0.0; self.0.len() * width];
        let ins = sentences(&self.0, width, slice(x, layout)?);
        for (out, rows) in values.chunks_exact_mut(width).zip(ins) {
            let part = width as f32 / rows.len() as f32;
            rows.chunks_exact(width).for_each(|row| add(out, part, row));
        }
        Ok((CpuStorage::F32(values), (self.0.len(), width).into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&MeanBack(self.clone()))?))
    }
}

struct MeanBack(Mean);

impl CustomOp1 for MeanBack {
    fn name(&self) -> &'static str {
        "derivative of the mean of sentences"
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self(Mean(lengths)) = self;
        let (_, width) = layout.shape().dims2()?;
        let count: usize = lengths.iter().sum();
        let mut values = vec![0.0; count * width];
        let gradients = slice(gradient, layout)?.chunks_exact(width);
        for ((out, gradient), length) in
            sentences_mut(lengths, width, &mut values).into_iter().zip(gradients).zip(&**lengths)
        {
            out.chunks_exact_mut(width).for_each(|row| add(row, 1.0 / *length as f32, gradient));
        }
        Ok((CpuStorage::F32(values), (count, width).into()))
    }
}

/// A part of the numbers is zero, the others are as much larger (Srivastava et al., "Dropout", 2014).
#[derive(Clone, Copy)]
pub(super) struct Dropped {
    pub(super) part: f32,
    pub(super) seed: u64,
}

impl CustomOp1 for Dropped {
    fn name(&self) -> &'static str {
        "dropped"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut values = slice(x, layout)?.to_vec();
        let (least, grow) = ((self.part * 65536.0) as u16, 1.0 / (1.0 - self.part));
        values.par_chunks_mut(1 << 12).enumerate().for_each(|(n, values)| {
            let mut random = fastrand::Rng::with_seed(self.seed ^ n as u64);
            for four in values.chunks_mut(4) {
                let mut bits = random.u64(..);
                for value in four {
                    *value *= if (bits as u16) < least { 0.0 } else { grow };
                    bits >>= 16;
                }
            }
        });
        Ok(result(values, layout))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::derivative::{holds, random};

    #[test]
    fn every_derivative_is_what_a_small_change_does() {
        let lengths: Lengths = [2, 3].into();
        let attention = Attention { lengths: lengths.clone(), head: 2 };
        holds("attention", &[random((5, 12), 1)], |x| x[0].apply_op1(attention.clone()));
        let normal = Normal {
            weight: [0.5, 1.0, 1.5, -1.0].into(),
            bias: [0.1, 0.2, 0.0, -0.3].into(),
            epsilon: 1e-5,
        };
        holds("normal", &[random((3, 4), 2)], |x| x[0].apply_op1(normal.clone()));
        holds("gelu", &[random((3, 4), 3)], |x| x[0].apply_op1(Gelu));
        holds("mean", &[random((5, 4), 4)], |x| x[0].apply_op1(Mean(lengths.clone())));
        let dropped = Dropped { part: 0.5, seed: 1 };
        holds("dropped", &[random((5, 4), 5)], |x| x[0].apply_op1(dropped));
    }

    #[test]
    fn a_part_is_dropped_and_the_mean_stays() {
        let ones =
            Tensor::ones((100, 100), candle_core::DType::F32, &candle_core::Device::Cpu).expect("ones");
        let dropped = ones.apply_op1(Dropped { part: 0.2, seed: 7 }).expect("computes");
        let numbers: Vec<f32> = dropped.flatten_all().and_then(|x| x.to_vec1()).expect("numbers");
        let zeros = numbers.iter().filter(|x| **x == 0.0).count();
        assert!((1800..2200).contains(&zeros), "{zeros} of 10000");
        let mean = numbers.iter().sum::<f32>() / 1e4;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
    }
}
