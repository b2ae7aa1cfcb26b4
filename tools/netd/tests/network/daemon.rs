//! The daemon itself, in a network of its own.

use crate::namespace::Namespace;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Ends with this value; what it has set in the kernel stays.
pub(crate) struct Daemon {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Daemon {
    /// Start it with these configuration files and wait until it is ready.
    pub(crate) fn start(network: &Namespace, folder: &Path, configs: &[&str]) -> Self {
        let notify = folder.join("notify");
        let _ = std::fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).expect("a notify socket");
        let mut command = Command::new(env!("CARGO_BIN_EXE_aios-netd"));
        command.arg("--resolv-conf").arg(folder.join("resolv.conf")).env("NOTIFY_SOCKET", &notify);
        command.arg("--socket").arg(folder.join("socket")).arg("--state").arg(folder);
        command.arg("--settings").arg(folder.join("settings.toml"));
        for (number, text) in configs.iter().enumerate() {
            let file = folder.join(format!("net{number}.toml"));
            std::fs::write(&file, text).expect("writes");
            command.arg("--config").arg(file);
        }
        command.stderr(Stdio::piped());
        let mut child = network.run(|| command.spawn()).expect("the daemon starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (send, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut message = [0; 64];
        let length = socket.recv(&mut message).expect("the daemon says that it is ready");
        assert_eq!(&message[..length], b"READY=1");
        Self { child, lines }
    }

    /// End it as PID 1 does, and wait for that.
    pub(crate) fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Wait until it says something with these words; what it says before does not matter.
    pub(crate) fn says(&self, words: &str) {
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(40)) {
            if line.contains(words) {
                return;
            }
            said.push(line);
        }
        panic!("the daemon never said {words:?}, but {said:#?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
