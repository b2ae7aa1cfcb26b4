//! A tool call through the broker against a bare exchange of packets.

use crate::report::{Bar, Row, median};
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::tool::{ToolReply, ToolRequest, Tools};
use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Exchanges of each kind in a round; the first ones only warm up.
const CALLS: usize = 400;
const WARM_UP: usize = 100;
const ROUNDS: usize = 5;
/// About what a call and its answer weigh in bytes.
const ASKED: usize = 64;
const ANSWERED: usize = 256;

/// A daemon under measurement; ended with it.
struct Daemon(Child);

impl Daemon {
    fn start(program: &Path, arguments: &[&OsStr]) -> Result<Self> {
        let child = Command::new(program).args(arguments).stderr(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("{} cannot be started", program.display()))?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `ipc.read_call`: a read tool, authorised, run and audited on disk, against a ping-pong between two
/// threads over the same kind of socket; `ipc.read_call_vs_durable`: against the same ping-pong whose
/// answer comes after a record was appended and synced. `ipc.sandboxed_call`: a read tool that opens a file, in a
/// process of its own that can open nothing else, against the call that the broker answers itself.
pub(crate) async fn measure(programs: &Path, disk: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(disk)?;
    // The path of a socket must be short (unix(7)), wherever the checkout lies.
    let sockets = tempfile::tempdir()?;
    let socket = sockets.path().join("toold.sock");
    let program = programs.join("aios-toold");
    let (orders, data) = (sockets.path().join("workshop.sock"), folder.path().as_os_str());
    let _workshop =
        Daemon::start(&program, &["--be-workshop".as_ref(), "--socket".as_ref(), orders.as_os_str()])?;
    let broker = ["--socket".as_ref(), socket.as_os_str(), "--workshop".as_ref(), orders.as_os_str()];
    let _broker = Daemon::start(&program, &[&broker[..], &["--data".as_ref(), data]].concat())?;
    let client = Client::<Tools>::at(&socket);
    let ready = Duration::from_secs(10);
    let tool = tokio::time::timeout(ready, number_of(&client, "time.now")).await;
    let tool = tool.context("toold does not answer")??;
    let reader = number_of(&client, "fs.read").await?;
    while call(&client, reader, READ).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (mut ours, mut sandboxed) = (Vec::new(), Vec::new());
    let (mut bare, mut durable) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (tool, args, times) in [(tool, "{}", &mut ours), (reader, READ, &mut sandboxed)] {
            for number in 0..CALLS {
                let start = Instant::now();
                call(&client, tool, args).await?;
                if number >= WARM_UP {
                    times.push(micros(start));
                }
            }
        }
        bare.extend(ping_pong(None)?);
        durable.extend(ping_pong(Some(File::create(folder.path().join("records"))?))?);
    }
    let (what, ours) = ("read tool, audited on disk", median(ours));
    Ok(vec![
        Row::new("ipc.read_call", what, "µs", ours, "SEQPACKET ping-pong", median(bare), Bar::AtMost(2.5))?,
        Row::new(
            "ipc.read_call_vs_durable",
            what,
            "µs",
            ours,
            "same and fdatasync",
            median(durable),
            Bar::None,
        )?,
        Row::new(
            "ipc.sandboxed_call",
            "read a file, in a process of its own",
            "µs",
            median(sandboxed),
            "answered by the broker",
            ours,
            Bar::Within(1000.0),
        )?,
    ])
}

/// A file that is there everywhere.
const READ: &str = r#"{"path":"/etc/passwd"}"#;

async fn call(client: &Client<Tools>, tool: u16, args: &str) -> Result<()> {
    let body = ToolRequest::Call { tool, args: args.into(), dry_run: false };
    client.call(Meta::why("bench"), body).await?;
    Ok(())
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

async fn number_of(client: &Client<Tools>, name: &str) -> Result<u16> {
    loop {
        match client.call(Meta::why("bench"), ToolRequest::List).await {
            Ok(ToolReply::List(tools)) => {
                let tool = tools.iter().find(|t| t.name == name).map(|t| t.number);
                return tool.with_context(|| format!("toold has no tool {name}"));
            }
            Ok(_) => bail!("toold answered a list with something else"),
            // It is still starting; the socket's file is not there yet.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Times in µs of exchanges with a thread that, if there is a file, first appends to it and syncs it.
fn ping_pong(mut file: Option<File>) -> Result<Vec<f64>> {
    let (near, far): (OwnedFd, OwnedFd) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let echo = std::thread::spawn(move || -> Result<()> {
        let mut buffer = [0; ASKED];
        while recv(&far, &mut buffer, RecvFlags::empty())?.0 > 0 {
            if let Some(file) = &mut file {
                file.write_all(&[0; ANSWERED])?;
                file.sync_data()?;
            }
            send(&far, &[0; ANSWERED], SendFlags::empty())?;
        }
        Ok(())
    });
    let mut buffer = [0; ANSWERED];
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..CALLS {
        let start = Instant::now();
        send(&near, &[0; ASKED], SendFlags::empty())?;
        recv(&near, &mut buffer, RecvFlags::empty())?;
        if call >= WARM_UP {
            times.push(micros(start));
        }
    }
    drop(near);
    match echo.join() {
        Ok(done) => done.context("the ping-pong failed")?,
        Err(_) => bail!("the ping-pong panicked"),
    }
    Ok(times)
}
