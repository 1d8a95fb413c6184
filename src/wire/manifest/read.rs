//! Reads a file of YAML documents or JSON, Lists taken apart, each object with its place for error texts.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

/// The largest file that is read: a dump of 5,000 real nodes is a fifth of it.
pub const FILE_BYTES_MAX: usize = 256 << 20;

/// An object and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where.
    pub place: Place,
    /// What.
    pub object: Value,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub file: Arc<str>,
    /// Its first line, counted from 1.
    pub line: usize,
    /// Which document of the file, counted from 1.
    pub document: usize,
    /// Which item of the List, counted from 0.
    pub item: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (document {}", self.file, self.line, self.document)?;
        self.item.map_or(Ok(()), |item| write!(f, ", items[{item}]"))?;
        f.write_str(")")
    }
}

/// Why a file was not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// Too long.
    #[error("{file}: {bytes} bytes, at most {FILE_BYTES_MAX} are read")]
    TooLarge {
        /// The file.
        file: Arc<str>,
        /// How long it is.
        bytes: usize,
    },
    /// Neither YAML nor JSON.
    #[error("{file}:{line} (document {document}): {problem}")]
    Unreadable {
        /// The file.
        file: Arc<str>,
        /// Where the parser stopped.
        line: usize,
        /// Which document.
        document: usize,
        /// What the parser met.
        problem: String,
    },
    /// YAML, but no Kubernetes object.
    #[error("{place}: {problem}")]
    NoObject {
        /// Where.
        place: Place,
        /// What is missing.
        problem: &'static str,
    },
}

/// The objects of a file, in its order.
///
/// # Errors
/// The first thing that is not a Kubernetes object.
pub fn read(file: &str, text: &str) -> Result<Vec<Document>, ReadError> {
    let file: Arc<str> = file.into();
    if text.len() > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { file, bytes: text.len() });
    }
    let mut documents = Vec::new();
    for (number, (line, part)) in split(text).into_iter().enumerate() {
        let place = Place { file: Arc::clone(&file), line, document: number + 1, item: None };
        let value = if part.trim_start().starts_with('{') { json(part, &place) } else { yaml(part, &place) }?;
        if !value.is_null() {
            flatten(Document { place, object: value }, &mut documents)?;
        }
    }
    Ok(documents)
}

fn flatten(document: Document, documents: &mut Vec<Document>) -> Result<(), ReadError> {
    let Document { place, mut object } = document;
    let Some(kind) = object["kind"].as_str().map(String::from) else {
        return Err(ReadError::NoObject { place, problem: "no `kind`: not a Kubernetes object" });
    };
    if !object["apiVersion"].is_string() {
        return Err(ReadError::NoObject { place, problem: "no `apiVersion`: not a Kubernetes object" });
    }
    // `NodeList` and the like have items; no kind that we expand has.
    let items = if kind.ends_with("List") { object["items"].take() } else { Value::Null };
    let Value::Array(items) = items else {
        documents.push(Document { place, object });
        return Ok(());
    };
    // Items of a typed list state neither kind nor apiVersion.
    let (item_kind, version) = (kind.trim_end_matches("List"), object["apiVersion"].clone());
    for (at, mut item) in items.into_iter().enumerate() {
        let place = Place { item: Some(at), ..place.clone() };
        if !item.is_object() {
            return Err(ReadError::NoObject { place, problem: "not an object" });
        }
        if item["kind"].is_null() && !item_kind.is_empty() {
            item["kind"] = item_kind.into();
            item["apiVersion"] = version.clone();
        }
        if item["kind"].is_null() || item["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            return Err(ReadError::NoObject { place, problem: "an item of a List must be an object with a kind, and no List" });
        }
        documents.push(Document { place, object: item });
    }
    Ok(())
}

/// The documents of a stream with their first lines. A separator stands at the start of a line, where no content of
/// a block can.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if let Some(rest) = rest {
            parts.push((start_line, &text[start..at]));
            start = at + line.len() - rest.len();
            start_line = number + 1;
        }
        at += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts.retain(|(_, part)| !part.trim().is_empty());
    parts
}

fn json(part: &str, place: &Place) -> Result<Value, ReadError> {
    serde_json::from_str(part).map_err(|error| unreadable(place, error.line(), error.to_string()))
}

fn yaml(part: &str, place: &Place) -> Result<Value, ReadError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: EVENTS_MAX,
            max_nodes: EVENTS_MAX,
            max_total_scalar_bytes: FILE_BYTES_MAX,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(part, options).map_err(|error| {
        let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        // Its text ends with the line within the document, which is not the line of the file.
        let text = error.to_string();
        let problem = text.split(" at line ").next().unwrap_or(&text).to_owned();
        unreadable(place, line, problem)
    })
}

fn unreadable(place: &Place, line: usize, problem: String) -> ReadError {
    // The parser counts from the start of the document.
    ReadError::Unreadable { file: Arc::clone(&place.file), line: place.line + line.saturating_sub(1), document: place.document, problem }
}

/// Far more than a file of [`FILE_BYTES_MAX`] has; a bomb of aliases has more.
const EVENTS_MAX: usize = 64_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        read("f.yaml", text).unwrap().iter().map(|document| format!("{} {}", document.place, document.object["kind"])).collect()
    }

    fn problem(text: &str) -> String {
        read("f.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn documents_and_list_items_keep_their_places() {
        let text = "# all of it\napiVersion: v1\nkind: Pod\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n- apiVersion: v1\n  kind: Pod\n";
        assert_eq!(
            places(text),
            ["f.yaml:1 (document 1) \"Pod\"", "f.yaml:6 (document 3, items[0]) \"Node\"", "f.yaml:6 (document 3, items[1]) \"Pod\""]
        );
    }

    #[test]
    fn items_of_a_typed_list_get_its_kind() {
        assert_eq!(
            places(r#"{"apiVersion":"v1","kind":"NodeList","items":[{"metadata":{"name":"n1"}}]}"#),
            ["f.yaml:1 (document 1, items[0]) \"Node\""]
        );
    }

    #[test]
    fn a_text_block_that_contains_a_separator_stays_whole() {
        assert_eq!(places("apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    x\n    ---\n    y\n").len(), 1);
    }

    #[test]
    fn mistakes_are_told_with_file_line_and_document() {
        let text = "apiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Pod\nmetadata: [\n";
        assert!(problem(text).starts_with("f.yaml:"), "{}", problem(text));
        assert!(problem(text).contains("(document 2)"), "{}", problem(text));
        assert_eq!(problem("a: 1\n"), "f.yaml:1 (document 1): no `kind`: not a Kubernetes object");
        assert_eq!(problem("kind: Pod\n"), "f.yaml:1 (document 1): no `apiVersion`: not a Kubernetes object");
        assert!(problem("apiVersion: v1\nkind: List\nitems:\n- 7\n").ends_with("items[0]): not an object"));
    }

    #[test]
    fn a_key_given_twice_is_a_mistake() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {}\nmetadata: {}\n";
        assert!(problem(text).starts_with("f.yaml:4 (document 1)"), "{}", problem(text));
    }
}
