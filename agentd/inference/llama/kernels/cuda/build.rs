//! Links the shared cuBLAS of the toolkit: what NVIDIA's packages have, where the binding asks for archives.

fn main() {
    println!("cargo:rerun-if-env-changed=CUDA_PATH");
    let folder = std::env::var("CUDA_PATH").unwrap_or_else(|_| "/usr/local/cuda".to_owned());
    println!("cargo:rustc-link-search=native={folder}/lib64");
    println!("cargo:rustc-link-arg-bins=-lcublas");
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{folder}/lib64");
}
