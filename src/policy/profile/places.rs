//! Where each field of a file stands in its text: a second reading of the YAML that keeps nothing but paths and lines.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Line and column of each field, by its path (`accelerators[2].name`); the root's path is empty.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, (u64, u64)>);

impl Places {
    /// None of a text that is no YAML at all.
    pub(crate) fn of(yaml: &str) -> Self {
        let mut places = BTreeMap::new();
        // A key that is written twice is what somebody may look for here.
        let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins };
        if let Ok(root) = serde_saphyr::from_str_with_options::<Spanned<Tree>>(yaml, options) {
            root.value.enter("", (root.referenced.line(), root.referenced.column()), &mut places);
        }
        Self(places)
    }

    /// The line of a field, or of the nearest field around it.
    pub(crate) fn line(&self, field: &str) -> u64 {
        let mut path = field;
        loop {
            if let Some((line, _)) = self.0.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.0.get("").map_or(1, |(line, _)| *line),
            }
        }
    }

    /// The path of what stands at a place: the deepest field that begins there or before it, on its line if there is one.
    pub(crate) fn field(&self, at: Location) -> &str {
        let at = (at.line(), at.column());
        let before = self.0.iter().filter(|(_, place)| **place <= at);
        before.max_by_key(|(path, place)| (**place, path.len())).map_or("", |(path, _)| path)
    }
}

/// A YAML value of any shape.
enum Tree {
    Scalar,
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl Tree {
    fn enter(self, path: &str, place: (u64, u64), places: &mut BTreeMap<String, (u64, u64)>) {
        places.insert(path.to_owned(), place);
        match self {
            Self::Scalar => {}
            Self::List(items) => {
                for (at, item) in items.into_iter().enumerate() {
                    item.value.enter(&format!("{path}[{at}]"), (item.referenced.line(), item.referenced.column()), places);
                }
            }
            Self::Map(entries) => {
                for (key, item) in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    item.value.enter(&format!("{path}{dot}{}", key.value), (key.referenced.line(), key.referenced.column()), places);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyTree)
    }
}

struct AnyTree;

impl<'de> Visitor<'de> for AnyTree {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_the_line_of_its_key_and_a_missing_one_that_of_what_is_around_it() {
        let places = Places::of("# a comment\nname: x\nlist:\n- a: 1\n  b: [x, y]\n- {a: null,\n   c: 2.5}\n");
        let lines = ["", "name", "list", "list[0]", "list[0].b", "list[0].b[1]", "list[1].a", "list[1].c", "list[1].none", "none"];
        assert_eq!(lines.map(|field| places.line(field)), [2, 2, 3, 4, 5, 5, 6, 7, 6, 2]);
    }
}
