//! Which of some names somebody meant who wrote another one.

/// The name with the fewest letters to change, if there are few enough of them.
pub(crate) fn nearest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    let written = written.to_lowercase();
    let close = names.iter().map(|name| (distance(&written, &name.to_lowercase()), *name));
    close.filter(|(letters, name)| *letters <= 1 + name.len() / 4).min().map(|(_, name)| name)
}

/// Letters to insert, remove, replace or swap with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (at, letter) in from.iter().enumerate() {
        let mut row = vec![at + 1];
        for (place, wanted) in to.iter().enumerate() {
            let replaced = rows[at][place] + usize::from(letter != wanted);
            let mut best = replaced.min(row[place] + 1).min(rows[at][place + 1] + 1);
            if at > 0 && place > 0 && *letter == to[place - 1] && from[at - 1] == *wanted {
                best = best.min(rows[at - 1][place - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_through_and_another_word_is_not() {
        let names = ["pack", "spread", "device-topology", "scoreMax"];
        for (written, meant) in [
            ("pcak", Some("pack")),
            ("sprad", Some("spread")),
            ("device_topology", Some("device-topology")),
            ("deviceTopology", Some("device-topology")),
            ("scoremax", Some("scoreMax")),
            ("binpack", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, &names), meant, "{written}");
        }
    }
}
