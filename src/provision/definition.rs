//! The CustomResourceDefinition of a kind of spec, made from the same Rust types as its JSON Schema.

use kube::core::schema::StructuralSchemaRewriter;
use serde_json::{Value, json};

use crate::drive::{Driver, Field};
use crate::recipe::{GROUP, Kind, VERSION};

/// The definition of a kind, if it has one.
pub fn definition(kind: &Kind) -> Option<Value> {
    let plural = kind.plural?;
    let settings = schemars::generate::SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let generator = settings.with_transform(StructuralSchemaRewriter).into_generator();
    let mut spec = (kind.spec_schema)(generator);
    structural(&mut spec);
    spec["x-kubernetes-validations"] = kind.rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
    let singular = kind.name.to_lowercase();
    let driver = Driver::named(kind.name);
    let columns = kind.columns.iter().chain(driver.into_iter().flat_map(|driver| driver.columns));
    let columns = columns.map(|(name, path)| json!({"name": name, "type": "string", "jsonPath": path}));
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    let mut properties = json!({"spec": spec});
    if let Some(driver) = driver {
        properties["status"] = status(driver);
    }
    let mut made = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{GROUP}"),
            "labels": {"app.kubernetes.io/name": "gangplank", "app.kubernetes.io/part-of": "gangplank"},
        },
        "spec": {
            "group": GROUP,
            "names": {"kind": kind.name, "plural": plural, "singular": singular, "categories": ["gangplank"]},
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns.chain([age]).collect::<Vec<_>>(),
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": kind.about,
                    "required": ["spec"],
                    "properties": properties,
                }},
            }],
        },
    });
    if driver.is_some() {
        made["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    }
    Some(made)
}

/// What a driver says of a spec.
fn status(driver: &Driver) -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    let time = |about: &str| json!({"type": "string", "format": "date-time", "description": about});
    let count = |about: &str| json!({"type": "integer", "format": "int64", "minimum": 0, "description": about});
    let condition = json!({
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": text("What is said."),
            "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
            "reason": text("Why, in a word."),
            "message": text("Why, for people."),
            "lastTransitionTime": time("When it began or ceased to hold."),
            "observedGeneration": count("Of which generation of the spec that is said."),
        },
    });
    let mut properties = json!({
        "observedGeneration": count("The generation of the spec that this is about."),
        "phase": text("How far it is, in a word."),
        "conditions": {"type": "array", "description": "What holds and what does not.", "items": condition},
    });
    for (name, field, about) in driver.status {
        properties[*name] = match field {
            Field::Count => count(about),
            Field::Time => time(about),
        };
    }
    json!({"type": "object", "description": "How far it is, as gangplank-provision run says.", "properties": properties})
}

/// What the API server takes and JSON Schema writes otherwise: a text that may be a number, a value of any shape.
fn structural(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    for unknown in ["$schema", "title", "additionalItems", "const"] {
        fields.remove(unknown);
    }
    // `uint32` is none of its formats; ranges say the same.
    if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        fields.remove("format");
    }
    fields.remove("nullable");
    if fields.get("default").is_some_and(Value::is_null) {
        fields.remove("default");
    }
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        fields.remove("additionalProperties");
    }
    match fields.get("type") {
        // Texts with numbers: the API server knows whole ones, others are written in quotes.
        Some(Value::Array(_)) => {
            fields.remove("type");
            fields.insert("x-kubernetes-int-or-string".into(), json!(true));
        }
        None if !fields.contains_key("enum") => {
            fields.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
        }
        _ => {}
    }
    fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()).for_each(structural);
    for at in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(at) {
            if schema == &json!(true) {
                *schema = json!({});
            }
            structural(schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::recipe::KINDS;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
    }

    /// `UPDATE=1 cargo test --lib provision` writes the files anew.
    fn kept(path: &str, made: &Value, text: &str) {
        let path = root().join(path);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let shipped: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(&shipped, made, "{}: run `UPDATE=1 cargo test --lib provision`", path.display());
    }

    #[test]
    fn the_shipped_definitions_and_schemas_are_those_of_the_types() {
        for kind in KINDS {
            let schema = (kind.schema)();
            let name = kind.name.to_lowercase();
            kept(&format!("deploy/schemas/{name}.schema.json"), &schema, &format!("{schema:#}\n"));
            if let Some(made) = definition(kind) {
                let watched = if Driver::named(kind.name).is_some() {
                    "`gangplank-provision run` drives it"
                } else {
                    "No program of ours watches it yet"
                };
                let header = format!(
                    "# {}: {}.\n# {watched}; `gangplank-provision render` needs no definition.\n# Made from src/recipe by `UPDATE=1 cargo test \
                     --lib provision`.\n",
                    kind.name, kind.about
                );
                let text = format!("{header}{}", serde_saphyr::to_string(&made).unwrap());
                kept(&format!("deploy/crd/{}.yaml", kind.plural.unwrap()), &made, &text);
            }
        }
    }

    #[test]
    fn every_field_says_what_it_is() {
        fn walk(schema: &Value, path: &str, silent: &mut Vec<String>) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                if property["description"].is_null() {
                    silent.push(path.clone());
                }
                walk(property, &path, silent);
                walk(&property["items"], &path, silent);
                walk(&property["additionalProperties"], &path, silent);
            }
        }
        for made in KINDS.iter().filter_map(definition) {
            let mut silent = Vec::new();
            let version = &made["spec"]["versions"][0];
            walk(&version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec", &mut silent);
            assert!(silent.is_empty(), "{silent:?}");
        }
    }
}
