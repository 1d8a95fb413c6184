//! The table of admission cases (`tests/admission/cases.yaml`): read, expanded to one case a kind, and compared with an outcome.

use std::collections::BTreeMap;

use gangplank::model::Quantity;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The whole table.
pub(super) struct Table {
    pub(super) users: BTreeMap<String, User>,
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) cases: Vec<Case>,
}

/// Who asks.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct User {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
}

/// One case for one kind.
#[derive(Debug)]
pub(super) struct Case {
    /// The sentence, and the kind where the case is run for several.
    pub(super) name: String,
    /// What the objects of this case are called; no two cases share it.
    pub(super) object_name: String,
    pub(super) namespace: String,
    pub(super) user: User,
    pub(super) given: Option<(User, Value)>,
    pub(super) act: Act,
    pub(super) via: Option<String>,
    pub(super) expected: Expected,
    pub(super) for_webhook: bool,
}

/// What is asked of the API server.
#[derive(Debug)]
pub(super) enum Act {
    Create(Value),
    /// A strategic merge patch on the given object.
    Apply(Value),
}

#[derive(Debug)]
pub(super) enum Expected {
    Becomes(Value),
    Refused(Vec<String>),
}

/// What came of it.
pub(super) type Outcome = Result<Value, String>;

#[derive(Deserialize)]
struct RawTable {
    users: BTreeMap<String, User>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    cases: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawCase {
    name: String,
    r#in: Option<String>,
    r#as: Option<String>,
    kinds: Option<Vec<String>>,
    given: Option<Value>,
    given_by: Option<String>,
    create: Option<Value>,
    apply: Option<Value>,
    via: Option<String>,
    becomes: Option<Value>,
    refused: Option<Vec<String>>,
    not_for: Option<String>,
}

impl Table {
    /// The table in the repository; what is created in one round does not meet what another left behind.
    pub(super) fn read(round: &str) -> Self {
        let raw: RawTable = serde_saphyr::from_str(include_str!("../../admission/cases.yaml")).expect("the table is YAML of its own form");
        let mut cases = Vec::new();
        for case in &raw.cases {
            let kinds = case.kinds.clone().unwrap_or_else(|| vec!["Pod".into()]);
            for kind in &kinds {
                let number = cases.len();
                cases.push(case.expand(kind, kinds.len() > 1, format!("{round}-{number}"), &raw.users));
            }
        }
        Self { users: raw.users, namespaces: raw.namespaces, cases }
    }
}

impl RawCase {
    fn expand(&self, kind: &str, name_kind: bool, object_name: String, users: &BTreeMap<String, User>) -> Case {
        let user = |name: Option<&String>, otherwise: &str| {
            let name = name.map_or(otherwise, String::as_str);
            users.get(name).unwrap_or_else(|| panic!("{}: nobody is called {name}", self.name)).clone()
        };
        let act = match (&self.create, &self.apply) {
            (Some(object), None) => Act::Create(complete(object, kind, &object_name)),
            (None, Some(patch)) => Act::Apply(wrap(patch, kind)),
            _ => panic!("{}: one of create and apply", self.name),
        };
        let expected = match (&self.becomes, &self.refused) {
            (Some(part), None) => Expected::Becomes(wrap(part, kind)),
            (None, Some(texts)) => Expected::Refused(texts.clone()),
            _ => panic!("{}: one of becomes and refused", self.name),
        };
        Case {
            name: if name_kind { format!("{} ({kind})", self.name) } else { self.name.clone() },
            namespace: self.r#in.clone().unwrap_or_else(|| "team".into()),
            user: user(self.r#as.as_ref(), "tenant"),
            given: self.given.as_ref().map(|object| (user(self.given_by.as_ref(), "admin"), complete(object, kind, &object_name))),
            act,
            via: self.via.clone(),
            expected,
            for_webhook: self.not_for.as_deref() != Some("webhook"),
            object_name,
        }
    }
}

impl Case {
    /// What is wrong with `outcome`, if anything.
    pub(super) fn complaint(&self, outcome: &Outcome) -> Option<String> {
        let complaint = match (&self.expected, outcome) {
            (Expected::Becomes(part), Ok(object)) => difference(part, Some(object), "")?,
            (Expected::Becomes(_), Err(text)) => format!("was refused: {text}"),
            (Expected::Refused(texts), Err(text)) => {
                let missing = texts.iter().find(|piece| !text.contains(piece.as_str()))?;
                format!("the refusal does not say {missing:?}, but {text:?}")
            }
            (Expected::Refused(_), Ok(object)) => format!("was admitted: {object}"),
        };
        Some(format!("{}: {complaint}", self.name))
    }
}

/// Where in an object of this kind the pod template is.
pub(super) fn template_path(kind: &str) -> Option<&'static str> {
    match kind {
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => Some("/spec/template"),
        _ => None,
    }
}

/// A pod template, or a part of one, inside (a part of) an object of this kind.
fn wrap(template: &Value, kind: &str) -> Value {
    template_path(kind)
        .into_iter()
        .flat_map(|path| path.rsplit('/').filter(|key| !key.is_empty()))
        .fold(template.clone(), |inner, key| json!({ key: inner }))
}

/// The object as the case means it, with all that it does not care about.
fn complete(object: &Value, kind: &str, name: &str) -> Value {
    let mut template = object.clone();
    let kind = template.get("kind").and_then(Value::as_str).unwrap_or(kind).to_owned();
    for list in ["containers", "initContainers"] {
        for container in template.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().expect("a container is a map").entry("image").or_insert_with(|| json!("example.com/image:1"));
        }
    }
    if template_path(&kind).is_some() {
        template["metadata"]["labels"]["case"] = json!(name);
    }
    if matches!(kind.as_str(), "Job" | "CronJob") {
        template["spec"]["restartPolicy"] = json!("Never");
    }
    let mut whole = wrap(&template, &kind);
    match kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => whole["spec"]["selector"] = json!({"matchLabels": {"case": name}}),
        "CronJob" => whole["spec"]["schedule"] = json!("0 4 * * *"),
        _ => {}
    }
    if kind == "StatefulSet" {
        whole["spec"]["serviceName"] = json!("case");
    }
    whole["apiVersion"] = json!(match kind.as_str() {
        "Job" | "CronJob" => "batch/v1",
        kind if template_path(kind).is_some() => "apps/v1",
        _ => "v1",
    });
    whole["kind"] = json!(kind);
    whole["metadata"]["name"] = json!(name);
    whole
}

/// The first place where `actual` is not what `expected` says: maps may hold more, lists must be as long, null means "is not there".
fn difference(expected: &Value, actual: Option<&Value>, at: &str) -> Option<String> {
    match (expected, actual) {
        (Value::Null, actual) => actual.map(|value| format!("{at} is there: {value}")),
        (Value::Object(expected), actual) => {
            let empty = Map::new();
            let actual = match actual {
                Some(Value::Object(actual)) => actual,
                Some(other) => return Some(format!("{at} is {other}")),
                None => &empty,
            };
            expected.iter().find_map(|(key, value)| difference(value, actual.get(key), &format!("{at}/{key}")))
        }
        (Value::Array(expected), Some(Value::Array(actual))) if expected.len() == actual.len() => (0..)
            .zip(expected.iter().zip(actual))
            .find_map(|(i, (expected, actual))| difference(expected, Some(actual), &format!("{at}/{i}"))),
        (expected, Some(actual)) if same_scalar(expected, actual) => None,
        (expected, Some(actual)) => Some(format!("{at} is {actual}, not {expected}")),
        (expected, None) => Some(format!("{at} is missing, not {expected}")),
    }
}

/// Amounts are compared as such: without a server nobody writes 1000 as 1k.
fn same_scalar(expected: &Value, actual: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (expected, actual) = (text(expected), text(actual));
    expected == actual || Quantity::parse(&expected).is_ok_and(|amount| Quantity::parse(&actual) == Ok(amount))
}
