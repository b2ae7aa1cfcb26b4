//! From a request to a person: a session cookie or a bearer token, and the proof that a changing
//! request was not sent by somebody else's page.

use crate::error::ApiError;
use crate::state::{Shared, unix_ms};
use crate::store::Secret;
use aios_abi::CallError;
use aios_abi::who::Person;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

/// The cookie; the prefix makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis).
pub const COOKIE: &str = "__Host-aios";

/// Who asks.
#[derive(Clone)]
pub struct Login {
    /// The person.
    pub person: Person,
    /// How it was proved.
    pub proof: Proof,
}

/// How a person is known.
#[derive(Clone)]
pub enum Proof {
    /// By a session cookie.
    Session(Secret),
    /// By a token.
    Token(Secret),
}

impl Login {
    /// Look who asks. None when the request brings no proof or one that is no longer good.
    pub fn find(app: &Shared, headers: &HeaderMap) -> Result<Option<Self>, CallError> {
        let Some(proof) = proof(headers) else { return Ok(None) };
        Ok(person(app, &proof)?.map(|person| Self { person, proof }))
    }

    /// Whether the proof still holds.
    pub fn is_live(&self, app: &Shared) -> bool {
        person(app, &self.proof).is_ok_and(|person| person.is_some())
    }
}

fn person(app: &Shared, proof: &Proof) -> Result<Option<Person>, CallError> {
    match proof {
        Proof::Session(secret) => Ok(app.store.session(secret, unix_ms())?.map(|(person, _)| person)),
        Proof::Token(secret) => app.store.token(secret),
    }
}

fn proof(headers: &HeaderMap) -> Option<Proof> {
    // A token that is sent on purpose goes before a cookie that comes along by itself.
    match bearer(headers) {
        Some(token) => Some(Proof::Token(Secret::sent(token))),
        None => cookie(headers).map(|session| Proof::Session(Secret::sent(session))),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(header::COOKIE).iter().find_map(|line| {
        line.to_str().ok()?.split(';').find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE).then_some(value)
        })
    })
}

/// The header that gives a browser its session; none takes it away.
pub fn set_cookie(secret: Option<&Secret>) -> HeaderValue {
    let (value, age) = match secret {
        Some(secret) => (secret.expose(), crate::store::SESSION_MS / 1000),
        None => ("", 0),
    };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Strict");
    // Secrets are base64; the text is always a valid header.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a request may have been sent by another site's page in the person's browser. Requests with a
/// token are not: no page can make a browser add one.
pub fn is_forged(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || bearer(headers).is_some() {
        return false;
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
        return !matches!(site, "same-origin" | "none");
    }
    // Neither header: no browser of the last years. Without a cookie there is nothing to misuse.
    is_foreign(uri, headers).unwrap_or_else(|| cookie(headers).is_some())
}

/// Whether a request was sent by a page of another origin than ours; none when it names no origin.
pub fn is_foreign(uri: &Uri, headers: &HeaderMap) -> Option<bool> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let origin = headers.get(header::ORIGIN).map(text)?;
    let host = uri.authority().map(ToString::to_string).or_else(|| headers.get(header::HOST).map(text));
    Some(host.is_none() || origin.strip_prefix("https://") != host.as_deref())
}

/// Handlers that take this are only for people who are logged in.
impl FromRequestParts<Shared> for Login {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        Self::find(app, &parts.headers)?
            .ok_or_else(|| ApiError::unauthenticated("nobody is logged in, or the login has ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged(method: &Method, lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("value"));
        }
        is_forged(method, &Uri::from_static("/api/v1/logout"), &headers)
    }

    #[test]
    fn a_changing_request_must_come_from_our_own_page() {
        let cookie = ("cookie", "__Host-aios=x");
        let post = &Method::POST;
        assert!(forged(post, &[cookie]));
        assert!(forged(post, &[cookie, ("sec-fetch-site", "cross-site")]));
        assert!(forged(post, &[cookie, ("sec-fetch-site", "same-site")]));
        assert!(!forged(post, &[cookie, ("sec-fetch-site", "same-origin")]));
        assert!(!forged(post, &[cookie, ("sec-fetch-site", "none")]));
        assert!(forged(post, &[cookie, ("origin", "https://evil.example"), ("host", "box")]));
        assert!(forged(post, &[cookie, ("origin", "http://box"), ("host", "box")]));
        assert!(forged(post, &[cookie, ("origin", "null"), ("host", "box")]));
        assert!(forged(post, &[cookie, ("origin", "https://box")]));
        assert!(!forged(post, &[cookie, ("origin", "https://box:8443"), ("host", "box:8443")]));
        assert!(!forged(&Method::GET, &[cookie]));
    }

    #[test]
    fn a_login_from_another_sites_page_is_refused_even_without_a_cookie() {
        assert!(forged(&Method::POST, &[("sec-fetch-site", "cross-site")]));
        assert!(!forged(&Method::POST, &[]));
    }

    #[test]
    fn a_token_needs_no_such_proof_and_goes_before_a_cookie() {
        let lines = [("cookie", "__Host-aios=x"), ("authorization", "bearer abc")];
        assert!(!forged(&Method::POST, &lines));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().expect("value"));
        }
        assert!(matches!(proof(&headers), Some(Proof::Token(secret)) if secret.expose() == "abc"));
    }

    #[test]
    fn the_cookie_is_found_among_others_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; x__Host-aios=no; __Host-aios=yes; b".parse().expect("value"));
        assert_eq!(cookie(&headers), Some("yes"));
    }
}
