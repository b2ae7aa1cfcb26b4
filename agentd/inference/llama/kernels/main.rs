//! The llama.cpp worker with the kernels that the package is named after.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    aios_engine_llama::main(env!("CARGO_PKG_NAME").trim_start_matches("aios-engine-llama-"))
}
