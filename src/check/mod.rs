//! What would be refused, hang or run wrong in manifests that already exist, each with file, line, field and a fix. Texts
//! in, findings and edits out: no file is read here and no cluster asked.
//!
//! What may live here: one file a rule under `rules`, one line each in [`rules::ALL`], from which `docs/checks.md` is made;
//! what rules have in common (`tree`, `manifest`, `edit`). A rule says nothing where it cannot know.

mod edit;
mod manifest;
mod page;
pub mod rules;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use edit::Edit;
use manifest::{At, Object, Pod};
pub use page::page;
pub use tree::Unreadable;

/// A file of manifests.
#[derive(Clone, Debug)]
pub struct Text {
    /// As messages name it.
    pub file: String,
    /// What it says.
    pub text: String,
}

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Labels of its nodes with all their values; none: not known.
    pub nodes: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Whether Gangplank's admission looks at all pods.
    pub gangplank: bool,
}

impl Facts {
    /// Adds what nodes in a text carry.
    ///
    /// # Errors
    /// The text is no YAML.
    pub fn read_nodes(&mut self, text: &str) -> Result<(), Unreadable> {
        let labels = self.nodes.get_or_insert_default();
        for object in tree::documents(text)?.into_iter().flat_map(|root| Object::of(0, root)) {
            for (key, value) in object.at().go("metadata.labels").map(|labels| labels.texts()).unwrap_or_default() {
                labels.entry(key).or_default().insert(value);
            }
        }
        Ok(())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is refused, hangs, or does something else than it says.
    Error,
    /// It works until something happens.
    Warning,
    /// It depends on what these files do not show.
    Note,
}

impl Level {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// The line of the field, from 1.
    pub line: usize,
    /// Kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The field.
    pub field: String,
    /// Which rule.
    pub rule: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What goes wrong.
    pub problem: String,
    /// What to write.
    pub fix: String,
    /// Whether `--fix` writes it.
    pub fixable: bool,
}

/// One rule; the three texts are its headings on the page.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name.
    pub id: &'static str,
    /// What it finds.
    pub finds: &'static str,
    /// Why it goes wrong.
    pub why: &'static str,
    /// The fix, and whether `--fix` writes it.
    pub fix: &'static str,
    look: fn(&Input<'_>) -> Vec<Found>,
}

/// All manifests together: rules look from one object at the others.
#[derive(Debug)]
struct Input<'a> {
    texts: &'a [Text],
    objects: Vec<Object>,
    facts: &'a Facts,
}

impl Input<'_> {
    fn pods(&self) -> Vec<Pod<'_>> {
        self.objects.iter().flat_map(Pod::of).collect()
    }

    /// The text of the file in which a field stands.
    fn text(&self, at: &At<'_>) -> &str {
        &self.texts[at.object.file].text
    }

    fn of<'a>(&'a self, group: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.is(group, kind))
    }
}

/// What a rule has to say.
#[derive(Debug)]
struct Found {
    file: usize,
    line: usize,
    kind: String,
    name: String,
    field: String,
    level: Level,
    problem: String,
    fix: String,
    edits: Vec<Edit>,
}

impl Found {
    fn new(level: Level, at: &At<'_>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            file: at.object.file,
            line: at.node.line,
            kind: at.object.kind.clone(),
            name: at.object.name.clone(),
            field: at.path.clone(),
            level,
            problem: problem.into(),
            fix: fix.into(),
            edits: Vec::new(),
        }
    }

    fn edits(self, edits: impl IntoIterator<Item = Edit>) -> Self {
        Self { edits: edits.into_iter().collect(), ..self }
    }
}

/// What is wrong with these files, by file and line.
///
/// # Errors
/// A file that is no YAML.
pub fn check(texts: &[Text], facts: &Facts) -> Result<Vec<Finding>, (String, Unreadable)> {
    Ok(look(texts, facts)?.into_iter().map(|(rule, found)| finding(texts, rule, &found)).collect())
}

/// The same files with every fix that can be written, and what is still wrong with them.
///
/// # Errors
/// A file that is no YAML.
pub fn fix(texts: &[Text], facts: &Facts) -> Result<(Vec<Text>, Vec<Finding>), (String, Unreadable)> {
    let mut texts = texts.to_vec();
    for _ in 0..ROUNDS_MAX {
        let mut edits = vec![Vec::new(); texts.len()];
        for (_, found) in look(&texts, facts)? {
            if !found.edits.is_empty() {
                edits[found.file].push(found.edits);
            }
        }
        if edits.iter().all(Vec::is_empty) {
            break;
        }
        for (text, edits) in texts.iter_mut().zip(edits) {
            text.text = edit::apply(&text.text, edits);
        }
    }
    let left = check(&texts, facts)?;
    Ok((texts, left))
}

fn look(texts: &[Text], facts: &Facts) -> Result<Vec<(&'static Rule, Found)>, (String, Unreadable)> {
    let mut objects = Vec::new();
    for (file, text) in texts.iter().enumerate() {
        let documents = tree::documents(&text.text).map_err(|error| (text.file.clone(), error))?;
        objects.extend(documents.into_iter().flat_map(|root| Object::of(file, root)));
    }
    // Values of a chart and the like are no manifests.
    objects.retain(|object| !object.kind.is_empty());
    let input = Input { texts, objects, facts };
    let mut all: Vec<_> = rules::ALL.iter().flat_map(|rule| (rule.look)(&input).into_iter().map(move |found| (rule, found))).collect();
    all.sort_by(|(a_rule, a), (b_rule, b)| (a.file, a.line, &a.field, a_rule.id).cmp(&(b.file, b.line, &b.field, b_rule.id)));
    Ok(all)
}

fn finding(texts: &[Text], rule: &'static Rule, found: &Found) -> Finding {
    Finding {
        file: texts[found.file].file.clone(),
        line: found.line,
        kind: found.kind.clone(),
        name: found.name.clone(),
        field: found.field.clone(),
        rule: rule.id,
        level: found.level,
        problem: found.problem.clone(),
        fix: found.fix.clone(),
        fixable: !found.edits.is_empty(),
    }
}

/// A fix may be in the way of another, which then comes in the next round.
const ROUNDS_MAX: usize = 64;
