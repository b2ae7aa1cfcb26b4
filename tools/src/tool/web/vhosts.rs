//! `web.vhosts`

use super::shared::{DIRECTORY, READS, configuration, names, place, servers};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::nginx::Directive;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Servers that are told, and locations of each.
const MOST: usize = 200;
/// Characters of a value that are told.
const MAX_TEXT: usize = 300;
/// To whom a request goes.
const BACKENDS: [&str; 4] = ["proxy_pass", "fastcgi_pass", "uwsgi_pass", "grpc_pass"];

/// List the sites of the web server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only servers of which a name contains this text.
    name: Option<String>,
}

/// The sites.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sites {
    /// The servers of the files in `/data/nginx/conf.d`, in their order; at most 200.
    pub(crate) servers: Vec<Server>,
    /// There are more.
    truncated: bool,
    /// What could not be read of the configuration.
    pub(crate) problems: Vec<String>,
}

/// A server of nginx.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Server {
    /// Its names; none means that it answers to any.
    pub(crate) names: Vec<String>,
    /// Addresses and ports that it listens at, as they are written.
    pub(crate) listen: Vec<String>,
    /// One of these with TLS.
    pub(crate) tls: bool,
    /// It answers where no other server's name fits.
    default: bool,
    /// Directory of its files.
    pub(crate) root: Option<String>,
    /// File of its certificate.
    certificate: Option<String>,
    /// Status and address or text that it answers all requests with.
    returns: Option<String>,
    /// What it does with some paths.
    pub(crate) locations: Vec<Location>,
    /// Where it is configured: file and line.
    place: String,
}

/// What is done with the requests for a path.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Location {
    /// The path, or how it is compared and with what.
    path: String,
    /// Directory of its files.
    root: Option<String>,
    /// The server that answers instead; without name and password.
    pub(crate) passes_to: Option<String>,
    /// Status and address or text that is answered.
    returns: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 138,
    name: "web.vhosts",
    summary: "List the sites (virtual hosts) of the nginx web server: names, ports, directories, where they are proxied to",
    effect: Effect::Read,
    touches: &["nginx's configuration in /data/nginx"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("which websites does nginx serve?", "{}"),
        ("list the virtual hosts", "{}"),
        ("where is shop.example.org proxied to?", r#"{"name":"shop.example.org"}"#),
        ("which server block handles www.example.com?", r#"{"name":"www.example.com"}"#),
        ("what is the document root of blog.lan?", r#"{"name":"blog.lan"}"#),
    ],
    needs: READS,
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, args: Args) -> Result<Sites, CallError> {
    Ok(look(Path::new(DIRECTORY), args.name.as_deref()))
}

pub(crate) fn look(directory: &Path, name: Option<&str>) -> Sites {
    let config = configuration(directory);
    let name = name.map(str::to_lowercase);
    let fits = |server: &Server| {
        let has = |name: &String| server.names.iter().any(|own| own.to_lowercase().contains(name));
        name.as_ref().is_none_or(has)
    };
    let mut servers: Vec<Server> = servers(&config).map(server).filter(fits).take(MOST + 1).collect();
    let truncated = servers.len() > MOST;
    servers.truncate(MOST);
    Sites { servers, truncated, problems: config.problems }
}

fn server(directive: &Directive) -> Server {
    let listens: Vec<&[String]> = directive.named("listen").map(Directive::arguments).collect();
    let says = |word: &str| listens.iter().any(|words| words.iter().skip(1).any(|own| own == word));
    let listen = listens.iter().filter_map(|words| words.first()).map(|one| shown(one)).collect();
    let locations = directive.named("location").take(MOST).map(|one| Location {
        path: shown(&one.arguments().join(" ")),
        root: one.value("root").or_else(|| one.value("alias")).map(shown),
        passes_to: BACKENDS.iter().find_map(|name| one.value(name)).map(without_password),
        returns: returns(one),
    });
    Server {
        names: names(directive).iter().map(|name| shown(name)).collect(),
        // Without a word nginx takes this one.
        listen: if listens.is_empty() { vec!["*:80".into()] } else { listen },
        tls: says("ssl") || says("quic"),
        default: says("default_server") || says("default"),
        root: directive.value("root").map(shown),
        certificate: directive.value("ssl_certificate").map(shown),
        returns: returns(directive),
        locations: locations.collect(),
        place: place(directive),
    }
}

fn returns(directive: &Directive) -> Option<String> {
    directive.named("return").next().map(|one| shown(&one.arguments().join(" ")))
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// `http://name:password@host/` without what stands before the host (RFC 3986, section 3.2.1).
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return shown(address) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    shown(&format!("{scheme}://{host}{path}"))
}

fn summary(sites: &Sites) -> String {
    let names: Vec<&str> = sites
        .servers
        .iter()
        .map(|server| server.names.first().map_or("a server without a name", String::as_str))
        .collect();
    let problems = match sites.problems.first() {
        None => String::new(),
        Some(first) => format!("; not all could be read: {first}"),
    };
    match names.is_empty() {
        true => format!("no site is configured in {DIRECTORY}/conf.d{problems}"),
        false => format!("{} sites: {}{problems}", names.len(), names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_where_they_lead_are_told_without_passwords() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("conf.d")).expect("made");
        let text = "upstream app { server 10.0.0.1; }\n\
            server { listen 443 ssl default_server; listen [::]:443 ssl; server_name shop.lan www.shop.lan;\n\
              ssl_certificate /data/nginx/c.pem; root /data/nginx/shop;\n\
              location /api/ { proxy_pass http://joe:S3CRET@10.0.0.2:8080/x; }\n\
              location ~ \\.php$ { fastcgi_pass unix:/run/nginx/php.sock; } }\n\
            server { server_name old.lan; return 301 https://shop.lan$request_uri; }\n";
        std::fs::write(folder.path().join("conf.d/a.conf"), text).expect("written");
        let sites = look(folder.path(), None);
        assert_eq!((sites.servers.len(), sites.problems.len()), (2, 0), "{sites:?}");
        let [shop, old] = sites.servers.as_slice() else { panic!("{sites:?}") };
        assert!(shop.tls && shop.default && shop.names == ["shop.lan", "www.shop.lan"]);
        assert_eq!(shop.listen, ["443", "[::]:443"]);
        assert_eq!(shop.locations[0].passes_to.as_deref(), Some("http://10.0.0.2:8080/x"));
        assert_eq!(shop.locations[1].path, "~ \\.php$");
        assert!(!old.tls && old.listen == ["*:80"]);
        assert_eq!(old.returns.as_deref(), Some("301 https://shop.lan$request_uri"));
        assert!(old.place.ends_with("conf.d/a.conf:6"), "{}", old.place);
        assert_eq!(look(folder.path(), Some("WWW.shop")).servers.len(), 1);
        assert_eq!(summary(&sites), "2 sites: shop.lan, old.lan");
        assert!(!format!("{sites:?}").contains("S3CRET"));
    }
}
