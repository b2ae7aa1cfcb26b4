//! `aios-qemu`: boots the appliance for a person.

#![forbid(unsafe_code)]

use aios_qemu::accel::{self, Accel};
use aios_qemu::{Claim, Machine, MachineConfig, disk};
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    Run {
        /// Port on 127.0.0.1 for the console.
        #[arg(long, default_value_t = 8443)]
        port: u16,
        /// Memory in MiB.
        #[arg(long, default_value_t = 1024)]
        memory: u32,
        /// Forget everything: start with an empty data disk.
        #[arg(long)]
        fresh: bool,
        /// Another text model for the worker beside QEMU.
        #[arg(long)]
        model: Option<PathBuf>,
    },
    /// Switch the machine off that `run` started.
    Stop,
    /// Say whether KVM works here.
    Probe,
}

const BOOT_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(45);

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let run = cli.root.join("target/run");
    let result = match cli.command {
        Verb::Run { port, memory, fresh, model } => {
            let mut config = MachineConfig::new(&cli.root, &run);
            config.port = Some(port);
            config.memory = memory;
            config.text_model = model;
            start(config, fresh)
        }
        Verb::Stop => stop(&run),
        Verb::Probe => accel::probe(&run).map(|accel| {
            println!("{}", match accel {
                Accel::Kvm => "KVM works: guests run at the processor's own speed.",
                Accel::Tcg => "KVM does not run a guest here: the machine is emulated, engine workers run beside it.",
            });
        }),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aios-qemu: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn start(config: MachineConfig, fresh: bool) -> Result<()> {
    std::fs::create_dir_all(&config.run)?;
    let lock = lock(&config.run)?;
    if fresh || !config.data.exists() {
        disk::format(&config.data, &[])?;
    }
    let run = config.run.clone();
    print!("Booting the appliance ");
    std::io::stdout().flush()?;
    let mut machine = Machine::start(config)?;
    let ready = machine.wait_ready(BOOT_LIMIT)?;
    println!("… ready.\n");
    println!("  Console       {}/", machine.url());
    println!("  Certificate   SHA-256 {}", ready.fingerprint);
    match &ready.claim {
        Claim::Code(code) => println!("  Claim code    {code}   (once, for the first person)"),
        Claim::Claimed => println!("  Claimed       log in with your name and password"),
    }
    println!(
        "  Model         {}",
        match machine.accel() {
            Accel::Kvm => "runs inside the machine (KVM works here)",
            Accel::Tcg =>
                "runs beside QEMU, because KVM does not run a guest here and emulation is too slow for it",
        }
    );
    println!("  Serial log    {}\n", run.join("serial.log").display());
    println!("Open the console in a browser, compare the certificate, and claim the machine.");
    println!("On the command line: target/x86_64-unknown-linux-gnu/release/aiosctl login {}", machine.url());
    println!("Ctrl-C or `make stop` switches the machine off.");

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    // The machine may also end by itself: somebody switched it off from within.
    let serial = machine.serial().clone();
    std::thread::spawn(move || {
        let _ = serial.wait_for::<()>(usize::MAX, Duration::from_secs(u64::MAX / 4), |_| None);
        handle.close();
    });
    if signals.forever().next().is_some() {
        println!("\nSwitching the machine off …");
        machine.press_power_button()?;
        if !machine.wait_exit(STOP_LIMIT)? {
            eprintln!("It did not switch itself off within {} s; pulling the plug.", STOP_LIMIT.as_secs());
        }
    }
    drop(machine);
    drop(lock);
    println!("The machine is off. `make run` starts it again with everything it remembers.");
    Ok(())
}

/// One machine for one run folder; the file holds the keeper's process id.
fn lock(run: &Path) -> Result<std::fs::File> {
    let path = run.join("aios-qemu.pid");
    let mut file = std::fs::File::options().create(true).write(true).truncate(false).open(&path)?;
    if file.try_lock().is_err() {
        bail!("the machine runs already; `make stop` switches it off");
    }
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

fn stop(run: &Path) -> Result<()> {
    let path = run.join("aios-qemu.pid");
    let free = |file: &std::fs::File| file.try_lock().is_ok();
    let Ok(file) = std::fs::File::open(&path) else {
        println!("No machine runs.");
        return Ok(());
    };
    if free(&file) {
        println!("No machine runs.");
        return Ok(());
    }
    let pid = std::fs::read_to_string(&path)?;
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.with_context(|| format!("{} holds no process id", path.display()))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    println!("Switching the machine off …");
    file.lock()?;
    println!("The machine is off.");
    Ok(())
}
