//! Engine worker: sentence embeddings with candle.

#![forbid(unsafe_code)]

mod minilm;

fn main() -> std::process::ExitCode {
    let options = aios_engine::options();
    match aios_engine::run("candle", options, minilm::MiniLm::load) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
