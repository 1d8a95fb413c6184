//! Data of a workload: claims that exist or are created, folders of them, configuration files. Decides where each is
//! mounted, and that nothing is mounted twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::object::Named;
use super::text::{self, Text};
use crate::policy::Mistake;

/// A claim to create.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClaimFile {
    /// How much, such as 500Gi.
    size: Text,
    /// Who may mount it.
    #[serde(default)]
    access_mode: AccessMode,
    /// StorageClass; without it, the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
}

/// Who may mount a claim, as Kubernetes writes it.
#[expect(clippy::enum_variant_names, reason = "Kubernetes' names")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
enum AccessMode {
    /// Many nodes, read and write.
    #[default]
    ReadWriteMany,
    /// Many nodes, read only.
    ReadOnlyMany,
    /// One node.
    ReadWriteOnce,
    /// One pod.
    ReadWriteOncePod,
}

/// What a workload reads and writes, checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Storage {
    mounts: Vec<Mount>,
    claims: BTreeMap<String, ClaimFile>,
    /// Folder, and its files.
    config: Vec<(String, BTreeMap<String, String>)>,
    /// Folder, and the Secret whose keys are its files.
    secrets: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Mount {
    path: String,
    claim: String,
    folder: Option<String>,
    read_only: bool,
}

impl Storage {
    pub(super) fn check(
        datasets: BTreeMap<String, String>,
        outputs: BTreeMap<String, String>,
        claims: BTreeMap<String, ClaimFile>,
        config: BTreeMap<String, BTreeMap<String, Value>>,
    ) -> Result<Self, Mistake> {
        let (mut paths, mut mounts) = (BTreeSet::new(), Vec::new());
        let mut take = |field: &str, path: &str| -> Result<(), Mistake> {
            text::mount_path(field, path)?;
            if paths.insert(path.trim_end_matches('/').to_owned()) {
                return Ok(());
            }
            Err(Mistake::new(field, format!("`{path}` is mounted already"), "give each a folder of its own"))
        };
        for (field, entries, read_only) in [("datasets", datasets, true), ("outputs", outputs, false)] {
            for (path, source) in entries {
                let at = format!("{field}.{path}");
                take(&at, &path)?;
                let (claim, folder) = text::claim(&at, &source)?;
                mounts.push(Mount { claim: claim.to_owned(), folder: folder.map(str::to_owned), path, read_only });
            }
        }
        if mounts.len() + config.len() > MOUNTS_MAX {
            return Err(Mistake::new(
                "datasets",
                format!("{} mounts", mounts.len() + config.len()),
                format!("keep them within {MOUNTS_MAX}"),
            ));
        }
        for (name, claim) in &claims {
            let at = format!("claims.{name}");
            text::reference(&at, "PersistentVolumeClaim", name)?;
            text::quantity(&format!("{at}.size"), &claim.size.0)?;
            claim.class.as_ref().map_or(Ok(()), |class| text::reference(&format!("{at}.class"), "StorageClass", class))?;
        }
        let mut folders = Vec::with_capacity(config.len());
        let mut bytes = 0;
        for (path, files) in config {
            let at = format!("config.{path}");
            take(&at, &path)?;
            let files: BTreeMap<String, String> =
                files.into_iter().map(|(name, value)| written(&at, name, value)).collect::<Result<_, _>>()?;
            bytes += files.values().map(String::len).sum::<usize>();
            folders.push((path, files));
        }
        if bytes > CONFIG_BYTES_MAX {
            return Err(Mistake::new(
                "config",
                format!("has {bytes} bytes"),
                format!("keep it within {CONFIG_BYTES_MAX}: data belongs on a claim"),
            ));
        }
        Ok(Self { mounts, claims, config: folders, secrets: Vec::new() })
    }

    /// Adds a claim that is only read, which a recipe mounts where its program looks.
    pub(super) fn add_mount(&mut self, path: &str, claim: &str, folder: Option<&str>) -> Result<(), Mistake> {
        if self.is_mounted(path) {
            let problem = format!("is mounted on {path}, where something else is already");
            return Err(Mistake::new("model", problem, "mount that on another folder"));
        }
        let mount = Mount { path: path.to_owned(), claim: claim.to_owned(), folder: folder.map(str::to_owned), read_only: true };
        self.mounts.push(mount);
        Ok(())
    }

    /// Whether something is mounted there.
    pub(super) fn is_mounted(&self, path: &str) -> bool {
        let taken = self.mounts.iter().map(|mount| &mount.path).chain(self.config.iter().map(|(path, _)| path));
        { taken }.any(|taken| taken.trim_end_matches('/') == path)
    }

    /// Adds a folder of files that a recipe needs itself.
    pub(super) fn add_config(&mut self, path: &str, files: BTreeMap<String, String>) {
        self.config.push((path.to_owned(), files));
    }

    /// Adds a folder of a Secret's keys that a recipe needs itself.
    pub(super) fn add_secret(&mut self, path: &str, secret: &str) {
        self.secrets.push((path.to_owned(), secret.to_owned()));
    }

    /// Claims and ConfigMaps, to be created first.
    pub(super) fn objects(&self, of: &Named) -> Vec<Value> {
        let claims = self.claims.iter().map(|(name, claim)| {
            let mut spec = json!({"accessModes": [claim.access_mode], "resources": {"requests": {"storage": claim.size}}});
            if let Some(class) = &claim.class {
                spec["storageClassName"] = json!(class);
            }
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": of.metadata(name), "spec": spec})
        });
        let files = self.config.iter().enumerate().map(|(at, (_, files))| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": of.metadata(&config_name(of, at)), "data": files})
        });
        claims.chain(files).collect()
    }

    /// `volumes` of a pod.
    pub(super) fn volumes(&self, of: &Named) -> Vec<Value> {
        // Each claim once, however many folders of it are mounted.
        let mut names = Vec::new();
        for mount in &self.mounts {
            if !names.contains(&&mount.claim) {
                names.push(&mount.claim);
            }
        }
        let claims = names.iter().enumerate().map(|(at, claim)| {
            // Read-only only if nobody writes: one volume serves all its mounts.
            let read_only = self.mounts.iter().filter(|mount| mount.claim == **claim).all(|mount| mount.read_only);
            let mut source = json!({"claimName": claim});
            if read_only {
                source["readOnly"] = json!(true);
            }
            json!({"name": format!("data-{at}"), "persistentVolumeClaim": source})
        });
        let files = (0..self.config.len()).map(|at| json!({"name": format!("config-{at}"), "configMap": {"name": config_name(of, at)}}));
        let secrets = self
            .secrets
            .iter()
            .enumerate()
            .map(|(at, (_, secret))| json!({"name": format!("secret-{at}"), "secret": {"secretName": secret, "defaultMode": 0o440}}));
        claims.chain(files).chain(secrets).collect()
    }

    /// `volumeMounts` of the first container.
    pub(super) fn mounts(&self) -> Vec<Value> {
        let mut names: Vec<&String> = Vec::new();
        let mut mounts = Vec::new();
        for mount in &self.mounts {
            if !names.contains(&&mount.claim) {
                names.push(&mount.claim);
            }
            let at = names.iter().position(|name| *name == &mount.claim).unwrap_or_default();
            let mut made = json!({"name": format!("data-{at}"), "mountPath": mount.path});
            if mount.read_only {
                made["readOnly"] = json!(true);
            }
            if let Some(folder) = &mount.folder {
                made["subPath"] = json!(folder);
            }
            mounts.push(made);
        }
        let files = self
            .config
            .iter()
            .enumerate()
            .map(|(at, (path, _))| json!({"name": format!("config-{at}"), "mountPath": path, "readOnly": true}));
        mounts.extend(files);
        let secrets = self.secrets.iter().enumerate();
        mounts.extend(secrets.map(|(at, (path, _))| json!({"name": format!("secret-{at}"), "mountPath": path, "readOnly": true})));
        mounts
    }
}

fn config_name(of: &Named, at: usize) -> String {
    if at == 0 { format!("{}-config", of.name) } else { format!("{}-config-{at}", of.name) }
}

/// A file as text: as it is written, or what its mapping is in the language that its name ends in.
fn written(field: &str, name: String, value: Value) -> Result<(String, String), Mistake> {
    let at = format!("{field}.{name}");
    text::file_name(&at, &name)?;
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    let text = match value {
        Value::String(text) => text,
        Value::Object(_) | Value::Array(_) if ending == Some("json") => format!("{value:#}\n"),
        Value::Object(_) | Value::Array(_) if ending == Some("yaml") || ending == Some("yml") => {
            serde_saphyr::to_string(&value).map_err(|error| Mistake::new(at.clone(), error.to_string(), "write it as text"))?
        }
        Value::Object(_) | Value::Array(_) => {
            return Err(Mistake::new(
                at,
                "is a mapping, and the name does not say how to write it",
                "end the name in .yaml or .json, or write text: |",
            ));
        }
        other => other.to_string(),
    };
    text::bounded(&at, &text, CONFIG_BYTES_MAX)?;
    Ok((name, text))
}

const MOUNTS_MAX: usize = 64;
/// A ConfigMap holds 1 MiB, and is stored and watched.
const CONFIG_BYTES_MAX: usize = 512 << 10;
