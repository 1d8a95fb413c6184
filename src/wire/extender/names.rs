//! A list of names, borrowed from the body as long as no name is written with an escape. Names of nodes never are:
//! they are DNS names. One that is all the same makes the whole list an owned one.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::json;

/// Names in the order they were sent, duplicates kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names<'a> {
    /// Slices of the body. None of them needs an escape in JSON: none had one.
    Borrowed(Vec<&'a str>),
    /// At least one was written with an escape.
    Owned(Vec<String>),
}

impl<'a> Names<'a> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self::Borrowed(Vec::with_capacity(capacity))
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Borrowed(names) => names.len(),
            Self::Owned(names) => names.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(&self, place: usize) -> Option<&str> {
        match self {
            Self::Borrowed(names) => names.get(place).copied(),
            Self::Owned(names) => names.get(place).map(String::as_str),
        }
    }

    /// All of them, as the engine takes them.
    pub fn as_slice(&self) -> Cow<'_, [&'_ str]> {
        match self {
            Self::Borrowed(names) => Cow::Borrowed(names.as_slice()),
            Self::Owned(names) => Cow::Owned(names.iter().map(String::as_str).collect()),
        }
    }

    pub(super) fn push(&mut self, name: Name<'a>) {
        match (self, name) {
            (Self::Borrowed(names), Name::Borrowed(name)) => names.push(name),
            (Self::Owned(names), name) => names.push(name.into_owned()),
            (names @ Self::Borrowed(_), name) => {
                let mut owned: Vec<String> = names.as_slice().iter().map(|name| (*name).to_owned()).collect();
                owned.push(name.into_owned());
                *names = Self::Owned(owned);
            }
        }
    }

    /// Appends the name at `place` as a JSON string; nothing if there is none.
    pub(super) fn push_json(&self, out: &mut Vec<u8>, place: usize) {
        match self {
            Self::Borrowed(names) => {
                if let Some(name) = names.get(place) {
                    out.push(b'"');
                    out.extend_from_slice(name.as_bytes());
                    out.push(b'"');
                }
            }
            Self::Owned(names) => {
                if let Some(name) = names.get(place) {
                    json::push_string(out, name);
                }
            }
        }
    }

    /// Bytes of all of them, for sizing an answer.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Borrowed(names) => names.iter().map(|name| name.len()).sum(),
            Self::Owned(names) => names.iter().map(String::len).sum(),
        }
    }
}

/// One string of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Borrowed(&'a str),
    Owned(String),
}

impl Name<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(name) => name,
            Self::Owned(name) => name,
        }
    }

    fn into_owned(self) -> String {
        match self {
            Self::Borrowed(name) => name.to_owned(),
            Self::Owned(name) => name,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name::Borrowed(text))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name::Owned(text.to_owned()))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut names = Names::with_capacity(64);
                while let Some(name) = access.next_element::<Name<'de>>()? {
                    names.push(name);
                }
                Ok(names)
            }
        }

        deserializer.deserialize_seq(NamesVisitor)
    }
}
