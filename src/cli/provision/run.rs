//! `gangplank-provision run`: live specs in a cluster, driven to their end. What a spec needs is decided in `drive`; here is decided which
//! parts run, and that any of them that ends takes the rest with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::sync::watch;

use super::{Console, Exit, Run};
use crate::api::companion::{Health, companion};
use crate::api::{ServeLimits, Server};
use crate::cli::stay::{stay, terminated};
use crate::cluster::{Lead, NamespacedName, connect};
use crate::drive::Rules;
use crate::provision::run::Controller;
use crate::telemetry::{LogFormat, Metrics, logs};

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Which cluster; without it $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Only specs of this namespace; without it, of all
    #[arg(long, short)]
    namespace: Option<String>,
    /// A lease that several replicas stand for: one of them writes. Without it this one does, always
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "identity")]
    lease: Option<NamespacedName>,
    /// How this replica signs the lease; no two may be the same
    #[arg(long, value_name = "NAME", env = "HOSTNAME")]
    identity: Option<String>,
    /// A ServiceAccount that specs may name, in any namespace or in one; may stand several times. Without it, none
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    allow_account: Vec<String>,
    /// Where /healthz, /readyz and /metrics answer
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Which log lines to write
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info,kube_client=warn,kube_runtime=warn")]
    log: String,
    /// Their shape
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

impl Run for RunArgs {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Drive live specs in a cluster: start, suspend, start again, finish (TrainingJob)";

    fn run(self, _console: Console) -> anyhow::Result<Exit> {
        logs(&self.log, self.log_format)?;
        stay(run(self))
    }
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    let client = connect(args.kubeconfig.as_deref()).await?;
    let metrics = Arc::new(Metrics::new());
    let identity = args.identity.filter(|identity| !identity.is_empty()).unwrap_or_else(|| "gangplank-provision".to_owned());
    let lead = Arc::new(if args.lease.is_some() { Lead::default() } else { Lead::always() });
    let rules = Rules { accounts: args.allow_account };
    let controller = Controller::new(client.clone(), args.namespace, rules, lead.clone(), &identity, metrics.clone());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), identity, "drives live specs");

    let (stop, stopped) = watch::channel(false);
    let mut observed = match args.metrics_listen {
        Some(address) => {
            let asked = controller.clone();
            let health: Health = Arc::new(move || asked.ready().map(|()| if asked.leads() { "leads" } else { "another one leads" }));
            let server = Server::bind(address, companion(metrics.clone(), health), ServeLimits::default(), metrics).await;
            let server = server.with_context(|| format!("cannot listen on {address}"))?;
            tracing::info!(address = %server.address()?, "answers probes and Prometheus");
            tokio::spawn(server.run(stopped))
        }
        None => tokio::spawn(std::future::pending()),
    };
    let mut standing = {
        let (lead, lease, client, identity, controller) =
            (lead.clone(), args.lease.clone(), client.clone(), identity.clone(), controller.clone());
        tokio::spawn(async move {
            match lease {
                Some(lease) => lead.stand(client, lease, identity, move || controller.look_at_all()).await,
                None => std::future::pending().await,
            }
        })
    };
    let mut driving = tokio::spawn(controller.clone().run());
    let ended = tokio::select! {
        signal = terminated() => signal.map(|name| tracing::info!(signal = name, "ends")),
        ended = &mut observed => Err(anyhow::anyhow!("the observer's server ended: {ended:?}")),
        ended = &mut standing => Err(anyhow::anyhow!("the stand for the lease ended: {ended:?}")),
        ended = &mut driving => Err(anyhow::anyhow!("a part of the controller ended: {ended:?}")),
    };
    stop.send_replace(true);
    // First the writes end, then somebody else may begin.
    standing.abort();
    driving.abort();
    let _ = driving.await;
    controller.drain().await;
    if let (Ok(()), Some(lease)) = (&ended, &args.lease) {
        lead.release(client, lease, &identity).await;
    }
    ended
}
