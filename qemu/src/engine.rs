//! Engine workers beside QEMU: started, and started again when they die.

use crate::children;
use anyhow::{Context, Result};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes text.
    Text,
    /// Embeds sentences.
    Embed,
}

impl Kind {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Text, Self::Embed];

    /// Name of the virtio port in the guest.
    pub fn port(self) -> &'static str {
        match self {
            Self::Text => "aios.engine.text",
            Self::Embed => "aios.engine.embed",
        }
    }

    /// Name of the worker's program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Text => "aios-engine-llama",
            Self::Embed => "aios-engine-candle",
        }
    }
}

/// A worker that is kept alive until this value is dropped.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

/// What to start.
pub(crate) struct Order {
    pub(crate) program: PathBuf,
    pub(crate) model: PathBuf,
    /// For the text model that comes with the image.
    pub(crate) adapter: Option<PathBuf>,
    /// What a sentence encoder learned to read arguments with.
    pub(crate) reader: Option<PathBuf>,
    /// Where the worker remembers which kernels are best here.
    pub(crate) kernels: Option<PathBuf>,
    pub(crate) socket: PathBuf,
    pub(crate) log: PathBuf,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stop: Condvar,
}

#[derive(Default)]
struct State {
    running: Option<(u32, OwnedFd)>,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The model must not slow down the machine that asks it.
const NICENESS: i32 = 5;
/// A worker that lived this long starts with a clean record.
const LONG_LIFE: Duration = Duration::from_secs(10);

impl Worker {
    /// Start a worker that listens on a socket.
    pub(crate) fn start(order: Order) -> Result<Self> {
        let log =
            File::create(&order.log).with_context(|| format!("{} cannot be made", order.log.display()))?;
        let shared = Arc::new(Shared::default());
        let first = spawn(&order, &log, &shared)?;
        let keeping = shared.clone();
        let keeper = std::thread::spawn(move || keep(first, &order, &log, &keeping));
        Ok(Self { shared, keeper: Some(keeper) })
    }

    /// The worker's process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.shared.lock().running.as_ref().map(|(pid, _)| *pid)
    }

    /// Kill it; its keeper starts it again.
    pub(crate) fn kill(&self) {
        if let Some((_, handle)) = &self.shared.lock().running {
            children::kill(handle);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.kill();
        self.shared.stop.notify_all();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// Start the worker again whenever it dies: at once the first time, slower while it keeps dying.
fn keep(mut child: Child, order: &Order, log: &File, shared: &Shared) {
    let mut pause = Duration::ZERO;
    loop {
        let born = Instant::now();
        let _ = child.wait();
        shared.lock().running = None;
        if born.elapsed() > LONG_LIFE {
            pause = Duration::ZERO;
        } else if let Some(kernels) = &order.kernels {
            // It may be these that it dies of.
            let _ = std::fs::remove_file(kernels);
        }
        loop {
            let state = shared.lock();
            let stopped = shared.stop.wait_timeout_while(state, pause, |state| !state.stopping);
            if stopped.unwrap_or_else(PoisonError::into_inner).0.stopping {
                return;
            }
            pause = (pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(5));
            match spawn(order, log, shared) {
                Ok(next) => {
                    child = next;
                    break;
                }
                Err(why) => {
                    use std::io::Write;
                    let _ = writeln!(&mut &*log, "{why:#}");
                }
            }
        }
    }
}

fn spawn(order: &Order, log: &File, shared: &Shared) -> Result<Child> {
    let mut state = shared.lock();
    let mut command = Command::new(&order.program);
    command
        .arg("--listen")
        .arg(&order.socket)
        .arg("--model")
        .arg(&order.model)
        .args(order.adapter.iter().flat_map(|adapter| ["--adapter".as_ref(), adapter.as_os_str()]))
        .args(order.reader.iter().flat_map(|reader| ["--reader".as_ref(), reader.as_os_str()]))
        .args(order.kernels.iter().flat_map(|kernels| ["--remember".as_ref(), kernels.as_os_str()]))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    // A socket that its dead predecessor left behind.
    let _ = std::fs::remove_file(&order.socket);
    let mut child = children::start(command, NICENESS).with_context(|| {
        format!("the engine worker {} cannot be started; `make engines` builds it", order.program.display())
    })?;
    match children::handle(&child) {
        Ok(handle) => state.running = Some((child.id(), handle)),
        Err(why) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(why.into());
        }
    }
    // It may have been dropped between the decision to start it again and now.
    if state.stopping {
        let _ = child.kill();
    }
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(folder: &tempfile::TempDir, program: &str) -> Order {
        Order {
            kernels: None,
            program: program.into(),
            model: "m".into(),
            adapter: None,
            reader: None,
            socket: folder.path().join("socket"),
            log: folder.path().join("log"),
        }
    }

    #[test]
    fn a_worker_that_is_killed_is_started_again_and_dropping_ends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("worker");
        // Written by a process of its own: a descriptor that a fork of another test has inherited meanwhile
        // would make it "text file busy".
        let write = "printf '#!/bin/sh\\nexec sleep 60\\n' > \"$0\" && chmod 755 \"$0\"";
        let written = Command::new("/bin/sh").arg("-c").arg(write).arg(&script).status().expect("a shell");
        assert!(written.success());
        let worker = Worker::start(order(&folder, &script.to_string_lossy())).expect("starts");
        let first = worker.pid().expect("runs");
        worker.kill();
        let until = Instant::now() + Duration::from_secs(10);
        while worker.pid().is_none_or(|pid| pid == first) {
            assert!(Instant::now() < until, "it was not started again");
            std::thread::yield_now();
        }
        let second = worker.pid().expect("runs again");
        drop(worker);
        assert!(!std::path::Path::new(&format!("/proc/{second}")).exists(), "it was left behind");
    }

    #[test]
    fn a_worker_that_does_not_exist_is_an_error_with_its_cure() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Worker::start(order(&folder, "/nonexistent")).err().expect("refused").to_string();
        assert!(error.contains("`make engines` builds it"), "{error}");
    }
}
