//! A sentence encoder of random weights, small enough to learn within a test.

use candle_core::{Device, Tensor};
use std::collections::HashMap;

const WIDTH: usize = 32;
const INNER: usize = 64;
const LAYERS: usize = 2;
const POSITIONS: usize = 32;

/// A folder as MiniLM's, with a small encoder of random weights.
pub(crate) fn folder<'a>(seed: u64, words: impl Iterator<Item = &'a str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words.dedup();
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].into_iter().chain(words);
    let vocab: HashMap<&str, usize> = words.zip(0..).collect();
    let config = serde_json::json!({
        "vocab_size": vocab.len(), "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "intermediate_size": INNER, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "model_type": "bert",
    });
    let special = |id: usize, text: &str| {
        serde_json::json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]")],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    });
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tensors = HashMap::new();
    let mut add = |name: &str, shape: &[usize], around: f32| {
        let mut values = Vec::new();
        values.resize_with(shape.iter().product(), || around + random.f32() - 0.5);
        tensors.insert(name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"));
    };
    add("embeddings.word_embeddings.weight", &[vocab.len(), WIDTH], 0.0);
    add("embeddings.position_embeddings.weight", &[POSITIONS, WIDTH], 0.0);
    add("embeddings.token_type_embeddings.weight", &[2, WIDTH], 0.0);
    let normal = ["embeddings".to_owned()].into_iter();
    let normals =
        normal.chain((0..LAYERS).flat_map(|n| {
            [format!("encoder.layer.{n}.attention.output"), format!("encoder.layer.{n}.output")]
        }));
    for name in normals {
        add(&format!("{name}.LayerNorm.weight"), &[WIDTH], 1.0);
        add(&format!("{name}.LayerNorm.bias"), &[WIDTH], 0.0);
    }
    for (name, [outer, inner]) in matrices() {
        add(&format!("{name}.weight"), &[outer, inner], 0.0);
        add(&format!("{name}.bias"), &[outer], 0.0);
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("writes");
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("writes");
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).expect("writes");
    folder
}

/// The matrices that are adapted, with their rows and columns.
pub(crate) fn matrices() -> Vec<(String, [usize; 2])> {
    let of_layer = |n: usize| {
        [
            ("attention.self.query", [WIDTH, WIDTH]),
            ("attention.self.key", [WIDTH, WIDTH]),
            ("attention.self.value", [WIDTH, WIDTH]),
            ("attention.output.dense", [WIDTH, WIDTH]),
            ("intermediate.dense", [INNER, WIDTH]),
            ("output.dense", [WIDTH, INNER]),
        ]
        .map(|(name, size)| (format!("encoder.layer.{n}.{name}"), size))
    };
    (0..LAYERS).flat_map(of_layer).collect()
}
