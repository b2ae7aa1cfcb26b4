//! The worker in front of a server that fails, lies, never ends or is not who it should be.

#![forbid(unsafe_code)]

mod worker;

use aios_abi::ErrorCode;
use aios_abi::engine::{EngineRequest, Grammar};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use worker::{KEY, QUESTION, Worker, question, settings};

/// A server of this test, and what was sent to it.
struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
    /// Heads and bodies.
    seen: Arc<Mutex<Vec<String>>>,
    /// A connection was closed by the worker in the middle of an answer.
    left: Receiver<()>,
}

/// What a server does with a connection when it has read the request.
type Behave = dyn Fn(&mut dyn Connection) -> std::io::Result<()> + Send + Sync;

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

impl Server {
    fn start(behave: impl Fn(&mut dyn Connection) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self::with(None, Arc::new(behave))
    }

    fn with(tls: Option<Arc<ServerConfig>>, behave: Arc<Behave>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (requests, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (tell, left) = channel();
        let (count, heads) = (requests.clone(), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, behave, count, heads, tell) =
                    (tls.clone(), behave.clone(), count.clone(), heads.clone(), tell.clone());
                std::thread::spawn(move || {
                    let mut stream: Box<dyn Connection> = match tls {
                        None => Box::new(stream),
                        Some(config) => {
                            let connection = ServerConnection::new(config).expect("TLS");
                            Box::new(StreamOwned::<ServerConnection, TcpStream>::new(connection, stream))
                        }
                    };
                    let Some(request) = request(&mut stream) else { return };
                    heads.lock().expect("nobody panics").push(request);
                    count.fetch_add(1, Ordering::SeqCst);
                    if behave(&mut *stream).is_err() {
                        let _ = tell.send(());
                    }
                });
            }
        });
        Self { port, requests, seen, left }
    }

    fn settings(&self, kind: &str, per_month: &str, more: &str) -> String {
        settings(kind, &format!("http://127.0.0.1:{}", self.port), per_month, more)
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Head and body of a request.
fn request(stream: &mut dyn Connection) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

/// The head of a stream of events.
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n";

fn piece(text: &str) -> String {
    format!(
        "data: {}\n\n",
        serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
    )
}

/// An answer that is right, at the cost that the server claims.
fn answer(text: &str, prompt: u64, cached: u64, generated: u64) -> String {
    let stop = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = serde_json::json!({"choices": [], "usage": {
        "prompt_tokens": prompt, "completion_tokens": generated, "prompt_tokens_details": {"cached_tokens": cached}}});
    format!("{EVENTS}{}{stop}data: {usage}\n\ndata: [DONE]\n\n", piece(text))
}

/// What the test's question reserves with so many tokens for the answer, in millionths: bytes of it were sent.
fn reserved(server: &Server, max_tokens: u64) -> u64 {
    let seen = server.seen.lock().expect("nobody panics");
    let body =
        seen.last().and_then(|text| text.split_once("\r\n\r\n")).map_or(0, |(_, body)| body.len() as u64);
    (body + 1024 + 64 * 2) + 10 * max_tokens
}

#[test]
fn it_is_off_until_somebody_turns_it_on_and_off_again_at_once() {
    let server = Server::start(|stream| stream.write_all(answer("hello", 100, 40, 10).as_bytes()));
    let worker = Worker::start(None);
    let mut talk = worker.talk();
    talk.wait(|state| format!("{state:?}").contains("there is no"));
    assert!(talk.off().starts_with("the strategic tier is off: there is no "), "{}", talk.off());
    assert!(talk.ask(&question(10)).why().contains("strategic.toml"));
    worker.set("kind = \"openai\"\nurl = \"http://1.1.1.1\"\n");
    talk.wait(|state| format!("{state:?}").contains("strategic.toml:"));
    assert_eq!(server.count(), 0, "nothing was sent");

    worker.set(&server.settings("openai", "1", ""));
    talk.wait_for_spent(0);
    let model = talk.model().clone();
    assert_eq!((model.name.as_str(), model.context, model.slots), ("m", 2048, 4));
    let asked = talk.ask(&question(10));
    let cost = asked.cost();
    assert_eq!((asked.text.as_str(), cost.prompt, cost.reused, cost.generated), ("hello", 100, 40, 10));
    // 60 at 1, 40 at 0.1, 10 at 10.
    assert_eq!(cost.price_micro, 60 + 4 + 100);
    talk.wait_for_spent(164);
    let seen = server.seen.lock().expect("nobody panics").join("\n");
    assert!(seen.starts_with("POST /v1/chat/completions HTTP/1.1\r\n") && seen.contains(QUESTION), "{seen}");
    assert!(seen.contains(&format!("Bearer {KEY}")), "{seen}");

    std::fs::remove_file(worker.folder.path().join("config/strategic.toml")).expect("removed");
    talk.wait(|state| format!("{state:?}").contains("there is no"));
    assert!(talk.ask(&question(10)).why().contains("is off"));
    assert_eq!(server.count(), 1);
}

#[test]
fn what_the_budget_does_not_allow_is_not_sent_whatever_happened_before() {
    let server = Server::start(|stream| {
        stream.write_all(EVENTS.as_bytes())?;
        stream.write_all(piece("I begin").as_bytes())?;
        // Until the worker goes.
        stream.read(&mut [0; 64]).map(drop)
    });
    let mut worker = Worker::start(Some(&server.settings("openai", "0.0118", "")));
    let mut talk = worker.talk_when_on();
    // The worker dies while a request is under way: it counts as a whole.
    talk.begin(&question(500));
    while server.count() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    worker.kill_and_start_again();
    let mut talk = worker.talk_when_on();
    let spent = reserved(&server, 500);
    talk.wait_for_spent(spent);
    let (count, refused) = (server.count(), talk.ask(&question(500)));
    assert_eq!(refused.end.as_ref().map_err(|error| error.code), Err(ErrorCode::Denied));
    assert!(
        refused.why().contains("of 0.0118 for 20") && refused.why().contains("nothing was sent"),
        "{}",
        refused.why()
    );
    // Less is possible, but only once.
    let id = talk.begin(&question(250));
    while server.count() == count {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(talk.ask(&question(250)).why().contains("reserved for requests under way"));
    talk.send(&EngineRequest::Cancel { id });
    let cancelled = talk.end(id);
    assert_eq!(cancelled.end.as_ref().map_err(|error| error.code), Err(ErrorCode::Cancelled));
    assert!(cancelled.why().contains("all that was reserved for it counts: 0.0"), "{}", cancelled.why());
    talk.wait_for_spent(spent + reserved(&server, 250));
    assert_eq!(server.count(), count + 1);
    assert!(worker.log().contains("requests have cost 0.0"), "{}", worker.log());
}

#[test]
fn a_server_that_lies_is_counted_as_it_claims() {
    let server = Server::start(|stream| stream.write_all(answer("hello", 1_000_000, 0, 10).as_bytes()));
    let worker = Worker::start(Some(&server.settings("openai", "0.50", "")));
    let mut talk = worker.talk_when_on();
    assert_eq!(talk.ask(&question(10)).cost().price_micro, 1_000_100);
    talk.wait_for_spent(1_000_100);
    assert!(worker.log().contains("claims more than the request could cost: 1.0001 EUR"), "{}", worker.log());
    assert!(talk.ask(&question(10)).why().contains("0.00 are left"));
    assert_eq!(server.count(), 1);
}

#[test]
fn every_way_to_fail_is_one_sentence_and_costs_what_it_can_have_cost() {
    let key_in_an_error = format!(
        "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n{{\"error\":{{\"message\":\"bad key {KEY}\",\"code\":\"{KEY}\",\"type\":\"invalid_request_error\"}}}}"
    );
    let head = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // What it says, whether all that was reserved counts, what is said of it.
    let cases: Vec<(String, bool, &str)> = vec![
        (key_in_an_error, false, "status 401: the key in"),
        (head("429 Too Many\r\nretry-after: 17"), false, "try again in 17 s"),
        (head("404 Not Found"), false, "it has no /v1/chat/completions or no model m"),
        (head("302 Found\r\nlocation: http://127.0.0.1:1/"), false, "not followed"),
        (head("400 Bad"), false, "it cannot do what was asked"),
        (head("503 Busy\r\nretry-after: 3"), true, "trying again may help, in 3 s"),
        (head("500 Oops"), true, "status 500"),
        (head("408 Late"), true, "status 408"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}".into(),
            true,
            "no stream of events",
        ),
        ("nonsense\r\n\r\n".into(), true, "did not answer"),
        (format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)), true, "did not answer"),
        (String::new(), true, "did not answer"),
        (EVENTS.into(), true, "ended in the middle"),
        (format!("{EVENTS}{}", piece("half")), true, "ended in the middle"),
        (format!("{EVENTS}data: {{\"choices\": 7}}\n\n"), true, "not what a chat completion consists of"),
        (
            format!("{EVENTS}data: {}\n\n", "[".repeat(1 << 18)),
            true,
            "not what a chat completion consists of",
        ),
        (format!("{EVENTS}data: {}", "x".repeat(2 << 20)), true, "longer than 1048576 bytes"),
        (format!("{EVENTS}{}", piece("xxxx xxxx").repeat(5_000)), true, "far longer than what was asked for"),
        (
            format!("{EVENTS}{}", ": still here\n\n".repeat(100_000)),
            true,
            "far longer than what was asked for",
        ),
        (
            format!("{EVENTS}data: {{\"error\":{{\"code\":\"overloaded\",\"message\":\"{QUESTION}\"}}}}\n\n"),
            true,
            "(overloaded)",
        ),
        (answer("no JSON", 100, 0, 10), false, "this server does not follow schemas"),
    ];
    let cases = Arc::new(cases);
    let (answers, next) = (cases.clone(), AtomicUsize::new(0));
    let server = Server::start(move |stream| {
        stream.write_all(answers[next.fetch_add(1, Ordering::SeqCst)].0.as_bytes())?;
        stream.flush()
    });
    let worker = Worker::start(Some(&server.settings("openai", "10", "")));
    let mut talk = worker.talk_when_on();
    let mut spent = 0;
    let schema = Some(Grammar::Schema("{\"type\":\"object\"}".into()));
    for (_, costs, expected) in cases.iter() {
        let mut asked = question(10);
        if expected.contains("schemas") {
            asked.grammar = schema.clone();
            spent += 200;
        }
        let failed = talk.ask(&asked);
        println!("{}", failed.why());
        assert!(failed.why().contains(expected), "{expected}: {}", failed.why());
        assert_eq!(failed.why().contains("all that was reserved"), *costs, "{}", failed.why());
        spent += if *costs { reserved(&server, 10) } else { 0 };
        talk.wait_for_spent(spent);
    }
    assert_eq!(server.count(), cases.len(), "each was tried once");
    for (request, expected) in [
        (EngineRequest::Embed { id: 900, texts: vec!["x".into()], adapted: false }, 900),
        (EngineRequest::Score { id: 901, messages: vec![], continuations: vec![], adapted: false }, 901),
    ] {
        talk.send(&request);
        assert!(talk.end(expected).why().contains("writes texts"));
    }
    let refused = settings("openai", "http://127.0.0.1:1", "10", "");
    worker.set(&refused);
    talk.wait(|state| format!("{state:?}").contains("Ready"));
    let down = loop {
        let down = talk.ask(&question(10));
        // Until the settings were read it is the old one, which has no answers left.
        if down.why().contains("refused") {
            break down;
        }
    };
    assert!(down.why().starts_with("127.0.0.1 cannot be reached: "), "{}", down.why());
}

#[test]
fn a_request_that_is_too_late_or_not_wanted_any_more_lets_the_server_go() {
    let server = Server::start(|stream| {
        stream.write_all(EVENTS.as_bytes())?;
        loop {
            stream.write_all(piece("tick").as_bytes())?;
            stream.flush()?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let worker = Worker::start(Some(&server.settings("openai", "10", "timeout_s = 1")));
    let mut talk = worker.talk_when_on();
    let late = talk.ask(&question(400));
    assert_eq!(late.end.as_ref().map_err(|error| error.code), Err(ErrorCode::Timeout));
    assert!(
        late.text.starts_with("ticktick") && late.why().contains("within 1 s (timeout_s)"),
        "{}",
        late.why()
    );
    server.left.recv_timeout(Duration::from_secs(10)).expect("the server is let go");

    worker.set(&server.settings("openai", "10", ""));
    std::thread::sleep(Duration::from_millis(300));
    let id = talk.begin(&question(400));
    talk.send(&EngineRequest::Cancel { id });
    assert!(talk.end(id).why().starts_with("cancelled"));
    // Five at once: the fifth waits for a slot. All end when the tier is switched off.
    let before = server.count();
    let ids: Vec<u64> = (0..5).map(|_| talk.begin(&question(400))).collect();
    while server.count() < before + 4 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.count(), before + 4, "no more than four at once");
    std::fs::remove_file(worker.folder.path().join("config/strategic.toml")).expect("removed");
    for _ in &ids {
        loop {
            if let aios_abi::engine::EngineEvent::Error { id, error } = talk.event() {
                assert!(ids.contains(&id) && error.message.contains("off"), "{error}");
                break;
            }
        }
    }
    assert_eq!(server.count(), before + 4);
    // Who leaves is not worked for.
    worker.set(&server.settings("openai", "10", ""));
    talk.wait(|state| format!("{state:?}").contains("Ready"));
    while server.left.try_recv().is_ok() {}
    talk.begin(&question(400));
    while server.count() < before + 5 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(talk);
    server.left.recv_timeout(Duration::from_secs(10)).expect("the server is let go");
}

#[test]
fn a_private_server_is_known_by_its_authority_and_by_nothing_else() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let behave = |stream: &mut dyn Connection| stream.write_all(answer("hello", 100, 0, 10).as_bytes());
    let server = Server::with(Some(Arc::new(config)), Arc::new(behave));
    let secure = |more: &str| server.settings("openai", "1", more).replace("http://", "https://");
    let worker = Worker::start(Some(&secure("")));
    let mut talk = worker.talk_when_on();
    let unknown = talk.ask(&question(10));
    assert!(
        unknown.why().contains("certificate") && unknown.why().contains("name its authority in ca_file"),
        "{}",
        unknown.why()
    );
    talk.wait_for_spent(0);
    assert_eq!(server.count(), 0, "nothing was sent");
    std::fs::write(worker.folder.path().join("config/ca"), "no certificate").expect("written");
    worker.set(&secure("ca_file = \"CONFIG/ca\""));
    talk.wait(|state| format!("{state:?}").contains("write them into it in PEM"));
    std::fs::write(worker.folder.path().join("config/ca"), made.cert.pem()).expect("written");
    talk.wait_for_spent(0);
    assert_eq!(talk.ask(&question(10)).text, "hello");
}
