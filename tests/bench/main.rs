//! `make bench`: measures beside peers in one run, prints one table, writes `target/bench/results.json`.
//!
//! A row whose peer cannot be run is an error, not a gap.

#![forbid(unsafe_code)]

mod boot;
mod infer;
mod ipc;
mod peer;
mod report;
mod size;

use anyhow::Result;
use std::path::Path;

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let root = aios_tests::root();
    let programs = root.join("target/x86_64-unknown-linux-gnu/release");
    let worker = root.join("target/engines/x86_64-unknown-linux-gnu/release/aios-engine-llama");
    let file = root.join("target/bench/results.json");
    println!("bench: the peer of the engine (llama-bench; minutes the first time)");
    let llama_bench = peer::llama_bench(&root.join("target/cache"))?;
    let mut rows = boot::measure(&root)?;
    println!("bench: tool calls");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rows.extend(runtime.block_on(ipc::measure(&programs))?);
    println!("bench: the text engine");
    rows.extend(infer::measure(&worker, &llama_bench, &root.join("target/models/text.gguf"))?);
    rows.extend(size::measure(&root, &programs)?);
    report::publish(&rows, &file)?;
    println!("Written to {}. The machine's load changes absolute figures; compare ratios.", shown(&root, &file));
    Ok(())
}

fn shown(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}
