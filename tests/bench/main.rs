//! `make bench`: measures beside peers in one run, prints one table, writes `target/bench/results.json`.
//!
//! A row whose peer cannot be run is an error, not a gap.

#![forbid(unsafe_code)]

mod boot;
mod busybox;
mod infer;
mod init;
mod ipc;
mod peer;
mod process;
mod report;
mod server;
mod size;

use anyhow::{Context, Result};
use std::path::Path;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // All but the first three are this program's own steps on the way to what is measured.
    let done = match words.as_slice() {
        [] => run(),
        ["calls"] => calls(),
        ["infer", groups @ ..] => engines(groups),
        ["spin"] => infer::spin(),
        ["supervisors"] => init::supervisors(),
        ["enter", cgroup, supervisor, root] => init::enter(cgroup, supervisor, root),
        ["become", supervisor, root] => init::become_pid1(supervisor, root),
        _ => Err(anyhow::anyhow!("aios-bench takes no arguments")),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// The tool calls alone, while one works on them.
fn calls() -> Result<()> {
    let root = aios_tests::root();
    let (programs, folder) =
        (root.join("target/x86_64-unknown-linux-gnu/release"), root.join("target/bench"));
    std::fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    report::publish(&runtime.block_on(ipc::measure(&programs, &folder))?, &folder.join("calls.json"))
}

/// The engines alone, or some groups of their rows, while one works on them.
fn engines(groups: &[&str]) -> Result<()> {
    let folder = aios_tests::root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let groups = if groups.is_empty() { &infer::GROUPS[..] } else { groups };
    report::publish(&infer(groups)?, &folder.join("infer.json"))
}

/// The rows of these groups.
fn infer(groups: &[&str]) -> Result<Vec<report::Row>> {
    let root = aios_tests::root();
    let programs = root.join("target/x86_64-unknown-linux-gnu/release");
    let engines = root.join("target/engines/x86_64-unknown-linux-gnu/release");
    let cache = root.join("target/cache");
    let (llama_bench, llama_server) =
        (peer::llama(&cache, "llama-bench")?, peer::llama(&cache, "llama-server")?);
    let peers = infer::Peers {
        worker: &engines.join("aios-engine-llama"),
        embedder: &engines.join("aios-engine-candle"),
        inferd: &programs.join("aios-inferd"),
        gguf: &programs.join("aios-gguf"),
        client: &programs.join("examples/inferd-client"),
        llama_bench: &llama_bench,
        llama_server: &llama_server,
        models: &root.join("target/models"),
        cache: &cache,
    };
    infer::measure(&peers, groups)
}

fn run() -> Result<()> {
    let root = aios_tests::root();
    let programs = root.join("target/x86_64-unknown-linux-gnu/release");
    let folder = root.join("target/bench");
    let file = folder.join("results.json");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // What a run before found must not pass for this one's, should this one fail.
    let _ = std::fs::remove_file(&file);
    // Compilers first: nothing is measured beside them.
    for name in ["llama-bench", "llama-server"] {
        peer::llama(&root.join("target/cache"), name)?;
    }
    peer::gemma(&root.join("target/cache"))?;
    let load = load()?;
    println!("bench: sizes");
    let sizes = size::measure(&root, &programs)?;
    println!("bench: tool calls");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let calls = runtime.block_on(ipc::measure(&programs, &folder))?;
    println!("bench: supervisors");
    let supervisors = init::measure()?;
    let engine = infer(&infer::GROUPS)?;
    let boots = boot::measure(&root)?;
    let rows = [boots.times()?, supervisors.rows()?, calls, engine, sizes, boots.memory()?].concat();
    report::publish(&rows, &file)?;
    println!(
        "{}\n{}\n{}",
        supervisors.table(),
        boots.processes(),
        next(&rows, load, file.strip_prefix(&root).unwrap_or(&file))
    );
    Ok(())
}

/// What was found in a sentence, how far it can be trusted, and what to do with it. `load` is what
/// others asked of this computer before the run.
fn next(rows: &[report::Row], load: f64, file: &Path) -> String {
    let missed: Vec<&str> = rows.iter().filter_map(report::Row::missed).collect();
    let bars = match missed.as_slice() {
        [] => "Every bar holds.".to_owned(),
        missed => format!("Missed: {}.", missed.join(", ")),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // One core is left to the machines and engines that are measured.
    let trust = match load + 1.0 > cores as f64 {
        true => "it was busy, so figures and close calls may differ when it is quiet",
        false => "it was quiet",
    };
    format!(
        "{bars}\n\
         Load of this computer before the run: {load} on {cores} cores;\n\
         {trust}.\n\
         Next: keep {} and compare the ratios after a change",
        file.display()
    )
}

/// The load average of the last minute (proc_loadavg(5)).
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("/proc/loadavg cannot be read")?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.with_context(|| format!("/proc/loadavg does not begin with a number: {text}"))
}
