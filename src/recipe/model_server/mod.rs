//! `ModelServer`: a model behind a Service, in as many replicas as are needed. Decides what of the spec makes no sense;
//! `plain.rs` and the files of `form/` make the objects, `runtime/` says how a server is started and asked for its health.

mod autoscale;
mod fields;
mod form;
mod guard;
mod model;
mod plain;
mod proxy;
pub mod runtime;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod tls_tests;

use serde_json::Value;

use super::begin;
use super::fields::{Worker, workload};
use super::object::{Named, RULES, SpecOf};
use super::pod::{Around, Variable};
use super::text::{self, Text};
use super::{Recipe, Rendered};
use crate::policy::Mistake;
use autoscale::Replicas;
use fields::{AllowFile, AutoscaleFile, CanaryFile, HealthFile, MonitoringFile, RouteFile, TransformerFile};
use model::Model;
use runtime::Runtime;
use tls::{Tls, TlsFile};

workload! {
    /// A model behind a Service, in as many replicas as are needed.
    ModelServerSpec {
        /// The image, with a tag or a digest; runtimes bring one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// What serves: tensorflow-serving, triton, vllm, or plain for an image that does it all by itself.
        #[serde(default = "plain_runtime")]
        #[cfg_attr(feature = "io", schemars(schema_with = "runtime::schema"))]
        runtime: String,
        /// Where the model is: a claim, claim/folder, s3://bucket/folder, gs://bucket/folder, or hf://organisation/name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What clients call it; metadata.name if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model_name: Option<String>,
        /// Where a plain server listens, 8080 if left out; runtimes know theirs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// How many: 3, or 2..10 by load; 0..10 with --as keda or knative.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replicas: Option<Text>,
        /// What load is, where replicas are a range; 70 % of the processors if left out.
        #[serde(default)]
        autoscale: AutoscaleFile,
        /// Requests at a time that one replica takes, with --as knative or kserve.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        concurrency: Option<u32>,
        /// A candidate beside what is served, with its part of the requests.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        canary: Option<CanaryFile>,
        /// What this version is called, such as v1; for --as knative.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// How it is asked whether it is ready.
        #[serde(default)]
        health: HealthFile,
        /// Who may reach it; everybody if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allow_from: Option<AllowFile>,
        /// Metrics and alerts, where the Prometheus operator is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        monitoring: Option<MonitoringFile>,
        /// TLS from the client to the pod.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<TlsFile>,
        /// The way in from outside, for --as httproute.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        route: Option<RouteFile>,
        /// What requests go through before, for --as kserve.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transformer: Option<TransformerFile>,
    }
}

fn plain_runtime() -> String {
    "plain".to_owned()
}

/// A checked model server.
#[derive(Debug)]
struct ModelServer {
    runtime: &'static Runtime,
    worker: Worker,
    model: Option<Model>,
    model_name: String,
    http: u16,
    replicas: Replicas,
    autoscale: AutoscaleFile,
    concurrency: Option<u32>,
    canary: Option<CanaryFile>,
    revision: Option<String>,
    health: HealthFile,
    startup_seconds: u64,
    allow_from: Option<AllowFile>,
    monitoring: Option<MonitoringFile>,
    tls: Option<Tls>,
    route: Option<RouteFile>,
    transformer: Option<TransformerFile>,
}

/// A way into a pod, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Port {
    name: &'static str,
    number: u16,
    /// Whether TLS is spoken there.
    tls: bool,
    /// Where the program listens for it; another number only behind a proxy.
    program: u16,
}

impl SpecOf for ModelServerSpec {
    const KIND: &'static str = "ModelServer";
    const ABOUT: &'static str = "A model behind a Service, in as many replicas as are needed";
    const PLURAL: Option<&'static str> = Some("modelservers");
    const COLUMNS: &'static [(&'static str, &'static str)] =
        &[("Runtime", ".spec.runtime"), ("Replicas", ".spec.replicas"), ("Accelerators", ".spec.accelerators")];
    const FORMS: &'static [&'static str] = form::NAMES;
    const BEGIN: &'static begin::Begin = &begin::MODEL_SERVER;
    const RULES: &'static [(&'static str, &'static str)] = &[RULES[0], RULES[1], RULES[2], tls::RULE];

    fn check(self, of: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        let runtime = runtime::named(&self.runtime)?;
        let image = match (&self.image, runtime.image) {
            (Some(image), _) => image.clone(),
            (None, Some(image)) => image.to_owned(),
            (None, None) => return Err(Mistake::new("image", "is missing", "add `image`, or a runtime that brings one")),
        };
        let mut worker = self.common(image).check()?;
        if worker.accelerators.as_ref().and_then(|accelerators| accelerators.slice).is_some_and(|slice| slice.hosts > 1) {
            return Err(Mistake::new("accelerators", "is a slice of several hosts", "take a slice of one host, such as tpu-v5e:2x4"));
        }
        let model_name = self.model_name.clone().unwrap_or_else(|| of.name.clone());
        text::label_value("modelName", &model_name)?;
        let model = self.model.as_deref().map(Model::check).transpose()?;
        if let (None, true) = (&model, runtime.needs_model) {
            let problem = format!("is missing: {} serves nothing without it", runtime.name);
            return Err(Mistake::new("model", problem, "name a claim, s3://bucket/folder or hf://organisation/name"));
        }
        let http = self.http(runtime)?;
        if let (Some(Model::Claim { claim, folder }), Some(root)) = (&model, runtime.mount(&model_name)) {
            worker.storage.add_mount(&root, claim, folder.as_deref())?;
        }
        let replicas = Replicas::check(self.replicas.as_ref())?;
        self.autoscale.check(replicas).map_err(|mistake| mistake.within("autoscale"))?;
        let startup_seconds = self.sections(runtime)?;
        let tls = self.tls.map(|file| file.check(of, runtime)).transpose().map_err(|mistake| mistake.within("tls"))?;
        tls.as_ref().map_or(Ok(()), |tls| tls.mount(&mut worker.storage))?;
        Ok(Box::new(ModelServer {
            runtime,
            worker,
            model,
            model_name,
            http,
            replicas,
            autoscale: self.autoscale,
            concurrency: self.concurrency,
            canary: self.canary,
            revision: self.revision,
            health: self.health,
            startup_seconds,
            allow_from: self.allow_from,
            monitoring: self.monitoring,
            tls,
            route: self.route,
            transformer: self.transformer,
        }))
    }
}

impl ModelServerSpec {
    /// Where it takes requests.
    fn http(&self, runtime: &Runtime) -> Result<u16, Mistake> {
        match (self.port, runtime.http) {
            (None, known) => Ok(known.unwrap_or(PORT_DEFAULT)),
            (Some(_), Some(known)) => Err(Mistake::new("port", format!("is {known} with {}", runtime.name), "leave it out")),
            (Some(port), None) if port >= 1024 => Ok(port),
            (Some(port), None) => {
                Err(Mistake::new("port", format!("{port} is for root alone"), "write a port from 1024: the Service may have another"))
            }
        }
    }

    /// Checks what stands in sections of its own; how many seconds it may take to start.
    fn sections(&self, runtime: &Runtime) -> Result<u64, Mistake> {
        if self.concurrency.is_some_and(|requests| !(1..=100_000).contains(&requests)) {
            return Err(Mistake::new("concurrency", "is no number of requests within 1..=100000", "write such as 10"));
        }
        self.revision.as_ref().map_or(Ok(()), |revision| crate::policy::text::name("revision", revision))?;
        self.canary.as_ref().map_or(Ok(()), CanaryFile::check).map_err(|mistake| mistake.within("canary"))?;
        self.health.check().map_err(|mistake| mistake.within("health"))?;
        self.allow_from.as_ref().map_or(Ok(()), AllowFile::check).map_err(|mistake| mistake.within("allowFrom"))?;
        self.monitoring.as_ref().map_or(Ok(()), |file| file.check(runtime)).map_err(|mistake| mistake.within("monitoring"))?;
        self.route.as_ref().map_or(Ok(()), RouteFile::check).map_err(|mistake| mistake.within("route"))?;
        self.transformer.as_ref().map_or(Ok(()), TransformerFile::check).map_err(|mistake| mistake.within("transformer"))?;
        match &self.health.startup {
            None => Ok(STARTUP_DEFAULT_SECONDS),
            Some(Text(time)) => Ok(text::time("health.startup", time)?.as_secs()),
        }
    }
}

impl Recipe for ModelServer {
    fn render(&self, of: &Named, form: Option<&str>) -> Result<Rendered, Mistake> {
        match form.and_then(form::named) {
            Some(form) => (form.render)(self, of),
            None => plain::render(self, of),
        }
    }
}

impl Port {
    /// Whether this is the way that a runtime calls so.
    fn is(&self, plain: &str) -> bool {
        self.name == plain || tls::name(plain) == self.name
    }
}

impl ModelServer {
    /// Each way in, the one that clients use first.
    fn ports(&self) -> Vec<Port> {
        let metrics = self.monitoring.as_ref().and_then(|monitoring| monitoring.port).map(|port| ("metrics", port));
        let plain = std::iter::once(("http", self.http)).chain(self.runtime.more_ports.iter().copied()).chain(metrics);
        let plain: Vec<Port> = plain.map(|(name, number)| Port { name, number, tls: false, program: number }).collect();
        match &self.tls {
            None => plain,
            Some(tls) => tls.ports(plain),
        }
    }

    /// Where metrics are, and their path.
    fn metrics(&self) -> (Port, &str) {
        let monitoring = self.monitoring.as_ref();
        let path = monitoring.and_then(|monitoring| monitoring.path.as_deref());
        let name = if monitoring.is_some_and(|monitoring| monitoring.port.is_some()) { "metrics" } else { self.runtime.metrics.0 };
        let ports = self.ports();
        let port = ports.iter().find(|port| port.is(name)).copied().unwrap_or(ports[0]);
        (port, path.unwrap_or(self.runtime.metrics.1))
    }

    /// What has to be there before pods are.
    fn first(&self, of: &Named) -> Vec<Value> {
        let tls = self.tls.iter().flat_map(|tls| tls.objects(of, &self.ports()));
        self.worker.storage.objects(of).into_iter().chain(tls).collect()
    }

    /// What a replica adds to the pod of a worker.
    fn around(&self, of: &Named) -> Around {
        let mut start = (self.runtime.start)(self.model.as_ref(), &self.model_name);
        let mut around = Around::default();
        if let Some(tls) = &self.tls {
            tls.start(&mut start, self.runtime);
            tls.beside(of, &self.ports(), &mut around);
        }
        around.env = start.env.into_iter().map(|(name, value)| Variable::text(name, &value)).collect();
        around.command = (self.worker.command.is_empty() && !start.command.is_empty()).then_some(start.command);
        around.ports = self.ports().iter().filter(|port| port.number == port.program).map(|port| (port.name, port.number)).collect();
        guard::probes(self, &mut around);
        around
    }
}

const PORT_DEFAULT: u16 = 8080;
/// Large models take minutes to load.
const STARTUP_DEFAULT_SECONDS: u64 = 600;
