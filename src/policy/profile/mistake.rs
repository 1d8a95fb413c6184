//! What is wrong with a file that people write, a profile or a spec: where it stands, which field, the problem, and what to write instead.

use std::fmt;
use std::sync::Arc;

use serde_saphyr::{Error as Unreadable, Location};

use super::nearest::nearest;
use super::places::Places;

/// Why a profile, or another file that people write, was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ProfileError {
    /// The file, where it came from one.
    pub file: Option<Arc<str>>,
    /// The line, from 1.
    pub line: u64,
    /// Which field, for example `accelerators[2].resources`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field, problem, remedy } = self;
        match file {
            Some(file) => write!(f, "{file}:{line}: ")?,
            None => write!(f, "line {line}: ")?,
        }
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        write!(f, "{problem}; {remedy}")
    }
}

impl ProfileError {
    /// The same, with the file that it is in.
    pub fn in_file(self, file: impl Into<Arc<str>>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    /// What the YAML reader has against `yaml`, in our words.
    pub(crate) fn unreadable(error: &Unreadable, yaml: &str, places: &Places) -> Self {
        let error = innermost(error);
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let field = match places.field(at) {
            "" => key_on(yaml, at.line()),
            field => field.to_owned(),
        };
        let (field, problem, remedy) = match error {
            Unreadable::SerdeUnknownField { field: unknown, expected, .. } => {
                let known = format!("the fields here are {}", expected.join(", "));
                (field, format!("there is no field `{unknown}`"), nearest_of(unknown, expected).unwrap_or(known))
            }
            Unreadable::SerdeUnknownVariant { variant, expected, .. } => {
                (field, format!("`{variant}` is none of its values"), format!("write one of {}", expected.join(", ")))
            }
            Unreadable::SerdeMissingField { field: missing, .. } => {
                let mistake = Mistake::new(*missing, "is missing", format!("add `{missing}`"));
                return mistake.within(around(&field)).found(places);
            }
            Unreadable::DuplicateMappingKey { .. } => (field, "is written twice".into(), "keep one of the two".into()),
            Unreadable::InvalidScalar { ty, .. } => {
                let is = token(yaml, at).map_or_else(|| "nothing".into(), |token| format!("`{token}`"));
                let (wanted, remedy) = number(ty);
                (field, format!("{is} is not {wanted}"), remedy.into())
            }
            Unreadable::Unexpected { expected, .. } => {
                let (wanted, remedy) = shape(expected);
                (field, format!("is not {wanted}"), remedy.into())
            }
            Unreadable::SerdeInvalidType { unexpected, expected, .. } => (field, format!("is {unexpected}"), format!("write {expected}")),
            other => {
                let text = other.to_string();
                let text = text.split(" at line ").next().unwrap_or_default().to_owned();
                (field, format!("not YAML: {text}"), "mend indentation, quotes and brackets of this line or the one above".into())
            }
        };
        Self { file: None, line: at.line().max(1), field, problem, remedy }
    }
}

/// A value that makes no sense, named by its path from the section's root.
#[derive(Debug)]
pub(crate) struct Mistake {
    field: String,
    problem: String,
    remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.problem, self.remedy)
    }
}

impl Mistake {
    /// A mistake of `field`, which may be empty: the section itself.
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A number out of its range, which is written as in `1..=1000`.
    pub(crate) fn range(field: impl Into<String>, is: impl fmt::Display, range: &str) -> Self {
        Self::new(field, format!("{is} is not within {range}"), format!("write a number within {range}"))
    }

    /// A name that is none of those that exist; `thing` says of what.
    pub(crate) fn unknown(field: impl Into<String>, thing: &str, is: &str, known: &[impl AsRef<str>]) -> Self {
        let all = known.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        let remedy = nearest_of(is, &all).unwrap_or_else(|| format!("name one of {}", all.join(", ")));
        Self::new(field, format!("there is no {thing} `{is}`"), remedy)
    }

    /// The same, seen from the section around it: `within("fabric")` makes `levels` into `fabric.levels`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        let dot = if outer.is_empty() || self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{outer}{dot}{}", self.field);
        self
    }

    /// The same, seen from the list around it: `at(2)` makes `name` into `[2].name`.
    pub(crate) fn at(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }

    /// With the line on which the field stands.
    pub(crate) fn found(self, places: &Places) -> ProfileError {
        let Self { field, problem, remedy } = self;
        ProfileError { file: None, line: places.line(&field), field, problem, remedy }
    }
}

fn innermost(error: &Unreadable) -> &Unreadable {
    match error.without_snippet() {
        Unreadable::AliasError { error, .. } => innermost(error),
        error => error,
    }
}

fn nearest_of(is: &str, known: &[&str]) -> Option<String> {
    nearest(is, known).map(|near| format!("did you mean `{near}`?"))
}

/// The mapping that a field stands in; an entry of a list is one itself.
fn around(field: &str) -> &str {
    if field.ends_with(']') { field } else { field.rfind('.').map_or("", |end| &field[..end]) }
}

/// The key that a line begins with, where the text as a whole is no YAML.
fn key_on(yaml: &str, line: u64) -> String {
    let lines = usize::try_from(line).unwrap_or(usize::MAX);
    let keys = yaml.lines().take(lines).filter_map(|line| line.trim_start_matches([' ', '-']).split_once(':').map(|(key, _)| key));
    keys.filter(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))).last().unwrap_or_default().into()
}

/// The plain text at a place.
fn token(yaml: &str, at: Location) -> Option<String> {
    let line = yaml.lines().nth(usize::try_from(at.line()).ok()?.checked_sub(1)?)?;
    let rest: String = line.chars().skip(usize::try_from(at.column()).ok()?.checked_sub(1)?).collect();
    let token = rest.split([',', '}', ']', '#']).next()?.trim().to_owned();
    (!token.is_empty() && token.len() <= 60).then_some(token)
}

fn number(ty: &str) -> (&'static str, &'static str) {
    match ty.as_bytes().first() {
        Some(b'u') => ("a whole number from 0", "write a whole number without sign, unit or quotes"),
        Some(b'i') => ("a whole number", "write a whole number without unit or quotes"),
        Some(b'f') => ("a number", "write a number without unit or quotes, such as 2.5"),
        _ => ("true or false", "write true or false"),
    }
}

fn shape(expected: &str) -> (&'static str, &'static str) {
    match expected {
        "sequence start" => ("a list", "write a list: `[a, b]`, or one `- a` a line"),
        "mapping start" => ("a mapping", "write fields with values: `{a: b}`, or one `a: b` a line, indented"),
        _ => ("a single value", "write one value, not a list or a mapping"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_from_the_root_of_the_file_with_its_line() {
        let places = Places::of("accelerators:\n- a\n- b\n- name: x\n  resources: [a, b]\n");
        let error = Mistake::range("[1]", 0, "1..=2").within("resources").at(2).within("accelerators").found(&places);
        let text = "accelerators[2].resources[1]: 0 is not within 1..=2; write a number within 1..=2";
        assert_eq!(error.to_string(), format!("line 5: {text}"));
        assert_eq!(error.in_file("my.yaml").to_string(), format!("my.yaml:5: {text}"));
        assert_eq!(Mistake::new("", "p", "r").at(0).within("fabric").field, "fabric[0]");
    }
}
