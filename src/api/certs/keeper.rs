//! Keeps the webhook's certificates: one turn brings everything up to date and says when to look again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::watch;

use super::{Authorities, CertError, Lifetimes, Served, ServingCertificate};
use crate::cluster::webhook_config::{State, Stored, WebhookError, WebhookObjects};

/// Turns that may be lost to other replicas before this one waits for its next turn.
const CONFLICTS_MAX: usize = 5;
/// Between turns.
const TURN_MIN: Duration = Duration::from_millis(500);
const TURN_MAX: Duration = Duration::from_secs(30);
/// After a turn that failed.
const RETRY: Duration = Duration::from_secs(5);

/// What a turn failed at; the next one tries again, and what is served goes on being served.
#[derive(Debug, Error)]
pub enum KeepError {
    /// In the cluster.
    #[error(transparent)]
    Cluster(#[from] WebhookError),
    /// With a certificate.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// Other replicas kept writing.
    #[error("{CONFLICTS_MAX} writes in a row met another replica's")]
    Conflicts,
}

/// Keeps one replica's certificates.
#[derive(Debug)]
pub struct Keeper {
    objects: WebhookObjects,
    lifetimes: Lifetimes,
    names: Vec<String>,
    served: Arc<Served>,
    current: Option<ServingCertificate>,
}

impl Keeper {
    /// A keeper for a replica that is called by these names and addresses.
    ///
    /// # Errors
    /// Lifetimes that leave a gap.
    pub fn new(objects: WebhookObjects, lifetimes: Lifetimes, names: Vec<String>, served: Arc<Served>) -> Result<Self, CertError> {
        lifetimes.check()?;
        Ok(Self { objects, lifetimes, names, served, current: None })
    }

    /// How long to wait between turns: at least twice within the time that an authority is trusted before it signs, and soon enough
    /// for a webhook configuration that was installed just now.
    pub fn interval(&self) -> Duration {
        let Lifetimes { settle, serving, serving_renewal, .. } = self.lifetimes;
        (settle / 2).min(serving.saturating_sub(serving_renewal) / 2).clamp(TURN_MIN, TURN_MAX)
    }

    /// Brings the shared authorities, the caBundles and what is served up to date, in this order: API servers trust a certificate before
    /// they meet it.
    ///
    /// # Errors
    /// What could not be done; nothing that worked before is undone.
    pub async fn turn(&mut self, now: SystemTime) -> Result<(), KeepError> {
        let authorities = self.authorities(now).await?;
        self.objects.publish(&authorities.ca_bundle()).await?;
        if self.current.as_ref().is_none_or(|current| authorities.is_due(current, now, &self.lifetimes)) {
            let serving = authorities.sign(&self.names, now, &self.lifetimes)?;
            self.served.replace(&serving)?;
            tracing::info!(?serving, "the webhook serves a new certificate");
            self.current = Some(serving);
        }
        Ok(())
    }

    async fn authorities(&self, now: SystemTime) -> Result<Authorities, KeepError> {
        for _ in 0..CONFLICTS_MAX {
            let state = self.objects.read().await?;
            let kept = read_or_begin_anew(&state);
            let Some(renewed) = kept.renewed(now, &self.lifetimes)? else { return Ok(kept) };
            if self.objects.write(&state, renewed.to_bytes()).await? == Stored::Kept {
                return Ok(renewed);
            }
        }
        Err(KeepError::Conflicts)
    }

    /// Turns until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, clock: impl Fn() -> SystemTime) {
        loop {
            let pause = match self.turn(clock()).await {
                Ok(()) => self.interval(),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the webhook's certificates could not be kept; trying again");
                    RETRY.min(self.interval())
                }
            };
            let stopped = async { stop.wait_for(|stop| *stop).await.map(|_| ()) };
            if tokio::time::timeout(pause, stopped).await.is_ok() {
                return;
            }
        }
    }
}

/// What cannot be read is of no use to any replica, and is replaced; the API servers learn of it in the same turn.
fn read_or_begin_anew(state: &State) -> Authorities {
    let Some(bytes) = &state.bytes else { return Authorities::default() };
    Authorities::from_bytes(bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "the authorities in the Secret cannot be read and are made anew");
        Authorities::default()
    })
}
