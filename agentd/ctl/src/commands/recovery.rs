//! The owner's side of recovery mode: a key on this computer, and what it signs.

use crate::cli::Recovery;
use crate::error::{Failure, Outcome};
use crate::output::Output;
use aios_rescue::challenge::Challenge;
use aios_rescue::key;
use serde_json::json;
use std::path::Path;

pub(super) fn run(command: Recovery, output: &Output) -> Outcome {
    match command {
        Recovery::New { file } => new(&file, output),
        Recovery::Sign { key, challenge } => sign(&key, &challenge, output),
    }
}

fn new(file: &Path, output: &Output) -> Outcome {
    let made = key::create(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{} is there already and is not overwritten", file.display()))
        }
        _ => Failure::failed(format!("{}: {e}", file.display())),
    })?;
    let public = key::public_line(&made.verifying_key());
    if output.is_json() {
        return output.json(&json!({ "key": file.to_string_lossy(), "public": public.trim_end() }));
    }
    output.line(format!("{} is your recovery key. Keep it away from the machine.", file.display()))?;
    output.line(format!("Give the machine its public half: write this line to {} on it:", key::OWNERS))?;
    output.line(public.trim_end())
}

fn sign(file: &Path, challenge: &str, output: &Output) -> Outcome {
    let challenge = Challenge::parse(challenge).ok_or_else(|| {
        Failure::usage("that is no challenge; give all of what the machine shows behind \"challenge:\"")
    })?;
    let key = key::read_private(file).map_err(Failure::usage)?;
    let signature = challenge.sign(&key);
    if output.is_json() {
        return output.json(&json!({ "machine": challenge.machine, "signature": signature }));
    }
    output.line(format!("unlock {signature}"))
}
