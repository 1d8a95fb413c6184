//! A stock Kubernetes control plane on loopback, from `tests/cluster`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

/// `tests/cluster/build`'s exit code when Go is missing (`EX_UNAVAILABLE`).
const GO_IS_MISSING: i32 = 69;
/// `up` gives up by itself before this.
const START_TIMEOUT: Duration = Duration::from_mins(2);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(45);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a control plane is made of. The default has every component and no node.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// KWOK nodes to create, of eight H100s each unless `flags` say otherwise.
    pub nodes: u32,
    /// Components to leave out: `kube-scheduler`, `kube-controller-manager`, `kwok`.
    pub without: Vec<&'static str>,
    /// A `KubeSchedulerConfiguration` for the default scheduler; kubeconfig, QPS and leader election are filled in.
    pub scheduler_config_yaml: Option<String>,
    /// More flags of `up`, e.g. `--node-lease-seconds=4` or `--arg=kube-apiserver=--v=4`.
    pub flags: Vec<String>,
}

/// The line that `up` prints when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    kubeconfig: PathBuf,
    server: String,
    ca: PathBuf,
    etcd: String,
    pids: BTreeMap<String, u32>,
    users: BTreeMap<String, PathBuf>,
}

/// The line that `up` prints in answer to a command.
#[derive(Debug, Deserialize)]
struct Reply {
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    error: Option<String>,
}

/// A running control plane; it ends when this is dropped, or when the test process ends in any way.
#[derive(Debug)]
pub struct ControlPlane {
    binary: PathBuf,
    dir: PathBuf,
    ready: Ready,
    child: Child,
    conversation: Mutex<Conversation>,
}

/// Commands to `up` and their answers, one at a time.
#[derive(Debug)]
struct Conversation {
    /// Closed on drop: that is how `up` is told to end.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    pids: BTreeMap<String, u32>,
}

impl ControlPlane {
    /// Starts a control plane, building its binaries first where that is not done yet.
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_built(&build()?, options)
    }

    /// As `start`, but where Go is missing the test is skipped, loudly; under CI that is a failure.
    pub fn start_or_skip(test: &str, options: &Options) -> Option<Self> {
        let binaries = binaries_or_skip(test)?;
        Some(Self::start_built(&binaries, options).unwrap_or_else(|error| panic!("{test}: {error:?}")))
    }

    /// One control plane with four nodes for all the tests that keep to a namespace of their own.
    pub fn shared_or_skip(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        let binaries = binaries_or_skip(test)?;
        let start = || {
            let options = Options { nodes: 4, ..Options::default() };
            Self::start_built(&binaries, &options).map_err(|error| format!("{error:?}"))
        };
        // A static is never dropped: this one ends when the test process does and its pipe closes.
        Some(SHARED.get_or_init(start).as_ref().unwrap_or_else(|error| panic!("{test}: {error}")))
    }

    fn start_built(binaries: &Path, options: &Options) -> Result<Self> {
        let dir = new_folder()?;
        let binary = binaries.join("control-plane");
        let mut command = Command::new(&binary);
        command.arg("up").arg("--until-stdin-closes").arg("--dir").arg(&dir);
        command.arg(format!("--nodes={}", options.nodes));
        if !options.without.is_empty() {
            command.arg(format!("--without={}", options.without.join(",")));
        }
        if let Some(config) = &options.scheduler_config_yaml {
            let path = dir.join("scheduler.input.yaml");
            fs::write(&path, config)?;
            command.arg("--scheduler-config").arg(path);
        }
        command.args(&options.flags);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(dir.join("up.log"))?);
        let mut child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
        let lines = read_lines(&mut child);
        let began = Instant::now();
        let ready = match lines.recv_timeout(START_TIMEOUT) {
            Ok(line) => serde_json::from_str(&line).with_context(|| format!("up answered {line}")),
            Err(RecvTimeoutError::Timeout) => Err(anyhow!("not ready within {START_TIMEOUT:?}")),
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("it ended after {:?}", began.elapsed())),
        };
        let ready: Ready = match ready {
            Ok(ready) => ready,
            Err(error) => {
                stop(&mut child, STOP_TIMEOUT);
                let log = fs::read_to_string(dir.join("up.log")).unwrap_or_default();
                return Err(error.context(format!("the control plane did not come up, it said:\n{log}")));
            }
        };
        let conversation = Mutex::new(Conversation { stdin: child.stdin.take(), lines, pids: ready.pids.clone() });
        Ok(Self { binary, dir, ready, child, conversation })
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.ready.kubeconfig
    }

    /// The folder of kubeconfigs and logs. It is removed on drop unless the test fails.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The API server's address.
    pub fn server(&self) -> &str {
        &self.ready.server
    }

    /// The certificate authority of all the components, in PEM.
    pub fn ca_certificate(&self) -> &Path {
        &self.ready.ca
    }

    /// etcd's client address.
    pub fn etcd(&self) -> &str {
        &self.ready.etcd
    }

    /// The binary of all the components; `kubectl` lies beside it.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A component's log.
    pub fn log_path(&self, component: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{component}.log"))
    }

    /// A component's process id, also after a restart.
    pub fn pid(&self, component: &str) -> Option<u32> {
        self.conversation.lock().ok()?.pids.get(component).copied()
    }

    /// A client with all rights.
    pub async fn client(&self) -> Result<kube::Client> {
        client_from(self.kubeconfig()).await
    }

    /// The kubeconfig of one of the users of `up`: `admin`, `tenant`, `other-tenant`, `system:kube-scheduler`.
    pub fn user_kubeconfig(&self, user: &str) -> Result<&Path> {
        self.ready.users.get(user).map(PathBuf::as_path).with_context(|| format!("no user {user}"))
    }

    /// A client that acts as one of the users of `up`.
    pub async fn client_as(&self, user: &str) -> Result<kube::Client> {
        client_from(self.user_kubeconfig(user)?).await
    }

    /// Writes a kubeconfig that acts as a service account, which must exist.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let output = Command::new(&self.binary)
            .arg("service-account-kubeconfig")
            .arg("--dir")
            .arg(&self.dir)
            .args([namespace, name])
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("no kubeconfig for {namespace}/{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
    }

    /// A client that acts as a service account, which must exist.
    pub async fn client_as_service_account(&self, namespace: &str, name: &str) -> Result<kube::Client> {
        client_from(&self.service_account_kubeconfig(namespace, name)?).await
    }

    /// Ends a component and starts it again; returns when it is healthy.
    pub fn restart(&self, component: &str) -> Result<()> {
        self.tell("restart", component)
    }

    /// Ends a component in order.
    pub fn stop(&self, component: &str) -> Result<()> {
        self.tell("stop", component)
    }

    /// Kills a component.
    pub fn kill(&self, component: &str) -> Result<()> {
        self.tell("kill", component)
    }

    /// Starts a component that was stopped or killed; returns when it is healthy.
    pub fn start_component(&self, component: &str) -> Result<()> {
        self.tell("start", component)
    }

    /// Sends a component a signal, e.g. `STOP` and `CONT`.
    pub fn signal(&self, component: &str, signal: &str) -> Result<()> {
        let pid = self.pid(component).with_context(|| format!("{component} does not run"))?;
        send_signal(pid, signal)
    }

    fn tell(&self, verb: &str, component: &str) -> Result<()> {
        let mut conversation = self.conversation.lock().map_err(|_| anyhow!("another test panicked in a command"))?;
        let stdin = conversation.stdin.as_mut().context("the control plane is ending")?;
        writeln!(stdin, "{verb} {component}")?;
        let line = conversation.lines.recv_timeout(COMMAND_TIMEOUT).with_context(|| format!("no answer to {verb} {component}"))?;
        let reply: Reply = serde_json::from_str(&line)?;
        if let Some(error) = reply.error {
            bail!("{verb} {component}: {error}");
        }
        match reply.pid {
            Some(pid) => conversation.pids.insert(component.to_owned(), pid),
            None => conversation.pids.remove(component),
        };
        Ok(())
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Ok(conversation) = self.conversation.get_mut() {
            conversation.stdin = None;
        }
        stop(&mut self.child, STOP_TIMEOUT);
        if std::thread::panicking() {
            announce(&format!("the control plane's logs stay in {}", self.dir.display()));
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Builds the binaries where that is not done yet, with progress on stderr, and returns their folder.
fn build() -> Result<PathBuf> {
    match try_build()? {
        Some(binaries) => Ok(binaries),
        None => bail!("Go is not installed"),
    }
}

/// None where Go is missing.
fn try_build() -> Result<Option<PathBuf>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/build");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    if output.status.code() == Some(GO_IS_MISSING) {
        return Ok(None);
    }
    if !output.status.success() {
        bail!("{} failed ({})", script.display(), output.status);
    }
    Ok(Some(PathBuf::from(String::from_utf8(output.stdout)?.trim_end())))
}

/// Looks once per test run, so that the tests of a run agree.
fn binaries_or_skip(test: &str) -> Option<PathBuf> {
    static BINARIES: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let binaries = BINARIES
        .get_or_init(|| try_build().map_err(|error| format!("{error:?}")))
        .as_ref()
        .unwrap_or_else(|error| panic!("{test}: {error}"));
    if binaries.is_none() {
        // GitHub, GitLab and the others set CI=true: there, a test that silently did not run is a failure.
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: Go is not installed");
        let line = "=".repeat(78);
        announce(&format!(
            "{line}\nSKIPPED {test}\nIt needs a Kubernetes control plane, which is built with Go, and Go is not installed.\n{line}"
        ));
    }
    binaries.clone()
}

/// Writes past the test harness, which keeps what a passing test prints to itself.
fn announce(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn new_folder() -> Result<PathBuf> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("control-plane-{}-{number}", std::process::id()));
    remove_old_folders(Path::new(env!("CARGO_TARGET_TMPDIR")));
    // Of an earlier process with the same id.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// The shared control plane's folder outlives its process, and so do those of failed tests, for their logs: a day.
fn remove_old_folders(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|modified| modified.elapsed().ok());
        let is_ours = entry.file_name().to_string_lossy().starts_with("control-plane-");
        if is_ours && age.is_some_and(|age| age > Duration::from_hours(24)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn read_lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

async fn client_from(path: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Gives a child, whose standard input is closed by now, time to end, and kills it after that.
pub(super) fn stop(child: &mut Child, timeout: Duration) {
    drop(child.stdin.take());
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

pub fn send_signal(pid: u32, signal: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status()?;
    if !status.success() {
        bail!("kill -{signal} {pid}: {status}");
    }
    Ok(())
}
