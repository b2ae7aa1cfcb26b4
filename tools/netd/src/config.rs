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
//! mtu = 1500
//! ```
//!
//! `ipv4` is `dhcp` (the default; link-local while no server answers), `static`, `link-local` or `none`.
//! With `dhcp`, `dns` and `search` replace what the server says. IPv6 addresses are not configured here:
//! the kernel takes them from router advertisements. `mtu` is the size of the largest packet in bytes.
//!
//! What the tools set is a file of its own, which only this daemon writes ([`Kept`]) and which counts more.

use aios_abi::netconf::{Link, Settings};
use aios_abi::{CallError, ErrorCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

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
            Ok(text) => match parse::<Config>(file, &text) {
                Ok(over) => config.link.extend(over.link),
                Err(error) => refused.push(error),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => refused.push(format!("{} cannot be read: {error}", file.display())),
        }
    }
    (config, refused)
}

/// What the tools have set, as it is kept: TOML of [`Settings`].
#[derive(Debug)]
pub(crate) struct Kept(Option<PathBuf>);

impl Kept {
    /// In this file. One that is damaged is set aside with a sentence, and nothing counts as set.
    pub(crate) fn open(file: Option<PathBuf>) -> (Self, Settings) {
        let settings = file.as_ref().and_then(|file| match std::fs::read_to_string(file) {
            Ok(text) => match read_settings(file, &text) {
                Ok(settings) => Some(settings),
                Err(error) => {
                    let aside = file.with_extension("toml.damaged");
                    let moved = std::fs::rename(file, &aside);
                    let place = moved.map_or_else(|e| e.to_string(), |()| aside.display().to_string());
                    eprintln!(
                        "<3>{error}; what tools had set does not count, the links are as net.toml says (the file: {place})"
                    );
                    None
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                eprintln!("<3>{} cannot be read: {error}; what tools had set does not count", file.display());
                None
            }
        });
        (Self(file), settings.unwrap_or_default())
    }

    /// Keep these from now on, whatever happens to the power.
    pub(crate) fn write(&self, settings: &Settings) -> Result<(), CallError> {
        let file = self.0.as_ref().ok_or_else(|| CallError::unavailable("netd has no place to keep this"))?;
        let failed = |e: std::io::Error| {
            CallError::new(ErrorCode::Failed, format!("{} cannot be written: {e}", file.display()))
        };
        let text = write_settings(settings)?;
        let new = file.with_extension("toml.new");
        std::fs::write(&new, text)
            .and_then(|()| File::open(&new)?.sync_all())
            .and_then(|()| std::fs::rename(&new, file))
            .and_then(|()| File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all())
            .map_err(failed)
    }
}

/// As they are kept.
pub(crate) fn write_settings(settings: &Settings) -> Result<String, CallError> {
    let text = toml::to_string(settings)
        .map_err(|e| CallError::failed(format!("the settings cannot be written as TOML: {e}")))?;
    Ok(format!(
        "# Written by aios-netd for the tools net.*; what stands here counts more than net.toml.\n{text}"
    ))
}

/// Settings as they were kept, if that is what the text is: else one sentence with its place.
pub(crate) fn read_settings(file: &Path, text: &str) -> Result<Settings, String> {
    let settings: Settings = parse(file, text)?;
    settings.check().map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(settings)
}

fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        format!("{}:{line}: {}", file.display(), error.message().trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::netconf::{Change, Hop, Method, Peer, Prefix, Route, Vpn};
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
        assert_eq!(link.addresses, ["192.0.2.10/24".parse::<Prefix>().expect("a prefix")]);
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
            ("[link.eth0]\nmtu = 100\n", "mtu = 100 is not 1280 to 65535"),
            ("[link.eth0]\nipv4 = \"static\"\naddresses = [\"2001:db8::1/64\"]\n", "is no IPv4 address"),
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

    /// Links and routes, in any number and any state.
    fn settings() -> impl Strategy<Value = Settings> {
        let v4 = any::<u32>().prop_map(std::net::Ipv4Addr::from);
        let link =
            (0..4_u8, v4, 1..=32_u8, any::<Option<u16>>(), prop::option::of("[a-z]{1,9}(\\.[a-z]{1,5})?"));
        let link = link.prop_map(|(method, address, length, mtu, search)| Link {
            method: [Method::Dhcp, Method::LinkLocal, Method::None, Method::Static][usize::from(method)],
            addresses: (method == 3)
                .then_some(Prefix { address: address.into(), length })
                .into_iter()
                .collect(),
            gateway: (method == 3).then_some(address),
            dns: vec![address.into()],
            search,
            mtu: mtu.map(u32::from),
        });
        let links = prop::collection::btree_map("[a-z][a-z0-9.-]{0,14}", link, 0..4);
        let hop = (any::<u32>(), prop::option::of("[a-z]{1,5}"), 1..=256_u16);
        let hop = hop.prop_map(|(via, interface, weight)| Hop {
            via: Some(std::net::Ipv4Addr::from(via).into()),
            interface,
            weight,
        });
        let route = (any::<u8>(), 1..3_u32, prop::collection::vec(hop, 1..4));
        let route = route.prop_map(|(net, metric, hops)| Route {
            to: Prefix { address: [10, net, 0, 0].into(), length: 16 },
            metric,
            hops,
        });
        let vpn = (any::<u32>(), any::<Option<u16>>(), prop::option::of("[0-9a-f]{31,32}"), 0..3_usize);
        let vpn = vpn.prop_map(|(address, port, preshared, peers)| Vpn {
            addresses: vec![Prefix { address: std::net::Ipv4Addr::from(address).into(), length: 24 }],
            port,
            mtu: None,
            peers: (0..peers)
                .map(|number| Peer {
                    public_key: format!("{}A=", ["x", "y", "z"][number].repeat(42)),
                    endpoint: port.map(|port| ([192, 0, 2, 1], port).into()),
                    allowed: vec![Prefix { address: [10, 0, 0, 0].into(), length: 8 + number as u8 }],
                    keepalive: port,
                    preshared: preshared.clone(),
                })
                .collect(),
        });
        let vpns = prop::collection::btree_map("[a-z]{1,4}", vpn, 0..3);
        let settings = (links, prop::collection::vec(route, 0..6), vpns);
        settings.prop_map(|(link, mut route, vpn)| {
            route.sort_by_key(Route::key);
            route.dedup_by_key(|route| route.key());
            Settings { link, route, vpn }
        })
    }

    #[test]
    fn damaged_settings_are_set_aside_and_whole_ones_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("settings.toml");
        let (kept, nothing) = Kept::open(Some(file.clone()));
        assert_eq!(nothing, Settings::default());
        let settings = read_settings(&file, "[link.eth0]\nipv4 = \"none\"\n").expect("reads");
        kept.write(&settings).expect("writes");
        assert_eq!(Kept::open(Some(file.clone())).1, settings);
        std::fs::write(&file, "[link.eth0]\nipv4 = ").expect("writes");
        assert_eq!(Kept::open(Some(file.clone())).1, Settings::default());
        assert!(!file.exists() && folder.path().join("settings.toml.damaged").exists());
        assert!(Kept::open(None).0.write(&settings).is_err());
    }

    proptest! {
        #[test]
        fn settings_come_back_as_they_were_kept_or_were_never_accepted(settings in settings()) {
            let text = toml::to_string(&settings).expect("TOML");
            match settings.check() {
                Ok(()) => prop_assert_eq!(read_settings(Path::new("x"), &text), Ok(settings)),
                Err(_) => prop_assert!(read_settings(Path::new("x"), &text).is_err()),
            }
        }

        #[test]
        fn a_change_the_other_way_round_takes_it_back(from in settings(), to in settings()) {
            prop_assume!(from.check().is_ok());
            let names = from.link.keys().chain(to.link.keys());
            let links = names.map(|name| Change::Link {
                name: name.clone(),
                before: from.link.get(name).cloned(),
                after: to.link.get(name).cloned(),
            });
            let of = |all: &Settings, key| all.route.iter().find(|route| route.key() == key).cloned();
            let keys = from.route.iter().chain(&to.route).map(Route::key);
            let routes = keys.map(|key| Change::Route { before: of(&from, key), after: of(&to, key) });
            let names = from.vpn.keys().chain(to.vpn.keys());
            let vpns = names.map(|name| Change::Vpn {
                name: name.clone(),
                before: from.vpn.get(name).cloned(),
                after: to.vpn.get(name).cloned(),
            });
            for change in links.chain(routes).chain(vpns) {
                let Ok(after) = from.after(&change) else { continue };
                prop_assert!(change.is_nothing() || after.after(&change).is_err());
                prop_assert_eq!(after.after(&change.reversed()).expect("goes back"), from.clone());
            }
        }

        #[test]
        fn any_text_is_settings_or_refused(text in "(\\[\\[?(link\\.[a-z]|route)\\]?\\]\n|to|metric|hops|[ =\n\"{}\\[\\],./0-9a-z]){0,25}") {
            let _ = read_settings(Path::new("x"), &text);
        }

        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in "(\\[link\\.[a-z\"]{0,3}\\]\n|[a-z4]{0,6}|[ =\n\"\\[\\]./0-9]){0,20}") {
            let _ = read(&text);
        }
    }
}
