//! The trained layer over sentence vectors that says which tool is meant.

use aios_abi::engine::Adapter;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Length of the file in bytes, at most: a thousand tools and long vectors have a quarter of it.
const MAX_BYTES: u64 = 16 << 20;

/// Softmax regression: for each tool, and for "no tool", a row of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    tools: Vec<String>,
    encoder: Option<String>,
    width: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Head {
    /// Read the file; nothing when there is none.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        match std::fs::metadata(path) {
            Ok(about) if about.len() > MAX_BYTES => {
                return Err(named(&format!("has {} bytes, at most {MAX_BYTES} are read", about.len())));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&error)),
        }
        let bytes = std::fs::read(path).map_err(|e| named(&e))?;
        Self::of(&bytes).map(Some).map_err(|e| named(&e))
    }

    /// The layer in these bytes.
    ///
    /// # Errors
    /// What is missing or does not fit together.
    pub fn of(bytes: &[u8]) -> Result<Self, String> {
        let broken = |e: safetensors::SafeTensorError| format!("is no file of tensors: {e}");
        let (_, about) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let named = |name: &str| about.metadata().as_ref().and_then(|about| about.get(name));
        let encoder = named("encoder").cloned();
        let names = named("tools");
        let tools: Vec<String> =
            names.ok_or("does not name its tools")?.split_whitespace().map(str::to_owned).collect();
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let numbers = |name: &str| {
            let tensor = tensors.tensor(name).map_err(broken)?;
            if tensor.dtype() != Dtype::F32 {
                return Err(format!("the tensor {name} has no 32-bit numbers"));
            }
            let (numbers, _) = tensor.data().as_chunks::<4>();
            let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            if !numbers.iter().all(|number| number.is_finite()) {
                return Err(format!("the tensor {name} has values that are no numbers"));
            }
            Ok((tensor.shape().to_vec(), numbers))
        };
        let ((shape, weight), (_, bias)) = (numbers("weight")?, numbers("bias")?);
        match shape.as_slice() {
            [rows, width] if *rows == tools.len() && bias.len() == *rows && *width > 0 => {
                Ok(Self { width: *width, tools, encoder, weight, bias })
            }
            _ => Err(format!(
                "has weights of {shape:?} and {} biases for {} tools; they do not belong together",
                bias.len(),
                tools.len()
            )),
        }
    }

    /// The adapter of the encoder whose vectors it knows; none for the encoder as it is.
    pub fn encoder(&self) -> Option<&str> {
        self.encoder.as_deref()
    }

    /// Whether it knows this tool.
    pub fn knows(&self, tool: &str) -> bool {
        self.tools.iter().any(|known| known == tool)
    }

    /// The natural logarithm of the probability of each of these tools and of no tool, the likeliest first;
    /// nothing for a vector of another encoder. Tools that it does not know are left out.
    pub fn judge<'a>(&self, vector: &[f32], tools: impl Iterator<Item = &'a str>) -> Vec<(&'a str, f32)> {
        if vector.len() != self.width {
            return Vec::new();
        }
        let logit = |tool: &str| {
            let row = self.tools.iter().position(|known| known == tool)?;
            let weights = self.weight.get(row * self.width..(row + 1) * self.width)?;
            let product: f32 = weights.iter().zip(vector).map(|(w, x)| w * x).sum();
            Some(product + self.bias.get(row)?)
        };
        let mut judged: Vec<(&str, f32)> =
            tools.chain([Adapter::NONE]).filter_map(|tool| Some((tool, logit(tool)?))).collect();
        judged.sort_by(|a, b| b.1.total_cmp(&a.1));
        let most = judged.first().map_or(0.0, |(_, logit)| *logit);
        let sum: f32 = judged.iter().map(|(_, logit)| (logit - most).exp()).sum();
        judged.iter_mut().for_each(|(_, logit)| *logit -= most + sum.ln());
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;
    use std::collections::HashMap;

    fn file(tools: &str, weight: &[f32], bias: &[f32]) -> Vec<u8> {
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let (w, b) = (bytes(weight), bytes(bias));
        let view = |shape: Vec<usize>, data| TensorView::new(Dtype::F32, shape, data).expect("a tensor");
        let tensors = [("weight", view(vec![weight.len() / 2, 2], &w)), ("bias", view(vec![bias.len()], &b))];
        let about = HashMap::from([("tools".to_owned(), tools.to_owned())]);
        safetensors::serialize(tensors, Some(about)).expect("a file")
    }

    #[test]
    fn tools_are_judged_among_those_that_are_offered() {
        let head = Head::of(&file("a.b c.d none", &[2.0, 0.0, 0.0, 2.0, 0.0, 0.0], &[0.0, 0.0, -1.0]));
        let head = head.expect("a head");
        let judged = head.judge(&[1.0, 0.0], ["a.b", "c.d", "x.y"].into_iter());
        let names: Vec<&str> = judged.iter().map(|(tool, _)| *tool).collect();
        assert_eq!(names, ["a.b", "c.d", "none"]);
        let sum: f32 = judged.iter().map(|(_, p)| p.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert_eq!(head.judge(&[1.0, 0.0], ["c.d"].into_iter())[0].0, "c.d");
        assert!(head.judge(&[1.0], ["a.b"].into_iter()).is_empty(), "a vector of another encoder");
        assert!(head.knows("a.b") && !head.knows("x.y"));
    }

    #[test]
    fn what_does_not_belong_together_is_said() {
        let error = Head::of(&file("a.b none", &[1.0, 0.0], &[0.0])).expect_err("one row for two tools");
        assert!(error.contains("do not belong together"), "{error}");
        let error = Head::of(&file("none", &[1.0, f32::NAN], &[0.0])).expect_err("no number");
        assert!(error.contains("no numbers"), "{error}");
        assert!(Head::of(b"GGUF").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<usize>(), at in any::<usize>(), to in any::<u8>()) {
            let _ = Head::of(&bytes);
            let mut real = file("a.b none", &[1.0, 0.0, 0.0, 1.0], &[0.0, 0.0]);
            let _ = Head::of(&real[..cut % real.len()]);
            let at = at % real.len();
            real[at] = to;
            let _ = Head::of(&real);
        }
    }
}
