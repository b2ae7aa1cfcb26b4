//! `resolv.conf`: the name servers of all links, in one file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// More are ignored by those who read the file (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;

/// What one link knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Servers {
    /// Name servers.
    pub(crate) dns: Vec<IpAddr>,
    /// Domain for short names.
    pub(crate) search: Option<String>,
}

/// The file and what stands in it.
#[derive(Debug)]
pub(crate) struct Resolver {
    path: PathBuf,
    links: Mutex<BTreeMap<u32, Servers>>,
}

impl Resolver {
    /// A file that exists is left alone until there is something to say: a restart must not take the
    /// name servers away.
    pub(crate) fn new(path: PathBuf) -> Self {
        if !path.exists() {
            report(&path, replace(&path, &text(&BTreeMap::new())));
        }
        Self { path, links: Mutex::default() }
    }

    /// What a link knows now; nothing, if it is gone. The file is written before this returns.
    pub(crate) fn set(&self, link: u32, servers: Option<Servers>) {
        let mut links = self.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changed = match servers {
            Some(servers) => links.insert(link, servers.clone()) != Some(servers),
            None => links.remove(&link).is_some(),
        };
        if changed {
            report(&self.path, replace(&self.path, &text(&links)));
        }
    }
}

fn report(path: &Path, outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("<3>{} cannot be written, names may not resolve: {error}", path.display());
    }
}

/// Nobody sees half a file.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("conf.new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

fn text(links: &BTreeMap<u32, Servers>) -> String {
    let mut text =
        String::from("# Written by aios-netd; change /data/config/net.toml or call net.configure instead.\n");
    let (mut servers, mut domains) = (Vec::new(), Vec::new());
    for link in links.values() {
        for server in &link.dns {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        if let Some(domain) = link.search.as_deref().filter(|domain| !domains.contains(domain)) {
            domains.push(domain);
        }
    }
    if !domains.is_empty() {
        let _ = writeln!(text, "search {}", domains.join(" "));
    }
    for server in servers.iter().take(MAX_SERVERS) {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(dns: &[&str], search: Option<&str>) -> Option<Servers> {
        let dns = dns.iter().map(|text| text.parse().expect("an address")).collect();
        Some(Servers { dns, search: search.map(str::to_owned) })
    }

    #[test]
    fn the_file_says_what_all_links_know() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        let lines = || -> Vec<String> {
            let text = std::fs::read_to_string(&path).expect("reads");
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        let resolver = Resolver::new(path.clone());
        assert!(lines().is_empty());
        resolver.set(3, servers(&["192.0.2.53", "2001:db8::53"], Some("example.org")));
        resolver.set(2, servers(&["10.0.2.3", "192.0.2.53"], Some("lan")));
        assert_eq!(
            lines(),
            [
                "search lan example.org",
                "nameserver 10.0.2.3",
                "nameserver 192.0.2.53",
                "nameserver 2001:db8::53"
            ]
        );
        resolver.set(3, None);
        assert_eq!(lines(), ["search lan", "nameserver 10.0.2.3", "nameserver 192.0.2.53"]);
        // A new process knows nothing yet, and says nothing.
        drop(resolver);
        Resolver::new(path.clone());
        assert_eq!(lines().len(), 3);
    }
}
