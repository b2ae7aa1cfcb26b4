//! The pages. They are part of the executable, compressed when they were built.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Dist;

/// Serve a file, or the page for a path of the page's own.
pub async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    // Compressed twins are served as encodings, never as files of their own.
    let is_file = !path.is_empty() && !path.ends_with(".br") && !path.ends_with(".gz");
    match is_file.then(|| Dist::get(path)).flatten() {
        Some(file) => send(path, file, &headers),
        // A missing script must not be answered with a page.
        None if path.starts_with("assets/") => StatusCode::NOT_FOUND.into_response(),
        None => match Dist::get("index.html") {
            Some(file) => send("index.html", file, &headers),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

fn send(path: &str, plain: EmbeddedFile, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or("");
    let twin = [("br", "br"), ("gzip", "gz")].into_iter().find_map(|(encoding, ending)| {
        let file = accepts(accepted, encoding).then(|| Dist::get(&format!("{path}.{ending}")))??;
        Some((encoding, file))
    });
    let (encoding, file) = match twin {
        Some((encoding, file)) => (Some(encoding), file),
        None => (None, plain.clone()),
    };
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", aios_abi::audit::hex(hash.get(..16).unwrap_or_default()));
    let cache = if path.starts_with("assets/") {
        // Their names contain a hash of what is in them.
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut response = if known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_owned().into_response()
    };
    let answer = response.headers_mut();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, plain.metadata.mimetype());
    set(header::CACHE_CONTROL, cache);
    set(header::ETAG, &tag);
    set(header::VARY, "accept-encoding");
    if let Some(encoding) = encoding {
        set(header::CONTENT_ENCODING, encoding);
    }
    response
}

/// Whether a client takes this encoding (RFC 9110, 12.5.3); `q=0` is a refusal.
fn accepts(header: &str, encoding: &str) -> bool {
    header.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let refused = parts
            .filter_map(|part| part.strip_prefix("q="))
            .any(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_used_only_when_it_is_named_and_not_refused() {
        assert!(accepts("gzip, deflate, br", "br"));
        assert!(accepts("gzip;q=0.5", "gzip"));
        assert!(!accepts("br;q=0, gzip", "br"));
        assert!(!accepts("", "br"));
        assert!(!accepts("brotli", "br"));
    }
}
