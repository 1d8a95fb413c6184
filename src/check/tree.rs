//! A YAML text as nodes that know where they stand: the bytes of each, its line and its column. Aliases become what they
//! name. It decides nothing about Kubernetes.

use serde_saphyr::granit_parser::{Event, Parser, Span, StructureStyle};

/// A value of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// First byte.
    pub(super) start: usize,
    /// The byte behind it; of a mapping or list in block form, where its first entry begins.
    pub(super) end: usize,
    /// From 1.
    pub(super) line: usize,
    /// From 0.
    pub(super) column: usize,
    /// What it is.
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A text, a number, a word; as it reads once quotes are gone.
    Scalar(String),
    /// Keys with their values, in the order of the text.
    Map { entries: Vec<(Node, Node)>, flow: bool },
    /// Items.
    List { items: Vec<Node>, flow: bool },
}

/// Why a text has no nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// From 1.
    pub line: usize,
    /// What the parser met.
    pub problem: String,
}

impl Node {
    /// What a key of this mapping holds.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// The entries of this mapping; none of anything else.
    pub(super) fn entries(&self) -> &[(Self, Self)] {
        if let Value::Map { entries, .. } = &self.value { entries } else { &[] }
    }

    /// The items of this list; none of anything else.
    pub(super) fn items(&self) -> &[Self] {
        if let Value::List { items, .. } = &self.value { items } else { &[] }
    }

    /// The text of this scalar.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Scalar(text) = &self.value { Some(text) } else { None }
    }

    /// Itself and everything in it.
    fn count(&self) -> usize {
        let entries: usize = self.entries().iter().map(|(key, value)| key.count() + value.count()).sum();
        1 + entries + self.items().iter().map(Self::count).sum::<usize>()
    }
}

/// The documents of a text, empty ones left out.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Unreadable> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Unreadable { line: 1, problem: format!("{} bytes, at most {TEXT_BYTES_MAX} are read", text.len()) });
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Unreadable { line: error.marker().line(), problem: error.info() })?;
        builder.take(event, &span)?;
    }
    builder.documents.retain(|node| node.text().is_none_or(|text| !text.is_empty() && text != "~" && text != "null"));
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    /// Collections that are not closed yet, each with its anchor.
    open: Vec<(usize, Node, Option<Node>)>,
    anchors: Vec<(usize, Node)>,
    /// Values that aliases brought.
    copied: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Unreadable> {
        let node = |value| Node {
            start: span.start.byte_offset().unwrap_or_default(),
            end: span.end.byte_offset().unwrap_or_default(),
            line: span.start.line(),
            column: span.start.col(),
            value,
        };
        match event {
            Event::Scalar(text, _, anchor, _) => self.close(anchor, node(Value::Scalar(text.into_owned()))),
            Event::MappingStart(style, anchor, _) => {
                let flow = style == StructureStyle::Flow;
                self.open.push((anchor, node(Value::Map { entries: Vec::new(), flow }), None));
            }
            Event::SequenceStart(style, anchor, _) => {
                let flow = style == StructureStyle::Flow;
                self.open.push((anchor, node(Value::List { items: Vec::new(), flow }), None));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some((anchor, node, _)) = self.open.pop() {
                    self.close(anchor, node);
                }
            }
            Event::Alias(anchor) => {
                // The latest: a name may be given again.
                let named = self.anchors.iter().rev().find(|(id, _)| *id == anchor).map(|(_, node)| node.clone());
                let copy = named.unwrap_or_else(|| node(Value::Scalar(String::new())));
                // Aliases of aliases grow without end.
                self.copied += copy.count();
                if self.copied > COPIED_MAX {
                    let problem = format!("more than {COPIED_MAX} values come from aliases");
                    return Err(Unreadable { line: span.start.line(), problem });
                }
                self.close(0, copy);
            }
            Event::DocumentEnd => self.anchors.clear(),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, anchor: usize, node: Node) {
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some((_, parent, key)) => match &mut parent.value {
                Value::List { items, .. } => items.push(node),
                Value::Map { entries, .. } => match key.take() {
                    None => *key = Some(node),
                    Some(key) => entries.push((key, node)),
                },
                Value::Scalar(_) => {}
            },
        }
    }
}

/// Far more than manifests of people have.
const TEXT_BYTES_MAX: usize = 64 << 20;
const COPIED_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn nodes_know_their_bytes_lines_and_columns() {
        let text = "# ä\na:\n- b: \"x\" # c\n  d: {e: [1, 2]}\n---\n---\nf: 1\n";
        let nodes = documents(text).unwrap();
        assert_eq!(nodes.len(), 2);
        let item = &nodes[0].get("a").unwrap().items()[0];
        let x = item.get("b").unwrap();
        assert_eq!((&text[x.start..x.end], x.line, x.text()), ("\"x\"", 3, Some("x")));
        assert_eq!(item.entries()[1].0.column, 2);
        let flow = item.get("d").unwrap();
        assert_eq!(text.as_bytes()[flow.start], b'{');
        assert_eq!(nodes[1].get("f").unwrap().line, 7);
    }

    #[test]
    fn aliases_are_what_they_name_and_bombs_are_refused() {
        let nodes = documents("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(nodes[0].get("c").unwrap().get("b").unwrap().text(), Some("1"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for at in 1..10 {
            let items = vec![format!("*a{}", at - 1); 10].join(", ");
            let _ = writeln!(bomb, "a{at}: &a{at} [{items}]");
        }
        assert!(documents(&bomb).unwrap_err().problem.contains("aliases"));
        assert_eq!(documents("a: [\n").unwrap_err().line, 1);
    }
}
