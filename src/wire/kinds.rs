//! Kinds that an API server may serve in one version, in another, or not at all. It decides what they are called; whether
//! they are there is found out by asking the server.

/// A kind, and the versions of it that can be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group.
    pub group: &'static str,
    /// Versions that can be read, the best first.
    pub versions: &'static [&'static str],
    /// The kind.
    pub kind: &'static str,
    /// The resource, plural.
    pub plural: &'static str,
    /// Its name for people and metrics: plural and group.
    pub feed: &'static str,
}

impl Kind {
    /// Whether an object's `apiVersion` and `kind` are of this kind, whatever the version.
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        kind == self.kind && group(api_version) == self.group
    }
}

/// The group of an `apiVersion`; empty for the core group.
pub(crate) fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
