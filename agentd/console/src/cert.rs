//! The appliance's own certificate, made at the first boot. There is no authority behind it; people and
//! `aiosctl` know it by its fingerprint, which the serial console shows.

use aios_abi::CallError;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// A certificate, ready for use.
#[derive(Debug, Clone)]
pub struct Identity {
    /// For the listener.
    pub config: Arc<rustls::ServerConfig>,
    /// SHA-256 of the certificate, `AA:BB:…`.
    pub fingerprint: String,
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
    make(&cert_path, &key_path, hostname)?;
    load(&cert_path, &key_path)
}

fn load(cert_path: &Path, key_path: &Path) -> Result<Identity, CallError> {
    let invalid =
        |path: &Path, e: &dyn std::fmt::Display| CallError::invalid(format!("{}: {e}", path.display()));
    let cert = CertificateDer::from_pem_file(cert_path).map_err(|e| invalid(cert_path, &e))?;
    let key = PrivateKeyDer::from_pem_file(key_path).map_err(|e| invalid(key_path, &e))?;
    let fingerprint = fingerprint(&cert);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| CallError::failed(format!("TLS cannot be set up: {e}")))?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .map_err(|e| invalid(cert_path, &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity { config: Arc::new(config), fingerprint })
}

fn make(cert_path: &Path, key_path: &Path, hostname: &str) -> Result<(), CallError> {
    let failed = |e: rcgen::Error| CallError::failed(format!("no certificate can be made: {e}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut names: Vec<String> =
        ["localhost", "127.0.0.1", "::1", "10.0.2.15", "aios.local"].map(String::from).into();
    if is_dns_name(hostname) && !names.iter().any(|name| name == hostname) {
        names.push(hostname.to_owned());
    }
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "aiOS console");
    let cert = params.self_signed(&key).map_err(failed)?;
    // The key first: a certificate without its key is made anew, never used.
    write_durably(key_path, key.serialize_pem().as_bytes(), 0o600)?;
    write_durably(cert_path, cert.pem().as_bytes(), 0o644)
}

fn is_dns_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
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
    fn a_key_that_is_not_the_certificates_is_noticed() {
        let (one, two) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        load_or_make(one.path(), "box").expect("makes");
        load_or_make(two.path(), "strange name!").expect("makes");
        std::fs::copy(one.path().join("key.pem"), two.path().join("key.pem")).expect("copies");
        load_or_make(two.path(), "box").expect("makes anew");
        assert!(two.path().join("cert.pem.broken").exists());
    }
}
