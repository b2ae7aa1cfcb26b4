//! The trainer, with a small model of random weights and the vocabulary of the real one.

#![forbid(unsafe_code)]

use aios_engine_candle::adapt::{Adapter, Base, Lesson, Plan, Question, judge, train};
use aios_engine_candle::vocabulary::Vocabulary;
use aios_gguf::shape::{self, Shape};
use candle_core::quantized::gguf_file::Content;
use std::fs::File;
use std::io::{BufWriter, Seek};
use std::path::Path;

#[test]
fn what_is_learned_is_known_afterwards_and_survives_its_file() {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/models/text.gguf");
    let length = std::fs::metadata(&real).expect("the image's model; `make image` fetches it").len();
    let vocabulary =
        shape::Vocabulary::of(std::io::BufReader::new(File::open(&real).expect("opens")), length);
    let mut file = tempfile::tempfile().expect("a file");
    let mut out = BufWriter::new(&mut file);
    shape::write(&Shape::SMALL, &vocabulary.expect("a vocabulary"), "small", 1, &mut out, &mut |_, _| {})
        .expect("writes");
    drop(out);
    file.rewind().expect("rewinds");

    let content = Content::read(&mut file).expect("a model");
    let vocabulary = Vocabulary::of(&content).expect("a vocabulary");
    let base = Base::read(&content, &mut file).expect("a model");
    let questions = Question::all(
        r#"{"ask": "is the disk full?", "tool": "disk.usage", "args": {}}
{"ask": "chmod 640 /data/x", "tool": "fs.chmod", "args": {"path": "/data/x", "mode": "640"}}
{"ask": "sing a song", "tool": null, "args": {}}"#,
    );
    let questions = questions.expect("three questions");
    let lessons: Vec<Lesson> =
        questions.iter().filter_map(|q| Lesson::of(&vocabulary, q, true).expect("is cut")).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let adapter = Adapter::new(&base, &mut random).expect("an adapter");
    let before = judge(&base, &adapter, &lessons, 4).expect("is judged");
    let plan = Plan { epochs: 60, batch: 3, rate: 1e-2, warm_up: 0.1 };
    train(&base, &adapter, &lessons, &plan, &mut random, &mut |_, _, _| {}).expect("learns");
    let after = judge(&base, &adapter, &lessons, 4).expect("is judged");
    assert_eq!((before.tools, after.tools, after.whole), (0, 3, 3), "{before:?} {after:?}");

    let mut written = tempfile::tempfile().expect("a file");
    adapter.write("small", &["disk.usage".into(), "fs.chmod".into()], &mut written).expect("writes");
    let bytes = written.metadata().expect("is there").len();
    written.rewind().expect("rewinds");
    let about = aios_gguf::check_bytes(&written, bytes, "x").expect("a whole file");
    assert_eq!(about.tools, ["disk.usage", "fs.chmod"]);
    written.rewind().expect("rewinds");
    let again = Adapter::read(&base, &mut written).expect("is read");
    let again = judge(&base, &again, &lessons, 4).expect("is judged");
    assert_eq!((again.tools, again.whole), (3, 3), "16 bits are enough");
    assert!((again.loss - after.loss).abs() < 0.01, "{after:?} {again:?}");
}
