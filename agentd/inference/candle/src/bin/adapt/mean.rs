//! `aios-adapt mean`: what lies between two files of `aios-adapt choice`.

use aios_engine_candle::adapt::{Head, Learned};
use aios_engine_candle::encoder::{Adapter, Encoder, Files};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The sentence encoder: a folder
    #[arg(long)]
    model: PathBuf,
    /// What was learned first
    #[arg(long)]
    from: PathBuf,
    /// What was learned from it
    #[arg(long)]
    to: PathBuf,
    /// How far to go towards the second: 0 is the first, 1 the second
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Write what lies there
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn write(options: &Options) -> Result<()> {
    let files = Files::read(&options.model, &|_| {}).map_err(|e| anyhow!(e))?;
    let encoder = Encoder::of(&files.config, &files.tensors)?;
    let (from, to) = (learned(&encoder, &options.from)?, learned(&encoder, &options.to)?);
    from.towards(&to, options.share)?.write(&encoder, &options.out)?;
    Ok(())
}

/// The adapter and the layer in a file.
pub(super) fn learned(encoder: &Encoder, path: &Path) -> Result<Learned> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let known = Adapter::read(encoder, &bytes).map_err(|e| anyhow!("{}: {e}", path.display()))?;
    let (_, adapter) = known.with_context(|| format!("{}: there is no adapter", path.display()))?;
    Ok(Learned { adapter, head: Head::read(&bytes)? })
}
