//! The table without a cluster: just enough of an API server around the webhook's functions.

use gangplank::policy::Profile;
use gangplank::wire::admission::{ReviewError, Rules, Verdict, mutate, validate};
use serde_json::{Value, json};

use super::table::{Act, Case, Outcome, Table, User, template_path};

/// Runs the cases that the webhook is for and returns what is wrong, one line a case.
pub(super) fn run(table: &Table) -> Vec<String> {
    let server = Server { table, rules: Rules::shipped(Profile::shipped().classes) };
    table.cases.iter().filter(|case| case.for_webhook).filter_map(|case| case.complaint(&server.outcome(case))).collect()
}

struct Server<'a> {
    table: &'a Table,
    rules: Rules,
}

impl Server<'_> {
    fn outcome(&self, case: &Case) -> Outcome {
        let given = match &case.given {
            Some((user, object)) => Some(self.admit(case, user, "", object, None).map_err(|text| format!("given: {text}"))?),
            None => None,
        };
        let via = case.via.as_deref().unwrap_or_default();
        match &case.act {
            Act::Create(object) => self.admit(case, &case.user, via, object, None),
            Act::Apply(patch) => {
                let old = given.ok_or("to apply something needs what is given")?;
                let mut new = old.clone();
                merge(&mut new, patch);
                self.admit(case, &case.user, via, &new, Some(&old))
            }
        }
    }

    /// What is stored in the end: mutating and validating admission of one request.
    fn admit(&self, case: &Case, user: &User, via: &str, object: &Value, old: Option<&Value>) -> Outcome {
        let mut object = with_defaults(object);
        if !self.is_called(case, &object, old) {
            return Ok(object);
        }
        let review = |object: &Value| {
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "uid": "1", "kind": {"kind": object["kind"]}, "subResource": via, "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
                "namespace": case.namespace, "name": case.object_name,
                "userInfo": {"username": user.user, "groups": user.groups}, "object": object, "oldObject": old}})
        };
        // A second time, as the API server does when something else changed the object: it must find nothing left to do.
        for round in 0..2 {
            match self.answer(user, mutate(&review(&object), &self.rules))? {
                patch if round == 1 => assert_eq!(patch, Vec::<Value>::new(), "{}: mutated a second time", case.name),
                patch => apply_patch(&mut object, &patch),
            }
        }
        self.answer(user, validate(&review(&object), &self.rules))?;
        Ok(object)
    }

    fn answer(&self, user: &User, verdict: Result<Verdict, ReviewError>) -> Result<Vec<Value>, String> {
        match verdict.map_err(|error| error.to_string())? {
            Verdict::Allow(patch) => Ok(patch),
            Verdict::Refuse(text) => Err(text),
            Verdict::Ask(_) if user.user == self.table.users["operator"].user => Ok(Vec::new()),
            Verdict::Ask(question) => Err(question.refusal),
        }
    }

    /// What the selectors of the webhook configurations say.
    fn is_called(&self, case: &Case, object: &Value, old: Option<&Value>) -> bool {
        const LABEL: &str = "gangplank.dev/managed";
        if object["kind"] == "Namespace" {
            return [Some(object), old].into_iter().flatten().any(|object| object["metadata"]["labels"].get(LABEL).is_some());
        }
        let is_system = matches!(case.namespace.as_str(), "kube-system" | "gangplank-system");
        !is_system && self.table.namespaces[&case.namespace].get(LABEL).is_some_and(|value| value == "true")
    }
}

/// The defaults that matter here: a scheduler's name, and requests where a pod has only limits.
fn with_defaults(object: &Value) -> Value {
    let mut object = object.clone();
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let path = template_path(&kind).unwrap_or_default();
    let Some(spec) = object.pointer_mut(&format!("{path}/spec")).and_then(Value::as_object_mut) else { return object };
    spec.entry("schedulerName").or_insert_with(|| json!("default-scheduler"));
    if kind == "Pod" {
        for list in ["containers", "initContainers"] {
            for item in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let Some(mut requests) = item.pointer("/resources/limits").cloned() else { continue };
                merge(&mut requests, item.pointer("/resources/requests").unwrap_or(&json!({})));
                item["resources"]["requests"] = requests;
            }
        }
    }
    object
}

/// A strategic merge patch: maps by key, lists of maps with names by name, null removes, all else replaces.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(into), Value::Array(patch)) if patch.iter().all(|item| item.get("name").is_some()) => {
            for item in patch {
                match into.iter_mut().find(|present| present["name"] == item["name"]) {
                    Some(present) => merge(present, item),
                    None => into.push(item.clone()),
                }
            }
        }
        (into @ Value::Null, Value::Object(_)) => {
            *into = json!({});
            merge(into, patch);
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// A JSON patch of the operations that the webhook uses.
fn apply_patch(object: &mut Value, patch: &[Value]) {
    for operation in patch {
        let at = operation["path"].as_str().expect("every operation has a path");
        let (parent, key) = at.rsplit_once('/').expect("a pointer");
        let key = key.replace("~1", "/").replace("~0", "~");
        let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{at}: nothing there to patch"));
        match (operation["op"].as_str(), parent) {
            (Some("add"), Value::Array(list)) if key == "-" => list.push(operation["value"].clone()),
            (Some("add"), Value::Object(map)) => drop(map.insert(key, operation["value"].clone())),
            (Some("remove"), Value::Object(map)) => drop(map.remove(&key).unwrap_or_else(|| panic!("{at}: nothing there to remove"))),
            (op, _) => panic!("{op:?} at {at}"),
        }
    }
}
