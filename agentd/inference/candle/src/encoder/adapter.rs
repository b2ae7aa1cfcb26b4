//! What an encoder learned beside its own weights, and the file that it stands in.

use super::{Encoder, MATRICES};
use aios_abi::engine::Adapter as Known;
use candle_core::{DType, Device, Result, Tensor, Var};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};

/// Weight of an adapter's product while it is learned; in the file it is part of the second matrix.
pub(super) const SCALE: f64 = 2.0;

/// For each matrix a thin one in and a thin one out.
#[derive(Clone)]
pub struct Adapter {
    /// By layer and place in [`MATRICES`].
    parts: BTreeMap<(usize, usize), (Tensor, Tensor)>,
    /// The same as what is learned, in their order; none where nothing is.
    variables: Vec<Var>,
}

/// FNV-1a of numbers, as bytes with the lowest first.
pub(super) fn fingerprint(numbers: impl Iterator<Item = f32>) -> u64 {
    numbers
        .flat_map(f32::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The name of a thin matrix in the file.
fn name(layer: usize, place: usize, which: &str) -> String {
    format!("encoder.layer.{layer}.{}.lora_{which}", MATRICES[place])
}

impl Adapter {
    /// An adapter of this rank that changes nothing yet: the first matrices are random, the second ones zero.
    ///
    /// # Errors
    /// None that a whole encoder has reason for.
    pub fn new(encoder: &Encoder, rank: usize, random: &mut fastrand::Rng) -> Result<Self> {
        let mut parts = BTreeMap::new();
        for (layer, place, outer, inner) in encoder.sizes() {
            // Uniform with the variance that keeps a product's size (Kaiming et al., 2015).
            let bound = (3.0 / inner as f32).sqrt();
            let values: Vec<f32> = (0..rank * inner).map(|_| (random.f32() * 2.0 - 1.0) * bound).collect();
            let a = Tensor::from_vec(values, (rank, inner), &Device::Cpu)?;
            let b = Tensor::zeros((outer, rank), DType::F32, &Device::Cpu)?;
            parts.insert((layer, place), (a, b));
        }
        Self { parts, variables: Vec::new() }.learning()
    }

    /// The same, to be learned on.
    ///
    /// # Errors
    /// Too little memory.
    pub fn learning(self) -> Result<Self> {
        let variables = self.tensors().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        Ok(Self { variables, ..self.with(&tensors) })
    }

    /// One of these matrices instead, in the order of [`variables`](Self::variables).
    pub(crate) fn with(&self, tensors: &[Tensor]) -> Self {
        let pairs = tensors.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Self { parts: self.parts.keys().copied().zip(pairs).collect(), variables: Vec::new() }
    }

    /// The adapter in these bytes; nothing when there is only a layer in them.
    ///
    /// # Errors
    /// One sentence: what is missing, does not fit this encoder, or is no number.
    pub fn read(encoder: &Encoder, bytes: &[u8]) -> std::result::Result<Option<(Known, Self)>, String> {
        let broken = |e: safetensors::SafeTensorError| format!("is no file of tensors: {e}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let about = header.metadata().clone().unwrap_or_default();
        let Some(name) = about.get("encoder") else { return Ok(None) };
        let own = format!("{:016x}", encoder.fingerprint());
        if about.get("base") != Some(&own) {
            return Err("was learned for another sentence encoder than this one".into());
        }
        let tools = about.get("tools").ok_or("does not name its tools")?.split_whitespace();
        let tools = tools.filter(|tool| *tool != Known::NONE).map(str::to_owned).collect();
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let mut parts = BTreeMap::new();
        for (layer, place, outer, inner) in encoder.sizes() {
            let (a, b) = (self::name(layer, place, "a"), self::name(layer, place, "b"));
            let (a, b) = (matrix(&tensors, &a, 1.0)?, matrix(&tensors, &b, 1.0 / SCALE)?);
            let rank = a.dim(0).unwrap_or(0);
            if rank == 0 || a.dims() != [rank, inner] || b.dims() != [outer, rank] {
                return Err(format!(
                    "has matrices of {:?} and {:?} beside the matrix {} of layer {layer}, which has {:?}",
                    a.dims(),
                    b.dims(),
                    MATRICES[place],
                    [outer, inner]
                ));
            }
            parts.insert((layer, place), (a, b));
        }
        Ok(Some((Known { name: name.clone(), tools }, Self { parts, variables: Vec::new() })))
    }

    /// Names and tensors of the file, 16-bit numbers.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub(crate) fn written(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        for ((layer, place), (a, b)) in &self.parts {
            for (which, part, scale) in [("a", a, 1.0), ("b", b, SCALE)] {
                tensors.push((name(*layer, *place, which), (part * scale)?.to_dtype(DType::F16)?));
            }
        }
        Ok(tensors)
    }

    /// What the file says about it: a name that no other one has, and the encoder that it belongs to.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub(crate) fn about(&self, encoder: &Encoder) -> Result<HashMap<String, String>> {
        let mut numbers = Vec::new();
        for part in self.tensors() {
            numbers.extend(part.flatten_all()?.to_vec1::<f32>()?);
        }
        let name = format!("aiOS choice {:08x}", fingerprint(numbers.into_iter()) >> 32);
        let base = format!("{:016x}", encoder.fingerprint());
        Ok([("encoder", name), ("base", base)].map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// Its matrices, in the order of [`variables`](Self::variables).
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.values().flat_map(|(a, b)| [a, b])
    }

    /// All that is learned.
    pub(crate) fn variables(&self) -> &[Var] {
        &self.variables
    }

    /// The thin matrices beside a matrix.
    pub(super) fn part(&self, layer: usize, place: usize) -> Result<(&Tensor, &Tensor)> {
        match self.parts.get(&(layer, place)) {
            Some((a, b)) => Ok((a, b)),
            None => candle_core::bail!("layer {layer} has no adapter for {}", MATRICES[place]),
        }
    }
}

/// A tensor with two dimensions and 16-bit numbers, as 32-bit numbers.
pub(super) fn matrix(
    tensors: &SafeTensors<'_>,
    name: &str,
    scale: f64,
) -> std::result::Result<Tensor, String> {
    let tensor = tensors.tensor(name).map_err(|_| format!("lacks the tensor {name}"))?;
    if tensor.dtype() != Dtype::F16 || tensor.shape().len() != 2 {
        return Err(format!("the tensor {name} is no matrix of 16-bit numbers"));
    }
    let read = || {
        let halves = Tensor::from_raw_buffer(tensor.data(), DType::F16, tensor.shape(), &Device::Cpu)?;
        let matrix = (halves.to_dtype(DType::F32)? * scale)?;
        let is_finite = matrix.flatten_all()?.to_vec1::<f32>()?.iter().all(|number| number.is_finite());
        Ok::<_, candle_core::Error>((matrix, is_finite))
    };
    match read() {
        Ok((matrix, true)) => Ok(matrix),
        Ok((_, false)) => Err(format!("the tensor {name} has values that are no numbers")),
        Err(error) => Err(format!("the tensor {name} cannot be read: {error}")),
    }
}
