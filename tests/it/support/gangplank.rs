//! The program under test as a process, and a kube-scheduler configuration that calls it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::control_plane::{ControlPlane, send_signal, stop};
use super::http::HttpClient;
use super::objects::wait_until;
use super::ports::free_address;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The program under test, or another build of it (`GANGPLANK_PROGRAM`): figures are taken from release builds.
pub fn program() -> std::ffi::OsString {
    std::env::var_os("GANGPLANK_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_gangplank").into())
}

/// A running `gangplank serve`; it ends when this is dropped.
#[derive(Debug)]
pub struct Gangplank {
    child: Child,
    address: SocketAddr,
    log_path: PathBuf,
}

impl Gangplank {
    /// Starts it on a free port with the given kubeconfig; it need not be ready yet.
    pub fn start(control_plane: &ControlPlane, kubeconfig: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_at(control_plane, kubeconfig, free_address()?.port(), arguments)
    }

    /// As `start`, on a port that was used before.
    pub fn start_at(control_plane: &ControlPlane, kubeconfig: &Path, port: u16, arguments: &[&str]) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let log_path = control_plane.log_path(&format!("gangplank-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let child = Command::new(program())
            .arg("serve")
            .arg(format!("--listen={address}"))
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

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, e.g. `STOP` and `CONT`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        send_signal(self.pid(), signal)
    }

    /// A connection to it, once it listens.
    pub async fn client(&mut self) -> Result<HttpClient> {
        let (address, child) = (self.address, &mut self.child);
        let opened = wait_until("gangplank to listen", READY_TIMEOUT, async || {
            if let Some(status) = child.try_wait()? {
                bail!("gangplank ended: {status}");
            }
            Ok(HttpClient::open(address).await.ok())
        });
        opened.await.with_context(|| self.log())
    }

    /// Waits until it answers questions.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let mut client = self.client().await?;
        let ready =
            wait_until("gangplank to be ready", READY_TIMEOUT, async || Ok((client.get("/readyz").await?.status == 200).then_some(())));
        ready.await.with_context(|| self.log())
    }

    /// A page of its read API.
    pub async fn get(&mut self, path: &str) -> Result<serde_json::Value> {
        let reply = self.client().await?.get(path).await?;
        if reply.status != 200 {
            bail!("{path}: {} {}", reply.status, reply.text());
        }
        Ok(serde_json::from_slice(&reply.body)?)
    }

    /// How it ended, if it did.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it in order, and returns whether it ended well.
    pub fn terminate(mut self) -> Result<bool> {
        send_signal(self.pid(), "TERM")?;
        stop(&mut self.child, STOP_TIMEOUT);
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Gangplank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The configuration that people install, calling this address, without leader election.
pub fn scheduler_config(address: SocketAddr) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/second-scheduler/scheduler-config.yaml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let installed = "http://127.0.0.1:10270/scheduler";
    assert_eq!(text.matches(installed).count(), 2, "{} no longer calls {installed}", path.display());
    let text = text.replace(installed, &format!("http://{address}/scheduler"));
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("  resourceName")).collect();
    Ok(text.join("\n").replace("leaderElect: true", "leaderElect: false"))
}
