//! `gangplank serve`: the extender in a cluster. Decides which parts run and which end of a part is the end of the
//! process: none of them may be missing unnoticed, so any that ends takes the rest with it, and Kubernetes starts anew.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Args;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::stay::{stay, terminated};
use super::{Console, Exit, Run};
use crate::api::webhook::{Webhook, WebhookOptions};
use crate::api::{Api, ServeLimits, Server};
use crate::cluster::{KubeWriter, NamespacedName, Session, SessionLimits, carry_out, connect, follow_lease};
use crate::host::{BindLimits, Binder, Clock, Host, Journal, JournalLimits, OwnPod, ProfileFiles};
use crate::model::{Classes, PodKey};
use crate::policy::Profiles;
use crate::telemetry::{LogFormat, Metrics, logs};
use crate::wire::admission::Rules;

/// Arguments of `gangplank serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where kube-scheduler calls; loopback, because the protocol authenticates nobody
    #[arg(long, visible_alias = "extender-address", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9377")]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics answer as well, for kubelet and Prometheus; never the scheduler's verbs or /api/v1
    #[arg(long, visible_alias = "observe-address", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// Admission by webhook
    #[command(flatten)]
    pub admission: AdmissionArgs,
    /// Which cluster; without it $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// What to manage and how to choose: a file, a folder of them, or the name of a built-in one; may stand several times.
    /// A change of a file takes effect within seconds
    #[arg(long, value_name = "FILE|FOLDER|NAME")]
    pub profile: Vec<PathBuf>,
    /// The lease of the kube-scheduler beside this replica: it answers only while that one leads. Without it, always
    #[arg(long, visible_alias = "leader-lease", value_name = "NAMESPACE/NAME")]
    pub lease: Option<NamespacedName>,
    /// How the kube-scheduler beside this replica signs the lease, up to its first `_`: the host name, as a rule
    #[arg(long, visible_alias = "leader-identity", value_name = "NAME", env = "HOSTNAME")]
    pub identity: Option<String>,
    /// Also write every input to this new file, so that the run can be replayed
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// End the journal file at this size
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub journal_max_mib: u64,
    /// Answer a bind within this time; keep it below the extender's httpTimeout
    #[arg(long, value_name = "MS", default_value_t = 4500, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub bind_deadline_ms: u64,
    /// Compare the book with a fresh list about this often
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub relist_seconds: u64,
    /// Which log lines to write
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info,kube_client=warn,kube_runtime=warn")]
    pub log: String,
    /// Their shape
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The admission webhook, for clusters without `MutatingAdmissionPolicies`.
#[derive(Args, Clone, Debug)]
pub struct AdmissionArgs {
    /// Where API servers before 1.36 call for admission, over TLS with certificates that are made and renewed here; off without it
    #[arg(id = "admission_listen", long = "admission-listen", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The Service that they call; the certificates' Secret and the account `gangplank` are in its namespace
    #[arg(
        id = "admission_service",
        long = "admission-service",
        value_name = "NAMESPACE/NAME",
        default_value = "gangplank-system/gangplank-admission"
    )]
    pub service: NamespacedName,
    /// A further name or address that they call, where the webhook configurations have a url; may stand several times
    #[arg(id = "admission_name", long = "admission-name", value_name = "NAME", requires = "admission_listen")]
    pub names: Vec<String>,
    /// The schedulerName that pods get; the one that kube-scheduler is configured with
    #[arg(id = "admission_scheduler", long = "admission-scheduler", value_name = "NAME", default_value = "gangplank")]
    pub scheduler: String,
}

impl AdmissionArgs {
    fn options(&self, classes: Arc<Classes>) -> Option<WebhookOptions> {
        let address = self.listen?;
        let NamespacedName { namespace, name } = &self.service;
        let rules = Rules {
            scheduler: self.scheduler.clone(),
            writers: vec![format!("system:serviceaccount:{namespace}:gangplank")],
            untouched: vec!["kube-system".into(), namespace.clone()],
            ..Rules::shipped(classes)
        };
        let mut options = WebhookOptions::shipped(address, rules);
        options.called = [vec![format!("{name}.{namespace}.svc")], self.names.clone()].concat();
        options.objects.namespace.clone_from(namespace);
        Some(options)
    }

    /// Listens, and answers until `stop` turns true; without an address the task waits for ever.
    async fn serve(&self, client: &Client, classes: Arc<Classes>, stop: watch::Receiver<bool>) -> anyhow::Result<JoinHandle<()>> {
        let Some(options) = self.options(classes) else { return Ok(tokio::spawn(std::future::pending())) };
        let webhook = Webhook::bind(client.clone(), options).await?;
        tracing::info!(address = %webhook.address()?, service = %self.service, "answers admission reviews");
        let clock = Clock::system();
        Ok(tokio::spawn(webhook.run(stop, move || UNIX_EPOCH + Duration::from_millis(clock.read().unix_ms()))))
    }
}

impl Run for ServeArgs {
    const NAME: &'static str = "serve";
    const ABOUT: &'static str = "Answer kube-scheduler as its extender";

    fn run(self, _console: Console) -> anyhow::Result<Exit> {
        logs(&self.log, self.log_format)?;
        stay(run(self))
    }
}

/// How often time is told to have passed.
const TICK: Duration = Duration::from_secs(1);
/// A Binding of the process before this one had 0.85 s to be answered.
const SETTLE: Duration = Duration::from_secs(1);
/// Gauges are as old as this at most.
const MEASURE_TICKS: u64 = 5;
/// The check walks the whole book.
const CHECK_TICKS: u64 = 60;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What it could not start with, or which part ended.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let files = ProfileFiles::new(args.profile.iter().map(PathBuf::as_path));
    let texts = files.read().context("the profiles cannot be read")?;
    let profiles = Profiles::parse(&texts)?;
    let metrics = Arc::new(Metrics::new());
    let journal = journal(&args, &metrics)?;
    let client = connect(args.kubeconfig.as_deref()).await?;
    let identity = identity(&args)?;
    let classes = profiles.classes().clone();
    let (host, effects) = Host::new(profiles, Clock::system(), metrics.clone(), journal);
    host.measure_profiles(&texts);
    let writer = KubeWriter::new(client.clone(), identity.clone());
    let own = OwnPod { key: PodKey::new(client.default_namespace(), &*identity), writer: writer.clone() };
    let deadline = Duration::from_millis(args.bind_deadline_ms);
    let bind_limits = BindLimits { deadline, call: deadline / 2, settle: SETTLE, ..BindLimits::default() };
    let binder = Binder::new(host.clone(), writer.clone(), bind_limits);

    let api = Api { host: host.clone(), binder: binder.clone() };
    let (stop, stopped) = watch::channel(false);
    let server = Server::bind(args.listen, api.clone().router(), ServeLimits::default(), metrics.clone());
    let server = server.await.with_context(|| format!("cannot listen on {}", args.listen))?;
    tracing::info!(address = %server.address()?, version = env!("CARGO_PKG_VERSION"), identity, "answers kube-scheduler");
    let mut serving = tokio::spawn(server.run(stopped.clone()));
    let mut observed = match args.metrics_listen {
        Some(address) => {
            let server = Server::bind(address, api.observer(), ServeLimits::default(), metrics.clone());
            let server = server.await.with_context(|| format!("cannot listen on {address}"))?;
            tracing::info!(address = %server.address()?, "answers probes and Prometheus");
            tokio::spawn(server.run(stopped.clone()))
        }
        None => tokio::spawn(std::future::pending()),
    };
    let mut admitting = args.admission.serve(&client, classes, stopped).await?;
    if args.lease.is_some() {
        // Silent until the lease has been read: the scheduler beside us may be the standby.
        host.wait_for(crate::host::Part::Voice, Some("the lease to be read".into()));
    }
    let voice_host = host.clone();
    let (voice_client, lease) = (client.clone(), args.lease.clone());
    let mut voice = tokio::spawn(async move {
        match lease {
            Some(lease) => follow_lease(voice_client, lease, identity, voice_host).await,
            None => std::future::pending().await,
        }
    });
    let mut working = tokio::spawn(carry_out(effects, writer, metrics, Arc::downgrade(&host)));
    let session_limits = SessionLimits { relist_period: Duration::from_secs(args.relist_seconds) };
    let mut session = tokio::spawn(Session::new(host.clone(), binder.clone(), session_limits).run(client));
    let mut following = tokio::spawn(files.follow(host.clone(), texts, own));
    let mut ticking = tokio::spawn(async move { tokio::join!(tick(host.clone()), host.work_ahead()) });

    let ended = tokio::select! {
        signal = terminated() => signal.map(|name| tracing::info!(signal = name, "ends: requests under way are finished")),
        ended = &mut serving => Err(anyhow::anyhow!("the extender's server ended: {ended:?}")),
        ended = &mut observed => Err(anyhow::anyhow!("the observer's server ended: {ended:?}")),
        ended = &mut admitting => Err(anyhow::anyhow!("the admission webhook ended: {ended:?}")),
        ended = &mut voice => Err(anyhow::anyhow!("the watch of the lease ended: {ended:?}")),
        ended = &mut working => Err(anyhow::anyhow!("the writer of effects ended: {ended:?}")),
        ended = &mut following => Err(anyhow::anyhow!("the watch of the profiles ended: {ended:?}")),
        ended = &mut ticking => Err(anyhow::anyhow!("the ticker ended: {ended:?}")),
        ended = &mut session => Err(ended.map_or_else(anyhow::Error::from, anyhow::Error::from)),
    };
    stop.send_replace(true);
    if ended.is_ok() {
        let _ = serving.await;
        if args.admission.listen.is_some() {
            let _ = admitting.await;
        }
        binder.drain().await;
    }
    ended
}

fn journal(args: &ServeArgs, metrics: &Arc<Metrics>) -> anyhow::Result<Journal> {
    let limits = JournalLimits { file_bytes_max: args.journal_max_mib << 20, ..JournalLimits::default() };
    Ok(match &args.journal {
        Some(path) => Journal::with_file(limits, path, metrics.clone())?,
        None => Journal::new(limits, metrics.clone()),
    })
}

fn identity(args: &ServeArgs) -> anyhow::Result<String> {
    if let Some(identity) = args.identity.as_ref().filter(|identity| !identity.is_empty()) {
        return Ok(identity.clone());
    }
    let file = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match file.trim() {
        "" if args.lease.is_some() => bail!("--lease needs --identity: the host name is not known"),
        "" => Ok("gangplank".into()),
        name => Ok(name.into()),
    }
}

async fn tick(host: Arc<Host>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for ticks in 0_u64.. {
        interval.tick().await;
        host.tick();
        if ticks % MEASURE_TICKS == 0 {
            host.measure();
        }
        if ticks % CHECK_TICKS == 0 {
            host.check();
        }
    }
}
