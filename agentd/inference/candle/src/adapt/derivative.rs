//! Derivatives by the chain rule beside those by small changes.

use candle_core::{Device, Result, Tensor, Var};

/// Numbers between -1 and 1.
pub(crate) fn random(shape: (usize, usize), seed: u64) -> Var {
    let mut random = fastrand::Rng::with_seed(seed);
    let values: Vec<f32> = (0..shape.0 * shape.1).map(|_| random.f32() * 2.0 - 1.0).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")).expect("a variable")
}

/// The derivative of each input by the chain rule is what a small change does.
pub(crate) fn holds(name: &str, inputs: &[Var], op: impl Fn(&[Tensor]) -> Result<Tensor>) {
    // Some weights, so that not all outputs count alike.
    let value = |inputs: &[Tensor]| {
        let out = op(inputs).expect("computes");
        let weights = random((1, out.elem_count()), 99).as_tensor().reshape(out.shape()).expect("fits");
        (out * weights).and_then(|out| out.sum_all()).expect("computes")
    };
    let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
    let gradients = value(&tensors).backward().expect("goes back");
    let step = 1e-2f32;
    for (n, input) in inputs.iter().enumerate() {
        let gradient = gradients.get(input).expect("a gradient").flatten_all().expect("flat");
        let gradient: Vec<f32> = gradient.to_vec1().expect("numbers");
        for (place, expected) in gradient.into_iter().enumerate() {
            let moved = |by: f32| {
                let mut tensors: Vec<Tensor> = tensors.iter().map(Tensor::detach).collect();
                let mut values: Vec<f32> =
                    tensors[n].flatten_all().expect("flat").to_vec1().expect("numbers");
                values[place] += by;
                tensors[n] = Tensor::from_vec(values, input.shape(), &Device::Cpu).expect("a tensor");
                value(&tensors).to_scalar::<f32>().expect("a number")
            };
            let is = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((is - expected).abs() < 2e-2, "{name}: input {n}, place {place}: {expected}, but {is}");
        }
    }
}
