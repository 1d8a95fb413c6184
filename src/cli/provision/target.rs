//! What the commands that talk to a cluster have in common: which specs, which form, which cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::trials::runs;
use super::{Advice, Console};
use crate::provision::{Cluster, ClusterError, SpecFile};
use crate::recipe::Spec;

/// Specs and a cluster.
#[derive(Args, Debug)]
pub(super) struct Target {
    /// Specs; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Another form than plain Kubernetes objects, for kinds that have it
    #[arg(long = "as", value_name = "FORM")]
    form: Option<String>,
    /// The namespace of specs that name none; without it, the kubeconfig's
    #[arg(long, short)]
    namespace: Option<String>,
    /// Which cluster; without it $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Target {
    /// The specs as they are written. Once: stdin is read but once.
    pub(super) fn read(&self) -> anyhow::Result<Vec<SpecFile>> {
        super::specs(&self.files)
    }

    /// The objects of the wanted specs, in the order in which they are to be created.
    pub(super) fn objects(
        &self,
        files: &[SpecFile],
        console: Console,
        quiet: bool,
        wanted: impl Fn(&Spec) -> bool,
    ) -> anyhow::Result<Vec<Value>> {
        super::objects(files, self.form.as_deref(), console, quiet, wanted)
    }

    /// What has to be looked for in a cluster: the objects of the specs, and what was started of them since.
    pub(super) async fn there(&self, files: &[SpecFile], cluster: &mut Cluster, console: Console) -> anyhow::Result<Vec<Value>> {
        let begun = runs(cluster, files.iter().flat_map(|file| &file.specs)).await?;
        let mut all: Vec<Value> = Vec::new();
        for object in self.objects(files, console, true, |_| true)?.into_iter().chain(begun) {
            let key =
                |object: &Value| (object["kind"].clone(), object["metadata"]["name"].clone(), object["metadata"]["namespace"].clone());
            if !all.iter().any(|other| key(other) == key(&object)) {
                all.push(object);
            }
        }
        Ok(all)
    }

    /// What the same specs become in the other forms that make pods by a controller of their own: people forget which one they applied.
    pub(super) fn elsewhere(&self, files: &[SpecFile]) -> Vec<Value> {
        if self.form.is_some() {
            return Vec::new();
        }
        let specs = files.iter().flat_map(|file| &file.specs);
        let forms = specs.flat_map(|spec| spec.kind.forms.iter().filter_map(|form| spec.render(Some(form)).ok()));
        forms.flat_map(|rendered| rendered.objects).filter(|object| MAKERS.iter().any(|kind| object["kind"] == *kind)).collect()
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) async fn cluster(&self) -> anyhow::Result<Cluster> {
        Ok(Cluster::connect(self.kubeconfig.as_deref(), self.namespace()).await?)
    }
}

/// Kinds whose pods are known by a label ([`Cluster::pods`]).
const MAKERS: &[&str] = &["JobSet", "TrainJob"];

/// Runs what waits for a cluster.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(work)
}

/// A time as people write it, for clap.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    crate::model::duration::parse(text).ok_or_else(|| "write such as 90s, 10m or 2h".to_owned())
}

/// What a cluster has against it, with what to do.
pub(super) fn advised(error: ClusterError) -> anyhow::Error {
    let hint = match &error {
        ClusterError::Connect(_) => return anyhow::Error::from(error),
        ClusterError::Unserved { .. } => "install what brings that kind, or render without --as",
        ClusterError::Foreign { .. } => "give the spec another name, or delete that object if it is nobody's",
        ClusterError::Conflict { .. } => "somebody else keeps these fields: agree on one of the two",
        ClusterError::Immutable { .. } => "gangplank-provision delete it first, then apply; claims are kept",
        ClusterError::Api { source, .. } => match &**source {
            kube::Error::Api(status) if status.code == 403 => "ask whoever runs the cluster for the right that is named",
            kube::Error::Api(status) if status.code == 404 => "create the namespace first, or name another one with -n",
            _ => return anyhow::Error::from(error),
        },
    };
    let problem = match &error {
        ClusterError::Api { what, source } => format!("{what}: {source}"),
        other => other.to_string(),
    };
    Advice::new(problem, hint).into()
}
