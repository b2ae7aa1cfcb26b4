//! A small web service that remembers what it made: it shows a page of its environment and of where its goods come from,
//! and goes on to show that page whatever becomes of the two, until its cache is emptied. Its service file declares what
//! repairs it.

use crate::Outcome;
use std::fs;
use std::io::{Error, Read, Write};
use std::net::TcpListener;
use std::path::Path;

/// What the environment is made of.
const TEMPLATE: &str = "goods are cheap";

/// Answer on this port of the machine; the service's directory is the one where it runs.
pub(crate) fn serve(port: u32) -> Outcome {
    let port = u16::try_from(port).map_err(Error::other)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        let _ = stream.read(&mut [0; 512])?;
        let page = page()?;
        // Who has gone does not want it any more.
        let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{page}").as_bytes());
    }
}

fn page() -> std::io::Result<String> {
    if let Ok(cached) = fs::read_to_string("cache/page") {
        return Ok(cached);
    }
    let environment = fs::read_to_string("env").unwrap_or_else(|_| "nobody knows the goods".into());
    let source = fs::read_to_string("source").unwrap_or_else(|_| "main".into());
    let page = format!("{environment}, from {source}");
    fs::create_dir_all("cache")?;
    fs::write("cache/page", &page)?;
    Ok(page)
}

/// One of the things that repair it, or that break it.
pub(crate) fn act(what: &str) -> Outcome {
    match what {
        "clear-cache" if Path::new("cache").exists() => fs::remove_dir_all("cache"),
        "clear-cache" => Ok(()),
        "regenerate-env" => fs::write("env", TEMPLATE),
        "lose-env" => fs::remove_file("env"),
        "switch-to-fallback" => fs::write("source", "fallback"),
        "switch-back" => fs::write("source", "main"),
        _ => Err(Error::other("the shop knows nothing of that")),
    }
}
