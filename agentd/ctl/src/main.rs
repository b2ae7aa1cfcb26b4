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
//! | [`args`], [`family`] | the tool's schema as `key=value`, and as a command of its own |
//! | [`output`], [`value`], [`prompt`] | the terminal |

#![forbid(unsafe_code)]

mod api;
mod args;
mod cli;
mod commands;
mod config;
mod error;
mod family;
mod output;
mod pin;
mod prompt;
mod proof;
mod resolve;
mod sse;
mod value;
mod witness;

use clap_complete::CompleteEnv;
use cli::Cli;
use error::{Exit, Failure};
use output::Output;
use std::ffi::OsString;
use std::process::ExitCode;

/// The variable with which a shell asks for completions.
const COMPLETE: &str = "COMPLETE";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let context = family::context(&words);
    CompleteEnv::with_factory(|| family::grammar(&family::known(context.as_deref())))
        .var(COMPLETE)
        .complete();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::failed(format!("no event loop can be made: {error}"));
            return report(&Output::new(false), &failure);
        }
    };
    let cli = runtime.block_on(parse(&words, context.as_deref()));
    let output = Output::new(cli.json);
    match runtime.block_on(commands::run(cli, &output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&output, &failure),
    }
}

/// Read the command line; one that is not understood may mean tools that were not seen yet.
async fn parse(words: &[OsString], context: Option<&str>) -> Cli {
    let parse = || family::parse(&family::known(context), words);
    let refused = match parse() {
        Ok(cli) => return cli,
        Err(error) => error,
    };
    if family::may_be_out_of_date(&refused, words) && commands::refresh(context).await.is_ok() {
        return parse().unwrap_or_else(|error| error.exit());
    }
    refused.exit()
}

fn report(output: &Output, failure: &Failure) -> ExitCode {
    // A reader that has gone (`aiosctl logs | head`) wanted no more: that is no failure to talk about.
    if output.reader_has_gone() {
        return ExitCode::from(Exit::Failed as u8);
    }
    output.failure(failure);
    ExitCode::from(failure.exit as u8)
}
