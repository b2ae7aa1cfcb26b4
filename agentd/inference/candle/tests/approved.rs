//! A machine learns the words of its own house, with the real encoder and what the image has learned.

use aios_abi::infer::{Learning, Lesson};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What people of one house say, and what they mean by it. No model can know it.
const SLANG: [(&str, &[&str]); 4] = [
    (
        "service.restart",
        &[
            "give the till a kick",
            "kick the till",
            "kick the shop",
            "give billing a kick",
            "a kick for netd please",
            "kick dnsmasq",
            "give mailer a good kick",
            "kick the scanner, it hangs",
        ],
    ),
    (
        "users.revoke",
        &[
            "throw anna out of the building",
            "throw ben out of the building",
            "out of the building with carla",
            "dora goes out of the building",
            "throw emil out of the building now",
            "frank out of the building",
        ],
    ),
    (
        "backup.snapshot",
        &[
            "take a polaroid of /data/shop",
            "polaroid of /data/wiki",
            "one polaroid of /data/mail please",
            "polaroid of /etc before I touch it",
            "shoot a polaroid of /data/till",
            "a polaroid of /data/home",
        ],
    ),
    // A tool that the image does not know: an extension brought it.
    (
        "coffee.brew",
        &[
            "one espresso for the front desk",
            "an espresso, quickly",
            "espresso for two",
            "we need espresso in the meeting room",
            "make me an espresso",
            "a large espresso please",
        ],
    ),
];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(path)
}

fn learned(lessons: &[Lesson], out: &Path) -> (Learning, String) {
    let file = out.with_extension("jsonl");
    let lines: Vec<String> =
        lessons.iter().map(|lesson| serde_json::to_string(lesson).expect("encodes")).collect();
    std::fs::write(&file, lines.join("\n")).expect("writes");
    let output = Command::new(env!("CARGO_BIN_EXE_aios-adapt"))
        .arg("approved")
        .arg("--model")
        .arg(repository("target/models/embed"))
        .arg("--from")
        .arg(repository("target/models/choice.safetensors"))
        .arg("--lessons")
        .arg(file)
        .arg("--again")
        .arg(repository("agentd/inference/evaluation/train.jsonl"))
        .arg("--old")
        .arg(repository("agentd/inference/evaluation/dev.jsonl"))
        .arg("--out")
        .arg(out)
        .output()
        .expect("starts; `make engines` builds it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let last: serde_json::Value =
        serde_json::from_str(said.lines().last().unwrap_or_default()).expect("an object");
    (serde_json::from_value(last["learned"].clone()).expect("what came of it"), said)
}

#[test]
fn the_words_of_a_house_are_learned_and_what_the_image_knew_is_not_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let lessons: Vec<Lesson> = SLANG
        .iter()
        .flat_map(|(tool, asks)| asks.iter().map(|ask| Lesson { ask: (*ask).into(), tool: (*tool).into() }))
        .collect();
    let out = folder.path().join("learned.safetensors");
    let (came, said) = learned(&lessons, &out);
    assert_eq!((came.lessons, came.held, came.old), (20, 6, 200));
    println!("{came:?}");
    assert!(came.is_better(), "{came:?}");
    // Four where it stopped short of forgetting, which is a matter of how a processor rounds.
    assert!(came.knows >= 4, "{came:?}");
    assert!(said.contains(r#"{"step":1,"steps":"#), "it says how far it is: {said}");
    let bytes = std::fs::read(&out).expect("was written");
    let (_, about) = safetensors::SafeTensors::read_metadata(&bytes).expect("tensors");
    let tools = &about.metadata().as_ref().expect("says what it is")["tools"];
    assert!(tools.split(' ').any(|tool| tool == "coffee.brew"), "{tools}");
}
