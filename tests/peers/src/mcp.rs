//! MCP over pipes: a `tools/call` and its result, JSON-RPC with a line each, as a model's host starts its servers.

use crate::{ANSWERED, ASKED, Peer, WARM_UP, micros};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

/// Answer each call until there are no more.
pub(crate) fn serve() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        ensure!(request["method"] == "tools/call", "only calls are measured");
        let content = json!([{ "type": "text", "text": "x".repeat(ANSWERED) }]);
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": { "content": content, "isError": false } });
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

pub(crate) fn measure(count: usize) -> Result<Vec<f64>> {
    let mut peer = Peer::serve(&["mcp"])?;
    let mut to = peer.0.stdin.take().context("a pipe")?;
    let mut from = BufReader::new(peer.0.stdout.take().context("a pipe")?);
    let mut times = Vec::with_capacity(count);
    let mut line = String::new();
    for id in 0..WARM_UP + count {
        let begun = Instant::now();
        let params = json!({ "name": "time.now", "arguments": { "why": "x".repeat(ASKED) } });
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        to.write_all(format!("{call}\n").as_bytes())?;
        line.clear();
        from.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        ensure!(answer["id"] == id && answer["result"]["content"][0]["text"].is_string(), "{line}");
        if id >= WARM_UP {
            times.push(micros(begun));
        }
    }
    Ok(times)
}
