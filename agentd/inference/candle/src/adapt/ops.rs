//! The steps of a layer as single operations, each with its own derivative.
//!
//! Composed of candle's elementary operations a layer would keep some hundred intermediate results until the
//! way back; so it keeps about twenty. Rows are computed side by side on all threads.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};
use rayon::prelude::*;
use std::sync::Arc;

pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => bail!("the values are not in one piece"),
    }
}

pub(crate) fn result(values: Vec<f32>, layout: &Layout) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), layout.shape().clone())
}

/// `x · Wᵀ + bias + scale · (x · Aᵀ) · Bᵀ`, where `W` is not learned: candle would compute a gradient for it too,
/// which takes as long as the one that is needed.
pub(crate) struct Product {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Arc<[f32]>>,
    pub(crate) scale: f64,
}

/// `x · Wᵀ` of a matrix in memory.
fn times(x: &CpuStorage, layout: &Layout, weight: &Tensor) -> Result<(CpuStorage, Shape)> {
    let (rows, inner) = layout.shape().dims2()?;
    let (outer, _) = weight.dims2()?;
    let (weight, own) = weight.storage_and_layout();
    let Storage::Cpu(weight) = &*weight else { bail!("the weights are not in memory") };
    let product = x.matmul(weight, (1, rows, outer, inner), layout, &own.transpose(0, 1)?)?;
    Ok((product, (rows, outer).into()))
}

impl CustomOp3 for Product {
    fn name(&self) -> &'static str {
        "adapted product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (product, shape) = times(x, x_layout, &self.weight)?;
        let ((rows, inner), (rank, _), (outer, _)) =
            (x_layout.shape().dims2()?, a_layout.shape().dims2()?, b_layout.shape().dims2()?);
        let low = x.matmul(a, (1, rows, rank, inner), x_layout, &a_layout.transpose(0, 1)?)?;
        let low_layout = Layout::contiguous((rows, rank));
        let high = low.matmul(b, (1, rows, outer, rank), &low_layout, &b_layout.transpose(0, 1)?)?;
        let (CpuStorage::F32(mut product), CpuStorage::F32(high)) = (product, high) else {
            bail!("the weights are no 32-bit numbers")
        };
        let scale = self.scale as f32;
        product.par_chunks_mut(outer).with_min_len(16).zip(high.par_chunks(outer)).for_each(|(sum, part)| {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += scale * part);
            if let Some(bias) = &self.bias {
                sum.iter_mut().zip(&**bias).for_each(|(sum, bias)| *sum += bias);
            }
        });
        Ok((CpuStorage::F32(product), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x, a, b) = (x.detach(), a.detach(), b.detach());
        let low = x.matmul(&a.t()?)?;
        let of_low = (gradient.matmul(&b)? * self.scale)?;
        let of_x = (gradient.matmul(&self.weight)? + of_low.matmul(&a)?)?;
        let of_a = of_low.t()?.matmul(&x)?;
        let of_b = (gradient.t()?.matmul(&low)? * self.scale)?;
        Ok((Some(of_x), Some(of_a), Some(of_b)))
    }
}

/// `x · Wᵀ` alone.
pub(super) struct Plain(pub(super) Tensor);

impl CustomOp1 for Plain {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        times(x, layout, &self.0)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.matmul(&self.0)?))
    }
}

/// Root mean square normalisation of rows (Zhang and Sennrich, 2019).
#[derive(Clone)]
pub(super) struct Normal {
    pub(super) weight: Arc<[f32]>,
    pub(super) epsilon: f32,
}

impl Normal {
    /// One over the size of a row.
    fn shrink(&self, row: &[f32]) -> f32 {
        let squares: f32 = row.iter().map(|x| x * x).sum();
        1.0 / (squares / row.len() as f32 + self.epsilon).sqrt()
    }
}

impl CustomOp1 for Normal {
    fn name(&self) -> &'static str {
        "normal"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut values = slice(x, layout)?.to_vec();
        values.par_chunks_mut(self.weight.len()).for_each(|row| {
            let shrink = self.shrink(row);
            row.iter_mut().zip(&*self.weight).for_each(|(x, weight)| *x *= shrink * weight);
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
        values.par_chunks_mut(width).zip(slice(x, x_layout)?.par_chunks(width)).for_each(|(out, x)| {
            let shrink = self.0.shrink(x);
            out.iter_mut().zip(&*self.0.weight).for_each(|(g, weight)| *g *= weight);
            let along: f32 = out.iter().zip(x).map(|(g, x)| g * x).sum();
            let part = along * shrink * shrink / width as f32;
            out.iter_mut().zip(x).for_each(|(g, x)| *g = shrink * (*g - x * part));
        });
        Ok(result(values, layout))
    }
}

/// Rotary positions of neighbouring pairs (Su et al., 2021), as GGUF has them for this architecture: rows of
/// whole heads, `length` rows a sequence.
#[derive(Clone)]
pub(super) struct Turned {
    pub(super) cos: Arc<[f32]>,
    pub(super) sin: Arc<[f32]>,
    pub(super) length: usize,
    pub(super) head: usize,
    /// On the way back.
    pub(super) back: bool,
}

impl CustomOp1 for Turned {
    fn name(&self) -> &'static str {
        "turned"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let half = self.head / 2;
        let sign = if self.back { -1.0 } else { 1.0 };
        let mut values = slice(x, layout)?.to_vec();
        values.par_chunks_mut(width).enumerate().for_each(|(row, values)| {
            let from = row % self.length * half;
            let (cos, sin) = (&self.cos[from..from + half], &self.sin[from..from + half]);
            for head in values.chunks_mut(self.head) {
                for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                    let (x, y, sin) = (pair[0], pair[1], sign * sin);
                    pair[0] = x * cos - y * sin;
                    pair[1] = x * sin + y * cos;
                }
            }
        });
        Ok(result(values, layout))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self { back: !self.back, ..self.clone() };
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

/// Softmax of scaled scores where no token looks at a later one: rows are tokens, in turns of `length`.
#[derive(Clone, Copy)]
pub(super) struct Attention {
    pub(super) scale: f32,
    pub(super) length: usize,
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut values = slice(scores, layout)?.to_vec();
        values.par_chunks_mut(self.length).enumerate().for_each(|(row, values)| {
            let (seen, later) = values.split_at_mut(row % self.length + 1);
            let most = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for value in seen.iter_mut() {
                *value = (self.scale * (*value - most)).exp();
                sum += *value;
            }
            seen.iter_mut().for_each(|value| *value /= sum);
            later.fill(0.0);
        });
        Ok(result(values, layout))
    }

    fn bwd(&self, _: &Tensor, weights: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(weights.detach().apply_op2_no_bwd(&gradient.contiguous()?, &AttentionBack(*self))?))
    }
}

struct AttentionBack(Attention);

impl CustomOp2 for AttentionBack {
    fn name(&self) -> &'static str {
        "attention's derivative"
    }

    fn cpu_fwd(
        &self,
        weights: &CpuStorage,
        weights_layout: &Layout,
        gradient: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Attention { scale, length } = self.0;
        let mut values = slice(gradient, layout)?.to_vec();
        let weights = slice(weights, weights_layout)?;
        values.par_chunks_mut(length).zip(weights.par_chunks(length)).for_each(|(out, weights)| {
            let mean: f32 = out.iter().zip(weights).map(|(g, w)| g * w).sum();
            out.iter_mut().zip(weights).for_each(|(g, w)| *g = scale * w * (*g - mean));
        });
        Ok(result(values, layout))
    }
}

/// `silu(gate) · up` (Shazeer, "GLU Variants", 2020).
pub(super) struct Gate;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(gate, layout)?, slice(up, up_layout)?);
        let values =
            gate.par_iter().with_min_len(1 << 12).zip(up).map(|(g, u)| g * sigmoid(*g) * u).collect();
        Ok(result(values, layout))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (gate, up, gradient) = (gate.detach(), up.detach(), gradient.contiguous()?);
        let of_gate = gate.apply_op3_no_bwd(&up, &gradient, &GateBack { up: false })?;
        let of_up = gate.apply_op3_no_bwd(&up, &gradient, &GateBack { up: true })?;
        Ok((Some(of_gate), Some(of_up)))
    }
}

struct GateBack {
    up: bool,
}

impl CustomOp3 for GateBack {
    fn name(&self) -> &'static str {
        "gate's derivative"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up, gradient) =
            (slice(gate, layout)?, slice(up, up_layout)?, slice(gradient, gradient_layout)?);
        let each = gate.par_iter().with_min_len(1 << 12).zip(up).zip(gradient);
        let values = match self.up {
            true => each.map(|((g, _), d)| d * g * sigmoid(*g)).collect(),
            false => each
                .map(|((g, u), d)| {
                    let s = sigmoid(*g);
                    d * u * s * (1.0 + g * (1.0 - s))
                })
                .collect(),
        };
        Ok(result(values, layout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::derivative::{holds, random};

    #[test]
    fn every_derivative_is_what_a_small_change_does() {
        let weight = random((5, 4), 1).as_tensor().detach();
        holds("product", &[random((3, 4), 2), random((2, 4), 3), random((5, 2), 4)], |x| {
            x[0].apply_op3(&x[1], &x[2], Product { weight: weight.clone(), bias: None, scale: 2.0 })
        });
        let bias: Arc<[f32]> = [0.1, 0.2, 0.3, 0.4, 0.5].into();
        holds("product with a bias", &[random((3, 4), 2), random((2, 4), 3), random((5, 2), 4)], |x| {
            let product = Product { weight: weight.clone(), bias: Some(bias.clone()), scale: 2.0 };
            x[0].apply_op3(&x[1], &x[2], product)
        });
        holds("plain", &[random((3, 4), 5)], |x| x[0].apply_op1(Plain(weight.clone())));
        let normal = Normal { weight: [0.5, 1.0, 1.5, -1.0].into(), epsilon: 1e-5 };
        holds("normal", &[random((3, 4), 6)], |x| x[0].apply_op1(normal.clone()));
        let angles = [0.0f32, 0.0, 1.0, 0.1, 2.0, 0.2];
        let turned = Turned {
            cos: angles.iter().map(|a| a.cos()).collect(),
            sin: angles.iter().map(|a| a.sin()).collect(),
            length: 3,
            head: 4,
            back: false,
        };
        holds("turned", &[random((6, 8), 7)], |x| x[0].apply_op1(turned.clone()));
        holds("attention", &[random((6, 3), 8)], |x| x[0].apply_op1(Attention { scale: 0.7, length: 3 }));
        holds("gate", &[random((3, 4), 9), random((3, 4), 10)], |x| x[0].apply_op2(&x[1], Gate));
    }
}
