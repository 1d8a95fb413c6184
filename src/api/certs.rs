//! The webhook's certificates: an authority of our own, a serving certificate from it, and the rotation of both without a moment in
//! which an API server meets a certificate that it does not know.
//!
//! ```text
//! authority A  |--signs----------------------|··trusted until it ends··|
//! authority B                    |··settle··|--signs------------------------- ...
//! caBundle     |       A         |      A + B                          |  B
//! ```
//! A successor is trusted (in the caBundle) for `settle` before anything is signed with it, which is when every replica and every API
//! server has learned of it; the predecessor stays trusted until it ends, and no certificate outlives its authority. Replicas share
//! the authorities (a Secret), and each signs a serving certificate of its own. Times come in as arguments.

mod keeper;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use keeper::{KeepError, Keeper};

/// Authorities that may be valid at a time; [`Lifetimes::check`] sees to it that more are not needed.
pub const AUTHORITIES_MAX: usize = 4;
/// Clocks differ.
const BACKDATED_MAX: Duration = Duration::from_mins(5);

/// How long certificates live and when they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// An authority.
    pub authority: Duration,
    /// Its age when a successor is made.
    pub authority_renewal: Duration,
    /// How long a successor is trusted before it signs.
    pub settle: Duration,
    /// A serving certificate.
    pub serving: Duration,
    /// Its age when the next one is signed.
    pub serving_renewal: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            authority: days(365),
            authority_renewal: days(300),
            settle: Duration::from_hours(2),
            serving: days(30),
            serving_renewal: days(20),
        }
    }
}

impl Lifetimes {
    /// Whether they leave room to rotate.
    ///
    /// # Errors
    /// What has to be longer than what.
    pub fn check(&self) -> Result<(), CertError> {
        let rules = [
            (self.settle >= Duration::from_secs(1), "settle is at least a second"),
            (self.authority_renewal > self.settle, "an authority settles before its successor is made"),
            (self.authority_renewal * 2 >= self.authority, "an authority is renewed in the second half of its life"),
            (self.authority >= self.authority_renewal + self.settle * 2, "an authority outlives the settling of its successor"),
            (self.serving > self.serving_renewal, "a serving certificate is renewed before it ends"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(CertError::Lifetimes(rule)))
    }
}

/// What went wrong with certificates.
#[derive(Debug, Error)]
pub enum CertError {
    /// Lifetimes that leave a gap.
    #[error("these lifetimes leave a gap: {0}")]
    Lifetimes(&'static str),
    /// Keys or certificates could not be made.
    #[error("making a certificate failed")]
    Make(#[source] rcgen::Error),
    /// The stored authorities are not what we stored.
    #[error("the stored authorities cannot be read")]
    Read(#[source] serde_json::Error),
    /// There is nothing to sign with; [`Authorities::renewed`] comes first.
    #[error("there is no authority to sign with")]
    NoAuthority,
    /// The certificate cannot be served.
    #[error("the certificate cannot be served")]
    Serve(#[source] rustls::Error),
}

/// The authorities in force, oldest first; what replicas share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authorities(Vec<Authority>);

/// One authority, key included.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Authority {
    name: String,
    /// Seconds since 1970.
    created: u64,
    not_after: u64,
    /// PEM.
    certificate: String,
    key: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authorities {
    /// Reads what [`Authorities::to_bytes`] wrote.
    ///
    /// # Errors
    /// Bytes that it did not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CertError> {
        serde_json::from_slice(bytes).map_err(CertError::Read)
    }

    /// What is kept in the Secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The authorities as they should be now, if that is not what they are: ended ones dropped, a successor made in time.
    ///
    /// # Errors
    /// A key could not be made.
    pub fn renewed(&self, now: SystemTime, lifetimes: &Lifetimes) -> Result<Option<Self>, CertError> {
        let now = seconds(now);
        let mut list: Vec<_> = self.0.iter().filter(|authority| authority.not_after > now).cloned().collect();
        if list.last().is_none_or(|newest| newest.created + lifetimes.authority_renewal.as_secs() <= now) {
            list.push(Authority::new(now, lifetimes)?);
            list.drain(..list.len().saturating_sub(AUTHORITIES_MAX));
        }
        Ok((list != self.0).then_some(Self(list)))
    }

    /// What API servers must trust: every authority in force, in PEM.
    pub fn ca_bundle(&self) -> String {
        self.0.iter().map(|authority| authority.certificate.as_str()).collect()
    }

    /// Signs a serving certificate for these names and addresses.
    ///
    /// # Errors
    /// No authority, or a name that is none.
    pub fn sign(&self, names: &[String], now: SystemTime, lifetimes: &Lifetimes) -> Result<ServingCertificate, CertError> {
        let authority = self.signer(now, lifetimes).ok_or(CertError::NoAuthority)?;
        let now = seconds(now);
        let not_after = authority.not_after.min(now + lifetimes.serving.as_secs());
        let mut params = CertificateParams::new(names.to_vec()).map_err(CertError::Make)?;
        params.distinguished_name.push(DnType::CommonName, names.first().map_or("gangplank", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let not_before = now.saturating_sub(BACKDATED_MAX.as_secs()).max(authority.not_before());
        set_validity(&mut params, not_before, not_after);
        let key = KeyPair::generate().map_err(CertError::Make)?;
        let issuer = Issuer::new(authority.params(), KeyPair::from_pem(&authority.key).map_err(CertError::Make)?);
        let certificate = params.signed_by(&key, &issuer).map_err(CertError::Make)?;
        Ok(ServingCertificate {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            signed_by: authority.name.clone(),
            created: now,
            not_after,
        })
    }

    /// Whether `serving` should be replaced by one that is signed now.
    pub fn is_due(&self, serving: &ServingCertificate, now: SystemTime, lifetimes: &Lifetimes) -> bool {
        let signer = self.signer(now, lifetimes).map(|authority| authority.name.as_str());
        let now = seconds(now);
        signer != Some(&serving.signed_by) || serving.created + lifetimes.serving_renewal.as_secs() <= now || serving.not_after <= now
    }

    /// The newest that has settled; the oldest where none has.
    fn signer(&self, now: SystemTime, lifetimes: &Lifetimes) -> Option<&Authority> {
        let (now, settle) = (seconds(now), lifetimes.settle.as_secs());
        self.0
            .iter()
            .rev()
            .find(|authority| authority.created + settle <= now)
            .or_else(|| self.0.iter().find(|authority| authority.not_after > now))
    }
}

impl Authority {
    fn new(now: u64, lifetimes: &Lifetimes) -> Result<Self, CertError> {
        let key = KeyPair::generate().map_err(CertError::Make)?;
        // Of two authorities with one name, verifiers may try the wrong key only.
        let tag = key.public_key_raw().iter().rev().take(4).fold(0_u32, |tag, byte| tag << 8 | u32::from(*byte));
        let not_after = now + lifetimes.authority.as_secs();
        let mut authority = Self {
            name: format!("gangplank-admission-{now}-{tag:08x}"),
            created: now,
            not_after,
            certificate: String::new(),
            key: key.serialize_pem(),
        };
        authority.certificate = authority.params().self_signed(&key).map_err(CertError::Make)?.pem();
        Ok(authority)
    }

    fn not_before(&self) -> u64 {
        self.created.saturating_sub(BACKDATED_MAX.as_secs())
    }

    /// The same each time they are asked for, so that a stored authority can go on signing.
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, self.not_before(), self.not_after);
        params
    }
}

/// A certificate to serve with, and its key.
pub struct ServingCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    signed_by: String,
    created: u64,
    not_after: u64,
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").field("signed_by", &self.signed_by).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl ServingCertificate {
    /// What is sent to clients.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// What TLS connections are served with, replaced while they come in.
#[derive(Debug, Default)]
pub struct Served(ArcSwapOption<CertifiedKey>);

impl Served {
    /// Serves new connections with this certificate.
    ///
    /// # Errors
    /// A key that TLS cannot use.
    pub fn replace(&self, serving: &ServingCertificate) -> Result<(), CertError> {
        let key = PrivateKeyDer::Pkcs8(serving.key.clone_key());
        let signing = rustls::crypto::ring::sign::any_supported_type(&key).map_err(CertError::Serve)?;
        self.0.store(Some(Arc::new(CertifiedKey::new(serving.chain.clone(), signing))));
        Ok(())
    }

    /// Whether there is anything to serve yet.
    pub fn is_ready(&self) -> bool {
        self.0.load().is_some()
    }

    /// A server configuration that always serves what is current. HTTP/1.1 only.
    ///
    /// # Errors
    /// None that was seen: the versions are those that ring has.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, CertError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(CertError::Serve)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A client that resumes would go on with the certificate it saw first.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Sets when a certificate is valid; rcgen's dates are of a crate that it does not hand on.
fn set_validity(params: &mut CertificateParams, not_before: u64, not_after: u64) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(not_before);
    params.not_after = epoch + Duration::from_secs(not_after);
}
