//! The service's program, compiled for the measurement.

use crate::peer::run;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = include_str!("probe.c");
/// No library, nothing in front of the first instruction, one page.
const FLAGS: &str = "-O2 -std=gnu11 -static -nostdlib -ffreestanding -fno-stack-protector \
                     -fno-tree-loop-distribute-patterns -Wl,-z,noseparate-code";

pub(super) struct Probe(tempfile::TempDir);

impl Probe {
    pub(super) fn build() -> Result<Self> {
        let probe = Self(tempfile::tempdir()?);
        let source = probe.0.path().join("probe.c");
        std::fs::write(&source, SOURCE)?;
        run(Command::new("cc").args(FLAGS.split_whitespace()).arg("-o").arg(probe.path()).arg(source))?;
        Ok(probe)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("probe")
    }
}
