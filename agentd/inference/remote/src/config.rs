//! `strategic.toml`: which server, for how much money.

use crate::budget::Limits;
use crate::key::Key;
use crate::money::{Micro, Prices};
use reqwest::Url;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Files that are longer are not what they are taken for.
const LONGEST_FILE: u64 = 1 << 20;
/// The longest answer that can be asked for, in tokens.
const MOST_TOKENS: u32 = 1 << 20;

/// The language that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As OpenAI's `/v1/chat/completions`: also vLLM, llama-server and most others.
    Openai,
    /// As Anthropic's `/v1/messages`.
    Anthropic,
}

/// The field in which an OpenAI-compatible server is told how long an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitField {
    /// `max_tokens`, which nearly all know.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`, for those of OpenAI's models that refuse the other one.
    MaxCompletionTokens,
}

/// What a person has set: all of it was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The server's language.
    pub kind: Kind,
    /// Where requests go.
    pub url: Url,
    /// The model's name there.
    pub model: String,
    /// Where the key is; a server of one's own may need none.
    pub key_file: Option<PathBuf>,
    /// Certificates that a private server is known by, instead of those that all know.
    pub ca_file: Option<PathBuf>,
    /// Longest conversation in tokens, the answer among them.
    pub context: u32,
    /// Longest answer in tokens.
    pub max_tokens: u32,
    /// How long one request may take.
    pub timeout: Duration,
    /// An answer can be begun: an OpenAI-compatible server takes `continue_final_message`, as vLLM and llama-server do.
    pub prefill: bool,
    /// The field for [`max_tokens`](Self::max_tokens).
    pub limit_field: LimitField,
    /// Temperature, `top_p` and seed are sent; some models refuse them.
    pub sampling: bool,
    /// The server may be asked without TLS: it is this machine, or one with a private address.
    pub allow_http: bool,
    /// For people.
    pub currency: String,
    /// How much.
    pub limits: Limits,
    /// At which prices.
    pub prices: Prices,
}

/// A place in the text and what is wrong there.
type Fault = (usize, String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    kind: Kind,
    url: Spanned<String>,
    model: Spanned<String>,
    key_file: Option<Spanned<PathBuf>>,
    ca_file: Option<Spanned<PathBuf>>,
    context: Spanned<u32>,
    max_tokens: Spanned<u32>,
    #[serde(default = "two_minutes")]
    timeout_s: Spanned<u32>,
    #[serde(default)]
    prefill: bool,
    #[serde(default)]
    limit_field: LimitField,
    #[serde(default = "yes")]
    sampling: bool,
    #[serde(default)]
    allow_http: bool,
    budget: RawBudget,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    currency: Spanned<String>,
    per_month: Spanned<String>,
    per_request: Spanned<String>,
    input_per_million: Spanned<String>,
    output_per_million: Spanned<String>,
    cached_input_per_million: Option<Spanned<String>>,
}

fn two_minutes() -> Spanned<u32> {
    Spanned::new(0..0, 120)
}

fn yes() -> bool {
    true
}

impl Settings {
    /// Check the text of a file. `file` is its path, as people know it. The error is one sentence with line and cure.
    pub fn parse(file: &Path, text: &str) -> Result<Self, String> {
        let sentence = |(at, what): Fault| {
            let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
            // What is quoted from the file must not begin a line of its own in the log.
            format!("{}:{line}: {}", file.display(), what.replace(char::is_control, " "))
        };
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            sentence((at, format!("{}; correct this line", error.message().replace('\n', ", "))))
        })?;
        check(file.parent().unwrap_or(Path::new("/")), raw).map_err(sentence)
    }
}

fn check(folder: &Path, raw: Raw) -> Result<Settings, Fault> {
    let url = address(&raw.url, raw.kind, raw.allow_http)?;
    let model = word(&raw.model, "the name of a model")?;
    let files = |file: Option<Spanned<PathBuf>>| file.map(|file| below(folder, &file)).transpose();
    let (key_file, ca_file) = (files(raw.key_file)?, files(raw.ca_file)?);
    let (context, max_tokens) = (*raw.context.get_ref(), *raw.max_tokens.get_ref());
    if !(1..=MOST_TOKENS).contains(&max_tokens) {
        let what = format!("max_tokens = {max_tokens} is not possible; write 1 to {MOST_TOKENS}");
        return Err((raw.max_tokens.span().start, what));
    }
    if context <= max_tokens {
        let what = "context counts question and answer together; write more than max_tokens";
        return Err((raw.context.span().start, what.to_owned()));
    }
    let seconds = *raw.timeout_s.get_ref();
    if !(1..=3600).contains(&seconds) {
        let what = format!("timeout_s = {seconds} is not possible; write 1 to 3600 seconds");
        return Err((raw.timeout_s.span().start, what));
    }
    let RawBudget { currency, per_month, per_request, input_per_million, output_per_million, .. } =
        raw.budget;
    let currency = word(&currency, "a currency")?;
    let limits = Limits { per_month: amount(&per_month)?, per_request: amount(&per_request)? };
    if limits.per_request > limits.per_month {
        let what = "per_request is more than per_month; write no more than a month may cost";
        return Err((per_request.span().start, what.to_owned()));
    }
    let input = amount(&input_per_million)?;
    let cached = raw.budget.cached_input_per_million.as_ref().map_or(Ok(input), amount)?;
    let prices = Prices { input, cached, output: amount(&output_per_million)? };
    Ok(Settings {
        kind: raw.kind,
        url,
        model,
        key_file,
        ca_file,
        context,
        max_tokens,
        timeout: Duration::from_secs(seconds.into()),
        prefill: raw.prefill,
        limit_field: raw.limit_field,
        sampling: raw.sampling,
        allow_http: raw.allow_http,
        currency,
        limits,
        prices,
    })
}

/// Where requests go: the address as far as `/v1`, or all of it.
fn address(text: &Spanned<String>, kind: Kind, allow_http: bool) -> Result<Url, Fault> {
    let at = text.span().start;
    let fault = |what: &str| (at, format!("url is {what}; write such as \"https://api.example.com/v1\""));
    let mut url = Url::parse(text.get_ref()).map_err(|_| fault("no address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            at,
            "url holds a password, and addresses are shown; write the key into key_file".into(),
        ));
    }
    if url.fragment().is_some() || url.host_str().is_none_or(str::is_empty) {
        return Err(fault("no address of a server"));
    }
    match url.scheme() {
        "https" => {}
        "http" if !allow_http => {
            let what = "url has no TLS, and everybody on the way could read and change what is said; write https://, \
                        or allow_http = true for a server in your own network";
            return Err((at, what.to_owned()));
        }
        "http" => {
            // A name is looked at when it has been resolved.
            let literal =
                url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
            if literal.is_some_and(|address| !is_private(address)) {
                let what =
                    "url is the address of a machine outside of your network, and has no TLS; write https://";
                return Err((at, what.to_owned()));
            }
        }
        _ => return Err(fault("neither https nor http")),
    }
    let tail = match kind {
        Kind::Openai => "/chat/completions",
        Kind::Anthropic => "/messages",
    };
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(tail) {
        let base = if path.is_empty() { "/v1" } else { &path };
        url.set_path(&format!("{base}{tail}"));
    }
    Ok(url)
}

/// This machine, or one of a network that is somebody's own (RFC 1918, 4193, 3927, 6598).
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn word(text: &Spanned<String>, what: &str) -> Result<String, Fault> {
    let name = text.get_ref();
    let good = !name.is_empty() && name.len() <= 200 && name.chars().all(|c| c.is_ascii_graphic());
    if good {
        return Ok(name.clone());
    }
    Err((text.span().start, format!("{name:?} is not {what}; write it as the server has it, without spaces")))
}

fn amount(text: &Spanned<String>) -> Result<Micro, Fault> {
    Micro::parse(text.get_ref()).ok_or_else(|| {
        let what = format!(
            "{:?} is no amount; write such as \"2.50\", with six digits after the point at most",
            text.get_ref()
        );
        (text.span().start, what)
    })
}

/// Files of people lie in their folder: a path that leaves it is a mistake.
fn below(folder: &Path, file: &Spanned<PathBuf>) -> Result<PathBuf, Fault> {
    let path = file.get_ref();
    let straight = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if straight && path.starts_with(folder) && path != folder {
        return Ok(path.clone());
    }
    let what = format!("{} is not below {}; move the file there", path.display(), folder.display());
    Err((file.span().start, what))
}

/// What the files say together, read once.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) settings: Settings,
    pub(crate) key: Option<Key>,
    /// The text of [`Settings::ca_file`].
    pub(crate) authorities: Option<Vec<u8>>,
}

/// Read all of it. The first part is what else must be watched; the error is one sentence that says why the tier is off.
pub(crate) fn load(file: &Path) -> (Vec<PathBuf>, Result<Found, String>) {
    let mut watched = Vec::new();
    let found = read_all(file, &mut watched);
    (watched, found)
}

fn read_all(file: &Path, watched: &mut Vec<PathBuf>) -> Result<Found, String> {
    let off = |why: String| format!("the strategic tier is off: {why}");
    let text = match read(file) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| off(format!("{} is no text", file.display())))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(off(format!(
                "there is no {}; a person who writes one turns it on (agentd/inference/README.md, \"The strategic tier\")",
                file.display()
            )));
        }
        Err(error) => return Err(off(unreadable(file, &error))),
    };
    let settings = Settings::parse(file, &text).map_err(off)?;
    watched.extend(settings.key_file.iter().chain(&settings.ca_file).cloned());
    let key = match &settings.key_file {
        None => None,
        Some(path) => {
            let bytes = read(path).map_err(|error| off(unreadable(path, &error)))?;
            let text = String::from_utf8_lossy(&bytes);
            let key = Key::read(&text).map_err(|what| {
                off(format!(
                    "the key file {} {what}; write the key into it, and nothing else",
                    path.display()
                ))
            })?;
            Some(key)
        }
    };
    let authorities = match &settings.ca_file {
        None => None,
        Some(path) => Some(read(path).map_err(|error| off(unreadable(path, &error)))?),
    };
    Ok(Found { settings, key, authorities })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(std::io::Error::other("it is longer than a megabyte"));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let cure = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "; give it to this worker's user: fs.chmod with uid = 108 and mode = \"0400\""
        }
        _ => "",
    };
    format!("{} cannot be read: {error}{cure}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"kind = "openai"
url = "https://api.example.com/v1"
model = "gpt-large"
key_file = "/data/config/secrets/strategic.key"
context = 128000
max_tokens = 4096

[budget]
currency = "EUR"
per_month = "20.00"
per_request = "0.50"
input_per_million = "2.50"
output_per_million = "10"
"#;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("/data/config/strategic.toml"), text)
    }

    #[test]
    fn a_whole_file_is_read() {
        let settings = parse(WHOLE).expect("it is right");
        assert_eq!(settings.url.as_str(), "https://api.example.com/v1/chat/completions");
        assert_eq!(settings.limits, Limits { per_month: Micro(20_000_000), per_request: Micro(500_000) });
        assert_eq!(settings.prices.cached, settings.prices.input, "what is not said is not cheaper");
        assert_eq!(
            (settings.timeout, settings.prefill, settings.sampling),
            (Duration::from_secs(120), false, true)
        );
    }

    #[test]
    fn an_address_may_end_where_people_think_it_does() {
        for (kind, url, whole) in [
            ("openai", "https://a.example", "https://a.example/v1/chat/completions"),
            ("openai", "https://a.example/", "https://a.example/v1/chat/completions"),
            ("openai", "https://a.example/api/v1/", "https://a.example/api/v1/chat/completions"),
            (
                "openai",
                "https://a.example/v1/chat/completions?x=1",
                "https://a.example/v1/chat/completions?x=1",
            ),
            ("anthropic", "https://a.example", "https://a.example/v1/messages"),
            ("anthropic", "https://a.example/v1/messages", "https://a.example/v1/messages"),
        ] {
            let text = WHOLE.replace("openai", kind).replace("https://api.example.com/v1", url);
            assert_eq!(parse(&text).expect("it is right").url.as_str(), whole);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_a_cure() {
        for (from, to, expected) in [
            ("openai", "openay", "strategic.toml:1: unknown variant `openay`"),
            ("https://api", "http://api", "strategic.toml:2: url has no TLS"),
            (
                "https://api.example.com/v1",
                "https://me:secret@a.example",
                "strategic.toml:2: url holds a password",
            ),
            ("https://api.example.com/v1", "ftp://a.example", "strategic.toml:2: url is neither"),
            ("https://api.example.com/v1", "example", "strategic.toml:2: url is no address"),
            ("gpt-large", "gpt large", "strategic.toml:3: \"gpt large\" is not the name"),
            (
                "/data/config/secrets/",
                "/etc/",
                "strategic.toml:4: /etc/strategic.key is not below /data/config; move",
            ),
            ("secrets/", "../", "strategic.toml:4: /data/config/../strategic.key is not below"),
            ("128000", "4096", "strategic.toml:5: context counts"),
            (
                "max_tokens = 4096",
                "max_tokens = 0",
                "strategic.toml:6: max_tokens = 0 is not possible; write",
            ),
            ("max_tokens = 4096", "max_tokens = 4096\ntimeout_s = 0", "strategic.toml:7: timeout_s = 0"),
            ("EUR", "", "strategic.toml:9: \"\" is not a currency"),
            ("20.00", "twenty", "strategic.toml:10: \"twenty\" is no amount; write"),
            ("0.50", "20.01", "strategic.toml:11: per_request is more than per_month; write"),
            ("\"2.50\"", "2.50", "strategic.toml:12: invalid type"),
            ("output_per_million = \"10\"\n", "", "missing field `output_per_million`"),
            ("\"10\"\n", "\"10\"\nper_week = \"5\"\n", "strategic.toml:14: unknown field `per_week`"),
        ] {
            let text = WHOLE.replace(from, to);
            assert_ne!(text, WHOLE, "{from}");
            let why = parse(&text).expect_err(from);
            assert!(why.contains(expected), "{from}: {why}");
            assert!(!why.contains('\n') && !why.contains("me:secret"), "{why}");
        }
    }

    #[test]
    fn without_tls_only_ones_own_network_is_asked() {
        let with = |url: &str| {
            let text = WHOLE.replace("https://api.example.com/v1", url);
            parse(&text.replace("max_tokens = 4096", "max_tokens = 4096\nallow_http = true"))
        };
        for url in [
            "http://127.0.0.1:8080",
            "http://192.168.1.2/v1",
            "http://[::1]:80",
            "http://[fd00::1]",
            "http://box.lan",
        ] {
            assert!(with(url).is_ok(), "{url}");
        }
        for url in ["http://8.8.8.8", "http://[2001:db8::1]/v1", "http://[::ffff:8.8.8.8]"] {
            assert!(with(url).expect_err(url).contains("outside of your network"), "{url}");
        }
    }

    #[test]
    fn files_that_are_missing_or_strange_are_named_and_the_key_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, key) = (folder.path().join("strategic.toml"), folder.path().join("key"));
        let why = || load(&file).1.expect_err("off");
        assert!(why().starts_with("the strategic tier is off: there is no /"), "{}", why());
        let text = WHOLE.replace("/data/config/secrets/strategic.key", &key.display().to_string());
        std::fs::write(&file, text).expect("written");
        assert!(why().contains("key cannot be read: No such file"), "{}", why());
        std::fs::write(&key, "secret one\nsecret two").expect("written");
        assert!(why().contains("holds more than one key") && !why().contains("secret"), "{}", why());
        std::fs::write(&key, "secret").expect("written");
        let (watched, found) = load(&file);
        let found = found.expect("it is right");
        assert_eq!(watched, [key]);
        assert!(found.key.is_some() && !format!("{found:?}").contains("\"secret\""));
        std::fs::remove_file(&file).expect("removed");
        std::fs::create_dir(&file).expect("made");
        assert!(why().contains("it is no file"), "{}", why());
    }
}
