//! Certificates as people want to know them (RFC 5280).

use aios_abi::CallError;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::GeneralName;
use x509_parser::public_key::PublicKey;

/// Certificates of one file that are looked at.
const MAX_IN_FILE: usize = 200;
/// Names of one certificate that are shown.
const MAX_NAMES: usize = 100;
/// A certificate that ends within so many days is worth a word.
pub const SOON_DAYS: u32 = 30;

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Certificate {
    /// Where it was found.
    pub found: String,
    /// Whom it is about.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Whether it signs itself, so that nobody else vouches for it.
    pub self_signed: bool,
    /// Whether others may be signed with it.
    pub authority: bool,
    /// Host names and addresses that it is for.
    pub names: Vec<String>,
    /// From when on it counts, RFC 3339.
    pub begins: String,
    /// Until when it counts, RFC 3339.
    pub expires: String,
    /// Days until then; less than zero when it has expired.
    pub days_left: i64,
    /// Kind and bits of its key, such as `EC 256`.
    pub key: String,
    /// SHA-256 of the certificate, as browsers and `aiosctl` show it.
    pub fingerprint: String,
    /// What is wrong with it, if something is.
    pub problem: Option<String>,
}

/// The certificates of a file, PEM or DER; none where it has none. `now` is seconds since 1970; one that ends within `soon`
/// days has a problem.
pub fn of_file(bytes: &[u8], found: &str, now: i64, soon: u32) -> Vec<Certificate> {
    let blocks = Pem::iter_from_buffer(bytes).take(MAX_IN_FILE).map_while(Result::ok);
    let of_pem: Vec<_> = blocks
        .filter(|pem| pem.label == "CERTIFICATE")
        .filter_map(|pem| of_der(&pem.contents, found, now, soon).ok())
        .collect();
    match of_pem.is_empty() {
        true => of_der(bytes, found, now, soon).into_iter().collect(),
        false => of_pem,
    }
}

/// One certificate in DER.
pub fn of_der(der: &[u8], found: &str, now: i64, soon: u32) -> Result<Certificate, CallError> {
    let (rest, cert) = parse_x509_certificate(der)
        .map_err(|e| CallError::invalid(format!("{found} is no certificate: {e}")))?;
    let own = der.len().saturating_sub(rest.len());
    let pairs: Vec<String> =
        Sha256::digest(der.get(..own).unwrap_or_default()).iter().map(|b| format!("{b:02X}")).collect();
    let (begins, ends) = (cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp());
    let days_left = (ends - now).div_euclid(24 * 60 * 60);
    let (key, is_weak) = key(&cert);
    let problem = match () {
        () if ends < now => Some("it has expired".to_owned()),
        () if begins > now => Some("it does not count yet; is the clock right?".to_owned()),
        () if is_weak => Some(format!("its key is too weak: {key}")),
        () if days_left == 1 => Some("it expires in a day".to_owned()),
        () if days_left < i64::from(soon) => Some(format!("it expires in {days_left} days")),
        () => None,
    };
    let time = |seconds| Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
    Ok(Certificate {
        found: found.into(),
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
        self_signed: cert.subject() == cert.issuer(),
        authority: cert.is_ca(),
        names: names(&cert),
        begins: time(begins),
        expires: time(ends),
        days_left,
        key,
        fingerprint: pairs.join(":"),
        problem,
    })
}

fn names(cert: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = cert.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).take(MAX_NAMES).collect()
}

/// The key in words, and whether it is too weak (NIST SP 800-57 part 1, section 5.6.3).
fn key(cert: &X509Certificate<'_>) -> (String, bool) {
    match cert.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) => (format!("RSA {}", rsa.key_size()), rsa.key_size() < 2048),
        Ok(PublicKey::EC(point)) => (format!("EC {}", point.key_size()), point.key_size() < 224),
        Ok(PublicKey::DSA(_)) => ("DSA".into(), true),
        _ => {
            // RFC 8410 has no parameters: the kind says all.
            let kind = cert.public_key().algorithm.algorithm.to_id_string();
            let word = match kind.as_str() {
                "1.3.101.112" => "Ed25519",
                "1.3.101.113" => "Ed448",
                other => other,
            };
            (word.to_owned(), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// For `box.lan` and 192.0.2.7, from 2026-01-01 to 2027-01-01, EC 256.
    fn made() -> String {
        let mut params =
            rcgen::CertificateParams::new(vec!["box.lan".into(), "192.0.2.7".into()]).expect("names");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.distinguished_name.push(rcgen::DnType::CommonName, "box");
        params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("signs").pem()
    }

    const NEW_YEAR_2027: i64 = 1_798_761_600;

    #[test]
    fn a_certificate_says_whom_it_is_for_and_until_when() {
        let pem = made();
        let all = |now| of_file(format!("a comment\n{pem}{pem}").as_bytes(), "/data/x.pem", now, SOON_DAYS);
        let found = all(NEW_YEAR_2027 - 100 * 86_400);
        assert_eq!(found.len(), 2);
        let one = &found[0];
        assert_eq!(one.names, ["box.lan", "192.0.2.7"]);
        assert_eq!((one.days_left, one.key.as_str(), one.self_signed), (100, "EC 256", true));
        assert_eq!((one.expires.as_str(), one.problem.as_deref()), ("2027-01-01T00:00:00Z", None));
        assert_eq!(one.fingerprint.len(), 95);
        assert_eq!(all(NEW_YEAR_2027 - 86_400)[0].problem.as_deref(), Some("it expires in a day"));
        assert_eq!(all(NEW_YEAR_2027 + 1)[0].days_left, -1);
        assert!(all(NEW_YEAR_2027 + 1)[0].problem.as_deref().is_some_and(|text| text.contains("expired")));
        assert!(
            of_file(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x", 0, SOON_DAYS)
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_certificates_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0..600_usize,
            bit in 0..8_u8,
        ) {
            let _ = of_file(&bytes, "x", 0, SOON_DAYS);
            let der = Pem::iter_from_buffer(made().as_bytes()).next().expect("a block").expect("is PEM").contents;
            let mut der = der;
            if let Some(byte) = der.get_mut(at) {
                *byte ^= 1 << bit;
            }
            let _ = of_file(&der, "x", 0, SOON_DAYS);
        }
    }
}
