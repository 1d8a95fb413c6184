//! Blocks of code in a scenario: what stands between fences. For the tests that simulate scenarios, and for those that run
//! them on a real control plane.

/// A block of code.
pub(crate) struct Block<'a> {
    /// What stands behind the fence.
    pub(crate) kind: &'a str,
    /// Where in the file its body begins.
    pub(crate) start: usize,
    /// Its lines.
    pub(crate) body: &'a str,
}

/// The blocks of code of a Markdown file, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let (mut at, mut open): (usize, Option<(&str, usize)>) = (0, None);
    for line in text.split_inclusive('\n') {
        let fence = line.strip_prefix("```").map(str::trim_end);
        match (fence, open) {
            (Some(kind), None) => open = Some((kind, at + line.len())),
            (Some(_), Some((kind, start))) => {
                blocks.push(Block { kind, start, body: &text[start..at] });
                open = None;
            }
            (None, _) => {}
        }
        at += line.len();
    }
    blocks
}
