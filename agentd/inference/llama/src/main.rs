//! The llama.cpp worker with kernels for x86-64-v3, and the one that chooses among all.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    aios_engine_llama::main(aios_engine_llama::BASE)
}
