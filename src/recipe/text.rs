//! Texts in specs: which names, paths, images, amounts and references are taken, and what to write instead. All of it may
//! come from a stranger: nothing is taken that could name another namespace, the host, or a place outside of a mount.

use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{Quantity, duration};
use crate::policy::Mistake;
pub(super) use crate::policy::text::cut;

/// A text that may be written as a number or as true and false, too: `32`, `0.001`, `64Gi`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Text(pub(super) String);

#[cfg(feature = "io")]
impl schemars::JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "number", "boolean"]})
    }

    fn inline_schema() -> bool {
        true
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bool<E: Error>(self, is: bool) -> Result<Text, E> {
                Ok(Text(is.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The name of a spec. What is made of it has longer names: `-0` to `-9999` for hosts, `-config` for files.
pub(super) fn object_name(field: &str, name: &str) -> Result<(), Mistake> {
    if name.len() > NAME_BYTES_MAX {
        let problem = format!("has {} letters", name.len());
        return Err(Mistake::new(field, problem, format!("write at most {NAME_BYTES_MAX}: names of pods and hosts are made of it")));
    }
    crate::policy::text::name(field, name)?;
    if name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(Mistake::new(field, format!("`{name}` begins with a digit"), "begin with a letter: it becomes the name of a Service"));
    }
    Ok(())
}

/// A name that Kubernetes gives to claims, secrets and classes: dots are allowed.
pub(super) fn reference(field: &str, what: &str, name: &str) -> Result<(), Mistake> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        part.bytes().next().is_some_and(letters)
            && part.bytes().last().is_some_and(letters)
            && part.bytes().all(|b| letters(b) || b == b'-')
    };
    if name.len() <= 253 && name.split('.').all(part) {
        return Ok(());
    }
    Err(Mistake::new(
        field,
        format!("`{}` is not the name of a {what}", cut(name)),
        format!("name a {what} of the same namespace: a-z, 0-9, - and dots"),
    ))
}

/// A label's value.
pub(super) fn label_value(field: &str, value: &str) -> Result<(), Mistake> {
    let ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    let fine = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fine && value.len() <= 63 && ends(value.bytes().next()) && ends(value.bytes().last()) {
        return Ok(());
    }
    Err(Mistake::new(field, format!("`{}` is not the value of a label", cut(value)), "write at most 63 of letters, digits, -, _ and dots"))
}

/// A text of so many bytes at most, without a zero byte.
pub(super) fn bounded(field: &str, text: &str, bytes_max: usize) -> Result<(), Mistake> {
    if text.len() > bytes_max {
        return Err(Mistake::new(field, format!("has {} bytes", text.len()), format!("keep it within {bytes_max}")));
    }
    if text.contains('\0') {
        return Err(Mistake::new(field, "has a zero byte in it", "leave that out"));
    }
    Ok(())
}

/// An image reference.
pub(super) fn image(field: &str, image: &str) -> Result<(), Mistake> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    let begins = image.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let repository = image.split('@').next().unwrap_or_default();
    let lower = repository.rsplit_once('/').map_or(repository, |(_, last)| last).split(':').next().unwrap_or_default();
    if begins && image.len() <= 512 && image.bytes().all(fine) && !image.contains("..") && !lower.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(Mistake::new(field, format!("`{}` is not an image", cut(image)), "write registry/name:tag, such as ghcr.io/team/train:1.4"))
}

/// Whether an image is whatever was pushed last.
pub(super) fn is_floating(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest" || tag.starts_with("latest-"))
}

/// A path in the container at which something is mounted.
pub(super) fn mount_path(field: &str, path: &str) -> Result<(), Mistake> {
    let wrong = |problem: &str| Err(Mistake::new(field, format!("`{}` {problem}", cut(path)), "write a folder of its own, such as /data"));
    if !path.starts_with('/') || path.len() > 255 || path.contains([':', '\\', '\0', '\n']) || path.contains("$(") {
        return wrong("is not an absolute path in the container");
    }
    if path.split('/').any(|part| part == ".." || part == ".") || path.contains("//") {
        return wrong("climbs out of where it seems to be");
    }
    let path = path.trim_end_matches('/');
    let taken =
        ["", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var", "/var/run"];
    let below = ["/dev/", "/proc/", "/sys/", "/run/secrets", "/var/run/secrets"];
    if taken.contains(&path) || below.iter().any(|folder| path.starts_with(folder)) {
        return wrong("is the system's own");
    }
    Ok(())
}

/// The name of a file in a ConfigMap.
pub(super) fn file_name(field: &str, name: &str) -> Result<(), Mistake> {
    let fine = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fine && (1..=253).contains(&name.len()) && !name.starts_with("..") && name != "." {
        return Ok(());
    }
    Err(Mistake::new(field, format!("`{}` is not the name of a file", cut(name)), "write a name without folders, such as config.yaml"))
}

/// `claim` or `claim/folder/in/it`.
pub(super) fn claim<'a>(field: &str, text: &'a str) -> Result<(&'a str, Option<&'a str>), Mistake> {
    let (claim, folder) = text.split_once('/').map_or((text, None), |(claim, folder)| (claim, Some(folder)));
    if text.starts_with('/') || text.contains("://") {
        let problem = format!("`{}` is a path or an address, not a claim", cut(text));
        return Err(Mistake::new(field, problem, "name a PersistentVolumeClaim; folders of the node are not to be had"));
    }
    reference(field, "PersistentVolumeClaim", claim)?;
    if let Some(folder) = folder {
        let climbs = folder.split('/').any(|part| part.is_empty() || part == ".." || part == ".");
        if climbs || folder.len() > 255 || folder.contains(['\\', '\0', '\n', '$', ':']) {
            return Err(Mistake::new(
                field,
                format!("`{}` is no folder of the claim", cut(folder)),
                "write claim/folder, without .. and $",
            ));
        }
    }
    Ok((claim, folder))
}

/// `secret/key`.
pub(super) fn secret<'a>(field: &str, text: &'a str) -> Result<(&'a str, &'a str), Mistake> {
    let Some((secret, key)) = text.split_once('/') else {
        return Err(Mistake::new(
            field,
            "does not say which key of which Secret",
            "write SECRET/KEY: the value itself does not belong in a file",
        ));
    };
    reference(field, "Secret", secret)?;
    file_name(field, key)?;
    Ok((secret, key))
}

/// The name of an environment variable.
pub(super) fn variable(field: &str, name: &str) -> Result<(), Mistake> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.bytes().next().is_some_and(|byte| fine(byte) && !byte.is_ascii_digit()) && name.bytes().all(fine) && name.len() <= 128 {
        return Ok(());
    }
    Err(Mistake::new(field, format!("`{}` is not the name of a variable", cut(name)), "write letters, digits and _, a letter first"))
}

/// An amount above zero as Kubernetes writes it.
pub(super) fn quantity(field: &str, text: &str) -> Result<Quantity, Mistake> {
    let amount = Quantity::parse(text).ok().filter(|amount| amount.milli() > 0);
    amount.ok_or_else(|| Mistake::new(field, format!("`{}` is not an amount", cut(text)), "write such as 8, 500m, 64Gi or 1.5T"))
}

/// A time above zero: `90m`.
pub(super) fn time(field: &str, text: &str) -> Result<Duration, Mistake> {
    duration::parse(text)
        .ok_or_else(|| Mistake::new(field, format!("`{}` is not a time", cut(text)), "write such as 90s, 45m, 2h30m or 3d"))
}

/// The words of a command.
pub(super) fn words(field: &str, words: &[String]) -> Result<(), Mistake> {
    if words.len() > 256 {
        return Err(Mistake::new(field, format!("has {} words", words.len()), "keep it within 256, or put them in a file"));
    }
    words.iter().enumerate().try_for_each(|(at, word)| bounded(&format!("{field}[{at}]"), word, WORD_BYTES_MAX))
}

/// A host name has 63 letters, and `-9999` of them say which one.
const NAME_BYTES_MAX: usize = 53;
const WORD_BYTES_MAX: usize = 16 << 10;
pub(super) const ANNOTATION_BYTES_MAX: usize = 16 << 10;
pub(super) const VALUE_BYTES_MAX: usize = 32 << 10;
