//! Names in profiles and specs: what Kubernetes would take as a label key, a resource or a name, and what to write instead.

use super::mistake::Mistake;

const NAME_LETTERS_MAX: usize = 63;
const PREFIX_LETTERS_MAX: usize = 253;

/// A name as Kubernetes gives to objects of ours: `a-z`, `0-9` and `-`.
pub(crate) fn name(field: &str, text: &str) -> Result<(), Mistake> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if text.len() <= NAME_LETTERS_MAX && ends(text, letters) && text.bytes().all(|byte| letters(byte) || byte == b'-') {
        return Ok(());
    }
    let remedy = "write at most 63 of a-z, 0-9 and -, a letter or digit first and last";
    Err(Mistake::new(field, format!("`{}` is not a name", cut(text)), remedy))
}

/// A DNS subdomain, as classes have for a name.
pub(crate) fn domain(field: &str, text: &str) -> Result<(), Mistake> {
    if is_prefix(text) {
        return Ok(());
    }
    let remedy = "write a-z, 0-9, - and dots, such as check-capacity.autoscaling.x-k8s.io";
    Err(Mistake::new(field, format!("`{}` is not the name of a class", cut(text)), remedy))
}

/// A label key: `name`, or `prefix/name`.
pub(crate) fn label_key(field: &str, text: &str) -> Result<(), Mistake> {
    if text.split_once('/').map_or_else(|| is_name(text), |(prefix, name)| is_prefix(prefix) && is_name(name)) {
        return Ok(());
    }
    let remedy = "write a key as `kubectl get node --show-labels` prints it, such as nvidia.com/gpu.product";
    Err(Mistake::new(field, format!("`{}` is not a label key", cut(text)), remedy))
}

/// An extended resource of a vendor, or such names by their beginning (`nvidia.com/mig-*`).
pub(crate) fn resource(field: &str, text: &str) -> Result<(), Mistake> {
    let wrong = |why: &str| {
        let remedy = "name what the device plugin reports, such as nvidia.com/gpu, or one `*` at the end: nvidia.com/mig-*";
        Err(Mistake::new(field, format!("`{}` {why}", cut(text)), remedy))
    };
    let Some((prefix, rest)) = text.split_once('/') else {
        return wrong("is not a vendor's extended resource: it has no domain");
    };
    if prefix == "gangplank.dev" {
        return wrong("is a share, which sharable devices have by themselves");
    }
    if prefix == "kubernetes.io" || prefix.ends_with(".kubernetes.io") {
        return wrong("is kept for Kubernetes itself");
    }
    let stem = rest.strip_suffix('*').unwrap_or(rest);
    let open = stem.len() < rest.len() && (stem.is_empty() || is_name(stem.trim_end_matches(['-', '.', '_'])));
    if is_prefix(prefix) && (open || is_name(rest)) { Ok(()) } else { wrong("is not the name of a resource") }
}

/// A product as a label's value gives it, or such products by their beginning (`NVIDIA-H100*`).
pub(crate) fn product(field: &str, text: &str) -> Result<(), Mistake> {
    let stem = text.strip_suffix('*').unwrap_or(text);
    if !text.is_empty() && !stem.contains('*') {
        return Ok(());
    }
    let remedy = "write a product as its label gives it, or its beginning and one `*`: NVIDIA-H100*";
    Err(Mistake::new(field, format!("`{}` is not a product", cut(text)), remedy))
}

/// As much of a text as an error shows: it may be a megabyte.
pub(crate) fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= NAME_LETTERS_MAX && ends(text, |byte| byte.is_ascii_alphanumeric()) && text.bytes().all(fine)
}

fn is_prefix(text: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| ends(part, letters) && part.bytes().all(|byte| letters(byte) || byte == b'-');
    text.len() <= PREFIX_LETTERS_MAX && text.split('.').all(part)
}

fn ends(text: &str, fine: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| fine(*byte)) && bytes.last().is_some_and(|byte| fine(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_kubernetes_takes_them() {
        for (text, fine) in
            [("nvidia.com/gpu.product", true), ("zone", true), ("a//b", false), ("Ex.com/a", false), ("a/b_", false), ("", false)]
        {
            assert_eq!(label_key("k", text).is_ok(), fine, "{text}");
        }
        for (text, fine) in [
            ("nvidia.com/gpu", true),
            ("nvidia.com/mig-*", true),
            ("huawei.com/Ascend*", true),
            ("nvidia.com/*", true),
            ("nvidia.com/*gpu", false),
            ("nvidia.com/g*u*", false),
            ("cpu", false),
            ("gangplank.dev/gpu-milli", false),
            ("requests.kubernetes.io/x", false),
            ("nvidia.com/", false),
        ] {
            assert_eq!(resource("r", text).is_ok(), fine, "{text}");
        }
        for (text, fine) in [("default", true), ("", false), ("My", false), ("-a", false), ("a.b", false)] {
            assert_eq!(name("name", text).is_ok(), fine, "{text}");
        }
    }
}
