//! The server: one HTTPS connection a request, to one address, and what it says when it does not answer.

use crate::config::{Found, Kind, Settings};
use crate::dialect;
use crate::key::Key;
use crate::names::Names;
use crate::reader::{Broken, Reader};
use crate::serve::Asker;
use aios_abi::{CallError, ErrorCode};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the way to the server may take.
const CONNECT: Duration = Duration::from_secs(15);
/// What is read of an error, in bytes.
const ERROR: usize = 16 * 1024;
/// The version of Anthropic's interface.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A server that can be asked.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    headers: HeaderMap,
    key: Option<Key>,
    pub(crate) settings: Settings,
}

/// A request that was not answered.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: CallError,
    /// It can have cost something.
    pub(crate) may_cost: bool,
}

impl Client {
    /// For these settings. The error is one sentence.
    pub(crate) fn new(found: Found, name_servers: &[PathBuf]) -> Result<Self, String> {
        let Found { settings, key, authorities } = found;
        let tls = tls(&settings, authorities.as_deref())?;
        let names = Names { files: name_servers.to_vec(), only_private: settings.url.scheme() == "http" };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // What is said goes to this server and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .dns_resolver(Arc::new(names))
            .connect_timeout(CONNECT.min(settings.timeout))
            // A connection that the server closes in the same moment would leave open whether it has charged.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("aiOS/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| format!("no HTTPS client can be made: {}", innermost(&e)))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (name, before) = match settings.kind {
            Kind::Openai => (HeaderName::from_static("authorization"), "Bearer "),
            Kind::Anthropic => {
                headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
                (HeaderName::from_static("x-api-key"), "")
            }
        };
        if let Some(key) = &key {
            let value = key.header(before).ok_or("the key cannot be sent in a header")?;
            headers.insert(name, value);
        }
        Ok(Self { http, headers, key, settings })
    }

    /// Who is asked, for people.
    pub(crate) fn host(&self) -> &str {
        self.settings.url.host_str().unwrap_or_default()
    }

    /// Send a request and read the answer to its end; true when the most tokens ended it.
    pub(crate) async fn ask(
        &self,
        body: Vec<u8>,
        reader: &mut Reader,
        asker: &Asker,
    ) -> Result<bool, Failure> {
        let sent = self.http.post(self.settings.url.clone()).headers(self.headers.clone()).body(body).send();
        let mut response = sent.await.map_err(|error| self.unreachable(&error))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        let broken = |why: &str| Failure {
            error: CallError::unavailable(format!("the answer of {} was broken off: {why}", self.host())),
            may_cost: true,
        };
        let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !kind.starts_with(b"text/event-stream") {
            return Err(broken(
                "it is no stream of events; is url the address of the interface that kind names?",
            ));
        }
        loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return Err(broken(&innermost(&error))),
            };
            let mut texts = Vec::new();
            let pushed = reader.push(&piece, |text| texts.push(text));
            for text in texts {
                asker.text(text).await;
            }
            pushed.map_err(|Broken(why)| broken(&why))?;
            if reader.is_over() {
                break;
            }
        }
        reader.finish().map_err(|error| Failure { error, may_cost: true })
    }

    /// There is no answer at all.
    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let host = self.host();
        let why = innermost(error);
        if !error.is_connect() {
            let error = CallError::unavailable(format!("{host} did not answer: {why}"));
            return Failure { error, may_cost: true };
        }
        // Nothing has been sent.
        let cure = match why.contains("certificate") {
            true => "; name its authority in ca_file if it is your own, and see that the clock is right",
            false => "",
        };
        let message = format!("{host} cannot be reached: {why}{cure}");
        Failure { error: CallError::unavailable(message), may_cost: false }
    }

    /// The server answers that it does not answer.
    async fn refused(&self, mut response: Response) -> Failure {
        let (status, host) = (response.status(), self.host().to_owned());
        let seconds =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        let mut body = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            body.extend_from_slice(&piece);
            if body.len() > ERROR {
                break;
            }
        }
        let word =
            dialect::failure(&body).filter(|word| !self.key.as_ref().is_some_and(|key| key.is_told_by(word)));
        let said = word.map(|word| format!(" ({word})")).unwrap_or_default();
        let number = status.as_u16();
        let settings = &self.settings;
        let (code, what) = match number {
            401 | 403 => {
                let key = match &settings.key_file {
                    Some(path) => format!("the key in {} is not accepted for it", path.display()),
                    None => "it asks for a key; name its file in key_file".to_owned(),
                };
                (ErrorCode::Unavailable, key)
            }
            402 => (ErrorCode::Unavailable, "the account there has no money left".to_owned()),
            404 => (
                ErrorCode::Unavailable,
                format!("it has no {} or no model {}", settings.url.path(), settings.model),
            ),
            429 => {
                let when = seconds.map_or_else(|| "later".to_owned(), |seconds| format!("in {seconds} s"));
                (
                    ErrorCode::Busy,
                    format!("it has been asked too much, or its account has no quota left; try again {when}"),
                )
            }
            300..=399 => (
                ErrorCode::Unavailable,
                "it sends to another address, which is not followed; correct url".to_owned(),
            ),
            400..=499 => (ErrorCode::Invalid, "it cannot do what was asked".to_owned()),
            500..=599 => {
                let when = seconds.map(|seconds| format!(", in {seconds} s")).unwrap_or_default();
                (ErrorCode::Unavailable, format!("it has failed; trying again may help{when}"))
            }
            _ => (ErrorCode::Unavailable, "that is no answer to a question".to_owned()),
        };
        // Who refuses does not charge. What a machine between here and there says of a request that went on
        // (408, 499, 5xx) tells nothing.
        let may_cost = !matches!(number, 300..=499) || matches!(number, 408 | 499);
        Failure {
            error: CallError::new(code, format!("{host} answered with status {number}{said}: {what}")),
            may_cost,
        }
    }
}

/// Servers are known by the authorities that browsers know, or by those of a file and no others.
fn tls(settings: &Settings, authorities: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match (authorities, &settings.ca_file) {
        (Some(pem), Some(path)) => {
            let wrong = |why: String| format!("{} holds no certificates: {why}", path.display());
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
                roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("write them into it in PEM".to_owned()));
            }
        }
        _ => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// What was wrong at the bottom; what is above names the address, or nothing.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
