//! The appliance's own certificate, made at the first boot and whenever an administrator has it renewed. There is no authority behind it; people and
//! `aiosctl` know it by its fingerprint, which the serial console shows.

use crate::store::Pem;
use aios_abi::CallError;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use x509_parser::prelude::GeneralName;

/// Days that the authority's own certificate counts: ten years.
const AUTHORITY_DAYS: u32 = 3652;

/// A certificate, ready for use.
#[derive(Debug, Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    /// SHA-256 of the certificate, `AA:BB:…`.
    pub fingerprint: String,
}

impl Identity {
    /// A certificate and its key.
    pub fn from_pem(pem: &Pem) -> Result<Self, CallError> {
        let invalid =
            |e: &dyn std::fmt::Display| CallError::invalid(format!("the certificate cannot be used: {e}"));
        let cert = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).map_err(|e| invalid(&e))?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|e| invalid(&e))?;
        let fingerprint = fingerprint(&cert);
        let provider = rustls::crypto::ring::default_provider();
        // A key that is not the certificate's is refused.
        let key = CertifiedKey::from_der(vec![cert], key, &provider).map_err(|e| invalid(&e))?;
        Ok(Self { key: Arc::new(key), fingerprint })
    }
}

/// The certificate in use. It is replaced while connections go on: each new one gets the one of its moment.
#[derive(Debug)]
pub struct Holder {
    present: RwLock<Identity>,
    first: PathBuf,
}

impl Holder {
    /// The one that is kept, or that of the first boot, which lies in this directory or is made there. One that cannot be
    /// used is not.
    pub fn open(directory: &Path, kept: Option<&Pem>, hostname: &str) -> Result<Arc<Self>, CallError> {
        let kept = kept.and_then(|pem| match Identity::from_pem(pem) {
            Ok(identity) => Some(identity),
            Err(error) => {
                tracing::error!("{error}; that of the first boot is used again");
                None
            }
        });
        let present = match kept {
            Some(identity) => identity,
            None => load_or_make(directory, hostname)?,
        };
        Ok(Arc::new(Self { present: RwLock::new(present), first: directory.into() }))
    }

    /// SHA-256 of the certificate, `AA:BB:…`.
    pub fn fingerprint(&self) -> String {
        self.present().fingerprint.clone()
    }

    /// The certificate in DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.present().key.cert.first().map(|cert| cert.to_vec()).unwrap_or_default()
    }

    /// A key and a certificate for it that the machine's own authority signs; `now` is the time of the request.
    pub fn issue(&self, names: &[String], days: u32, now: SystemTime) -> Result<Issued, CallError> {
        issue(&self.first, names, days, now)
    }

    /// From now on this one counts.
    pub fn replace(&self, identity: Identity) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// This one counts again; none is that of the first boot.
    pub fn go_back(&self, pem: Option<&Pem>) -> Result<(), CallError> {
        let identity = match pem {
            Some(pem) => Identity::from_pem(pem)?,
            None => load_or_make(&self.first, &crate::machine::hostname())?,
        };
        self.replace(identity);
        Ok(())
    }

    fn present(&self) -> std::sync::RwLockReadGuard<'_, Identity> {
        self.present.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the listener.
    pub fn config(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, CallError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| CallError::failed(format!("TLS cannot be set up: {e}")))?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Holder {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present().key.clone())
    }
}

/// Read the certificate from the directory, or make one. One that cannot be used is moved aside.
pub fn load_or_make(directory: &Path, hostname: &str) -> Result<Identity, CallError> {
    let (cert_path, key_path) = (directory.join("cert.pem"), directory.join("key.pem"));
    if cert_path.exists() && key_path.exists() {
        match load(&cert_path, &key_path) {
            Ok(identity) => return Ok(identity),
            Err(error) => tracing::error!(
                "the certificate in {} cannot be used ({error}); it is kept as *.broken and a new one is made",
                directory.display()
            ),
        }
    }
    for path in [&cert_path, &key_path] {
        if path.exists() {
            std::fs::rename(path, path.with_extension("pem.broken"))?;
        }
    }
    let mut names: Vec<String> =
        ["localhost", "127.0.0.1", "::1", "10.0.2.15", "aios.local"].map(String::from).into();
    if is_name(hostname) && !names.iter().any(|name| name == hostname) {
        names.push(hostname.to_owned());
    }
    let pem = make(&names)?;
    // The key first: a certificate without its key is made anew, never used.
    write_durably(&key_path, pem.key.as_bytes(), 0o600)?;
    write_durably(&cert_path, pem.certificate.as_bytes(), 0o644)?;
    load(&cert_path, &key_path)
}

fn load(cert_path: &Path, key_path: &Path) -> Result<Identity, CallError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|e| CallError::invalid(format!("{}: {e}", path.display())))
    };
    Identity::from_pem(&Pem { certificate: read(cert_path)?, key: read(key_path)? })
}

/// A new key and a certificate for it that it signs itself.
pub fn make(names: &[String]) -> Result<Pem, CallError> {
    let failed = |e: rcgen::Error| CallError::failed(format!("no certificate can be made: {e}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "aiOS console");
    let cert = params.self_signed(&key).map_err(failed)?;
    Ok(Pem { certificate: cert.pem(), key: key.serialize_pem() })
}

/// What the machine's own authority made for a service.
#[derive(Debug)]
pub struct Issued {
    /// Key and certificate.
    pub pem: Pem,
    /// The authority's certificate.
    pub authority: String,
}

/// The authority's key is made when it is first needed and never leaves the directory. What it signs signs nothing itself.
fn issue(directory: &Path, names: &[String], days: u32, now: SystemTime) -> Result<Issued, CallError> {
    let failed = |e: rcgen::Error| CallError::failed(format!("no certificate can be made: {e}"));
    let day = Duration::from_secs(24 * 60 * 60);
    let (key_path, cert_path) = (directory.join("authority-key.pem"), directory.join("authority.pem"));
    let authority_key = match std::fs::read_to_string(&key_path) {
        Ok(text) => KeyPair::from_pem(&text).map_err(failed)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
            write_durably(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
            key
        }
        Err(e) => return Err(CallError::failed(format!("{}: {e}", key_path.display()))),
    };
    let mut params = CertificateParams::default();
    // Two machines are two authorities.
    let digest = Sha256::digest(authority_key.public_key_raw());
    let own: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("aiOS authority {own}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // A clock that was set right since is none of its concern.
    params.not_before = (now - day).into();
    params.not_after = (now + AUTHORITY_DAYS * day).into();
    let authority = match std::fs::read_to_string(&cert_path) {
        Ok(text) => text,
        Err(_) => {
            let text = params.self_signed(&authority_key).map_err(failed)?.pem();
            write_durably(&cert_path, text.as_bytes(), 0o644)?;
            text
        }
    };
    let issuer = Issuer::new(params, authority_key);

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    let name =
        names.first().ok_or_else(|| CallError::invalid("name the hosts that the certificate is for"))?;
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - day).into();
    params.not_after = (now + days * day).into();
    let cert = params.signed_by(&key, &issuer).map_err(failed)?;
    Ok(Issued { pem: Pem { certificate: cert.pem(), key: key.serialize_pem() }, authority })
}

/// The host names and addresses that a certificate is for.
pub fn names(der: &[u8]) -> Result<Vec<String>, CallError> {
    let invalid =
        |e: &dyn std::fmt::Display| CallError::failed(format!("the present certificate cannot be read: {e}"));
    let (_, cert) = x509_parser::parse_x509_certificate(der).map_err(|e| invalid(&e))?;
    let Some(names) = cert.subject_alternative_name().map_err(|e| invalid(&e))? else {
        return Ok(Vec::new());
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    Ok(names.value.general_names.iter().filter_map(name).collect())
}

/// Whether a certificate can be for this: a host name or an address.
pub fn is_name(name: &str) -> bool {
    let is_host = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    is_host || name.parse::<IpAddr>().is_ok()
}

/// Write a file whole or not at all, also when power goes in between.
fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CallError> {
    let partial = path.with_extension("partial");
    let _ = std::fs::remove_file(&partial);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    if let Some(directory) = path.parent() {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// SHA-256 of a certificate in DER, as browsers show it.
pub fn fingerprint(cert: &CertificateDer<'_>) -> String {
    let pairs: Vec<String> = Sha256::digest(cert.as_ref()).iter().map(|b| format!("{b:02X}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_certificate_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().expect("folder");
        let first = load_or_make(folder.path(), "box").expect("makes");
        let second = load_or_make(folder.path(), "box").expect("loads");
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.fingerprint.len(), 32 * 3 - 1);
        let mode = std::fs::metadata(folder.path().join("key.pem")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_issued_is_signed_by_the_one_authority_of_the_machine() {
        let folder = tempfile::tempdir().expect("folder");
        let names = ["site.lan".to_owned(), "10.0.0.7".to_owned()];
        let now = SystemTime::now();
        let first = issue(folder.path(), &names, 90, now).expect("is made");
        let second = issue(folder.path(), &names, 1, now).expect("is made");
        assert_eq!(first.authority, second.authority);
        assert_ne!(first.pem.key, second.pem.key);
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec();
        let (authority, cert) = (der(&first.authority), der(&second.pem.certificate));
        assert_eq!(super::names(&cert).expect("names"), names);
        // As a browser would: the chain, the name, the time, and what it may be used for.
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.into()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().expect("a verifier");
        let verified = |name: &str, days: u64| {
            let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
            let then = now.duration_since(SystemTime::UNIX_EPOCH).expect("later")
                + Duration::from_secs(days * 86_400);
            let time = rustls::pki_types::UnixTime::since_unix_epoch(then);
            rustls::client::danger::ServerCertVerifier::verify_server_cert(
                verifier.as_ref(),
                &cert.clone().into(),
                &[],
                &name,
                &[],
                time,
            )
        };
        verified("site.lan", 0).expect("is trusted");
        verified("10.0.0.7", 0).expect("is trusted");
        verified("other.lan", 0).expect_err("is for others");
        verified("site.lan", 2).expect_err("has expired");
        let mode =
            std::fs::metadata(folder.path().join("authority-key.pem")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        issue(folder.path(), &[], 1, now).expect_err("is for nobody");
    }

    #[test]
    fn a_broken_certificate_is_kept_aside_and_made_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let first = load_or_make(folder.path(), "box").expect("makes");
        std::fs::write(folder.path().join("cert.pem"), "nonsense").expect("writes");
        let second = load_or_make(folder.path(), "box").expect("makes anew");
        assert_ne!(first.fingerprint, second.fingerprint);
        assert!(folder.path().join("cert.pem.broken").exists());
        assert!(folder.path().join("key.pem.broken").exists());
    }

    #[test]
    fn a_new_certificate_counts_for_new_connections_and_can_be_taken_back() {
        let folder = tempfile::tempdir().expect("folder");
        let holder = Holder::open(folder.path(), None, "box").expect("opens");
        let first = holder.fingerprint();
        assert!(names(&holder.certificate()).expect("names").contains(&"box".to_owned()));
        let pem = make(&["box.lan".into(), "192.0.2.7".into(), "2001:db8::1".into()]).expect("makes");
        holder.replace(Identity::from_pem(&pem).expect("fits"));
        assert_ne!(holder.fingerprint(), first);
        assert_eq!(names(&holder.certificate()).expect("names"), ["box.lan", "192.0.2.7", "2001:db8::1"]);
        assert_eq!(
            Holder::open(folder.path(), Some(&pem), "box").expect("opens").fingerprint(),
            holder.fingerprint()
        );
        let other = make(&["x".into()]).expect("makes");
        let mixed = Pem { key: other.key, ..pem };
        assert_eq!(Holder::open(folder.path(), Some(&mixed), "box").expect("opens").fingerprint(), first);
        holder.go_back(None).expect("goes back");
        assert_eq!(holder.fingerprint(), first);
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_noticed() {
        let (one, two) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        load_or_make(one.path(), "box").expect("makes");
        load_or_make(two.path(), "strange name!").expect("makes");
        std::fs::copy(one.path().join("key.pem"), two.path().join("key.pem")).expect("copies");
        load_or_make(two.path(), "box").expect("makes anew");
        assert!(two.path().join("cert.pem.broken").exists());
    }
}
