//! Edits of a text: a value replaced, a key or an item put in. The rest of the text, its comments and its order stay as
//! they are, for nothing is written anew. New values stand on one line.

use serde_json::Value as Json;

use super::tree::{Node, Value};

/// These bytes of a file become this text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

impl Edit {
    /// Another value in place of this scalar.
    pub(super) fn replace(text: &str, node: &Node, value: &Json) -> Self {
        Self { start: node.start, end: node.end, text: written(value, is_json(text)) }
    }

    /// An entry with another key or value, in the place of one with a scalar value.
    pub(super) fn entry(text: &str, key: &Node, old: &Node, name: &str, value: &Json) -> Self {
        let json = is_json(text);
        Self { start: key.start, end: old.end, text: format!("{}: {}", written(&name.into(), json), written(value, json)) }
    }

    /// One more entry of a mapping; it follows an entry of one line where there is one, so that comments stay with theirs.
    pub(super) fn insert(text: &str, map: &Node, key: &str, value: &Json) -> Option<Self> {
        let Value::Map { entries, flow } = &map.value else { return None };
        let json = is_json(text);
        let entry = format!("{}: {}", written(&key.into(), json), written(value, json));
        if *flow {
            return Some(match entries.first() {
                Some((first, _)) => Self::at(first.start, format!("{entry}, ")),
                None => Self::at(map.start + 1, entry),
            });
        }
        let indent = |column| " ".repeat(column);
        let of_one_line = |(key, value): &&(Node, Node)| value.text().is_some() && whole(text, value) && value.start > key.start;
        if let Some((first, value)) = entries.iter().find(of_one_line) {
            let line_end = text[value.end..].find(['\n', '\r']).map_or(text.len(), |at| value.end + at);
            return Some(Self::at(line_end, format!("\n{}{entry}", indent(first.column))));
        }
        let (first, _) = entries.first()?;
        Some(Self::at(first.start, format!("{entry}\n{}", indent(first.column))))
    }

    /// One more item at the head of a list.
    pub(super) fn item(text: &str, list: &Node, value: &Json) -> Option<Self> {
        let Value::List { items, flow } = &list.value else { return None };
        let item = written(value, is_json(text));
        if *flow {
            return Some(match items.first() {
                Some(first) => Self::at(first.start, format!("{item}, ")),
                None => Self::at(list.start + 1, item),
            });
        }
        let dash = text[..items.first()?.start].rfind('-')?;
        let column = dash - text[..dash].rfind('\n').map_or(0, |at| at + 1);
        Some(Self::at(dash, format!("- {item}\n{}", " ".repeat(column))))
    }

    /// An item of the list under `key`, which is made if the mapping does not have it.
    pub(super) fn item_of(text: &str, map: &Node, key: &str, value: &Json) -> Option<Self> {
        match map.get(key) {
            Some(list) => Self::item(text, list, value),
            None => Self::insert(text, map, key, &Json::Array(vec![value.clone()])),
        }
    }

    fn at(place: usize, text: String) -> Self {
        Self { start: place, end: place, text }
    }

    fn meets(&self, other: &Self) -> bool {
        self.start == other.start || (self.start < other.end && other.start < self.end)
    }
}

/// The text after edits, which come in groups that make sense together alone. A group that touches what another one changes
/// is for the next round: two that add the same key would add it twice.
pub(super) fn apply(text: &str, groups: Vec<Vec<Edit>>) -> String {
    let mut edits: Vec<Edit> = Vec::new();
    for group in groups {
        let meets = |edit: &Edit| edits.iter().any(|other| other != edit && edit.meets(other));
        if !group.iter().any(meets) {
            edits.extend(group);
        }
    }
    edits.sort();
    edits.dedup();
    let mut done = String::with_capacity(text.len());
    let mut at = 0;
    for edit in &edits {
        done.push_str(&text[at..edit.start]);
        done.push_str(&edit.text);
        at = edit.end;
    }
    done.push_str(&text[at..]);
    done
}

/// Whether the scalar stands on one line.
fn whole(text: &str, node: &Node) -> bool {
    text.get(node.start..node.end).is_some_and(|written| !written.contains('\n') && !written.starts_with(['|', '>']))
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// A value on one line, as people write YAML; as JSON where the file is JSON.
fn written(value: &Json, json: bool) -> String {
    if json {
        return value.to_string();
    }
    match value {
        Json::Object(map) => {
            // As people write them: the name first.
            let named = map.iter().filter(|(key, _)| *key == "name");
            let all = named.chain(map.iter().filter(|(key, _)| *key != "name"));
            let entries: Vec<String> =
                all.map(|(key, value)| format!("{}: {}", written(&key.as_str().into(), false), written(value, false))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(|item| written(item, false)).collect::<Vec<_>>().join(", ")),
        Json::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a text reads the same without quotes, in YAML 1.1 too.
fn plain(text: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "-._/".contains(letter);
    text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/')
        && text.chars().all(letters)
        && !words.contains(&text.to_lowercase().as_str())
        || text.starts_with(|letter: char| letter.is_ascii_digit()) && text.ends_with("Gi") && text.chars().all(letters)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tree::documents;
    use super::*;

    fn edited(text: &str, edit: impl Fn(&Node) -> Option<Edit>) -> String {
        let nodes = documents(text).unwrap();
        apply(text, vec![vec![edit(&nodes[0]).unwrap()]])
    }

    #[test]
    fn an_entry_is_put_in_without_moving_anything() {
        let put = |text: &str| edited(text, |node| Edit::insert(text, node.get("spec").unwrap(), "mode", &"Indexed".into()));
        assert_eq!(put("spec:\n  # four\n  n: 4 # yes\n  a: {}\n"), "spec:\n  # four\n  n: 4 # yes\n  mode: Indexed\n  a: {}\n");
        assert_eq!(put("spec: {n: 4}\n"), "spec: {mode: Indexed, n: 4}\n");
        assert_eq!(put("spec: {}\n"), "spec: {mode: Indexed}\n");
        assert_eq!(put("spec:\n  t:\n    u: 1\n"), "spec:\n  mode: Indexed\n  t:\n    u: 1\n");
        assert_eq!(put("{\"spec\": {\"n\": 4}}"), "{\"spec\": {\"mode\": \"Indexed\", \"n\": 4}}");
        assert_eq!(put("spec:\n  n: 4"), "spec:\n  n: 4\n  mode: Indexed");
    }

    #[test]
    fn an_item_is_put_in_and_its_list_made_if_there_is_none() {
        let value = json!({"name": "shm", "size": "16Gi", "text": "0.5"});
        let put = |text: &str| edited(text, |node| Edit::item_of(text, node, "l", &value));
        assert_eq!(put("l:\n- a: 1\n"), "l:\n- {name: shm, size: 16Gi, text: \"0.5\"}\n- a: 1\n");
        assert_eq!(put("l: [a]\n"), "l: [{name: shm, size: 16Gi, text: \"0.5\"}, a]\n");
        assert_eq!(put("k: 1\n"), "k: 1\nl: [{name: shm, size: 16Gi, text: \"0.5\"}]\n");
    }
}
