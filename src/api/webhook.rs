//! The admission webhook as one part of `gangplank serve`: its server, its certificates and their upkeep.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use kube::Client;
use thiserror::Error;
use tokio::sync::watch;

use super::admission::Admission;
use super::certs::{CertError, Keeper, Lifetimes, Served};
use super::tls::TlsServer;
use crate::cluster::webhook_config::{WebhookNames, WebhookObjects};
use crate::wire::admission::Rules;

/// What a webhook is started with.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Where API servers call.
    pub listen: SocketAddr,
    /// The names and addresses that they call it by.
    pub called: Vec<String>,
    /// What it decides by.
    pub rules: Rules,
    /// How long its certificates live.
    pub lifetimes: Lifetimes,
    /// What its objects in the cluster are called.
    pub objects: WebhookNames,
}

impl WebhookOptions {
    /// As the manifests in `deploy/admission-webhook` have it.
    pub fn shipped(listen: SocketAddr, rules: Rules) -> Self {
        let called = vec!["gangplank-admission.gangplank-system.svc".into()];
        Self { listen, called, rules, lifetimes: Lifetimes::default(), objects: WebhookNames::default() }
    }
}

/// Why a webhook could not be started.
#[derive(Debug, Error)]
pub enum WebhookStartError {
    /// Its certificates.
    #[error("the webhook's certificates cannot be kept")]
    Certificates(#[from] CertError),
    /// Its address.
    #[error("the webhook cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// A webhook that listens and has not been run yet.
#[derive(Debug)]
pub struct Webhook {
    server: TlsServer,
    keeper: Keeper,
}

impl Webhook {
    /// Listens. Handshakes fail until [`Webhook::run`] has had its first turn with the certificates.
    ///
    /// # Errors
    /// Lifetimes that leave a gap, or an address that cannot be had.
    pub async fn bind(client: Client, options: WebhookOptions) -> Result<Self, WebhookStartError> {
        let objects = WebhookObjects::new(client, options.objects);
        let certificates = Arc::<Served>::default();
        let keeper = Keeper::new(objects.clone(), options.lifetimes, options.called, certificates.clone())?;
        let router = Admission::new(options.rules, Arc::new(objects)).router();
        let listening = TlsServer::bind(options.listen, certificates.server_config()?, router).await;
        let server = listening.map_err(|error| WebhookStartError::Listen(options.listen, error))?;
        Ok(Self { server, keeper })
    }

    /// Where it listens: the port, if any was asked for.
    ///
    /// # Errors
    /// None that was seen on a bound socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.server.address()
    }

    /// Answers, and keeps its certificates, until `stop` turns true.
    pub async fn run(self, stop: watch::Receiver<bool>, clock: impl Fn() -> SystemTime) {
        tokio::join!(self.keeper.run(stop.clone(), clock), self.server.run(stop));
    }
}
