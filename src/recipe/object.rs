//! A spec as a whole file has it: `apiVersion`, `kind`, `metadata`, `spec`. Decides which names and namespaces are taken.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::begin::Begin;
use super::names::{FIELD_MANAGER, MANAGED_BY, NAME};
use super::{Recipe, text};
use crate::policy::Mistake;

/// What a kind of spec is, and how it is checked.
pub(super) trait SpecOf: DeserializeOwned + Schema {
    const KIND: &'static str;
    const ABOUT: &'static str;
    const PLURAL: Option<&'static str>;
    const COLUMNS: &'static [(&'static str, &'static str)];
    const FORMS: &'static [&'static str];
    const BEGIN: &'static Begin;
    const RULES: &'static [(&'static str, &'static str)] = RULES;

    /// The checked recipe, or the first mistake, named from the spec's root.
    fn check(self, of: &Named) -> Result<Box<dyn Recipe>, Mistake>;
}

/// A JSON Schema is only made where the `io` feature is.
#[cfg(feature = "io")]
pub(super) trait Schema: schemars::JsonSchema {}
#[cfg(feature = "io")]
impl<T: schemars::JsonSchema> Schema for T {}
#[cfg(not(feature = "io"))]
pub(super) trait Schema {}
#[cfg(not(feature = "io"))]
impl<T> Schema for T {}

/// Why a text is no spec.
pub(super) enum Unread {
    /// It cannot be read as one.
    Yaml(Box<serde_saphyr::Error>),
    /// It can, and makes no sense.
    Mistake(Mistake),
}

/// The whole file.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object<S> {
    /// `gangplank.dev/v1alpha1`.
    api_version: String,
    /// What it is.
    kind: String,
    /// What it is called, and where it lives.
    metadata: Metadata,
    /// What is wanted.
    spec: S,
}

/// What an object is called, and where it lives.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    /// Its name, and that of what is made of it: a-z, 0-9 and -.
    #[cfg_attr(feature = "io", schemars(regex(pattern = "^[a-z]([a-z0-9-]{0,51}[a-z0-9])?$")))]
    name: String,
    /// Its namespace; without one, whichever is in use when it is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// Labels of everything that is made of it, pods too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// Annotations of the objects that are made of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// A checked name and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name of the spec, and of what is made of it.
    pub name: String,
    /// Its namespace, where it names one.
    pub namespace: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Named {
    /// `metadata` of an object of this name.
    pub(super) fn metadata(&self, name: &str) -> Value {
        let mut metadata = json!({"name": name, "labels": self.labels()});
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        if !self.annotations.is_empty() {
            metadata["annotations"] = json!(self.annotations);
        }
        metadata
    }

    /// Labels of everything, pods too.
    pub(super) fn labels(&self) -> Value {
        let mut labels: Map<String, Value> = self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        labels.insert(NAME.to_owned(), json!(self.name));
        labels.insert(MANAGED_BY.to_owned(), json!(FIELD_MANAGER));
        Value::Object(labels)
    }
}

/// Reads and checks one document.
pub(super) fn read<S: SpecOf>(yaml: &str) -> Result<(Named, Box<dyn Recipe>), Unread> {
    let object: Object<S> = serde_saphyr::from_str(yaml).map_err(|error| Unread::Yaml(Box::new(error)))?;
    let named = object.metadata.check().map_err(|mistake| Unread::Mistake(mistake.within("metadata")))?;
    let recipe = object.spec.check(&named).map_err(|mistake| Unread::Mistake(mistake.within("spec")))?;
    Ok((named, recipe))
}

impl Metadata {
    fn check(self) -> Result<Named, Mistake> {
        text::object_name("name", &self.name)?;
        if let Some(namespace) = &self.namespace {
            crate::policy::text::name("namespace", namespace)?;
            if RESERVED.contains(&namespace.as_str()) || namespace.starts_with("kube-") {
                let problem = format!("`{namespace}` belongs to the cluster itself");
                return Err(Mistake::new("namespace", problem, "name a namespace of your own, or none and apply with -n"));
            }
        }
        for (field, pairs) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            for (key, value) in pairs {
                let at = format!("{field}.{key}");
                crate::policy::text::label_key(&at, key)?;
                if is_owned(key) {
                    let problem = format!("`{key}` is not for users to write");
                    return Err(Mistake::new(at, problem, "use a key without a domain, or with one of yours"));
                }
                if field == "labels" {
                    text::label_value(&at, value)?;
                } else {
                    text::bounded(&at, value, text::ANNOTATION_BYTES_MAX)?;
                }
            }
        }
        Ok(Named { name: self.name, namespace: self.namespace, labels: self.labels, annotations: self.annotations })
    }
}

/// Whether a key is one that controllers act on.
pub(super) fn is_owned(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    OWNED.iter().any(|owned| domain == *owned || domain.strip_suffix(owned).is_some_and(|rest| rest.ends_with('.')))
}

/// The JSON Schema of the file, as editors read it.
#[cfg(feature = "io")]
pub(super) fn schema<S: SpecOf>() -> Value {
    let generator = schemars::generate::SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<Object<S>>().to_value();
    schema["title"] = json!(S::KIND);
    schema["description"] = json!(S::ABOUT);
    schema["properties"]["apiVersion"]["const"] = json!(format!("{}/{}", super::GROUP, super::VERSION));
    schema["properties"]["kind"]["const"] = json!(S::KIND);
    schema
}

/// Of most kinds: what the API server can say before anybody reads a spec.
pub(super) const RULES: &[(&str, &str)] = &[
    ("!(has(self.accelerators) && has(self.gpu))", "keep one of accelerators and gpu"),
    ("!has(self.products) || has(self.gpu)", "products need gpu, which says how many"),
    ("!has(self.user) || self.user > 0", "nothing runs as root: leave user out, or name another one"),
];

/// Nothing of a user's lives there.
const RESERVED: &[&str] = &["gangplank-system", "default-system"];
/// Domains of keys that controllers act on.
const OWNED: &[&str] = &["kubernetes.io", "k8s.io", "gangplank.dev"];
