//! `aios-gguf`: looks at GGUF files, and writes ones of a shape.

#![forbid(unsafe_code)]

use aios_gguf::shape::{self, Shape, Vocabulary};
use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand, ValueEnum};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

/// Look at GGUF files, and write ones of a shape
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a file's structure and say what it is
    Check {
        /// The file
        file: PathBuf,
    },
    /// Write a model of a shape with random weights: its loading, memory and speed are real, its words are not
    Shape {
        /// Which one
        shape: Known,
        /// A text model whose vocabulary it gets
        #[arg(long)]
        vocabulary: PathBuf,
        /// Seed of the weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write it here
        out: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    /// Mistral 7B: 4.2 GB
    #[value(name = "7b")]
    Seven,
    /// A few million parameters, for tests
    Small,
}

fn main() -> Result<()> {
    match Options::parse().what {
        What::Check { file } => {
            let found = aios_gguf::check(&file)?;
            println!(
                "{}: {} ({}), {:.0} million parameters, {} tokens of context, {} bytes",
                file.display(),
                found.name,
                found.architecture,
                found.parameters as f64 / 1e6,
                found.context,
                found.bytes
            );
            Ok(())
        }
        What::Shape { shape, vocabulary, seed, out } => write(shape, &vocabulary, seed, &out),
    }
}

fn write(known: Known, vocabulary: &Path, seed: u64, out: &Path) -> Result<()> {
    let source = File::open(vocabulary).with_context(|| vocabulary.display().to_string())?;
    let length = source.metadata()?.len();
    let found = Vocabulary::of(BufReader::new(source), length)
        .map_err(|e| anyhow!("{}: {e}", vocabulary.display()))?;
    let (shape, name) = match known {
        Known::Seven => (Shape::SEVEN, "7B-shaped, random weights"),
        Known::Small => (Shape::SMALL, "small shape, random weights"),
    };
    let part = out.with_extension("part");
    let file = File::create(&part).with_context(|| part.display().to_string())?;
    let mut percent = 0;
    shape::write(&shape, &found, name, seed, &mut BufWriter::new(file), &mut |done, all| {
        let now = done * 10 / all.max(1);
        if now > percent {
            percent = now;
            eprintln!("{}: {} %", out.display(), now * 10);
        }
    })?;
    std::fs::rename(&part, out)?;
    Ok(())
}
