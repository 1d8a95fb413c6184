//! From text to checked specs: documents of a file, each read as what its `kind` says.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::object::{Named, Unread, is_owned};
use super::sweep::Sweep;
use super::{GROUP, KINDS, Kind, Recipe, Rendered, SpecError, Training, VERSION};
use crate::policy::{Mistake, Places};

/// A checked spec.
#[derive(Debug)]
pub struct Spec {
    /// What kind of spec.
    pub kind: &'static Kind,
    /// What it is called, and where it lives.
    pub named: Named,
    /// The line of its file on which its document begins, from 1.
    pub line: u64,
    recipe: Box<dyn Recipe>,
    places: Places,
}

impl Spec {
    /// Its Kubernetes objects, in the order in which they are to be created.
    ///
    /// # Errors
    /// A form that the kind does not have, or that does not suit this spec.
    pub fn render(&self, form: Option<&str>) -> Result<Rendered, SpecError> {
        if let Some(form) = form.filter(|form| !self.kind.forms.contains(form)) {
            let mistake = if self.kind.forms.is_empty() {
                Mistake::new("kind", format!("a {} has no form `{form}`", self.kind.name), "leave out --as")
            } else {
                Mistake::unknown("kind", &format!("form of a {}", self.kind.name), form, self.kind.forms)
            };
            return Err(self.found(mistake));
        }
        self.recipe.render(&self.named, form).map_err(|mistake| self.found(mistake))
    }

    /// The sweep that it is, if it is one.
    pub fn sweep(&self) -> Option<&Sweep> {
        self.recipe.sweep()
    }

    /// What drives it as a training job, if it is one.
    pub(crate) fn training(&self) -> Option<Training> {
        self.recipe.training()
    }

    /// The objects of a trial of a sweep on a rung of halving; none of what is no sweep.
    ///
    /// # Errors
    /// What rendering has against it.
    pub fn run(&self, trial: u32, rung: usize) -> Result<Vec<Value>, SpecError> {
        let made = self.sweep().map_or(Ok(Vec::new()), |sweep| sweep.run(&self.named, trial, rung));
        made.map_err(|mistake| self.found(mistake))
    }

    fn found(&self, mistake: Mistake) -> SpecError {
        let error = mistake.found(&self.places);
        SpecError { line: error.line + self.line - 1, ..error }
    }
}

/// The specs of a file, in its order.
///
/// # Errors
/// The first mistake, with its line; the caller knows the file.
pub fn read(text: &str) -> Result<Vec<Spec>, SpecError> {
    if text.len() > FILE_BYTES_MAX {
        let problem = format!("{} bytes are more than a spec has", text.len());
        let remedy = format!("keep a file within {FILE_BYTES_MAX} bytes: data belongs on a volume");
        return Err(SpecError { file: None, line: 1, field: String::new(), problem, remedy });
    }
    let mut specs = Vec::new();
    for (line, part) in documents(text) {
        // Behind a `---` that nothing follows, and in a file of comments.
        if part.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let (kind, named, recipe) = document(part).map_err(|error| SpecError { line: error.line + line - 1, ..error })?;
        specs.push(Spec { kind, named, line, recipe, places: Places::of(part) });
    }
    if specs.is_empty() {
        let remedy = "write one, or begin with `gangplank-provision init`";
        return Err(SpecError {
            file: None,
            line: 1,
            field: String::new(),
            problem: "there is no spec in it".into(),
            remedy: remedy.into(),
        });
    }
    if let Some((first, second)) = twice(&specs) {
        let problem = format!("{} `{}` stands on line {} already", second.kind.name, second.named.name, first.line);
        let remedy = "give each spec of a file a name of its own".into();
        return Err(SpecError { file: None, line: second.line, field: "metadata.name".into(), problem, remedy });
    }
    Ok(specs)
}

/// The spec that a live object is. What others wrote into its labels and annotations is no part of it.
///
/// # Errors
/// The first mistake; its line says nothing.
pub fn live(object: &Value) -> Result<Spec, SpecError> {
    let mut metadata = json!({"name": object["metadata"]["name"]});
    if object["metadata"]["namespace"].is_string() {
        metadata["namespace"] = object["metadata"]["namespace"].clone();
    }
    for field in ["labels", "annotations"] {
        let pairs = object["metadata"][field].as_object().into_iter().flatten();
        let own: Map<String, Value> = pairs.filter(|(key, _)| !is_owned(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
        metadata[field] = Value::Object(own);
    }
    let text =
        json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata, "spec": object["spec"]}).to_string();
    let (kind, named, recipe) = document(&text)?;
    // Nobody sees the lines of this text.
    Ok(Spec { kind, named, line: 1, recipe, places: Places::of("") })
}

fn document(part: &str) -> Result<(&'static Kind, Named, Box<dyn Recipe>), SpecError> {
    let unreadable = |error: &serde_saphyr::Error| SpecError::unreadable(error, part, &Places::of(part));
    let head: Head = serde_saphyr::from_str(part).map_err(|error| unreadable(&error))?;
    let found = |mistake: Mistake| mistake.found(&Places::of(part));
    let version = format!("{GROUP}/{VERSION}");
    if head.api_version.as_deref() != Some(&version) {
        let is = head.api_version.map_or_else(|| "nothing".to_owned(), |is| short(&is));
        let problem = format!("{is} is not the version of a spec");
        return Err(found(Mistake::new("apiVersion", problem, format!("write `apiVersion: {version}`; plain manifests need no render"))));
    }
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let Some(written) = head.kind else {
        return Err(found(Mistake::new("kind", "is missing", format!("write one of {}", names.join(", ")))));
    };
    let kind = KINDS.iter().find(|kind| kind.name == written);
    let kind =
        kind.ok_or_else(|| found(Mistake::unknown("kind", "kind of spec", &written.chars().take(60).collect::<String>(), &names)))?;
    let (of, recipe) = (kind.read)(part).map_err(|unread| match unread {
        Unread::Yaml(error) => unreadable(&error),
        Unread::Mistake(mistake) => found(mistake),
    })?;
    Ok((kind, of, recipe))
}

/// What says how the rest is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
}

/// The documents of a text, each with its first line. `---` at the beginning of a line separates, also inside of texts:
/// YAML has it so.
fn documents(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let (mut begin, mut line, mut at) = (0, 1, 0);
    for (number, row) in (1..).zip(text.split_inclusive('\n')) {
        if row.trim_end() == "---" || row.starts_with("--- ") {
            parts.push((line, &text[begin..at]));
            (begin, line) = (at + row.len(), number + 1);
        }
        at += row.len();
    }
    parts.push((line, &text[begin..]));
    parts
}

fn twice(specs: &[Spec]) -> Option<(&Spec, &Spec)> {
    let key = |spec: &Spec| (spec.kind.name, spec.named.name.clone(), spec.named.namespace.clone());
    let mut pairs = specs.iter().enumerate().flat_map(|(at, first)| specs[at + 1..].iter().map(move |second| (first, second)));
    pairs.find(|(first, second)| key(first) == key(second))
}

fn short(text: &str) -> String {
    format!("`{}`", text.chars().take(60).collect::<String>()).replace("``", "nothing")
}

/// A spec of a few lines, with room for configuration files.
const FILE_BYTES_MAX: usize = 1 << 20;
