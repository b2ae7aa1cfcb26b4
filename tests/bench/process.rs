//! Processes that are measured.

use anyhow::{Context, Result};
use std::process::{Child, Command, Stdio};

/// A process under measurement; ended with this.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Start it; what it complains of is nobody's business.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stderr(Stdio::null()).spawn();
        let program = || command.get_program().to_string_lossy().into_owned();
        Ok(Self(child.with_context(|| format!("{} cannot be started", program()))?))
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The number behind a name in a file of `/proc`.
pub(crate) fn field(path: &str, name: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("{path} has no {name}"))
}
