//! Engine workers beside QEMU: started, and started again when they die.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a worker does; its name is that of the guest's virtio port.
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
pub struct Worker {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pid: Option<Pid>,
    stopping: bool,
}

impl Worker {
    /// Start a worker that listens on `socket`.
    pub fn start(program: PathBuf, model: PathBuf, socket: PathBuf, log: &Path) -> Result<Self> {
        let log = std::fs::File::create(log)?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let (first, started) = std::sync::mpsc::sync_channel(1);
        // The thread owns the child, so that the parent-death signal fits the worker's life.
        std::thread::spawn(move || {
            let mut pause = Duration::ZERO;
            loop {
                let _ = std::fs::remove_file(&socket);
                let child = spawn(&program, &model, &socket, &log);
                let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if guard.stopping {
                    break;
                }
                let mut child = match child {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = first.try_send(Err(error));
                        break;
                    }
                };
                guard.pid = Pid::from_raw(child.id().cast_signed());
                drop(guard);
                let _ = first.try_send(Ok(()));
                let begun = std::time::Instant::now();
                let _ = child.wait();
                let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                guard.pid = None;
                if guard.stopping {
                    break;
                }
                drop(guard);
                // At once the first time; slower while it keeps dying.
                pause = if begun.elapsed() > Duration::from_secs(10) {
                    Duration::ZERO
                } else {
                    (pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(10))
                };
                std::thread::sleep(pause);
            }
        });
        started.recv().context("the worker's keeper ended")??;
        Ok(Self { state })
    }

    /// The worker's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pid.map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopping = true;
        if let Some(pid) = state.pid {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn spawn(program: &Path, model: &Path, socket: &Path, log: &std::fs::File) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .arg("--listen")
        .arg(socket)
        .arg("--model")
        .arg(model)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    crate::sys::die_with_parent(&mut command, 5).spawn().with_context(|| {
        format!("the engine worker {} cannot be started; `make engines` builds it", program.display())
    })
}
