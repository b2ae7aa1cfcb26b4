//! A tool call through the broker against a bare exchange of packets.

use crate::report::{Bar, Row, median};
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::tool::{ToolReply, ToolRequest, Tools};
use anyhow::{Context, Result, bail};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Calls a round, after as many to warm up.
const CALLS: u32 = 300;
const ROUNDS: usize = 7;

struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `ipc.read_call`: a read tool, authorised, run and durably audited, against a ping-pong of 64 and
/// 256 bytes between two threads over the same kind of socket.
pub(crate) async fn measure(programs: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("toold.sock");
    let program = programs.join("aios-toold");
    let _broker = Broker(
        Command::new(&program)
            .args(["--socket".as_ref(), socket.as_os_str(), "--data".as_ref(), folder.path().as_os_str()])
            .stderr(std::process::Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?,
    );
    let client = Client::<Tools>::at(&socket);
    let tool = tokio::time::timeout(Duration::from_secs(10), number_of(&client, "time.now"))
        .await
        .context("toold does not answer")??;

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for measured in [false, true] {
            let start = Instant::now();
            for _ in 0..CALLS {
                let body = ToolRequest::Call { tool, args: "{}".into(), dry_run: false };
                client.call(Meta::why("bench"), body).await?;
            }
            if measured {
                ours.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
            }
        }
        bare.push(ping_pong()?);
    }
    Ok(vec![Row::new(
        "ipc.read_call",
        "read tool: authorised, run, audited durably",
        "µs",
        median(&mut ours),
        "raw SEQPACKET ping-pong",
        median(&mut bare),
        Bar::None,
    )?])
}

async fn number_of(client: &Client<Tools>, name: &str) -> Result<u16> {
    loop {
        match client.call(Meta::why("bench"), ToolRequest::List).await {
            Ok(ToolReply::List(tools)) => {
                return tools
                    .iter()
                    .find(|t| t.name == name)
                    .map(|t| t.number)
                    .with_context(|| format!("toold has no tool {name}"));
            }
            Ok(_) => bail!("toold answered a list with something else"),
            // It is still starting; the socket's file is not there yet.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn ping_pong() -> Result<f64> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
    let (a, b): (OwnedFd, OwnedFd) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, _)) = recv(&b, &mut buffer, RecvFlags::empty()) {
            if length == 0 || send(&b, &[0; 256], SendFlags::empty()).is_err() {
                break;
            }
        }
    });
    let mut buffer = [0; 512];
    let mut micros = 0.0;
    for measured in [false, true] {
        let start = Instant::now();
        for _ in 0..CALLS * 10 {
            send(&a, &[0; 64], SendFlags::empty())?;
            recv(&a, &mut buffer, RecvFlags::empty())?;
        }
        if measured {
            micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS * 10);
        }
    }
    drop(a);
    let _ = echo.join();
    Ok(micros)
}
