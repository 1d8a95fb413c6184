//! Rotation against a verifier that API servers could be: no clock, no sockets.

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;

fn at(hours: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000 + hours)
}

/// An API server that was told `ca_bundle` meets `serving`.
fn is_trusted(ca_bundle: &str, serving: &ServingCertificate, name: &str, now: SystemTime) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap());
    verifier.verify_server_cert(&serving.chain()[0], &[], &name, &[], now).is_ok()
}

/// A replica: it looks at the shared authorities every so often, and signs when that is due.
struct Replica {
    known: Authorities,
    serving: ServingCertificate,
}

impl Replica {
    fn look(&mut self, shared: &mut Authorities, now: SystemTime, lifetimes: &Lifetimes) -> bool {
        if let Some(renewed) = shared.renewed(now, lifetimes).unwrap() {
            *shared = Authorities::from_bytes(&renewed.to_bytes()).unwrap();
        }
        self.known = shared.clone();
        let is_due = self.known.is_due(&self.serving, now, lifetimes);
        if is_due {
            self.serving = self.known.sign(&["gangplank.example".into()], now, lifetimes).unwrap();
        }
        is_due
    }
}

#[test]
fn api_servers_that_hear_of_changes_late_trust_every_replica_through_three_years() {
    let lifetimes = Lifetimes::default();
    lifetimes.check().unwrap();
    let mut shared = Authorities::default().renewed(at(0), &lifetimes).unwrap().unwrap();
    let sign = |shared: &Authorities| shared.sign(&["gangplank.example".into()], at(0), &lifetimes).unwrap();
    let mut replicas = [0, 1].map(|_| Replica { known: shared.clone(), serving: sign(&shared) });
    let (mut bundle_of_last_hour, mut signed, mut authorities) = (shared.ca_bundle(), 0, std::collections::BTreeSet::new());
    for hour in 0..3 * 365 * 24 {
        let now = at(hour);
        let mut is_news = hour % 24 == 0;
        for replica in &mut replicas {
            if replica.look(&mut shared, now, &lifetimes) {
                signed += 1;
                is_news = true;
            }
        }
        assert!(shared.0.len() <= 2);
        authorities.extend(shared.0.iter().map(|authority| authority.name.clone()));
        let bundle = shared.ca_bundle();
        if is_news || bundle != bundle_of_last_hour {
            for replica in &replicas {
                for bundle in [&bundle_of_last_hour, &bundle] {
                    assert!(is_trusted(bundle, &replica.serving, "gangplank.example", now), "hour {hour}: {:?}", replica.serving);
                }
            }
        }
        bundle_of_last_hour = bundle;
    }
    assert_eq!(authorities.len(), 4, "a new authority every 300 days");
    assert!((100..130).contains(&signed), "{signed} certificates in three years for two replicas");
}

#[test]
fn a_certificate_is_good_for_its_names_only() {
    let lifetimes = Lifetimes::default();
    let authorities = Authorities::default().renewed(at(0), &lifetimes).unwrap().unwrap();
    let serving = authorities.sign(&["gangplank.example".into(), "127.0.0.1".into()], at(0), &lifetimes).unwrap();
    for (name, expected) in [("gangplank.example", true), ("127.0.0.1", true), ("other.example", false), ("127.0.0.2", false)] {
        assert_eq!(is_trusted(&authorities.ca_bundle(), &serving, name, at(1)), expected, "{name}");
    }
}

#[test]
fn no_certificate_outlives_its_time_or_its_authority() {
    let lifetimes = Lifetimes::default();
    let authorities = Authorities::default().renewed(at(0), &lifetimes).unwrap().unwrap();
    let names = ["gangplank.example".to_owned()];
    let first = authorities.sign(&names, at(0), &lifetimes).unwrap();
    assert!(is_trusted(&authorities.ca_bundle(), &first, &names[0], at(30 * 24 - 1)));
    assert!(!is_trusted(&authorities.ca_bundle(), &first, &names[0], at(30 * 24 + 1)));
    let last = authorities.sign(&names, at(360 * 24), &lifetimes).unwrap();
    assert_eq!(last.not_after, authorities.0[0].not_after);
}

#[test]
fn after_a_long_sleep_everything_is_made_anew() {
    let lifetimes = Lifetimes::default();
    let old = Authorities::default().renewed(at(0), &lifetimes).unwrap().unwrap();
    let now = at(10 * 365 * 24);
    let new = old.renewed(now, &lifetimes).unwrap().unwrap();
    let serving = new.sign(&["gangplank.example".into()], now, &lifetimes).unwrap();
    assert!(is_trusted(&new.ca_bundle(), &serving, "gangplank.example", now));
    assert_eq!(new.0.len(), 1);
    assert_eq!(new.renewed(now, &lifetimes).unwrap(), None, "once is enough");
}

#[test]
fn lifetimes_that_leave_a_gap_are_refused() {
    let secs = Duration::from_secs;
    let good = Lifetimes { authority: secs(12), authority_renewal: secs(8), settle: secs(2), serving: secs(6), serving_renewal: secs(3) };
    good.check().unwrap();
    for (bad, text) in [
        (Lifetimes { settle: secs(0), ..good }, "settle is at least a second"),
        (Lifetimes { authority_renewal: secs(2), ..good }, "an authority settles before its successor is made"),
        (Lifetimes { authority_renewal: secs(5), ..good }, "in the second half of its life"),
        (Lifetimes { authority: secs(11), ..good }, "outlives the settling of its successor"),
        (Lifetimes { serving_renewal: secs(6), ..good }, "renewed before it ends"),
    ] {
        assert!(bad.check().unwrap_err().to_string().contains(text), "{bad:?}");
    }
}

#[test]
fn stored_bytes_that_are_not_ours_are_an_error_and_keys_are_not_printed() {
    assert!(Authorities::from_bytes(b"[{}]").is_err());
    let authorities = Authorities::default().renewed(at(0), &Lifetimes::default()).unwrap().unwrap();
    assert!(!format!("{authorities:?}").contains("KEY"));
}
