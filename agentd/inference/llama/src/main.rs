//! Engine worker: GGUF text models with llama.cpp.

#![forbid(unsafe_code)]

mod lane;
mod model;
mod prompt;

fn main() -> std::process::ExitCode {
    let options = aios_engine::options();
    match aios_engine::run("llama.cpp", options, model::Llama::load) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
