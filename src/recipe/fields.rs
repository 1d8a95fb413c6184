//! The fields that every workload has: what runs, on what, with which data, as whom. [`workload!`] adds them to a kind's
//! own fields; [`Common::check`] turns them into a [`Worker`], which `pod.rs` makes a pod of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::accelerators::Accelerators;
use super::storage::{ClaimFile, Storage};
use super::text::{self, Text};
use crate::policy::Mistake;

/// Declares the struct of a kind: its own fields (the image among them: some kinds bring one), then those of every workload.
macro_rules! workload {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
        #[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub(crate) struct $name {
            $($own)*
            /// The program and its arguments; without it, the image's own.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            command: Vec<String>,
            /// Arguments behind the command.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            args: Vec<String>,
            /// Environment variables.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            env: std::collections::BTreeMap<String, $crate::recipe::text::Text>,
            /// Environment variables whose values stand in Secrets: `NAME: secret/key`.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            secret_env: std::collections::BTreeMap<String, String>,
            /// Accelerators of each worker: H100:8, A100|H100:4, A100-80GB:4, 24GB..:2, gpu:0.5, tpu-v5e:4x4, amd.com/gpu:8.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            accelerators: Option<String>,
            /// GPUs of each worker, of any product: a whole number, or a part of one (0.5). Instead of `accelerators`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            gpu: Option<f64>,
            /// With `gpu`: products as the label nvidia.com/gpu.product has them.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            products: Vec<String>,
            /// Processors of each worker, such as 32 or 500m.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            cpu: Option<$crate::recipe::text::Text>,
            /// Memory of each worker, such as 128Gi.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            memory: Option<$crate::recipe::text::Text>,
            /// Shared memory (/dev/shm) of each worker; workers with accelerators have 16Gi, or half of their memory.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            shm: Option<$crate::recipe::text::Text>,
            /// What is only read: `PATH: claim`, or `PATH: claim/folder`.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            datasets: std::collections::BTreeMap<String, String>,
            /// What is written: `PATH: claim`, or `PATH: claim/folder`.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            outputs: std::collections::BTreeMap<String, String>,
            /// Claims to create, by name; those of `datasets` and `outputs` that are not here must exist.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            claims: std::collections::BTreeMap<String, $crate::recipe::storage::ClaimFile>,
            /// Files by folder and name; a mapping is written as YAML, or as JSON where the name ends so.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            config: std::collections::BTreeMap<String, std::collections::BTreeMap<String, serde_json::Value>>,
            /// More containers in each pod.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            containers: Vec<$crate::recipe::fields::BesideFile>,
            /// PriorityClass.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            priority: Option<String>,
            /// Kueue's LocalQueue. Gangplank's own queues go by namespace, and need nothing here.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            queue: Option<String>,
            /// Gangplank's profile, where it lets pods choose.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            profile: Option<String>,
            /// Node labels that are needed beside those of the accelerators.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            node_labels: std::collections::BTreeMap<String, String>,
            /// How workers talk to each other.
            #[serde(default)]
            network: $crate::recipe::fields::NetworkFile,
            /// ServiceAccount; its token is mounted only if one is named.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            service_account: Option<String>,
            /// Secret with which the image is pulled.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pull_secret: Option<String>,
            /// Numeric user and group that it runs as, 1000 if left out; never 0.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            user: Option<u32>,
            /// Who places it: gangplank where accelerators are asked for, else the cluster's default.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            scheduler: Option<String>,
        }

        impl $name {
            fn common(&self, image: String) -> $crate::recipe::fields::Common {
                let it = self.clone();
                $crate::recipe::fields::Common {
                    image,
                    command: it.command,
                    args: it.args,
                    env: it.env,
                    secret_env: it.secret_env,
                    accelerators: it.accelerators,
                    gpu: it.gpu,
                    products: it.products,
                    cpu: it.cpu,
                    memory: it.memory,
                    shm: it.shm,
                    datasets: it.datasets,
                    outputs: it.outputs,
                    claims: it.claims,
                    config: it.config,
                    containers: it.containers,
                    priority: it.priority,
                    queue: it.queue,
                    profile: it.profile,
                    node_labels: it.node_labels,
                    network: it.network,
                    service_account: it.service_account,
                    pull_secret: it.pull_secret,
                    user: it.user,
                    scheduler: it.scheduler,
                }
            }
        }
    };
}
pub(super) use workload;

/// The fields of every workload, as they are written.
#[derive(Default)]
pub(super) struct Common {
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, Text>,
    pub(super) secret_env: BTreeMap<String, String>,
    pub(super) accelerators: Option<String>,
    pub(super) gpu: Option<f64>,
    pub(super) products: Vec<String>,
    pub(super) cpu: Option<Text>,
    pub(super) memory: Option<Text>,
    pub(super) shm: Option<Text>,
    pub(super) datasets: BTreeMap<String, String>,
    pub(super) outputs: BTreeMap<String, String>,
    pub(super) claims: BTreeMap<String, ClaimFile>,
    pub(super) config: BTreeMap<String, BTreeMap<String, Value>>,
    pub(super) containers: Vec<BesideFile>,
    pub(super) priority: Option<String>,
    pub(super) queue: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) node_labels: BTreeMap<String, String>,
    pub(super) network: NetworkFile,
    pub(super) service_account: Option<String>,
    pub(super) pull_secret: Option<String>,
    pub(super) user: Option<u32>,
    pub(super) scheduler: Option<String>,
}

/// How workers talk to each other.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NetworkFile {
    /// The interface that NCCL and Gloo take, such as eth0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<String>,
    /// The RDMA resource and how many of it, such as vpc.amazonaws.com/efa:32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rdma: Option<String>,
}

/// One more container.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BesideFile {
    /// Its name.
    pub(super) name: String,
    /// The image, with a tag or a digest.
    pub(super) image: String,
    /// The program and its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) command: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, Text>,
    /// Its own accelerators, as those of the first container are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) accelerators: Option<String>,
    /// Its own GPUs, or its part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gpu: Option<f64>,
    /// Its processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cpu: Option<Text>,
    /// Its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Text>,
}

/// What runs in one pod, checked.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    /// Name, secret, key.
    pub(super) secret_env: Vec<(String, String, String)>,
    pub(super) accelerators: Option<Accelerators>,
    pub(super) cpu: Option<String>,
    pub(super) memory: Option<String>,
    /// Size of /dev/shm.
    pub(super) shm: Option<String>,
    pub(super) storage: Storage,
    pub(super) beside: Vec<Beside>,
    pub(super) priority: Option<String>,
    pub(super) queue: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) node_labels: BTreeMap<String, String>,
    pub(super) interface: Option<String>,
    pub(super) rdma: Option<(String, u64)>,
    pub(super) service_account: Option<String>,
    pub(super) pull_secret: Option<String>,
    pub(super) user: u32,
    pub(super) scheduler: Option<String>,
}

/// One more container, checked.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) accelerators: Option<Accelerators>,
    pub(super) cpu: Option<String>,
    pub(super) memory: Option<String>,
}

impl Common {
    pub(super) fn check(self) -> Result<Worker, Mistake> {
        text::image("image", &self.image)?;
        text::words("command", &self.command)?;
        text::words("args", &self.args)?;
        let accelerators = accelerators(self.accelerators.as_deref(), self.gpu, &self.products)?;
        let memory = amount("memory", self.memory)?;
        let shm = match amount("shm", self.shm)? {
            None => accelerators.as_ref().map(|_| shm_default(memory.as_deref())),
            given => given,
        };
        let secret_env = secrets(&self.secret_env, &self.env)?;
        for (key, value) in &self.node_labels {
            crate::policy::text::label_key("nodeLabels", key)?;
            text::label_value(&format!("nodeLabels.{key}"), value)?;
        }
        let named = [("priority", "PriorityClass", &self.priority), ("queue", "LocalQueue", &self.queue)];
        let account = [("serviceAccount", "ServiceAccount", &self.service_account), ("pullSecret", "Secret", &self.pull_secret)];
        for (field, what, name) in named.into_iter().chain(account).chain([("scheduler", "scheduler", &self.scheduler)]) {
            name.as_ref().map_or(Ok(()), |name| text::reference(field, what, name))?;
        }
        if let Some(priority) = self.priority.as_ref().filter(|name| name.starts_with("system-")) {
            return Err(Mistake::new(
                "priority",
                format!("`{priority}` is for the cluster's own"),
                "name a PriorityClass of your workloads",
            ));
        }
        self.profile.as_ref().map_or(Ok(()), |name| crate::policy::text::name("profile", name))?;
        let user = self.user.unwrap_or(USER_DEFAULT);
        if user == 0 {
            return Err(Mistake::new("user", "is root", "write the number of a user of the image, or leave it out for 1000"));
        }
        let (interface, rdma) = self.network.check().map_err(|mistake| mistake.within("network"))?;
        Ok(Worker {
            image: self.image,
            command: self.command,
            args: self.args,
            env: environment("env", self.env)?,
            secret_env,
            accelerators,
            cpu: amount("cpu", self.cpu)?,
            memory,
            shm,
            storage: Storage::check(self.datasets, self.outputs, self.claims, self.config)?,
            beside: beside(self.containers)?,
            priority: self.priority,
            queue: self.queue,
            profile: self.profile,
            node_labels: self.node_labels,
            interface,
            rdma,
            service_account: self.service_account,
            pull_secret: self.pull_secret,
            user,
            scheduler: self.scheduler,
        })
    }
}

fn accelerators(compact: Option<&str>, gpu: Option<f64>, products: &[String]) -> Result<Option<Accelerators>, Mistake> {
    for (at, product) in products.iter().enumerate() {
        text::label_value(&format!("products[{at}]"), product)?;
    }
    match (compact, gpu) {
        (Some(_), Some(_)) => Err(Mistake::new("gpu", "stands beside `accelerators`", "keep one of the two")),
        (_, None) if !products.is_empty() => Err(Mistake::new("products", "stands without `gpu`", "say how many: `gpu: 4`")),
        (Some(text), None) => Accelerators::parse(text).map(Some).map_err(|mistake| mistake.within("accelerators")),
        (None, Some(gpu)) => Accelerators::gpus(gpu, products).map(Some).map_err(|mistake| mistake.within("gpu")),
        (None, None) => Ok(None),
    }
}

fn amount(field: &str, text: Option<Text>) -> Result<Option<String>, Mistake> {
    let Some(Text(text)) = text else { return Ok(None) };
    text::quantity(field, &text)?;
    Ok(Some(text))
}

/// It counts as memory of the container: more than half of that would starve the program.
fn shm_default(memory: Option<&str>) -> String {
    let half_mib = memory.and_then(|text| text::quantity("memory", text).ok()).map(|amount| amount.units_rounded_up() / 2 / (1 << 20));
    match half_mib.filter(|mib| *mib < SHM_DEFAULT_GIB * 1024) {
        Some(mib) => format!("{}Mi", mib.max(64)),
        None => format!("{SHM_DEFAULT_GIB}Gi"),
    }
}

fn environment(field: &str, env: BTreeMap<String, Text>) -> Result<BTreeMap<String, String>, Mistake> {
    if env.len() > ENV_MAX {
        return Err(Mistake::new(
            field,
            format!("has {} variables", env.len()),
            format!("keep it within {ENV_MAX}, or put them in a file"),
        ));
    }
    for (name, Text(value)) in &env {
        let at = format!("{field}.{name}");
        text::variable(&at, name)?;
        text::bounded(&at, value, text::VALUE_BYTES_MAX)?;
    }
    Ok(env.into_iter().map(|(name, Text(value))| (name, value)).collect())
}

fn secrets(secrets: &BTreeMap<String, String>, env: &BTreeMap<String, Text>) -> Result<Vec<(String, String, String)>, Mistake> {
    let one = |(name, value): (&String, &String)| {
        let at = format!("secretEnv.{name}");
        text::variable(&at, name)?;
        if env.contains_key(name) {
            return Err(Mistake::new(at, "stands in `env` too", "keep one of the two"));
        }
        let (secret, key) = text::secret(&at, value)?;
        Ok((name.clone(), secret.to_owned(), key.to_owned()))
    };
    secrets.iter().map(one).collect()
}

fn beside(containers: Vec<BesideFile>) -> Result<Vec<Beside>, Mistake> {
    let mut names = std::collections::BTreeSet::from([MAIN.to_owned()]);
    let mut checked = Vec::with_capacity(containers.len());
    for (at, container) in containers.into_iter().enumerate() {
        let one = (|| {
            crate::policy::text::name("name", &container.name)?;
            if !names.insert(container.name.clone()) {
                return Err(Mistake::new("name", format!("`{}` is taken", container.name), "give each container a name of its own"));
            }
            text::image("image", &container.image)?;
            text::words("command", &container.command)?;
            let accelerators = accelerators(container.accelerators.as_deref(), container.gpu, &[])?;
            if accelerators.as_ref().is_some_and(|accelerators| !accelerators.nodes.is_empty()) {
                return Err(Mistake::new("accelerators", "names a product", "name it at the first container: a pod is on one node"));
            }
            Ok(Beside {
                accelerators,
                env: environment("env", container.env)?,
                cpu: amount("cpu", container.cpu)?,
                memory: amount("memory", container.memory)?,
                name: container.name,
                image: container.image,
                command: container.command,
            })
        })();
        checked.push(one.map_err(|mistake| mistake.at(at).within("containers"))?);
    }
    if checked.len() > 8 {
        return Err(Mistake::new("containers", format!("has {} entries", checked.len()), "keep it within 8"));
    }
    Ok(checked)
}

impl NetworkFile {
    #[expect(clippy::type_complexity, reason = "the two checked halves of the section")]
    fn check(self) -> Result<(Option<String>, Option<(String, u64)>), Mistake> {
        if let Some(name) = &self.interface {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=^,".contains(&byte);
            if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) {
                return Err(Mistake::new(
                    "interface",
                    format!("`{}` is no interface", text::cut(name)),
                    "write such as eth0, or ^lo,docker0",
                ));
            }
        }
        let rdma = self.rdma.map(|rdma| {
            let (resource, count) = rdma.rsplit_once(':').unwrap_or((&rdma, "1"));
            crate::policy::text::resource("rdma", resource)?;
            let count = count.parse().ok().filter(|count| (1..=64).contains(count));
            let count = count.ok_or_else(|| Mistake::new("rdma", "has no number of devices within 1..=64", "write such as rdma/hca:1"))?;
            Ok((resource.to_owned(), count))
        });
        Ok((self.interface, rdma.transpose()?))
    }
}

/// The name of the first container.
pub(super) const MAIN: &str = "main";
const USER_DEFAULT: u32 = 1000;
const SHM_DEFAULT_GIB: u64 = 16;
const ENV_MAX: usize = 256;
