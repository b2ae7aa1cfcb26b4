//! The machine is known by its certificate's fingerprint, as `ssh` knows hosts: there is no authority that
//! could vouch for an appliance. Names and dates in the certificate are not looked at, because a fresh
//! appliance may have neither name nor clock; the handshake's signatures are.

use crate::error::{Failure, Outcome};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Read one as people paste it: with or without colons, in either case, also with `SHA-256` before it.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = ["sha256", "sha-256"].iter().find_map(|word| lower.strip_prefix(word)).unwrap_or(&lower);
        let digits: String = digits.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        aios_abi::audit::unhex(&digits).map(Self).ok_or_else(|| {
            Failure::usage(format!(
                "{text:?} is not a fingerprint: give the 32 pairs of hexadecimal digits of the certificate line \
                 that the machine shows when it starts"
            ))
        })
    }

    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|failure| failure.message)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// The certificate that a server showed.
pub(crate) type Seen = Arc<OnceLock<Fingerprint>>;

/// A TLS configuration that talks to the machine with this certificate only. Without one it talks to
/// nobody: the handshake fails after the certificate was noted in [`Seen`], before a byte is sent.
pub(crate) fn config(pin: Option<Fingerprint>) -> Outcome<(ClientConfig, Seen)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let seen = Seen::default();
    let verifier = Arc::new(Pinned { pin, seen: seen.clone(), provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Failure::failed(format!("TLS cannot be set up: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok((config, seen))
}

#[derive(Debug)]
struct Pinned {
    pin: Option<Fingerprint>,
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint::of(end_entity);
        let _ = self.seen.set(shown);
        if self.pin == Some(shown) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_paste_it() {
        let plain = "0a".repeat(32);
        let colons = vec!["0A"; 32].join(":");
        let shown = Fingerprint::parse(&plain).expect("reads").to_string();
        assert_eq!(shown, colons);
        for text in [
            format!("sha256 {colons}"),
            format!(" SHA256:{colons} "),
            format!("SHA-256 {colons}"),
            colons.clone(),
        ] {
            assert_eq!(Fingerprint::parse(&text).expect("reads").to_string(), colons, "{text}");
        }
        for bad in ["", "0a", &format!("{plain}0"), &"zz".repeat(32)] {
            assert_eq!(Fingerprint::parse(bad).expect_err("refused").exit, crate::error::Exit::Usage);
        }
    }
}
