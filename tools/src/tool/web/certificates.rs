//! `web.certificates`

use super::shared::{DIRECTORY, READS, configuration, names, place, servers};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::nginx::Directive;
use crate::x509::{self, Certificate};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Bytes of a file of certificates.
const MAX_FILE: u64 = 256 << 10;
/// Certificates that are looked at.
const MOST: usize = 200;

/// Look when the certificates of the web server expire. Those of the console and of other files: `sec.certificates`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Days before its end from which on a certificate counts as expiring soon.
    #[serde(default = "default_days")]
    #[schemars(range(min = 0, max = 3_650))]
    days: u32,
}

fn default_days() -> u32 {
    x509::SOON_DAYS
}

/// The certificates.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Certificates {
    /// Those that cannot be used first, then the one that expires first.
    pub(crate) certificates: Vec<InUse>,
    /// What could not be read of nginx's configuration.
    problems: Vec<String>,
}

/// A certificate that is in use.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InUse {
    /// Its file.
    file: String,
    /// Names of the servers that use it.
    used_by: Vec<String>,
    /// Whether its private key is the one that the configuration names; unknown if either cannot be read.
    key_fits: Option<bool>,
    /// Why it cannot be used, or soon cannot.
    problem: Option<String>,
    /// The first certificate of the file, which is the server's own.
    certificate: Option<Certificate>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 139,
    name: "web.certificates",
    summary: "Check the TLS certificates of nginx's sites: expiry, names, issuer, whether the key fits",
    effect: Effect::Read,
    touches: &["certificates and keys that nginx's configuration names"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("when do the TLS certificates of my web sites expire?", "{}"),
        ("is an SSL certificate of nginx about to expire?", "{}"),
        ("check the https certificates of the sites", "{}"),
        ("which sites have certificates that end within 90 days?", r#"{"days":90}"#),
        ("does each private key belong to its certificate?", "{}"),
    ],
    needs: READS.read(&[DIRECTORY]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, args: Args) -> Result<Certificates, CallError> {
    Ok(look(Path::new(DIRECTORY), args.days, Timestamp::now().as_second()))
}

/// `now` is seconds since 1970.
pub(crate) fn look(directory: &Path, days: u32, now: i64) -> Certificates {
    let config = configuration(directory);
    // Of one file and one key there is one certificate, whoever uses it.
    let mut used: BTreeMap<(String, Option<String>), Vec<String>> = BTreeMap::new();
    for server in servers(&config) {
        let (files, keys) = (all(server, "ssl_certificate"), all(server, "ssl_certificate_key"));
        for (index, file) in files.into_iter().enumerate() {
            let who = names(server).into_iter().next().unwrap_or_else(|| place(server));
            used.entry((file, keys.get(index).cloned())).or_default().push(who);
        }
    }
    let mut certificates: Vec<InUse> = used
        .into_iter()
        .take(MOST)
        .map(|((file, key), used_by)| {
            let within = |path: &String| Path::new(path).starts_with(directory);
            let seen = match [Some(&file), key.as_ref()].into_iter().flatten().find(|path| !within(path)) {
                Some(other) => {
                    Err(format!("{other} is not below {}, so nginx cannot read it", directory.display()))
                }
                None => certificate(Path::new(&file), days, now),
            };
            match seen {
                Ok((certificate, public)) => {
                    let (key_fits, wrong) = fits(key.as_deref(), &public);
                    let problem = wrong.or_else(|| certificate.problem.clone());
                    InUse { file, used_by, key_fits, problem, certificate: Some(certificate) }
                }
                Err(why) => InUse { file, used_by, key_fits: None, problem: Some(why), certificate: None },
            }
        })
        .collect();
    let left = |one: &InUse| one.certificate.as_ref().map(|certificate| certificate.days_left);
    certificates.sort_by_key(|one| (one.key_fits == Some(true), left(one)));
    Certificates { certificates, problems: config.problems }
}

/// All values of a directive that may be there several times, for keys of several kinds.
fn all(server: &Directive, name: &str) -> Vec<String> {
    server.named(name).filter_map(|one| one.arguments().first().cloned()).collect()
}

/// The first certificate of a file, and its public key (SubjectPublicKeyInfo in DER).
fn certificate(file: &Path, days: u32, now: i64) -> Result<(Certificate, Vec<u8>), String> {
    let bytes = content(file)?;
    let der =
        CertificateDer::from_pem_slice(&bytes).map_err(|e| format!("no certificate can be read: {e}"))?;
    let (_, parsed) =
        X509Certificate::from_der(&der).map_err(|e| format!("the certificate cannot be understood: {e}"))?;
    let told = x509::of_der(&der, &file.display().to_string(), now, days).map_err(|e| e.message)?;
    Ok((told, parsed.public_key().raw.to_vec()))
}

/// Whether this key is the other half of a public one; if not, why.
fn fits(key: Option<&str>, public: &[u8]) -> (Option<bool>, Option<String>) {
    let Some(key) = key else { return (Some(false), Some("its server names no ssl_certificate_key".into())) };
    match public_half(Path::new(key)) {
        Ok(half) if half == public => (Some(true), None),
        Ok(_) => (Some(false), Some(format!("{key} is the key of another certificate"))),
        Err(why) => (Some(false), Some(format!("{key}: {why}"))),
    }
}

/// The public half of a private key (SubjectPublicKeyInfo in DER, RFC 5280, section 4.1.2.7).
fn public_half(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = content(path)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| format!("no key can be read: {e}"))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| {
        "a key of a kind that is not known here (RSA, ECDSA P-256 and P-384, Ed25519)".to_owned()
    })?;
    let public = key.public_key().ok_or("its public half cannot be told")?;
    Ok(public.as_ref().to_vec())
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    let at = |e: std::io::Error| format!("{}: {e}", path.display());
    if !path.metadata().map_err(at)?.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(at)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(at)?;
    Ok(bytes)
}

fn summary(found: &Certificates) -> String {
    let bad: Vec<String> = found
        .certificates
        .iter()
        .filter_map(|one| Some(format!("{}: {}", one.file, one.problem.as_deref()?)))
        .collect();
    let all = found.certificates.len();
    match (all, bad.is_empty()) {
        (0, _) => "no certificate is in use".into(),
        (_, true) => {
            let first = found.certificates.first().and_then(|one| one.certificate.as_ref());
            let days = first.map_or(0, |certificate| certificate.days_left);
            format!("all {all} certificates are good, the first expires in {days} days")
        }
        (_, false) => format!("{} of {all} certificates need attention: {}", bad.len(), bad.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn make(folder: &Path, name: &str) -> KeyPair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.into(), "192.0.2.1".into()]).expect("names");
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 7, 1));
        let certificate = params.self_signed(&key).expect("signed");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("written");
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("written");
        key
    }

    #[test]
    fn expiry_names_and_keys_are_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path();
        std::fs::create_dir(here.join("conf.d")).expect("made");
        for name in ["a.lan", "b.lan"] {
            make(here, name);
        }
        let server = |name: &str, file: &str, key: &str| {
            let here = here.display();
            format!(
                "server {{ server_name {name}; ssl_certificate {here}/{file}; ssl_certificate_key {here}/{key}; }}\n"
            )
        };
        let text = [
            server("a.lan", "a.lan.pem", "a.lan.key"),
            server("www.a.lan", "a.lan.pem", "a.lan.key"),
            server("b.lan", "b.lan.pem", "a.lan.key"),
            server("c.lan", "c.pem", "c.key"),
            "server { ssl_certificate /etc/ssl/x.pem; }".into(),
        ];
        std::fs::write(here.join("conf.d/a.conf"), text.concat()).expect("written");
        let at = |time: &str| look(here, 30, time.parse::<Timestamp>().expect("a time").as_second());
        let seen = at("2026-03-01T00:00:00Z");
        let problems: Vec<&str> = seen.certificates.iter().filter_map(|one| one.problem.as_deref()).collect();
        let all = problems.join("\n");
        for expected in ["is not below", "No such file", "is the key of another certificate"] {
            assert!(all.contains(expected), "{expected}: {all}");
        }
        assert_eq!((seen.certificates.len(), problems.len()), (4, 3), "{seen:#?}");
        let good = seen.certificates.last().expect("is there");
        let certificate = good.certificate.as_ref().expect("was read");
        assert_eq!((good.used_by.len(), good.key_fits, certificate.days_left), (2, Some(true), 122));
        assert_eq!(certificate.names, ["a.lan", "192.0.2.1"]);
        let late = at("2026-06-15T00:00:00Z");
        let soon = late.certificates.last().and_then(|one| one.problem.as_deref()).expect("a problem");
        assert!(soon.contains("expires in"), "{soon}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn no_bytes_make_it_fall(change in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
            let folder = tempfile::tempdir().expect("a folder");
            static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                let key = KeyPair::generate().expect("a key");
                CertificateParams::new(vec!["a.lan".into()]).expect("names").self_signed(&key).expect("signed").der().to_vec()
            });
            let mut der = GOOD.clone();
            for (at, byte) in change {
                let at = at % der.len();
                der[at] = byte;
            }
            let pem = format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                crate::tool::fs::shared::base64(&der)
            );
            let path = folder.path().join("x.pem");
            std::fs::write(&path, pem).expect("written");
            let _ = certificate(&path, 30, 0);
        }
    }
}
