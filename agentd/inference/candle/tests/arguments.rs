//! The encoder that learns to read arguments: a small one of random weights.

#![forbid(unsafe_code)]

mod small;

use aios_abi::engine::{Form, Work};
use aios_engine::{Begun, Engine, Options, Told};
use aios_engine_candle::adapt::Question;
use aios_engine_candle::adapt::read::{Exercise, Readings, Tools, filled, implied, learn, measure, write};
use aios_engine_candle::encoder::{Encoder, Files, Reader};
use aios_engine_candle::minilm::MiniLm;
use aios_words::reading;
use aios_words::schema::Arguments;
use clap::Parser;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Names of people and hosts, which stand anywhere.
const NAMES: [&str; 4] = ["anna", "bea", "web", "mail"];

/// What the small encoder reads, and the call that each means.
fn lessons() -> Vec<Question> {
    let question = |ask: String, tool: &str, args: Value| Question {
        ask,
        tool: Some(tool.to_owned()),
        args: args.as_object().cloned().expect("an object"),
    };
    let mut lessons = Vec::new();
    for (n, name) in NAMES.iter().enumerate() {
        let other = NAMES[(n + 1) % NAMES.len()];
        lessons.extend([
            question(format!("ping {name} 3 times"), "ping", json!({"host": name, "count": 3})),
            question(format!("ping {name} once"), "ping", json!({"host": name, "count": 1})),
            question(format!("ping {name}"), "ping", json!({"host": name})),
            question(format!("hard kill of {name}"), "end", json!({"names": [name], "how": "kill"})),
            question(format!("end {name} and {other}"), "end", json!({"names": [name, other]})),
        ]);
    }
    lessons
}

fn tools() -> Tools {
    let tools = [
        ("ping", json!({"host": {"type": "string"}, "count": {"type": "integer"}}), "host"),
        (
            "end",
            json!({"names": {"type": "array", "items": {"type": "string"}}, "how": {"enum": ["term", "kill"]}}),
            "names",
        ),
    ];
    let tool = |(name, properties, required): (&str, Value, &str)| {
        let schema = json!({"type": "object", "properties": properties, "required": [required]});
        (name.to_owned(), Arguments::parse(&schema.to_string()).expect("is a schema"))
    };
    tools.map(tool).into_iter().collect()
}

fn folder(seed: u64) -> tempfile::TempDir {
    let form = ["ping", "end", "host", "count", "names", "how", "term", "kill", ";", ":", ","];
    let asked: Vec<String> = lessons().into_iter().map(|lesson| lesson.ask).collect();
    small::folder(seed, asked.iter().flat_map(|ask| ask.split(' ')).chain(form))
}

fn read(folder: &Path) -> (Files, Encoder) {
    let files = Files::read(folder, &|_| {}).expect("an encoder");
    let encoder = Encoder::of(&files.config, &files.tensors).expect("an encoder");
    (files, encoder)
}

fn load(folder: &Path, reader: &Path) -> MiniLm {
    let words =
        ["test".as_ref(), "--model".as_ref(), folder.as_os_str(), "--reader".as_ref(), reader.as_os_str()];
    MiniLm::load(&Options::parse_from(words), Box::new(|_| {})).expect("an encoder")
}

/// What the worker answers.
fn asked(engine: &mut MiniLm, form: &Form, question: &str) -> Told {
    let work = Work::Read { form: form.clone(), question: question.to_owned() };
    assert_eq!(engine.begin(1, work), Ok(Begun::Yes));
    let mut answer = None;
    engine.step(&mut |_, told| answer = Some(told));
    answer.expect("an answer")
}

#[test]
fn arguments_are_read_after_they_were_learned_and_the_worker_reads_them_too() {
    let folder = folder(1);
    let (files, encoder) = read(folder.path());
    let (lessons, tools) = (lessons(), tools());
    let implied = implied(&lessons, &tools);
    assert_eq!(implied.get("ping.count").map(Vec::as_slice), Some(["1".to_owned()].as_slice()), "once");
    let mut random = fastrand::Rng::with_seed(1);
    let start = Reader::new(&encoder, 8, implied, &mut random).expect("a reader");
    let exercise = |question| {
        Exercise::of(&files.tokenizer, question, &tools, &start.implied)
            .expect("a sheet")
            .expect("an exercise")
    };
    let exercises: Vec<Exercise> = lessons.iter().map(exercise).collect();
    let score = |reader: &Reader| {
        measure(&encoder, &files.tokenizer, reader, &lessons, &tools, &mut |_| {}).expect("is measured")
    };
    let before = score(&start);
    let how = Readings { epochs: 200, batch: 10, rate: 1e-2 };
    let mut epochs = 0;
    let reader = learn(&encoder, &start, &exercises, &how, &mut random, &mut |progress| {
        epochs += usize::from(progress.learned.is_some());
        Ok(())
    });
    let reader = reader.expect("learns");
    let after = score(&reader);
    assert_eq!(epochs, 200);
    assert_eq!((after.count, after.whole), (20, 20), "{before:?} {after:?}");
    assert!(before.whole < 10, "{before:?}");

    let path = folder.path().join("arguments.safetensors");
    write(&reader, &encoder, &tools, &path).expect("writes");
    let mut engine = load(folder.path(), &path);
    assert_eq!(engine.info().reads, ["end", "ping"]);
    for Question { ask, tool, args } in &lessons {
        let (tool, arguments) = tools.get_key_value(tool.as_deref().expect("a tool")).expect("is known");
        let form = reading::form(tool, arguments, &Map::new());
        let Told::Reading(reading) = asked(&mut engine, &form, ask) else { panic!("{ask}") };
        assert_eq!(filled(ask, arguments, &form, &reading).0, *args, "{ask}: 16 bits are enough");
    }
    // A form that leaves no room is a sentence, as is one without a reader.
    let blank = reading::form("ping", &tools["ping"], &Map::new()).blanks[0].clone();
    let huge = Form { tool: "ping".into(), blanks: vec![blank; 200] };
    let Told::Failed(error) = asked(&mut engine, &huge, "ping web") else { panic!("it has no room") };
    assert!(error.message.contains("are too many to be read"), "{error}");
    let mut without = load(folder.path(), &folder.path().join("none"));
    assert!(without.info().reads.is_empty());
    let Told::Failed(error) = asked(&mut without, &huge, "ping web") else { panic!("it has no reader") };
    assert!(error.message.contains("has not learned to read"), "{error}");

    let bytes = std::fs::read(&path).expect("is there");
    let (_, foreign) = read(self::folder(2).path());
    let why = Reader::read(&foreign, &bytes).err().expect("is refused");
    assert!(why.contains("another sentence encoder"), "{why}");
    proptest!(ProptestConfig::with_cases(128), |(noise in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<usize>(), at in any::<usize>(), to in any::<u8>())| {
        let _ = Reader::read(&encoder, &noise);
        let _ = Reader::read(&encoder, &bytes[..cut % bytes.len()]);
        let mut changed = bytes.clone();
        // Half of the changes are in the header, which is the smaller part.
        let at = if at % 2 == 0 { at % 4096 } else { at } % changed.len();
        changed[at] = to;
        let _ = Reader::read(&encoder, &changed);
    });
}
