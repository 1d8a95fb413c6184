//! The client: from a kubeconfig, or from inside a pod. Decides its time-outs; a token file is read again by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The file given cannot be used.
    #[error("the kubeconfig {path} cannot be used")]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// No file given, and none of the usual places has one.
    #[error("no cluster: neither --kubeconfig, $KUBECONFIG and ~/.kube/config nor a pod's service account leads to one")]
    Infer(#[source] InferConfigError),
    /// The configuration makes no client.
    #[error("a client cannot be made")]
    Client(#[source] kube::Error),
}

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Silence on a connection beyond which it is dead: watches are ended by the server before.
const READ_MAX: Duration = Duration::from_secs(90);

/// Makes a client; contacts nobody yet.
///
/// # Errors
/// A configuration that cannot be had or used.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let failed = |source| ConnectError::Kubeconfig { path: path.into(), source };
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?
        }
        None => Config::infer().await.map_err(ConnectError::Infer)?,
    };
    config.connect_timeout = Some(CONNECT_MAX);
    config.read_timeout = Some(READ_MAX);
    config.write_timeout = Some(READ_MAX);
    Client::try_from(config).map_err(ConnectError::Client)
}
