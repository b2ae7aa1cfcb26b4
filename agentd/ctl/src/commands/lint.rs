//! Service files before a machine gets them: nothing but the files is looked at.

use crate::cli;
use crate::error::{Failure, Outcome};
use crate::output::{Output, Tone, clean_line};
use aios_unit::{Linted, Weight};
use serde_json::{Value, json};

pub(super) fn run(lint: &cli::Lint, output: &Output) -> Outcome {
    if let Some(root) = lint.root.as_ref().filter(|root| !root.join("etc/passwd").is_file()) {
        let root = root.display();
        return Err(Failure::usage(format!(
            "{root} has no etc/passwd; give --root the directory that is the image's /"
        )));
    }
    let linted = aios_unit::lint(&lint.files, lint.root.as_deref());
    if output.is_json() {
        output.json(&linted.iter().map(document).collect::<Vec<_>>())?;
    } else {
        linted.iter().try_for_each(|linted| say(linted, output))?;
    }
    match linted.iter().all(Linted::is_valid) {
        true => Ok(()),
        false => Err(Failure::told()),
    }
}

fn say(linted: &Linted, output: &Output) -> Outcome {
    for remark in &linted.remarks {
        let tone = match remark.weight {
            Weight::Error => Tone::Bad,
            Weight::Warning => Tone::Warning,
            Weight::Note => Tone::Faint,
        };
        output.line(output.tone(tone, clean_line(&remark.sentence)))?;
    }
    match linted.is_valid() {
        true => output.line(format!("{} is valid", clean_line(&linted.file.to_string_lossy()))),
        false => Ok(()),
    }
}

fn document(linted: &Linted) -> Value {
    let weight = |weight| match weight {
        Weight::Error => "error",
        Weight::Warning => "warning",
        Weight::Note => "note",
    };
    let remarks = linted.remarks.iter();
    let remarks = remarks.map(|r| json!({ "weight": weight(r.weight), "sentence": r.sentence }));
    json!({
        "file": linted.file.to_string_lossy(),
        "valid": linted.is_valid(),
        "remarks": remarks.collect::<Vec<_>>(),
    })
}
