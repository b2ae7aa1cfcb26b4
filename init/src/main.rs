//! See the library.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    aios_init::main()
}
