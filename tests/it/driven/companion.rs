//! The controller as a process, with the rights that people install, and what its specs say.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

use crate::support::installed::{apply_file, install_account};
use crate::support::{ControlPlane, HttpClient, free_address, send_signal, wait_until};

const READY: Duration = Duration::from_secs(30);

/// A running controller; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Companion {
    child: Child,
    address: SocketAddr,
    log_path: PathBuf,
}

impl Companion {
    /// Starts it; it need not be ready yet.
    pub(super) fn start(control_plane: &ControlPlane, kubeconfig: &Path, arguments: &[&str]) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let log_path = control_plane.log_path(&format!("provision-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        let address = free_address()?;
        let child = Command::new(env!("CARGO_BIN_EXE_gangplank-provision"))
            .arg("run")
            .arg(format!("--metrics-listen={address}"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--log=info,gangplank=debug")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log_path)?)
            .spawn()?;
        Ok(Self { child, address, log_path })
    }

    /// Waits until every list is in; what it says of itself then.
    pub(super) async fn ready(&mut self) -> Result<String> {
        let (address, child) = (self.address, &mut self.child);
        let answered = wait_until("the controller to be ready", READY, async || {
            if let Some(status) = child.try_wait()? {
                bail!("the controller ended: {status}");
            }
            let Ok(mut http) = HttpClient::open(address).await else { return Ok(None) };
            let reply = http.get("/readyz").await?;
            Ok((reply.status == 200).then(|| reply.text()))
        });
        answered.await.with_context(|| self.log())
    }

    /// All that it wrote, by the names of writes that were done.
    pub(super) async fn writes(&self) -> Result<std::collections::BTreeMap<String, u64>> {
        let text = HttpClient::open(self.address).await?.get("/metrics").await?.text();
        let rows = text.lines().filter_map(|line| line.strip_prefix("gangplank_provision_writes_total{outcome=\"done\",write=\""));
        let row = |row: &str| Some((row.split('"').next()?.to_owned(), row.rsplit(' ').next()?.parse().ok()?));
        Ok(rows.filter_map(row).collect())
    }

    /// Sends it a signal, e.g. `STOP` and `CONT`.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        send_signal(self.child.id(), signal)
    }

    /// Kills it, as a crash would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rights, the policy and the definition that people install; a kubeconfig of the controller's account.
pub(super) async fn install(control_plane: &ControlPlane, client: &Client) -> Result<PathBuf> {
    install_account(control_plane, client).await?;
    for file in ["deploy/controller/rbac.yaml", "deploy/controller/policy.yaml", "deploy/crd/trainingjobs.yaml"] {
        apply_file(client, "gangplank-system", Path::new(file)).await?;
    }
    control_plane.service_account_kubeconfig("gangplank-system", "gangplank-provision")
}

/// Live specs of a kind.
pub(super) fn specs(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let named = GroupVersionKind::gvk("gangplank.dev", "v1alpha1", kind);
    let resource = ApiResource::from_gvk_with_plural(&named, &format!("{}s", kind.to_lowercase()));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// The status of a live spec.
pub(super) async fn status(specs: &Api<DynamicObject>, name: &str) -> Result<Value> {
    Ok(specs.get_opt(name).await?.map_or(Value::Null, |object| object.data["status"].clone()))
}

/// Waits until the status of a spec is so.
pub(super) async fn until(
    specs: &Api<DynamicObject>,
    name: &str,
    what: &str,
    within: Duration,
    is: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    let waited = wait_until(what, within, async || {
        last = status(specs, name).await?;
        Ok(is(&last).then(|| last.clone()))
    })
    .await;
    waited.with_context(|| format!("{last:#}"))
}
