//! What the whole-machine tests share: a booted appliance and `aiosctl` as its only client.

#![forbid(unsafe_code)]

use aios_qemu::{Machine, MachineConfig, Ready};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long a boot may take under emulation on a busy machine.
pub const BOOT: Duration = Duration::from_secs(480);
/// How long anything else may take; all of it is awaited, so this is only reached when it fails.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// The administrator's password in the tests.
pub const PASSWORD: &str = "correct horse battery";

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// A program that was built for the image's machine.
pub fn program(name: &str) -> PathBuf {
    // PID 1 has a profile of its own.
    let profile = if name == "aios-init" { "pid1" } else { "release" };
    root().join("target/x86_64-unknown-linux-gnu").join(profile).join(name)
}

/// The image under test: the one that `make test-machine` built, or the folder that `AIOS_TEST_IMAGE` names.
pub fn image() -> PathBuf {
    std::env::var_os("AIOS_TEST_IMAGE").map_or_else(|| root().join("target/test-image"), PathBuf::from)
}

/// A booted appliance with a folder of its own, and a command line that belongs to it.
pub struct Appliance {
    /// The machine; taken out when it is switched off.
    pub machine: Machine,
    /// What it said when its console was ready.
    pub ready: Ready,
    folder: tempfile::TempDir,
}

impl Appliance {
    /// Boot with an empty data disk that holds these files, after changing the configuration.
    pub fn boot(files: &[(&str, &[u8])], change: impl FnOnce(&mut MachineConfig)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("aios-test-").tempdir()?;
        let mut config = MachineConfig::new(&root(), folder.path());
        config.image = image();
        aios_qemu::disk::format(&config.data)?;
        if !files.is_empty() {
            aios_qemu::disk::put(&config.data, files)?;
        }
        change(&mut config);
        let mut machine = Machine::start(config)?;
        let ready = machine.wait_ready(BOOT)?;
        Ok(Self { machine, ready, folder })
    }

    /// Boot and claim.
    pub fn claimed() -> Result<Self> {
        let appliance = Self::boot(&[], |_| {})?;
        appliance.claim()?;
        Ok(appliance)
    }

    /// Claim the machine as `admin`.
    pub fn claim(&self) -> Result<()> {
        let code = self.ready.claim_code().context("the machine is claimed already")?;
        let output = self.claim_with(code, &self.ready.fingerprint)?;
        ensure!(output.status.success(), "the claim failed: {}", said(&output));
        Ok(())
    }

    /// Try to claim the machine as `admin`, with this code and from the machine with this certificate.
    pub fn claim_with(&self, code: &str, fingerprint: &str) -> Result<Output> {
        let url = self.machine.console_url();
        let who = ["--user", "admin", "--password-stdin", "--fingerprint", fingerprint];
        self.ctl_with_input(&[&["claim", &url, "--code", code], &who[..]].concat(), PASSWORD)
    }

    /// Pull the plug, start it again, and wait for its console.
    pub fn cut_power(self) -> Result<Self> {
        let mut machine = self.machine.restart_same_disks()?;
        let ready = machine.wait_ready(BOOT)?;
        Ok(Self { machine, ready, folder: self.folder })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("aiosctl"));
        command.env("XDG_CONFIG_HOME", self.folder.path()).env("XDG_CACHE_HOME", self.folder.path());
        command.args(arguments);
        command
    }

    /// Run `aiosctl` to its end.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).stdin(Stdio::null()).output().context("aiosctl cannot be started")
    }

    /// The same, with a text on its standard input.
    pub fn ctl_with_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        // It may have ended without reading it.
        match writeln!(stdin, "{input}") {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(e.into()),
            _ => drop(stdin),
        }
        Ok(child.wait_with_output()?)
    }

    /// Run a script beside the tests with their own Python (`scripts/deps.sh test`). It finds the machine's address, its
    /// certificate's fingerprint and a token in its environment.
    pub fn python(&self, script: &str) -> Result<Output> {
        let python = root().join("target/python/bin/python");
        ensure!(python.exists(), "{} is missing; run scripts/deps.sh test", python.display());
        let config = std::fs::read_to_string(self.folder.path().join("aios/config.toml"))?;
        let token = config.lines().find_map(|line| line.strip_prefix("token = \"")?.strip_suffix('"'));
        Command::new(python)
            .arg(root().join("tests/tests/machine").join(script))
            .env("AIOS_URL", self.machine.console_url())
            .env("AIOS_FINGERPRINT", &self.ready.fingerprint)
            .env("AIOS_TOKEN", token.context("nobody is logged in")?)
            .output()
            .context("Python cannot be started")
    }

    /// Run `aiosctl --json` and take its one JSON document.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.ctl(&[&["--json"], arguments].concat())?;
        ensure!(output.status.success(), "aiosctl {} failed: {}", arguments.join(" "), said(&output));
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("aiosctl {} printed no JSON: {}", arguments.join(" "), said(&output)))
    }

    /// Start `aiosctl` and read what it prints line by line.
    pub fn follow(&self, arguments: &[&str]) -> Result<Following> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("aiosctl cannot be started")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        // Who waits for a line that never comes is woken by the end of the process.
        let (alive, gone) = std::sync::mpsc::channel::<()>();
        let process = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&child),
            rustix::process::PidfdFlags::empty(),
        )?;
        std::thread::spawn(move || {
            if gone.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
            }
        });
        Ok(Following { child, output, _alive: alive })
    }

    /// One service as `aiosctl services list` shows it.
    pub fn service(&self, name: &str) -> Result<Value> {
        let list = self.json(&["services", "list"])?;
        let services = list["services"].as_array().context("no list of services")?;
        let found = services.iter().find(|s| s["name"] == name);
        found.cloned().with_context(|| format!("there is no service {name}"))
    }

    /// Kill a daemon with SIGKILL through the appliance's own tool, and wait until init says on the
    /// serial line that its successor is ready. Returns the successor's process id.
    pub fn kill_daemon(&self, name: &str) -> Result<u64> {
        let before = self.service(name)?["pid"].as_u64().with_context(|| format!("{name} does not run"))?;
        let mark = self.machine.serial().mark();
        // The answer is lost when it was the console or toold that died; what counts is what init says.
        self.ctl(&[
            "tools",
            "call",
            "process.kill",
            &format!("pid={before}"),
            "signal=kill",
            "--why",
            "test",
        ])?;
        self.wait_for_service(name, mark)?;
        let after =
            self.service(name)?["pid"].as_u64().with_context(|| format!("{name} did not come back"))?;
        ensure!(after != before, "{name} was not killed: process {before} still runs");
        Ok(after)
    }

    /// Wait until init says that a service is ready, from a place on the serial line.
    pub fn wait_for_service(&self, name: &str, mut mark: usize) -> Result<()> {
        let wanted = format!("aios: {name} is ready");
        self.machine
            .serial()
            .wait_for(&mut mark, PATIENCE, |line| line.contains(&wanted).then_some(()))
            .with_context(|| format!("{name} did not become ready again"))
    }

    /// Wait until the language model is ready, as the overview's stream would show it.
    pub fn wait_for_model(&self) -> Result<()> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let status = self.json(&["status"])?;
            if status.pointer("/inference/Ok/tiers/0/engine/state").is_some_and(|s| s == "ready")
                && status.pointer("/inference/Ok/embed/state").is_some_and(|s| s == "ready")
            {
                return Ok(());
            }
            if std::time::Instant::now() > until {
                bail!("the model did not become ready: {status}");
            }
        }
    }
}

/// A running `aiosctl`; after [`PATIENCE`] it is ended.
pub struct Following {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    _alive: std::sync::mpsc::Sender<()>,
}

impl Following {
    /// Wait for the first line for which `wanted` holds.
    pub fn wait_for(&mut self, mut wanted: impl FnMut(&str) -> bool) -> Result<String> {
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(
                self.output.read_line(&mut line)? > 0,
                "aiosctl ended before it printed what was awaited"
            );
            if wanted(&line) {
                return Ok(line);
            }
        }
    }

    /// Wait for as many bytes of output as were asked for.
    pub fn wait_for_bytes(&mut self, count: usize) -> Result<String> {
        let mut text = Vec::new();
        while text.len() < count {
            let part = self.output.fill_buf()?;
            ensure!(!part.is_empty(), "aiosctl ended after {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(part);
            let length = part.len();
            self.output.consume(length);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// End it: enough was read.
    pub fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Wait for the end; everything that it still printed, both channels together, and its exit status.
    pub fn finish(mut self) -> Result<(String, Option<i32>)> {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest)?;
        let output = self.child.wait_with_output()?;
        Ok((rest + &String::from_utf8_lossy(&output.stderr), output.status.code()))
    }
}

/// What a program said on both channels.
pub fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)]
        .concat()
        .trim()
        .to_owned()
}
