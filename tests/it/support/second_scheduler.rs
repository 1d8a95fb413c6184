//! One more kube-scheduler beside the control plane's own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::control_plane::{ControlPlane, send_signal, stop};
use super::objects::wait_until;
use super::ports::free_address;

const READY_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running kube-scheduler; it ends when this is dropped, or when the test process ends in any way.
#[derive(Debug)]
pub struct SecondScheduler {
    child: Child,
    log_path: PathBuf,
    port: u16,
}

impl SecondScheduler {
    /// Starts a stock kube-scheduler with the given `KubeSchedulerConfiguration`, in which kubeconfig, QPS and leader
    /// election may be left out, and returns when its caches are filled.
    pub async fn start(control_plane: &ControlPlane, config_yaml: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("scheduler-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let input = control_plane.dir().join(format!("{name}.input.yaml"));
        fs::write(&input, config_yaml)?;
        let port = free_address()?.port();
        let log_path = control_plane.log_path(&name);
        let log = File::create(&log_path)?;
        let child = Command::new(control_plane.binary())
            .args(["second-scheduler", "--name", &name, "--port", &port.to_string(), "--dir"])
            .arg(control_plane.dir())
            .arg("--config")
            .arg(&input)
            .env("CONTROL_PLANE_UNTIL_STDIN_CLOSES", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        // Dropped on every way out from here.
        let mut scheduler = Self { child, log_path, port };
        scheduler.wait_ready(control_plane).await?;
        Ok(scheduler)
    }

    async fn wait_ready(&mut self, control_plane: &ControlPlane) -> Result<()> {
        let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig())?;
        let with_ca = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let mut config = kube::Config::new(format!("https://127.0.0.1:{}", self.port).parse()?);
        config.root_cert = with_ca.root_cert;
        let client = kube::Client::try_from(config)?;
        let log_path = self.log_path.clone();
        let child = &mut self.child;
        wait_until("the second scheduler to be ready", READY_TIMEOUT, async || {
            if let Some(status) = child.try_wait()? {
                bail!("the second scheduler ended ({status}), its log:\n{}", tail(&log_path));
            }
            let request = http_get("/readyz")?;
            Ok(client.request_text(request).await.is_ok().then_some(()))
        })
        .await
        .with_context(|| format!("its log:\n{}", tail(&self.log_path)))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it writes its log.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Sends it a signal, e.g. `STOP` and `CONT`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        send_signal(self.pid(), signal)
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        stop(&mut self.child, STOP_TIMEOUT);
    }
}

impl Drop for SecondScheduler {
    fn drop(&mut self) {
        stop(&mut self.child, STOP_TIMEOUT);
    }
}

fn http_get(path: &str) -> Result<axum::http::Request<Vec<u8>>> {
    Ok(axum::http::Request::get(path).body(Vec::new())?)
}

fn tail(path: &Path) -> String {
    const LINES: usize = 15;
    let log = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
