//! A tool call through the broker against a bare exchange of packets.

use crate::process::Running;
use crate::report::{Bar, Row, median};
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::tool::{ToolReply, ToolRequest, Tools};
use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Exchanges of each kind in a round; the first ones only warm up.
const CALLS: usize = 400;
const WARM_UP: usize = 100;
const ROUNDS: usize = 5;
/// About what a call and its answer weigh in bytes.
const ASKED: usize = 64;
const ANSWERED: usize = 256;

/// Every row is measured beside its peer, round by round. The peers are those of `aios-peers`, which `make bench` builds.
///
/// Whether two processes that talk to each other share a CPU is the scheduler's choice, and makes more of a difference than
/// either of them: to wake an idle CPU takes several times as long as the whole exchange on one. So each exchange is measured with
/// both ends on one CPU, where nothing hides the work, ours and the peer's, and `ipc.read_call_apart` with an end on each of two.
/// What several processes do beside each other has all CPUs.
///
/// `ipc.read_call`: a read tool, authorised, run and audited, against a ping-pong between two processes over the same kind of
/// socket, and against what others call with: D-Bus, MCP over pipes, gRPC. `ipc.sandboxed_call`: a read tool that opens a file,
/// in a process of its own that can open nothing else; `ipc.sandbox`: what that process costs, against a bare one.
/// `ipc.clients_8`: the calls of eight clients at once. `ipc.hostile`: a client's calls while another user floods the broker.
/// `audit.append`: records that are on disk, from one caller and from 64 at once.
pub(crate) async fn measure(programs: &Path, disk: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(disk)?;
    // The path of a socket must be short (unix(7)), wherever the checkout lies.
    let sockets = tempfile::tempdir()?;
    let socket = sockets.path().join("toold.sock");
    let program = programs.join("aios-toold");
    let (orders, data) = (sockets.path().join("workshop.sock"), folder.path().as_os_str());
    let workshop = Running::start(Command::new(&program).arg("--be-workshop").arg("--socket").arg(&orders))?;
    let broker = ["--socket".as_ref(), socket.as_os_str(), "--workshop".as_ref(), orders.as_os_str()];
    let broker = Running::start(Command::new(&program).args(broker).arg("--data").arg(data))?;
    let client = Client::<Tools>::at(&socket);
    let ready = Duration::from_secs(10);
    let tool = tokio::time::timeout(ready, number_of(&client, "time.now")).await;
    let tool = tool.context("toold does not answer")??;
    let reader = number_of(&client, "fs.read").await?;
    while call(&client, reader, READ).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let peers = programs.join("aios-peers");
    let peer = |name: &str, count: usize| times_of(&peers, name, count, folder.path());
    let (mut ours, mut sandboxed, mut process) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare, mut durable) = (Vec::new(), Vec::new());
    let (mut dbus, mut mcp, mut grpc) = (Vec::new(), Vec::new(), Vec::new());
    let all = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect();
    let one = only(cpus[0]);
    let own = std::process::id();
    for process in [own, broker.id(), workshop.id()] {
        place(process, &one)?;
    }
    for _ in 0..ROUNDS {
        calls(&client, tool, "{}", &mut ours).await?;
        bare.extend(PingPong::start(&peers, None)?.run()?);
        dbus.extend(peer("dbus", CALLS)?);
        mcp.extend(peer("mcp", CALLS)?);
        grpc.extend(peer("grpc", CALLS)?);
        durable.extend(PingPong::start(&peers, Some(&folder.path().join("records")))?.run()?);
    }
    let (mut alone, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        calls(&client, tool, "{}", &mut alone).await?;
        let flood = flood(&peers, &socket)?;
        calls(&client, tool, "{}", &mut flooded).await?;
        drop(flood);
    }
    let (mut apart, mut bare_apart) = (Vec::new(), Vec::new());
    if let Some(&second) = cpus.get(1) {
        for _ in 0..ROUNDS {
            place(own, &only(second))?;
            calls(&client, tool, "{}", &mut apart).await?;
            let pair = PingPong::start(&peers, None)?;
            place(pair.echo.id(), &one)?;
            bare_apart.extend(pair.run()?);
        }
    }
    for process in [own, broker.id(), workshop.id()] {
        place(process, &all)?;
    }
    let (mut eight, mut pairs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        calls(&client, reader, READ, &mut sandboxed).await?;
        for _ in 0..50 {
            let start = Instant::now();
            Command::new("/bin/true").status().context("/bin/true cannot be started")?;
            process.push(micros(start));
        }
        eight.push(many_clients(&socket, tool).await?);
        pairs.push(many_pairs(&peers)?);
    }
    let (mut one, mut plain, mut together, mut sqlite) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.extend(peer("audit", RECORDS)?);
        plain.extend(peer("plain", RECORDS)?);
        together.extend(peer("audit-64", 16 * RECORDS)?);
        sqlite.extend(peer("sqlite", RECORDS)?);
    }

    let read = |id, ours: &[f64], other: &str, peer: &[f64], bar| {
        let what = format!("read tool, audited; p99 {:.0} against {:.0}", p99(ours), p99(peer));
        Row::new(id, what, "µs", median(ours.to_vec()), other, median(peer.to_vec()), bar)
    };
    let per_second = |times: &[f64]| 1e6 / median(times.to_vec());
    let appended = |id, what: &str, value, other: &str, peer: &[f64], bar| {
        Row::new(id, what, "/s", value, other, per_second(peer), bar)
    };
    let sandbox = median(sandboxed.clone()) - median(ours.clone());
    let what = format!("read a file in a process of its own; p99 {:.0}", p99(&sandboxed));
    let during =
        format!("read tool while a user floods; p99 {:.0} against {:.0}", p99(&flooded), p99(&alone));
    let (one_each, together_each) = (per_second(&one), per_second(&together));
    let mut rows = vec![
        read("ipc.read_call", &ours, "SEQPACKET ping-pong", &bare, Bar::AtMost(2.5))?,
        read("ipc.read_call_vs_dbus", &ours, "D-Bus (zbus, dbus-daemon)", &dbus, Bar::AtMost(0.25))?,
        read("ipc.read_call_vs_mcp", &ours, "MCP over pipes, JSON", &mcp, Bar::None)?,
        read("ipc.read_call_vs_grpc", &ours, "gRPC (tonic)", &grpc, Bar::None)?,
        read("ipc.read_call_vs_durable", &ours, "ping-pong and fdatasync", &durable, Bar::None)?,
        Row::new(
            "ipc.sandboxed_call",
            what,
            "µs",
            median(sandboxed),
            "answered by the broker",
            median(ours.clone()),
            Bar::Within(1000.0),
        )?,
        Row::new(
            "ipc.sandbox",
            "what that process costs",
            "µs",
            sandbox,
            "/bin/true",
            median(process),
            Bar::None,
        )?,
        Row::new(
            "ipc.clients_8",
            "read tool, 8 clients",
            "calls/s",
            median(eight),
            "8 ping-pongs",
            median(pairs),
            Bar::None,
        )?,
        Row::new("ipc.hostile", during, "µs", median(flooded), "without", median(alone), Bar::AtMost(2.0))?,
        appended(
            "audit.append",
            "durable records",
            one_each,
            "append, fdatasync",
            &plain,
            Bar::AtLeast(0.5),
        )?,
        appended(
            "audit.append_64",
            "durable records of 64 callers",
            together_each,
            "append, fdatasync",
            &plain,
            Bar::AtLeast(5.0),
        )?,
        appended(
            "audit.append_vs_sqlite",
            "durable records",
            one_each,
            "SQLite WAL FULL",
            &sqlite,
            Bar::None,
        )?,
    ];
    if !apart.is_empty() {
        rows.push(read("ipc.read_call_apart", &apart, "ping-pong, two CPUs", &bare_apart, Bar::AtMost(2.5))?);
    }
    Ok(rows)
}

/// This CPU alone.
fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

/// Let all threads of a process run on these CPUs; those that they start inherit it.
fn place(process: u32, cpus: &CpuSet) -> Result<()> {
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        match sched_setaffinity(task, cpus) {
            // It has ended meanwhile.
            Err(Errno::SRCH) => {}
            placed => placed.context("a thread cannot be placed on a CPU")?,
        }
    }
    Ok(())
}

/// Durable records in a round.
const RECORDS: usize = 200;
/// Clients at once.
const CLIENTS: usize = 8;

/// The value that one in a hundred exceeds.
fn p99(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}

/// Add the times of a round of calls.
async fn calls(client: &Client<Tools>, tool: u16, args: &str, times: &mut Vec<f64>) -> Result<()> {
    for number in 0..CALLS {
        let start = Instant::now();
        call(client, tool, args).await?;
        if number >= WARM_UP {
            times.push(micros(start));
        }
    }
    Ok(())
}

/// What a peer prints.
fn times_of(program: &Path, name: &str, count: usize, folder: &Path) -> Result<Vec<f64>> {
    let peers = || format!("{} {name}", program.display());
    let place = tempfile::tempdir_in(folder)?;
    // Sockets have short paths; files lie on the disk that is measured.
    let sockets = tempfile::tempdir()?;
    let place = if matches!(name, "dbus" | "grpc") { &sockets } else { &place };
    let output = Command::new(program).arg(name).arg(count.to_string()).arg(place.path()).output();
    let output =
        output.with_context(|| format!("{} cannot be started; build it with make bench", peers()))?;
    if !output.status.success() {
        bail!("{} failed: {}", peers(), String::from_utf8_lossy(&output.stderr));
    }
    let lines = String::from_utf8(output.stdout)?;
    lines.lines().map(|line| line.parse().with_context(|| format!("{}: {line}", peers()))).collect()
}

/// Calls a second of all clients together.
async fn many_clients(socket: &Path, tool: u16) -> Result<f64> {
    let clients: Vec<_> = (0..CLIENTS).map(|_| Client::<Tools>::at(socket)).collect();
    for client in &clients {
        call(client, tool, "{}").await?;
    }
    let start = Instant::now();
    let work: Vec<_> = clients
        .into_iter()
        .map(|client| {
            tokio::spawn(async move {
                for _ in 0..CALLS {
                    call(&client, tool, "{}").await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for client in work {
        client.await??;
    }
    Ok((CLIENTS * CALLS) as f64 / start.elapsed().as_secs_f64())
}

/// Exchanges a second of as many pairs of processes.
fn many_pairs(peers: &Path) -> Result<f64> {
    let pairs: Vec<PingPong> = (0..CLIENTS).map(|_| PingPong::start(peers, None)).collect::<Result<_>>()?;
    // Each is there.
    pairs.iter().try_for_each(|pair| pair.run().map(drop))?;
    let start = Instant::now();
    let pairs: Vec<_> =
        pairs.into_iter().map(|pair| std::thread::spawn(move || pair.run().map(drop))).collect();
    for pair in pairs {
        pair.join().map_err(|_| anyhow::anyhow!("a ping-pong panicked"))??;
    }
    Ok((CLIENTS * CALLS) as f64 / start.elapsed().as_secs_f64())
}

/// The hostile client of toold's own test at work.
fn flood(peers: &Path, socket: &Path) -> Result<Running> {
    // Nobody, if there is somebody to choose from: then the broker does not take it for one of the house.
    let is_root = rustix::process::geteuid().is_root();
    // It is copied to where everybody gets to.
    let place = socket.with_file_name("flood");
    std::fs::copy(peers, &place)?;
    for (path, mode) in [(socket, 0o666), (&place, 0o755), (socket.parent().unwrap_or(socket), 0o711)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    }
    let mut command = Command::new(&place);
    command.arg("flood").arg(socket).stdin(Stdio::piped()).stdout(Stdio::piped());
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut process = Running(command.spawn().context("the hostile client cannot be started")?);
    let mut word = [0; 6];
    let said = process.0.stdout.as_mut().context("a pipe")?.read_exact(&mut word);
    said.context("the hostile client did not begin")?;
    Ok(process)
}

/// A user who may ask nothing.
const NOBODY: u32 = 65_533;

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

/// Exchanges of bare packets with another process.
struct PingPong {
    near: OwnedFd,
    echo: Running,
}

impl PingPong {
    /// With a file, the other process first appends to it and syncs it.
    fn start(peers: &Path, file: Option<&Path>) -> Result<Self> {
        let (near, far): (OwnedFd, OwnedFd) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(peers);
        command.args(["serve", "echo"]).args(file).stdin(far);
        let echo = command.spawn().context("the echo cannot be started; build it with make bench")?;
        Ok(Self { near, echo: Running(echo) })
    }

    /// Times in µs.
    fn run(&self) -> Result<Vec<f64>> {
        let mut buffer = [0; ANSWERED];
        let mut times = Vec::with_capacity(CALLS);
        for call in 0..CALLS {
            let start = Instant::now();
            send(&self.near, &[0; ASKED], SendFlags::empty())?;
            if recv(&self.near, &mut buffer, RecvFlags::empty())?.0 == 0 {
                bail!("the echo has ended");
            }
            if call >= WARM_UP {
                times.push(micros(start));
            }
        }
        Ok(times)
    }
}
