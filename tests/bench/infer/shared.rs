//! The engine among others: beside programs that take every processor, and what inferd itself needs beside its workers.

use super::Peers;
use super::daemon::Daemon;
use super::worker::{Worker, messages};
use crate::process::{Running, field};
use crate::report::{Bar, Row, median};
use aios_abi::call::Meta;
use aios_abi::engine::Generate;
use aios_abi::infer::{Complete, InferRequest};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 5;
const ANSWER: u32 = 64;

/// `infer.contended`, `infer.contended.others` and `infer.overhead_mb`.
pub(crate) fn measure(peers: &Peers<'_>, model: &Path) -> Result<Vec<Row>> {
    let mut rows = contended(peers, model)?;
    rows.push(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(overhead(peers))?);
    Ok(rows)
}

/// The worker decides about its threads itself, as it does on the appliance.
fn contended(peers: &Peers<'_>, model: &Path) -> Result<Vec<Row>> {
    let mut worker = Worker::start(peers.worker, model, &["--kernels", "base"])?;
    let mut tell = |round: u64| -> Result<f64> {
        let question = format!("{round}: Tell a very long story about the sea and its ships.");
        let told = worker.ask(Generate {
            messages: messages(&[("user", &question)]),
            max_tokens: ANSWER,
            ..Generate::default()
        })?;
        Ok(f64::from(told.generated.saturating_sub(1)) / told.after_first.as_secs_f64())
    };
    tell(0)?;
    let idle = (1..=ROUNDS).map(&mut tell).collect::<Result<Vec<_>>>()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let program = std::env::current_exe()?;
    let spin = || Running::start(Command::new(&program).arg("spin").stdin(Stdio::null()));
    let others = (0..processors).map(|_| spin()).collect::<Result<Vec<_>>>()?;
    // It notices the others while it computes.
    tell(ROUNDS + 1)?;
    let (begin, before) = (Instant::now(), ran(&others)?);
    let busy = (0..ROUNDS).map(|n| tell(ROUNDS + 2 + n)).collect::<Result<Vec<_>>>()?;
    let share =
        100.0 * (ran(&others)? - before).as_secs_f64() / begin.elapsed().as_secs_f64() / processors as f64;
    // One thread more wants to run than there are processors.
    let fair = 100.0 * processors as f64 / (processors + 1) as f64;
    let what = format!("answer while {processors} programs take the {processors} processors");
    Ok(vec![
        Row::new("infer.contended", what, "tok/s", median(busy), "alone", median(idle), Bar::AtLeast(0.4))?,
        Row::new(
            "infer.contended.others",
            "what each of these programs still gets of a processor",
            "%",
            share,
            "a fair share",
            fair,
            Bar::AtLeast(0.97),
        )?,
    ])
}

/// For how long these processes ran so far (schedstat, the kernel's `Documentation/scheduler/sched-stats.rst`).
fn ran(all: &[Running]) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for running in all {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", running.id()))?;
        let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
        sum += Duration::from_nanos(first.with_context(|| format!("{text:?} tells no time"))?);
    }
    Ok(sum)
}

/// Take a processor until somebody ends this.
pub(crate) fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

async fn overhead(peers: &Peers<'_>) -> Result<Row> {
    let daemon = Daemon::start(peers, &["text.gguf", "embed"]).await?;
    for round in 0..ROUNDS {
        let words = format!("{round}: Tell a story.");
        let complete =
            Complete { messages: messages(&[("user", &words)]), max_tokens: 32, ..Complete::default() };
        let texts = vec![words];
        for request in [InferRequest::Complete(complete), InferRequest::Embed { texts }] {
            daemon.client.call(Meta::why("bench").deadline_ms(60_000), request).await?;
        }
    }
    let own = super::memory(daemon.process.id(), "VmHWM:")?;
    let workers = children(daemon.process.id())?;
    ensure!(workers.len() == 2, "inferd has {} workers", workers.len());
    let mut theirs = 0.0;
    for worker in workers {
        theirs += super::memory(worker, "VmRSS:")?;
    }
    let what = "memory of inferd itself, with both workers at work";
    Row::new("infer.overhead_mb", what, "MiB", own, "its workers", theirs, Bar::Within(30.0))
}

/// Processes that this one started (`PPid` in proc_pid_status(5)).
fn children(of: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may end meanwhile.
        if field(&format!("/proc/{pid}/status"), "PPid:").is_ok_and(|parent| parent == f64::from(of)) {
            found.push(pid);
        }
    }
    Ok(found)
}
