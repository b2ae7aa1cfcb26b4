//! The QEMU Machine Protocol (QEMU: docs/interop/qmp-spec), as much of it as the hands of a person at the machine need.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to QEMU's control socket.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

/// QEMU answers at once or it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

impl Qmp {
    /// Connect and leave negotiation mode.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("QEMU's control socket {} cannot be reached", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.receive()?;
        if greeting.get("QMP").is_none() {
            bail!("{} greets with {greeting}, which is not QEMU's protocol", path.display());
        }
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Press the power button (ACPI).
    pub fn power_button(&mut self) -> Result<()> {
        self.execute("system_powerdown").map(|_| ())
    }

    /// Press the reset button.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset").map(|_| ())
    }

    /// Halt the virtual processors.
    pub fn pause(&mut self) -> Result<()> {
        self.execute("stop").map(|_| ())
    }

    /// Let them go on.
    pub fn resume(&mut self) -> Result<()> {
        self.execute("cont").map(|_| ())
    }

    /// Plug a stick in, which holds what is in this file; nothing is written to it.
    pub fn plug_in(&mut self, name: &str, image: &Path) -> Result<()> {
        let file = json!({ "driver": "file", "filename": image });
        let disk = json!({ "driver": "raw", "node-name": name, "read-only": true, "file": file });
        self.execute_with("blockdev-add", &disk)?;
        let stick = json!({ "driver": "usb-storage", "id": name, "drive": name, "removable": true });
        self.execute_with("device_add", &stick).map(|_| ())
    }

    /// Pull a stick out.
    pub fn pull_out(&mut self, name: &str) -> Result<()> {
        self.execute_with("device_del", &json!({ "id": name })).map(|_| ())
    }

    /// Run one command without arguments and wait for its answer; events in between are skipped.
    pub fn execute(&mut self, command: &str) -> Result<Value> {
        self.execute_with(command, &json!({}))
    }

    fn execute_with(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let mut line = serde_json::to_vec(&json!({ "execute": command, "arguments": arguments }))?;
        line.push(b'\n');
        self.reader
            .get_mut()
            .write_all(&line)
            .with_context(|| format!("{command} cannot be sent to QEMU"))?;
        loop {
            let mut answer = self.receive()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {}", error["desc"].as_str().unwrap_or("no reason given"));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("QEMU does not answer")? == 0 {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU said {line:?}, which is not JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A QEMU that says these lines, one for each line that it hears after its greeting.
    fn scripted(lines: &'static [&'static str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).expect("binds");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut heard = BufReader::new(stream.try_clone().expect("clones")).lines();
            stream.write_all(b"{\"QMP\": {}}\n").expect("greets");
            for line in lines {
                if heard.next().is_none() {
                    break;
                }
                let _ = stream.write_all(line.as_bytes());
            }
        });
        (folder, path)
    }

    #[test]
    fn events_before_the_answer_are_skipped() {
        let (_folder, path) =
            scripted(&["{\"return\": {}}\n", "{\"event\": \"POWERDOWN\"}\n{\"return\": {\"a\": 1}}\n"]);
        let mut qmp = Qmp::connect(&path).expect("connects");
        assert_eq!(qmp.execute("system_powerdown").expect("answers"), json!({"a": 1}));
    }

    #[test]
    fn a_refusal_says_why() {
        let (_folder, path) = scripted(&["{\"return\": {}}\n", "{\"error\": {\"desc\": \"not now\"}}\n"]);
        let error = Qmp::connect(&path).expect("connects").execute("stop").expect_err("refused");
        assert_eq!(error.to_string(), "QEMU refused stop: not now");
    }

    #[test]
    fn a_socket_that_closes_is_an_error_and_not_a_hang() {
        let (_folder, path) = scripted(&["{\"return\": {}}\n"]);
        let error = Qmp::connect(&path).expect("connects").execute("stop").expect_err("closed");
        // Which of these it is depends on what the kernel had delivered when the socket went.
        let words = ["QEMU closed", "cannot be sent to QEMU", "QEMU does not answer"];
        assert!(words.iter().any(|words| error.to_string().contains(words)), "{error:#}");
    }
}
