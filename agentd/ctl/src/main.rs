//! `aiosctl`: the command line of the appliance. It is a client of the console's API and can do nothing
//! that the console's pages cannot; proofs of the audit log are made here, not there.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line's grammar |
//! | [`commands`] | one file a command |
//! | [`api`], [`sse`], [`resolve`], [`pin`] | the way to the machine |
//! | [`config`], [`witness`] | what is remembered between two commands |
//! | [`proof`] | the audit log, proved |
//! | [`args`] | `key=value` and the tool's schema |
//! | [`output`], [`value`], [`prompt`] | the terminal |

#![forbid(unsafe_code)]

mod api;
mod args;
mod cli;
mod commands;
mod config;
mod error;
mod output;
mod pin;
mod prompt;
mod proof;
mod resolve;
mod sse;
mod value;
mod witness;

use clap::Parser;
use error::{Exit, Failure};
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let output = Output::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return report(&output, &Failure::failed(format!("no event loop can be made: {error}")));
        }
    };
    match runtime.block_on(commands::run(cli, &output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&output, &failure),
    }
}

fn report(output: &Output, failure: &Failure) -> ExitCode {
    // A reader that has gone (`aiosctl logs | head`) wanted no more: that is no failure to talk about.
    if output.reader_has_gone() {
        return ExitCode::from(Exit::Failed as u8);
    }
    output.failure(failure);
    ExitCode::from(failure.exit as u8)
}
