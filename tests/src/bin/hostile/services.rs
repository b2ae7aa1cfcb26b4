//! Many services and the death of many of them at once; honest services, each started or ready in another way.

use crate::{Outcome, sys};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Error, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

/// A service that does nothing.
pub(crate) fn idle() -> Outcome {
    sys::pause();
    Ok(())
}

/// Kill the processes of so many services whose names begin so.
pub(crate) fn kill(prefix: &str, count: u32) -> Outcome {
    let mut victims = Vec::new();
    for entry in std::fs::read_dir("/sys/fs/cgroup/aios")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) && victims.len() < count as usize {
            let text = std::fs::read_to_string(entry.path().join("cgroup.procs"))?;
            victims.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
        }
    }
    for victim in &victims {
        kill_process(*victim, Signal::KILL)?;
    }
    println!("hostile: kill: {} processes", victims.len());
    Ok(())
}

/// A oneshot that leaves a line.
pub(crate) fn say(text: &str) -> Outcome {
    println!("hostile: {text}");
    Ok(())
}

/// Say by a descriptor that the service is ready, and go on.
pub(crate) fn ready(descriptor: &str) -> Outcome {
    sys::given(descriptor.parse().map_err(Error::other)?).write_all(b"\n")?;
    idle()
}

/// Answer one who connected to the socket that init opened, and end.
pub(crate) fn answer() -> Outcome {
    let given = aios_abi::sys::inherited_fds().into_iter().find(|(name, _)| name == "door");
    let (_, socket) = given.ok_or_else(|| Error::other("there is no socket"))?;
    let (mut stream, _) = UnixListener::from(socket).accept()?;
    let mut asked = String::new();
    stream.read_to_string(&mut asked)?;
    stream.write_all(format!("{asked}, says process {}", std::process::id()).as_bytes())
}

/// Connect to a service's socket and print its answer.
pub(crate) fn knock(path: &str) -> Outcome {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"come in")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("hostile: knock: {answer}");
    Ok(())
}

/// Ask a web server for its first page, and say what it answers.
pub(crate) fn fetch(address: &str) -> Outcome {
    use std::io::{Read, Write};
    let mut server = std::net::TcpStream::connect(address)?;
    server.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    server.take(4096).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    println!("hostile: {address} answers {} {}", head.lines().next().unwrap_or_default(), body.trim());
    Ok(())
}
