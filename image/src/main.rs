//! `aios-image`: assembles the quick image.
//!
//! The quick image takes a ready kernel from the distribution's package, so that a checkout boots in
//! minutes; the production image is Buildroot's business (`buildroot-external/`). Both use the files
//! in `image/board`.

#![forbid(unsafe_code)]

mod cpio;
mod elf;
mod kernel;
mod models;
mod root;
mod tool;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};

/// Assemble the quick image of the appliance.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The checkout.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Fetch the models that come with the image into `target/models`.
    Models,
    /// Build kernel, initramfs, root and models into `target/image`.
    Build {
        /// Another text model than the one that comes with the image.
        #[arg(long)]
        model: Option<PathBuf>,
        /// Another folder for the result.
        #[arg(long)]
        out: Option<PathBuf>,
        /// One more program for `/usr/bin` of the image; may be given several times.
        #[arg(long)]
        program: Vec<PathBuf>,
    },
}

fn main() -> std::process::ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aios-image: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let target = cli.root.join("target");
    let cache = target.join("cache");
    match &cli.command {
        Verb::Models => models::fetch(&target.join("models"), &cache).map(|_| ()),
        Verb::Build { model, out, program } => {
            let out = out.clone().unwrap_or_else(|| target.join("image"));
            std::fs::create_dir_all(&out).with_context(|| format!("{} cannot be made", out.display()))?;
            let kernel = kernel::fetch(&cache)?;
            let models = models::fetch(&target.join("models"), &cache)?;
            step("kernel");
            tool::copy(&kernel.image, &out.join("vmlinuz"))?;
            step("models");
            models::image(&models, model.as_deref(), &out.join("models.erofs"), &cache)?;
            step("root");
            let programs = target.join("x86_64-unknown-linux-gnu/release");
            let engines = target.join("engines/x86_64-unknown-linux-gnu/release");
            let sources = root::Sources {
                board: &cli.root.join("image/board"),
                programs: &programs,
                engines: &engines,
                extra: program,
            };
            root::image(&sources, &kernel, &models, &out.join("root.erofs"))?;
            step("initramfs");
            root::initramfs(&sources, &kernel, &out.join("initramfs.cpio"))?;
            report(&out)
        }
    }
}

fn step(what: &str) {
    println!("image: {what}");
}

fn report(out: &Path) -> Result<()> {
    println!("image: ready in {}", out.display());
    for name in ["vmlinuz", "initramfs.cpio", "root.erofs", "models.erofs"] {
        let bytes = std::fs::metadata(out.join(name)).with_context(|| format!("{name} was not built"))?.len();
        println!("image:   {name:<16} {:>7.1} MiB", bytes as f64 / f64::from(1 << 20));
    }
    Ok(())
}
