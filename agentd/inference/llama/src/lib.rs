//! Engine worker: GGUF text models with llama.cpp.
//!
//! It is built once for each instruction set and each interface to graphics processors ([`kernels`]): the programs differ in what
//! they were linked with, not in what they do. The one that inferd starts tries them all and becomes the best of them.

#![forbid(unsafe_code)]

mod gpu;
pub mod kernels;
mod lane;
mod model;
mod pace;
mod prompt;
mod trial;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// The kernels for x86-64-v3 (AVX2, FMA, F16C, BMI2), with which the others are compared.
pub const BASE: &str = "base";

/// The command line.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    engine: aios_engine::Options,
    /// Use the kernels that this program was linked with, found to be so; without it all are tried first
    #[arg(long, value_name = "FOUND")]
    kernels: Option<String>,
    /// Remember in this file which kernels are best, and do not try them again while nothing has changed
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// Try the kernels with this model, in the place of one that takes long to load
    #[arg(long, value_name = "FILE")]
    try_with: Option<PathBuf>,
    /// Take at most so many MiB of each graphics processor's memory; without it all but a sixteenth of what is free
    #[arg(long, value_name = "MIB")]
    gpu_memory: Option<u64>,
    /// Compute a little, say how fast it went, and end
    #[arg(long, conflicts_with = "kernels")]
    trial: bool,
}

/// The worker with these kernels.
pub fn main(kernels: &str) -> ExitCode {
    let options = Options::parse();
    if options.trial {
        return match trial::run(&options.engine, kernels, options.gpu_memory) {
            Ok(result) => {
                println!("{result}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let (mut refused, most) = (None, options.gpu_memory);
    let found = match options.kernels {
        Some(found) => found,
        None => match kernels::choose(
            options.try_with.as_deref().unwrap_or(&options.engine.model),
            options.remember.as_deref(),
            options.gpu_memory,
        ) {
            // Becoming another program returns only when that failed.
            Ok(best) => match best.become_it() {
                Ok(found) => found,
                Err(why) => {
                    eprintln!("<4>{why}");
                    kernels.to_owned()
                }
            },
            Err(why) => {
                refused = Some(why);
                kernels.to_owned()
            }
        },
    };
    let load = move |options: &aios_engine::Options, progress| match refused {
        Some(why) => Err(why),
        None => model::Llama::load(options, most, progress),
    };
    match aios_engine::run(&format!("llama.cpp ({found})"), options.engine, load) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{error:#}");
            ExitCode::FAILURE
        }
    }
}
