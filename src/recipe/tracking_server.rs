//! `TrackingServer`: MLflow with its database and its object store. The database's password comes from a Secret and
//! stands in no command line: whoever may list processes or pods would read it there.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::begin;
use super::fields::{Common, Worker};
use super::names::NAME;
use super::object::{Named, SpecOf};
use super::pod::{Around, Variable, template};
use super::text::{self, Text};
use super::{Recipe, Rendered};
use crate::policy::Mistake;

/// MLflow with its database and its object store.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TrackingServerSpec {
    /// The image; one with drivers of the database and the object store.
    image: String,
    /// Where runs are kept.
    database: DatabaseFile,
    /// Where artefacts are kept.
    artifacts: ArtifactsFile,
    /// Where it listens.
    #[serde(default = "port_default")]
    port: u16,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu: Option<Text>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Text>,
}

/// Where runs are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DatabaseFile {
    /// Such as postgresql://postgres-service:5432/mlflow, without user and password.
    url: String,
    /// The user.
    user: String,
    /// The password's place: secret/key.
    password: String,
}

/// Where artefacts are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArtifactsFile {
    /// Such as s3://mlflow/artifacts.
    root: String,
    /// The address of an object store that is not Amazon's, such as http://minio-service:9000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// Its access key's place: secret/key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_key: Option<String>,
    /// Its secret key's place: secret/key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_key: Option<String>,
}

fn port_default() -> u16 {
    5000
}

#[derive(Debug)]
struct TrackingServer {
    worker: Worker,
    /// With the user in it, and the password's variable.
    store: String,
    root: String,
    endpoint: Option<String>,
    port: u16,
}

impl SpecOf for TrackingServerSpec {
    const KIND: &'static str = "TrackingServer";
    const ABOUT: &'static str = "MLflow with its database and its object store";
    const PLURAL: Option<&'static str> = None;
    const COLUMNS: &'static [(&'static str, &'static str)] = &[];
    const FORMS: &'static [&'static str] = &[];
    const BEGIN: &'static begin::Begin = &begin::TRACKING_SERVER;

    fn check(self, _: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        let Some((scheme, rest)) = address("database.url", &self.database.url)? else {
            return Err(Mistake::new("database.url", "is no address", "write such as postgresql://postgres-service:5432/mlflow"));
        };
        if !["postgresql", "postgresql+psycopg2", "mysql", "mysql+pymysql"].contains(&scheme) {
            let problem = format!("is of `{}`, which keeps no runs", text::cut(scheme));
            return Err(Mistake::new("database.url", problem, "write postgresql://host:port/database or mysql://..."));
        }
        let user = &self.database.user;
        if user.is_empty() || user.len() > 64 || !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(Mistake::new("database.user", "is no user", "write letters, digits, -, _ and dots"));
        }
        if address("artifacts.root", &self.artifacts.root)?.is_none() {
            return Err(Mistake::new("artifacts.root", "is no address", "write such as s3://mlflow/artifacts"));
        }
        if let Some(endpoint) = &self.artifacts.endpoint {
            let web = address("artifacts.endpoint", endpoint)?.is_some_and(|(scheme, _)| scheme == "http" || scheme == "https");
            if !web {
                return Err(Mistake::new("artifacts.endpoint", "is no address", "write such as http://minio-service:9000"));
            }
        }
        if self.port < 1024 {
            return Err(Mistake::new("port", format!("{} is for root alone", self.port), "write a port from 1024"));
        }
        let keys = [
            ("DATABASE_PASSWORD", Some(&self.database.password)),
            ("AWS_ACCESS_KEY_ID", self.artifacts.access_key.as_ref()),
            ("AWS_SECRET_ACCESS_KEY", self.artifacts.secret_key.as_ref()),
        ];
        let secret_env = keys.into_iter().filter_map(|(name, place)| Some((name.to_owned(), place?.clone()))).collect();
        let store = format!("{scheme}://{user}:$(DATABASE_PASSWORD)@{rest}");
        let common = Common { image: self.image, secret_env, cpu: self.cpu, memory: self.memory, ..Common::default() };
        let worker = common.check()?;
        Ok(Box::new(TrackingServer { worker, store, root: self.artifacts.root, endpoint: self.artifacts.endpoint, port: self.port }))
    }
}

/// Scheme and rest of an address without a password in it.
fn address<'a>(field: &str, text: &'a str) -> Result<Option<(&'a str, &'a str)>, Mistake> {
    if text.contains('@') {
        return Err(Mistake::new(field, "has a user or a password in it", "leave them out: name the Secret's keys"));
    }
    let fine = text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/+".contains(&byte));
    Ok(text.split_once("://").filter(|(scheme, rest)| fine && !scheme.is_empty() && !rest.is_empty()))
}

impl Recipe for TrackingServer {
    fn render(&self, of: &Named, _: Option<&str>) -> Result<Rendered, Mistake> {
        let worker = Worker {
            command: ["mlflow", "server", "--host=0.0.0.0"]
                .into_iter()
                .map(str::to_owned)
                .chain([format!("--port={}", self.port)])
                .collect(),
            ..self.worker.clone()
        };
        let mut around = Around {
            env: vec![Variable::text("MLFLOW_DEFAULT_ARTIFACT_ROOT", &self.root)],
            ports: vec![("http", self.port)],
            late_env: vec![Variable::text("MLFLOW_BACKEND_STORE_URI", &self.store)],
            ..Around::default()
        };
        around.env.extend(self.endpoint.iter().map(|endpoint| Variable::text("MLFLOW_S3_ENDPOINT_URL", endpoint)));
        let probe =
            |failures: u32| json!({"httpGet": {"path": "/health", "port": self.port}, "periodSeconds": 10, "failureThreshold": failures});
        around.container.insert("startupProbe".to_owned(), probe(30));
        around.container.insert("readinessProbe".to_owned(), probe(3));
        let labels = json!({NAME: of.name});
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": of.metadata(&of.name),
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template(of, &worker, &around)},
        });
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": of.metadata(&of.name),
            "spec": {"type": "ClusterIP", "selector": labels, "ports": [{"name": "http", "port": self.port, "targetPort": self.port}]},
        });
        let mut notes = self.worker.notes();
        notes.push(format!("training jobs find it by the variable MLFLOW_TRACKING_URI=http://{}:{}", of.name, self.port));
        Ok(Rendered { objects: vec![deployment, service], notes })
    }
}
