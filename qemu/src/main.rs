//! `aios-qemu`: boots the appliance for a person.

#![forbid(unsafe_code)]

mod keeper;

use aios_qemu::{Accel, MachineConfig, accel, disk};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Boot the appliance in QEMU.
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
    /// Boot, print how to log in, and stay until Ctrl-C (or `aios-qemu stop`).
    Run(Run),
    /// Switch the machine off that `run` started.
    Stop,
    /// Say whether KVM works here.
    Probe,
}

#[derive(Args)]
struct Run {
    /// Port on 127.0.0.1 for the console.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Memory in MiB.
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Number of processors.
    #[arg(long, default_value_t = 2)]
    processors: u32,
    /// Forget everything: start with an empty data disk.
    #[arg(long)]
    fresh: bool,
    /// Another text model for the engine worker beside QEMU.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Leave the machine running and come back as soon as its console is ready.
    #[arg(long)]
    detach: bool,
    /// Given by `--detach` to the process that stays.
    #[arg(long, hide = true)]
    stays: bool,
}

fn main() -> std::process::ExitCode {
    match run(Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aios-qemu: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let run = cli.root.join("target/run");
    match cli.command {
        Verb::Run(args) if args.detach && !args.stays => keeper::detach(),
        Verb::Run(args) => {
            std::fs::create_dir_all(&run)?;
            let lock = keeper::Lock::take(&run)?;
            let mut config = MachineConfig::new(&cli.root, &run);
            config.port = Some(args.port);
            config.memory = args.memory;
            config.processors = args.processors;
            config.text_model = args.model;
            config.reboots = true;
            if args.fresh || !config.data.exists() {
                disk::format(&config.data)?;
            }
            keeper::keep(config, args.stays, lock)
        }
        Verb::Stop => keeper::stop(&run),
        Verb::Probe => {
            let probe = accel::probe(&run)?;
            match probe.accel {
                Accel::Kvm => println!("KVM works ({}): the model runs inside the machine.", probe.why),
                Accel::Tcg => {
                    println!("KVM does not work: {}.", probe.why);
                    println!("The machine is emulated, and the model runs beside QEMU.");
                }
            }
            Ok(())
        }
    }
}
