//! The encoder that learns to tell tools apart: a small one of random weights.

#![forbid(unsafe_code)]

mod small;

use aios_abi::engine::Work;
use aios_engine::{Begun, Engine, Options, Told};
use aios_engine_candle::adapt::{Course, Head, Learned, calibrate, learn, measure, vectors};
use aios_engine_candle::encoder::{Adapter, Encoder, Files, Tokens};
use aios_engine_candle::minilm::MiniLm;
use candle_core::{DType, Device};
use clap::Parser;
use proptest::prelude::*;
use std::path::Path;
use tokenizers::Tokenizer;

/// What the small encoder reads, and the tool that each means.
const LESSONS: [(&str, &str); 6] = [
    ("is the disk full", "disk.usage"),
    ("how much room is there", "disk.usage"),
    ("who is logged in", "user.list"),
    ("is somebody there", "user.list"),
    ("sing a song", "none"),
    ("how are you", "none"),
];

fn folder(seed: u64) -> tempfile::TempDir {
    small::folder(seed, LESSONS.iter().flat_map(|(text, _)| text.split(' ')))
}

fn texts() -> Vec<String> {
    LESSONS.iter().map(|(text, _)| (*text).to_owned()).collect()
}

fn read(folder: &Path) -> (Files, Encoder) {
    let files = Files::read(folder, &|_| {}).expect("an encoder");
    let encoder = Encoder::of(&files.config, &files.tensors).expect("an encoder");
    (files, encoder)
}

fn load(folder: &Path, adapter: Option<&Path>) -> MiniLm {
    let mut words = vec!["test".as_ref(), "--model".as_ref(), folder.as_os_str()];
    words.extend(adapter.iter().flat_map(|path| ["--adapter".as_ref(), path.as_os_str()]));
    MiniLm::load(&Options::parse_from(words), Box::new(|_| {})).expect("an encoder")
}

/// What the worker answers.
fn asked(engine: &mut MiniLm, adapted: bool) -> Vec<Vec<f32>> {
    assert_eq!(engine.begin(1, Work::Embed { texts: texts(), adapted }), Ok(Begun::Yes));
    let mut answer = None;
    engine.step(&mut |_, told| answer = Some(told));
    match answer {
        Some(Told::Embeddings(vectors)) => vectors,
        other => panic!("{other:?}"),
    }
}

/// An adapter that changes nothing yet, and a layer.
fn start(encoder: &Encoder, tokenizer: &Tokenizer, seed: u64) -> Learned {
    let adapter = Adapter::new(encoder, 4, &mut fastrand::Rng::with_seed(seed)).expect("an adapter");
    let vectors = vectors(encoder, tokenizer, &adapter, &texts()).expect("vectors");
    let head = Head::learn(vectors, &LESSONS.map(|(_, tool)| tool), &mut |_, _| {}).expect("a layer");
    Learned { adapter, head }
}

/// The adapter learns the lessons.
fn learned(encoder: &Encoder, tokenizer: &Tokenizer, start: Learned, seed: u64) -> Learned {
    let place = |tool| start.head.place(tool).expect("a row");
    let lessons: Vec<(String, u32)> =
        LESSONS.iter().map(|(text, tool)| ((*text).to_owned(), place(tool))).collect();
    let course = Course {
        epochs: 30,
        batch: 3,
        rate: 1e-2,
        head_rate: 0.0,
        smoothing: 0.0,
        noise: 0.0,
        average: 5.0,
        ..Course::default()
    };
    let mut random = fastrand::Rng::with_seed(seed);
    learn(encoder, tokenizer, &start, &lessons, &course, &mut random, &mut |_| Ok(())).expect("learns")
}

fn largest_difference(one: &[Vec<f32>], other: &[Vec<f32>]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.concat().iter().zip(other.concat()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn what_is_learned_is_known_afterwards_and_survives_its_file() {
    let folder = folder(1);
    let (files, encoder) = read(folder.path());
    let start = start(&encoder, &files.tokenizer, 1);
    let held: Vec<(String, Option<u32>)> =
        LESSONS.iter().map(|(text, tool)| ((*text).to_owned(), start.head.place(tool))).collect();
    let measured =
        |learned: &Learned| measure(&encoder, &files.tokenizer, learned, &held).expect("is measured");
    let before = measured(&start);
    let learned = learned(&encoder, &files.tokenizer, start, 1);
    let after = measured(&learned);
    let tokens = Tokens::of(&files.tokenizer, &texts()).expect("tokens");
    let vectors = encoder.vectors(&learned.adapter, &tokens, None).expect("vectors");
    assert!(!vectors.track_op(), "what was learned does not hold all that it was learned from in memory");
    assert_eq!((after.count, after.first, after.eighth), (6, 6, 6));
    // The layer was left as it was, so it is the encoder that learned.
    assert!(after.loss < 0.5 * before.loss, "{before:?} {after:?}");

    let learned = calibrate(&encoder, &files.tokenizer, learned, &held).expect("is calibrated");
    let calibrated = measured(&learned);
    assert_eq!(calibrated.first, 6, "the order stays");
    assert!(calibrated.loss < after.loss, "{after:?} {calibrated:?}");
    let after = calibrated;

    let path = folder.path().join("choice.safetensors");
    learned.write(&encoder, &path).expect("writes");
    let bytes = std::fs::read(&path).expect("is there");
    let (known, adapter) = Adapter::read(&encoder, &bytes).expect("a whole file").expect("an adapter");
    assert!(known.name.starts_with("aiOS choice "), "{known:?}");
    assert_eq!(known.tools, ["disk.usage", "user.list"]);
    let again = Learned { adapter, head: Head::read(&bytes).expect("a layer") };
    let again = measured(&again);
    assert_eq!(again.first, 6);
    assert!((again.loss - after.loss).abs() < 1e-2, "16 bits are enough: {after:?} {again:?}");
}

#[test]
fn a_tool_that_came_later_gets_a_row_and_the_others_stay() {
    let folder = folder(5);
    let (files, encoder) = read(folder.path());
    let start = start(&encoder, &files.tokenizer, 5);
    let own = vectors(&encoder, &files.tokenizer, &start.adapter, &texts()[..2]).expect("vectors");
    let any = vectors(&encoder, &files.tokenizer, &start.adapter, &texts()).expect("vectors");
    assert_eq!(start.head.place("power.off"), None);
    let places = ["disk.usage", "none", "user.list"].map(|tool| start.head.place(tool));
    let head = start.head.with_more(&[("power.off", own.clone())], &any).expect("a row");
    assert_eq!(head.place("power.off"), Some(3));
    assert_eq!(["disk.usage", "none", "user.list"].map(|tool| head.place(tool)), places);
    assert_eq!(head.clone().with_more(&[], &[]).expect("the same").place("power.off"), Some(3));
}

#[test]
fn an_adapter_beside_the_matrices_is_as_good_as_one_within_and_leaves_the_plain_vectors_alone() {
    let folder = folder(2);
    let (files, encoder) = read(folder.path());
    let path = folder.path().join("choice.safetensors");
    let start = start(&encoder, &files.tokenizer, 2);
    let plain = load(folder.path(), None).vectors(&texts()).expect("vectors");
    let own = vectors(&encoder, &files.tokenizer, &start.adapter, &texts()).expect("vectors");
    assert!(largest_difference(&plain, &own) < 1e-5, "an adapter that learned nothing changes nothing");

    learned(&encoder, &files.tokenizer, start, 2).write(&encoder, &path).expect("writes");
    let mut engine = load(folder.path(), Some(&path));
    assert_eq!(engine.info().adapter.map(|adapter| adapter.tools.len()), Some(2));
    let adapted = asked(&mut engine, true);
    assert_eq!(asked(&mut engine, false), plain, "bit for bit");
    assert!(largest_difference(&adapted, &plain) > 0.1, "it learned something");

    let parts = candle_core::safetensors::load(&path, &Device::Cpu).expect("a file");
    let mut tensors = files.tensors.clone();
    for (name, _) in small::matrices() {
        let part =
            |which: &str| parts[&format!("{name}.lora_{which}")].to_dtype(DType::F32).expect("numbers");
        let product = part("b").matmul(&part("a")).expect("fits");
        let merged = (product + &tensors[&format!("{name}.weight")]).expect("fits");
        tensors.insert(format!("{name}.weight"), merged);
    }
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).expect("writes");
    let merged = load(folder.path(), None).vectors(&texts()).expect("vectors");
    assert!(largest_difference(&adapted, &merged) < 1e-5);
}

#[test]
fn the_adapter_of_another_encoder_and_a_damaged_one_are_not_used() {
    let (one, other) = (folder(3), folder(4));
    let (files, encoder) = read(one.path());
    let path = one.path().join("choice.safetensors");
    start(&encoder, &files.tokenizer, 3).write(&encoder, &path).expect("writes");
    let bytes = std::fs::read(&path).expect("is there");
    let refused = |bytes: &[u8]| Adapter::read(&encoder, bytes).err().expect("is refused");

    let (_, foreign) = read(other.path());
    let why = Adapter::read(&foreign, &bytes).err().expect("is refused");
    assert!(why.contains("another sentence encoder"), "{why}");
    let why = refused(&bytes[..bytes.len() / 2]);
    assert!(why.contains("no file of tensors"), "{why}");
    let mut broken = bytes.clone();
    // The numbers stand at the end; all bits of the exponent are no number.
    let length = broken.len();
    broken[length - 64..].fill(0xff);
    let why = refused(&broken);
    assert!(why.contains("no numbers"), "{why}");

    // The worker goes on without it.
    let mut engine = load(other.path(), Some(&path));
    assert_eq!(engine.info().adapter, None);
    assert_eq!(asked(&mut engine, true), load(other.path(), None).vectors(&texts()).expect("vectors"));

    proptest!(ProptestConfig::with_cases(256), |(noise in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<usize>(), at in any::<usize>(), to in any::<u8>())| {
        let _ = Adapter::read(&encoder, &noise);
        let _ = Head::read(&noise);
        let _ = Adapter::read(&encoder, &bytes[..cut % bytes.len()]);
        let mut changed = bytes.clone();
        // Half of the changes are in the header, which is the smaller part.
        let at = if at % 2 == 0 { at % 4096 } else { at } % changed.len();
        changed[at] = to;
        let _ = Adapter::read(&encoder, &changed);
        let _ = Head::read(&changed);
    });
}
