//! Which part of a model graphics processors take.
//!
//! Only the workers that are linked with llama.cpp's Vulkan or CUDA backend see any. The last layers of a model go there, as many
//! as have room in the memory that is free now, and the keys and values of these layers with them; the first ones stay with the
//! processor.

use aios_abi::engine::Offload;
use aios_engine::{Memory, Options};
use aios_gguf::Summary;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};

/// Kernels that are a graphics processor's.
const NAMES: [&str; 2] = ["vulkan", "cuda"];
/// Of a device's free memory one part of so many stays free, for its driver and for what is drawn.
const SPARE: u64 = 16;

/// Whether these kernels are a graphics processor's.
pub(crate) fn is_gpu(kernels: &str) -> bool {
    NAMES.contains(&kernels)
}

/// What is where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    devices: Vec<usize>,
    /// What people call them.
    names: String,
    /// Layers that they compute, the last matrix counted as one.
    pub(crate) layers: u32,
    /// Layers that there are, the last matrix counted as one.
    of: u32,
}

impl Plan {
    /// How the model is split, as memory is now; none where there is no graphics processor.
    pub(crate) fn now(summary: &Summary, options: &Options, most: Option<u64>) -> Option<Self> {
        let devices: Vec<_> = list_llama_ggml_backend_devices()
            .into_iter()
            .filter(|device| {
                use LlamaBackendDeviceType::{Gpu, IntegratedGpu};
                matches!(device.device_type, Gpu | IntegratedGpu)
            })
            .collect();
        if devices.is_empty() {
            return None;
        }
        let free: Vec<u64> = devices
            .iter()
            .map(|device| (device.memory_free as u64).min(most.map_or(u64::MAX, |mib| mib << 20)))
            .collect();
        let names: Vec<String> = devices
            .iter()
            .map(|device| {
                let name = if device.description.is_empty() { &device.name } else { &device.description };
                name.trim().to_owned()
            })
            .collect();
        let (layers, of) = layers(summary, options, &free);
        Some(Self {
            devices: devices.iter().map(|device| device.index).collect(),
            names: names.join(", "),
            layers,
            of,
        })
    }

    /// llama.cpp's parameters for it.
    ///
    /// # Errors
    /// More devices than llama.cpp takes.
    pub(crate) fn parameters(plan: Option<&Self>) -> Result<LlamaModelParams, String> {
        let (layers, devices, names) = match plan {
            Some(plan) if plan.layers > 0 => (plan.layers, &plan.devices[..], &plan.names[..]),
            // Without a list llama.cpp takes all that there are, for what it computes at once.
            _ => (0, &[][..], ""),
        };
        LlamaModelParams::default()
            .with_n_gpu_layers(layers)
            .with_devices(devices)
            .map_err(|e| format!("{names}: {e}"))
    }

    /// What is told of it.
    pub(crate) fn told(&self) -> Offload {
        let why = "its free memory has no room for a layer".to_owned();
        Offload {
            device: self.names.clone(),
            layers: self.layers,
            of: self.of,
            why: (self.layers == 0).then_some(why),
        }
    }
}

/// How many layers have room in devices with so many free bytes, and how many there are.
fn layers(summary: &Summary, options: &Options, free: &[u64]) -> (u32, u32) {
    let memory = summary.memory();
    let cache = match options.memory {
        Memory::F32 => memory.cache.saturating_mul(2),
        Memory::F16 => memory.cache,
        Memory::Q8 => memory.small().cache,
    };
    // Calls have a context of their own, half as long.
    let cache = if options.adapter.is_some() { cache.saturating_add(cache / 2) } else { cache };
    let count = summary.measures.layers.max(1);
    let last = summary.measures.vocabulary.saturating_mul(summary.measures.width);
    let last = (u128::from(memory.weights) * u128::from(last) / u128::from(summary.parameters.max(1)))
        .min(u128::from(memory.weights));
    let last = u64::try_from(last).unwrap_or(memory.weights);
    let layer = ((memory.weights - last).saturating_add(cache) / count).max(1);
    let mut fit: u64 = 0;
    let mut left: u64 = 0;
    for free in free {
        let room = (free - free / SPARE).saturating_sub(memory.work);
        fit = fit.saturating_add(room / layer);
        left = left.max(room % layer);
    }
    let of = count.saturating_add(1);
    let all = fit >= count && fit.saturating_sub(count).saturating_mul(layer).saturating_add(left) >= last;
    let taken = if all { of } else { fit.min(count) };
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    (number(taken), number(of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_gguf::Measures;
    use clap::Parser;

    fn seven() -> Summary {
        let measures =
            Measures { layers: 32, width: 4096, inner: 14336, kv_heads: 8, kept: 256, vocabulary: 32_000 };
        Summary {
            architecture: "llama".into(),
            name: "x".into(),
            parameters: 7_000_000_000,
            context: 8192,
            chat_template: None,
            quantisation: "Q4_K",
            measures,
            tools: Vec::new(),
            bytes: 4 << 30,
        }
    }

    fn split(free: &[u64], more: &[&str]) -> (u32, u32) {
        let options = Options::parse_from(["x", "--model", "m"].iter().chain(more));
        let free: Vec<u64> = free.iter().map(|mib| mib << 20).collect();
        layers(&seven(), &options, &free)
    }

    #[test]
    fn as_many_layers_go_as_have_room() {
        assert_eq!(split(&[24_000], &[]), (33, 33), "all of it");
        assert_eq!(split(&[0], &[]), (0, 33));
        assert_eq!(split(&[200], &[]), (0, 33), "not even what is computed with");
        let (half, _) = split(&[2600], &[]);
        assert!((13..=18).contains(&half), "{half}");
        let (small, _) = split(&[2600], &["--memory", "q8"]);
        assert!(small > half, "a smaller cache leaves room for more: {small}");
        let (two, _) = split(&[2600, 2600], &[]);
        assert_eq!(two, 2 * half, "each takes its part");
        assert_eq!(split(&[u64::MAX >> 20; 3], &[]), (33, 33));
    }

    #[test]
    fn a_file_that_lies_about_its_measures_divides_by_nothing() {
        let options = Options::parse_from(["x", "--model", "m"]);
        for measures in
            [Measures::default(), Measures { layers: u64::MAX, width: u64::MAX, ..seven().measures }]
        {
            let summary = Summary { measures, parameters: 0, bytes: u64::MAX, ..seven() };
            let (taken, of) = layers(&summary, &options, &[1 << 30]);
            assert!(taken <= of);
        }
    }
}
