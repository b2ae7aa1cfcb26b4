//! Engine worker: sentence embeddings and tiny text models with candle.

#![forbid(unsafe_code)]

use aios_engine::{Options, run};
use aios_engine_candle::minilm::MiniLm;
use aios_engine_candle::text::Text;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = aios_engine::options();
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A sentence encoder is a folder, a text model is a file.
fn serve(options: Options) -> anyhow::Result<()> {
    match options.model.is_file() {
        true => run("candle", options, Text::load),
        false => run("candle", options, MiniLm::load),
    }
}
