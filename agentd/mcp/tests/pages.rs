//! The list of tools, page by page, over the framing of the local socket.

use aios_abi::CallError;
use aios_abi::client::Call;
use aios_abi::tool::{CallDone, Effect, ToolInfo, Tools};
use aios_abi::who::{Person, Role};
use aios_mcp::{House, Order, server};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};

/// More than two pages.
const TOOLS: u16 = 120;

struct Long;

impl House for Long {
    async fn tools(&self, _: &Person) -> Result<Arc<Vec<ToolInfo>>, CallError> {
        let tool = |number| ToolInfo {
            number,
            name: format!("family.verb{number}"),
            summary: "One of many".into(),
            effect: Effect::Read,
            touches: vec!["nothing".into()],
            outside: false,
            role: Role::Viewer,
            timeout_ms: 1,
            args_schema: r#"{"type":"object"}"#.into(),
            result_schema: r#"{"type":"object"}"#.into(),
            examples: Vec::new(),
        };
        // Numbers have gaps.
        Ok(Arc::new((1..=TOOLS).map(|n| tool(n * 3)).collect()))
    }

    async fn call(&self, _: &Person, order: Order) -> Result<Call<Tools>, CallError> {
        Err(CallError::denied(format!("{} is not called in this test", order.tool)))
    }

    async fn undo(&self, _: &Person, _: u64, _: String) -> Result<Call<Tools>, CallError> {
        Err(CallError::denied("nothing was done"))
    }

    async fn audit(&self, _: &Person, _: Option<u64>, _: u32) -> Result<Value, CallError> {
        Ok(json!({ "records": [], "head": {} }))
    }

    fn done(&self, _: &CallDone) -> Value {
        Value::Null
    }

    fn version(&self) -> &str {
        "1"
    }
}

struct Client {
    reads: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    writes: WriteHalf<DuplexStream>,
}

impl Client {
    async fn start() -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reads, writes) = tokio::io::split(theirs);
        let person = Person { name: "ada".into(), role: Role::Viewer };
        tokio::spawn(aios_mcp::local::serve(Arc::new(Long), person, reads, writes));
        let (reads, writes) = tokio::io::split(ours);
        Self { reads: BufReader::new(reads).lines(), writes }
    }

    async fn write(&mut self, line: &str) {
        self.writes.write_all(format!("{line}\n").as_bytes()).await.expect("written");
    }

    async fn ask(&mut self, method: &str, mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {}
        });
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.write(&request.to_string()).await;
        let line = self.reads.next_line().await.expect("read").expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }
}

#[tokio::test]
async fn a_long_list_comes_in_pages_that_miss_nothing() {
    let mut client = Client::start().await;
    let (mut names, mut pages, mut params) = (HashSet::new(), 0, json!({}));
    loop {
        let page = client.ask("tools/list", params).await["result"].take();
        let tools = page["tools"].as_array().expect("tools");
        assert!(tools.len() <= server::PAGE + 2, "{}", tools.len());
        for tool in tools {
            assert!(names.insert(tool["name"].as_str().expect("a name").to_owned()), "listed twice: {tool}");
        }
        pages += 1;
        match page["nextCursor"].as_str() {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => break,
        }
    }
    assert_eq!((names.len(), pages), (usize::from(TOOLS) + 2, 3));
    assert!(names.contains("undo") && names.contains("audit"));
    let wrong = client.ask("tools/list", json!({ "cursor": "over there" })).await;
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
}

#[tokio::test]
async fn what_is_no_message_is_passed_over_and_the_client_goes_on() {
    let mut client = Client::start().await;
    // The first message decides how the conversation goes; after it nonsense does no harm.
    assert!(client.ask("tools/list", json!({})).await["result"]["tools"].is_array());
    client.write("nonsense {").await;
    client.write(&"x".repeat(300 * 1024)).await;
    let refused = client.ask("tools/call", json!({ "name": "a.b", "arguments": {} })).await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert_eq!(refused["result"]["content"][0]["text"], "a.b is not called in this test");
    assert_eq!(refused["result"]["_meta"]["code"], "denied");
}
