//! llama.cpp's own server, as a peer to measure against and as a true server to ask.

use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to load a model; reached only when it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that runs; it ends with this.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Start it with room for four answers at once, and wait until it is ready.
    pub(crate) fn start(program: &Path, model: &Path, threads: &str) -> Result<Self> {
        // Free a moment ago; nobody else is likely to take it in between.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(program)
            .arg("--model")
            .arg(model)
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--threads", threads])
            .args(["--ctx-size", "8192", "--parallel", "4", "--metrics", "--slots"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let mut server = Self { child, port };
        let begin = Instant::now();
        while !server.get("/health").is_ok_and(|text| text.contains("ok")) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended before it was ready: {status}", program.display());
            }
            ensure!(begin.elapsed() < PATIENCE, "{} does not become ready", program.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// A page of it.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        self.exchange("GET", path, "")
    }

    /// The body of its answer to a JSON document.
    pub(crate) fn post(&self, path: &str, document: &serde_json::Value) -> Result<serde_json::Value> {
        let text = self.exchange("POST", path, &document.to_string())?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).with_context(|| format!("no JSON document: {text}"))
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().next().unwrap_or_default();
        ensure!(line.split(' ').nth(1) == Some("200"), "{path}: {text}");
        Ok(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
