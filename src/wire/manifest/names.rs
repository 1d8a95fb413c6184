//! Names that Kubernetes makes up at random: here they follow from what they name, so that a run can be repeated.

/// A suffix of `len` characters in the alphabet that Kubernetes uses (no vowels, nothing that is easily confused).
pub(super) fn suffix(parts: &[&str], len: usize) -> String {
    let mut hash = fnv(parts);
    (0..len)
        .map(|_| {
            let letter = ALPHABET[usize::try_from(hash % ALPHABET.len() as u64).unwrap_or(0)];
            hash = hash.rotate_right(5).wrapping_mul(FNV_PRIME);
            char::from(letter)
        })
        .collect()
}

/// A UID in the shape of a UUID.
pub(super) fn uid(parts: &[&str]) -> String {
    let (high, low) = (fnv(parts), fnv(&[parts, &["uid"]].concat()));
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0x0fff);
    format!("{a:08x}-{b:04x}-4{c:03x}-8{:03x}-{:012x}", (low >> 48) & 0x0fff, low & 0xffff_ffff_ffff)
}

/// FNV-1a over the parts, each closed by a byte that no name contains.
fn fnv(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn made_up_names_are_the_same_each_time_and_differ_from_one_another() {
        assert_eq!(suffix(&["ml", "train"], 5), suffix(&["ml", "train"], 5));
        let made: BTreeSet<String> = (0..2_000).map(|at| suffix(&["ml", "train", &at.to_string()], 5)).collect();
        assert!(made.len() >= 1_999, "{}", made.len());
        assert_eq!(uid(&["a"]).len(), 36);
        assert_ne!(uid(&["a", "b"]), uid(&["ab"]));
    }
}
