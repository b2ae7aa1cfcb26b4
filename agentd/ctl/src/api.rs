//! The console's API v1: requests, answers, failures.

use crate::config::Context;
use crate::error::{Failure, Outcome};
use crate::pin::{self, Fingerprint, Seen};
use crate::resolve::Names;
use crate::sse::{Event, Parser};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long the way to the machine may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an ordinary answer may take: the console itself waits ten seconds for a daemon.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a stream may be silent: the console sends a sign of life every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest answer that is taken in, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;

/// One machine.
pub(crate) struct Api {
    http: Client,
    base: Url,
    token: Option<String>,
    pin: Option<Fingerprint>,
    seen: Seen,
}

impl Api {
    /// The machine at this address that has this certificate.
    pub(crate) fn new(base: Url, pin: Option<Fingerprint>, token: Option<String>) -> Outcome<Self> {
        let (tls, seen) = pin::config(pin)?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            // The token goes to this machine and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Names))
            .connect_timeout(CONNECT)
            .user_agent(concat!("aiosctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Failure::failed(format!("no HTTPS client can be made: {}", innermost(&e))))?;
        Ok(Self { http, base, token, pin, seen })
    }

    /// A machine that was logged into.
    pub(crate) fn of(context: &Context) -> Outcome<Self> {
        Self::new(address(&context.url)?, Some(context.fingerprint), Some(context.token.clone()))
    }

    /// The certificate that the server at this address shows. Nothing is sent to it.
    pub(crate) async fn certificate(base: Url) -> Outcome<Fingerprint> {
        let api = Self::new(base, None, None)?;
        let tried = api.get(&["session"]).await;
        match (api.seen.get(), tried) {
            (Some(seen), _) => Ok(*seen),
            (None, Err(failure)) => Err(failure),
            (None, Ok(_)) => Err(Failure::failed("the server showed no certificate")),
        }
    }

    /// Look something up.
    pub(crate) async fn get(&self, path: &[&str]) -> Outcome<Value> {
        self.query(path, &[]).await
    }

    /// Look something up with a query.
    pub(crate) async fn query(&self, path: &[&str], query: &[(&str, String)]) -> Outcome<Value> {
        let request = self.request(Method::GET, path, query)?.timeout(PATIENCE);
        self.answer(self.send(request).await?).await
    }

    /// Have something done; the answer may take this long.
    pub(crate) async fn post(&self, path: &[&str], body: &Value, patience: Duration) -> Outcome<Value> {
        let request = self.request(Method::POST, path, &[])?.json(body).timeout(patience);
        self.answer(self.send(request).await?).await
    }

    /// Ask a question that is answered as a stream of events.
    pub(crate) async fn post_events(&self, path: &[&str], body: &Value) -> Outcome<Events<'_>> {
        self.events(self.request(Method::POST, path, &[])?.json(body)).await
    }

    /// Follow a stream of events.
    pub(crate) async fn get_events(&self, path: &[&str], query: &[(&str, String)]) -> Outcome<Events<'_>> {
        self.events(self.request(Method::GET, path, query)?).await
    }

    async fn events(&self, request: RequestBuilder) -> Outcome<Events<'_>> {
        let pieces = self.pieces(request).await?;
        Ok(Events { pieces, parser: Parser::default(), waiting: VecDeque::new() })
    }

    /// Fetch a file of any length.
    pub(crate) async fn download(&self, path: &[&str]) -> Outcome<Pieces<'_>> {
        self.pieces(self.request(Method::GET, path, &[])?).await
    }

    async fn pieces(&self, request: RequestBuilder) -> Outcome<Pieces<'_>> {
        let response = self.in_time(self.send(request)).await??;
        if response.status().is_success() {
            return Ok(Pieces { api: self, response });
        }
        self.answer(response).await?;
        Err(Failure::failed("the machine refused without saying why"))
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Outcome<RequestBuilder> {
        let request = self.http.request(method, self.url(path, query)?);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Outcome<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::usage(format!("{} is no address of a machine", self.base)))?
            .clear()
            .extend(["api", "v1"])
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Carry a message of an assistant to the machine. The answer is its own matter, and may take as long as it takes.
    pub(crate) async fn carry(&self, method: Method, headers: HeaderMap, body: String) -> Outcome<Response> {
        let mut url = self.base.clone();
        url.set_path("/mcp");
        let request = self.http.request(method, url).headers(headers).body(body);
        self.send(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
        .await
    }

    async fn send(&self, request: RequestBuilder) -> Outcome<Response> {
        request.send().await.map_err(|error| self.broken(&error))
    }

    /// The JSON of an answer, or the failure that it tells of.
    async fn answer(&self, mut response: Response) -> Outcome<Value> {
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.broken(&error))? {
            body.extend_from_slice(&piece);
            if body.len() > LONGEST {
                return Err(Failure::failed(format!(
                    "the answer has more than {LONGEST} bytes; ask for less"
                )));
            }
        }
        let json = serde_json::from_slice::<Value>(&body);
        match (status.is_success(), json) {
            (true, Ok(json)) => Ok(json),
            (false, Ok(json)) if json["code"].is_string() => Err(self.refused(&json)),
            (_, _) => Err(Failure::failed(format!(
                "{} answered with HTTP status {} and no JSON: is it the console of an aiOS machine?",
                self.base, status
            ))),
        }
    }

    /// The failure that a body `{"code", "message"}` tells of.
    pub(crate) fn refused(&self, body: &Value) -> Failure {
        let code = body["code"].as_str().unwrap_or("failed");
        let message = body["message"].as_str().unwrap_or("the machine did not say why");
        match code {
            "unauthenticated" if self.token.is_some() => Failure::api(
                code,
                format!("{message}; log in again with `aiosctl login {}`", origin(&self.base)),
            ),
            _ => Failure::api(code, message),
        }
    }

    /// What a broken connection means.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> Failure {
        if let (Some(pin), Some(seen)) = (self.pin, self.seen.get())
            && pin != *seen
        {
            return Failure::not_proved(format!(
                "{} shows another certificate than expected ({seen} instead of {pin}), so nothing was sent: compare \
                 it with the certificate line that the machine shows when it starts, and when it is right log in \
                 again with --fingerprint",
                origin(&self.base)
            ));
        }
        let origin = origin(&self.base);
        if error.is_timeout() {
            return Failure::unavailable(format!("{origin} did not answer in time; try again"));
        }
        let cause = innermost(error);
        if error.is_connect() {
            return Failure::unavailable(format!(
                "{origin} cannot be reached: {cause}; is the machine on, and is this its address?"
            ));
        }
        Failure::unavailable(format!("the connection to {origin} broke off: {cause}; try again"))
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Outcome<T> {
        tokio::time::timeout(SILENCE, work).await.map_err(|_| {
            let origin = origin(&self.base);
            Failure::unavailable(format!("{origin} has been silent for {} s; try again", SILENCE.as_secs()))
        })
    }
}

/// A body as it arrives.
pub(crate) struct Pieces<'a> {
    api: &'a Api,
    response: Response,
}

impl Pieces<'_> {
    /// The next piece, or none at the end.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Vec<u8>>> {
        let piece = self.api.in_time(self.response.chunk()).await?;
        Ok(piece.map_err(|error| self.api.broken(&error))?.map(|piece| piece.to_vec()))
    }
}

/// Events as they arrive.
pub(crate) struct Events<'a> {
    pieces: Pieces<'a>,
    parser: Parser,
    waiting: VecDeque<Event>,
}

impl Events<'_> {
    /// The next event and its JSON, or none at the end. An event `error` is the failure that it tells of.
    pub(crate) async fn next(&mut self) -> Outcome<Option<(String, Value)>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                let data = serde_json::from_str(&event.data)
                    .map_err(|e| Failure::failed(format!("an event of the machine is no JSON: {e}")))?;
                return match event.name.as_str() {
                    "error" => Err(self.pieces.api.refused(&data)),
                    _ => Ok(Some((event.name, data))),
                };
            }
            let Some(piece) = self.pieces.next().await? else { return Ok(None) };
            let events = self.parser.push(&piece);
            self.waiting.extend(events.ok_or_else(|| Failure::failed("an event of the machine has no end"))?);
        }
    }
}

/// The typed form of an answer.
pub(crate) fn decode<T: DeserializeOwned>(json: &Value) -> Outcome<T> {
    T::deserialize(json).map_err(|e| {
        Failure::failed(format!(
            "the machine's answer is not understood: {e}; take the aiosctl of its version, or --json"
        ))
    })
}

/// An address as people type it: `https://` may be left out, a path is not wanted.
pub(crate) fn address(text: &str) -> Outcome<Url> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "{text:?} is not the address of a machine: {why}; give one such as https://192.168.1.20"
        ))
    };
    let full = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let mut url = Url::parse(&full).map_err(|e| wrong(&e.to_string()))?;
    if url.scheme() != "https" {
        return Err(wrong("it must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("names and passwords do not belong into it"));
    }
    url.set_path("");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Host and port of an address: how a machine is called when it got no other name.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("machine");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An address without the slash at its end.
pub(crate) fn origin(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;
    use serde_json::json;

    fn api(token: Option<&str>) -> Api {
        let pin = Fingerprint::parse(&"0a".repeat(32)).expect("fingerprint");
        Api::new(address("box").expect("address"), Some(pin), token.map(str::to_owned)).expect("client")
    }

    #[test]
    fn an_address_is_taken_as_people_type_it() {
        for text in ["box:8443", "https://box:8443", "https://box:8443/audit?x#y"] {
            let url = address(text).expect("an address");
            assert_eq!(
                (origin(&url).as_str(), host(&url).as_str()),
                ("https://box:8443", "box:8443"),
                "{text}"
            );
        }
        assert_eq!(host(&address("[::1]").expect("an address")), "[::1]");
        for text in ["http://box", "https://a:b@box", "", "https://"] {
            assert_eq!(address(text).expect_err(text).exit, Exit::Usage);
        }
    }

    #[test]
    fn foreign_names_in_a_path_or_query_stay_in_their_place() {
        let url = api(None).url(&["tools", "../x?y"], &[("unit", "a&b=c".into())]).expect("url");
        assert_eq!(url.as_str(), "https://box/api/v1/tools/..%2Fx%3Fy?unit=a%26b%3Dc");
    }

    #[test]
    fn a_login_that_ended_is_told_with_its_cure_and_a_wrong_password_is_not() {
        let body = json!({"code": "unauthenticated", "message": "the login has ended"});
        assert!(api(Some("t")).refused(&body).message.contains("aiosctl login https://box"));
        assert_eq!(api(None).refused(&body).message, "the login has ended");
        assert_eq!(api(None).refused(&json!({"code": "not_found", "message": "m"})).exit, Exit::NotFound);
    }
}
