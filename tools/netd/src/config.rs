//! `net.toml`: how links get their IPv4 addresses.
//!
//! ```toml
//! # By name or by hardware address; a link that is not named here uses DHCP.
//! [link.eth0]
//! ipv4 = "static"
//! addresses = ["192.0.2.10/24"]
//! gateway = "192.0.2.1"
//! dns = ["192.0.2.53"]
//! search = "example.org"
//! ```
//!
//! `ipv4` is `dhcp` (the default; link-local while no server answers), `static`, `link-local` or `none`.
//! With `dhcp`, `dns` and `search` replace what the server says. IPv6 addresses are not configured here:
//! the kernel takes them from router advertisements.

use crate::resolver;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// How a link gets its IPv4 address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    /// From a server; link-local while none answers.
    #[default]
    Dhcp,
    /// From the file.
    Static,
    /// RFC 3927, without asking a server.
    LinkLocal,
    /// Not at all.
    None,
}

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Address {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// 1 to 32.
    pub(crate) prefix: u8,
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            Some(Self { address: address.parse().ok()?, prefix: prefix.parse().ok()? })
        });
        parsed
            .filter(|it| (1..=32).contains(&it.prefix) && is_host(it.address))
            .ok_or_else(|| format!("{text:?} is no IPv4 address with a prefix, such as 192.0.2.10/24"))
    }
}

/// What is configured for one link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Link {
    /// Where the address is from.
    pub(crate) method: Method,
    /// Its own addresses, if static.
    pub(crate) addresses: Vec<Address>,
    /// The way to everywhere else, if static.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub(crate) dns: Vec<IpAddr>,
    /// Domain for short names.
    pub(crate) search: Option<String>,
}

/// A link as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    ipv4: Method,
    #[serde(default)]
    addresses: Vec<Address>,
    gateway: Option<Ipv4Addr>,
    #[serde(default)]
    dns: Vec<IpAddr>,
    search: Option<String>,
}

impl TryFrom<Written> for Link {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { ipv4: method, addresses, gateway, dns, search } = written;
        if method == Method::Static && addresses.is_empty() {
            return Err("ipv4 = \"static\" needs `addresses`".into());
        }
        if method != Method::Static && (gateway.is_some() || !addresses.is_empty()) {
            return Err("`addresses` and `gateway` need ipv4 = \"static\"".into());
        }
        if let Some(gateway) = gateway.filter(|gateway| !is_host(*gateway)) {
            return Err(format!("gateway = \"{gateway}\" is not the address of a machine"));
        }
        let search = match search {
            Some(name) => {
                Some(resolver::domain(&name).ok_or_else(|| format!("search = {name:?} is no domain name"))?)
            }
            None => None,
        };
        Ok(Self { method, addresses, gateway, dns, search })
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
}

/// What is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// By name or hardware address.
    #[serde(default)]
    link: BTreeMap<String, Link>,
}

impl Config {
    /// What is written for a link, if anything is; the hardware address is asked first, because it
    /// stays when cards are added.
    pub(crate) fn of(&self, name: &str, mac: [u8; 6]) -> Option<&Link> {
        self.link.get(&mac_text(mac)).or_else(|| self.link.get(name))
    }
}

/// A hardware address as people write it.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The files one over the other, and what is wrong with those that were refused. One that does not exist
/// says nothing.
pub(crate) fn load(files: &[PathBuf]) -> (Config, Vec<String>) {
    let (mut config, mut refused) = (Config::default(), Vec::new());
    for file in files {
        match std::fs::read_to_string(file) {
            Ok(text) => match parse(file, &text) {
                Ok(over) => config.link.extend(over.link),
                Err(error) => refused.push(error),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => refused.push(format!("{} cannot be read: {error}", file.display())),
        }
    }
    (config, refused)
}

fn parse(file: &Path, text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        format!("{}:{line}: {}", file.display(), error.message().trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn read(text: &str) -> Result<Config, String> {
        parse(Path::new("net.toml"), text)
    }

    #[test]
    fn a_static_link_is_read() {
        let config = read(
            "[link.eth0]\nipv4 = \"static\"\naddresses = [\"192.0.2.10/24\"]\ngateway = \"192.0.2.1\"\n\
             dns = [\"192.0.2.53\", \"2001:db8::53\"]\nsearch = \"example.org\"\n",
        )
        .expect("reads");
        let link = config.of("eth0", MAC).expect("eth0");
        assert_eq!(link.addresses, [Address { address: Ipv4Addr::new(192, 0, 2, 10), prefix: 24 }]);
        assert_eq!((link.method, link.dns.len()), (Method::Static, 2));
        assert_eq!(config.of("eth1", MAC), None);
    }

    #[test]
    fn a_link_is_found_by_its_hardware_address_before_its_name() {
        let text = "[link.eth0]\nipv4 = \"none\"\n[link.\"52:54:00:12:34:56\"]\nipv4 = \"link-local\"\n";
        let config = read(text).expect("reads");
        assert_eq!(config.of("eth0", MAC).map(|link| link.method), Some(Method::LinkLocal));
        assert_eq!(config.of("eth0", [0; 6]).map(|link| link.method), Some(Method::None));
    }

    #[test]
    fn errors_name_the_line_and_the_cure() {
        let table = [
            ("[link.eth0]\nipv4 = \"static\"\n", "needs `addresses`"),
            ("[link.eth0]\ngateway = \"192.0.2.1\"\n", "need ipv4 = \"static\""),
            (
                "\n[link.eth0]\nipv4 = \"static\"\naddresses = [\"192.0.2.10\"]\n",
                "net.toml:4: \"192.0.2.10\" is no",
            ),
            ("[link.eth0]\nipv4 = \"auto\"\n", "net.toml:2:"),
            ("[link.eth0]\nadresses = []\n", "net.toml:2: unknown field `adresses`"),
            ("[link.eth0]\nsearch = \"a b\"\n", "is no domain name"),
            ("[lnk.eth0]\n", "unknown field `lnk`"),
            ("[link.eth0\n", "net.toml:1:"),
        ];
        for (text, expected) in table {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected) && !error.contains('\n'), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_and_the_others_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let files =
            ["base.toml", "broken.toml", "missing.toml", "over.toml"].map(|name| folder.path().join(name));
        std::fs::write(&files[0], "[link.eth0]\nipv4 = \"none\"\n[link.eth1]\nipv4 = \"none\"\n")
            .expect("writes");
        std::fs::write(&files[1], "[link.eth1]\nipv4 = 4\n").expect("writes");
        std::fs::write(&files[3], "[link.eth0]\nipv4 = \"link-local\"\n").expect("writes");
        let (config, refused) = load(&files);
        assert_eq!(config.of("eth0", MAC).map(|link| link.method), Some(Method::LinkLocal));
        assert_eq!(config.of("eth1", MAC).map(|link| link.method), Some(Method::None));
        assert!(refused.len() == 1 && refused[0].contains("broken.toml:2"), "{refused:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in "(\\[link\\.[a-z\"]{0,3}\\]\n|[a-z4]{0,6}|[ =\n\"\\[\\]./0-9]){0,20}") {
            let _ = read(&text);
        }
    }
}
