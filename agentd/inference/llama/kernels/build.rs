//! Links the kernels that the package is named after.
//!
//! Their library holds the same names as the one for which the binding asks (`llama.cmake`). It comes first and whole, so
//! nothing of the other one is taken.

fn main() {
    println!("cargo:rerun-if-changed=../build.rs");
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let kernels = package.trim_start_matches("aios-engine-llama-");
    println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=ggml-cpu-{kernels}");
}
