//! A picture of nodes and their devices: a row a node, a cell a device, a letter a pod. Readable without colour.
//!
//! ```text
//! dgx-1  nvidia.com/gpu  [A ][A ][b½][bc][· ][· ][· ][x ]
//! ```
//! A capital letter holds the whole device (`A2` once the alphabet is through), small letters share it, a bar says how
//! much of it one holder has, `+` stands for more holders, `·` is free, `x` is unhealthy, `?` is held by a pod whose
//! device is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::model::{Amount, DeviceId, Health, NodeName, PodUid, Pool, ResourceName};
use crate::sim::{Cluster, NodeView, SimPod};

/// Devices of which only parts are held, each once.
pub(super) fn shared_devices(cluster: &Cluster) -> BTreeSet<(ResourceName, NodeName, Option<DeviceId>)> {
    let mut shared = BTreeSet::new();
    for pod in holders(cluster) {
        let Some(grant) = &pod.pod.recorded else { continue };
        for share in grant.containers.iter().flat_map(|container| &container.devices) {
            if matches!(share.amount, Amount::Share { .. }) {
                shared.insert((share.resource.clone(), grant.node.clone(), share.device.clone()));
            }
        }
    }
    shared
}

/// The picture, and the legend: who holds what.
pub(super) fn nodes(cluster: &Cluster, bound_before: &BTreeSet<PodUid>, color: bool) -> String {
    let letters = letters(cluster, bound_before);
    let cells = cells(cluster, &letters);
    let rows: Vec<(NodeView<'_>, &Pool)> = cluster
        .nodes()
        .flat_map(|view| view.node.node.pools.iter().filter(|pool| pool.allocatable > 0).map(move |pool| (view, pool)))
        .collect();
    let name_width = rows.iter().map(|(view, _)| view.node.node.name.as_str().len()).max().unwrap_or(0);
    let kind_width = rows.iter().map(|(_, pool)| kind(pool).chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let mut idle = Idle::default();
    for (view, pool) in rows {
        let row: Vec<Cell> = row(view, pool, &cells);
        if row.iter().all(|cell| matches!(cell, Cell::Free)) && !idle.is_first_of(kind(pool)) {
            idle.add(kind(pool), row.len());
            continue;
        }
        let cells: String = row.iter().map(|cell| cell.text(color)).collect();
        let _ = writeln!(out, "{:<name_width$}  {:<kind_width$}  {cells}", view.node.node.name.as_str(), kind(pool));
    }
    out.push_str(&idle.lines());
    out.push_str(&legend(cluster, &letters));
    out
}

/// Nodes of a kind that are all free are drawn once, then counted.
#[derive(Default)]
struct Idle {
    seen: BTreeSet<String>,
    more: BTreeMap<String, (usize, usize)>,
}

impl Idle {
    fn is_first_of(&mut self, kind: String) -> bool {
        self.seen.insert(kind)
    }

    fn add(&mut self, kind: String, devices: usize) {
        let (nodes, free) = self.more.entry(kind).or_default();
        *nodes += 1;
        *free += devices;
    }

    fn lines(&self) -> String {
        let line =
            |(kind, (nodes, free)): (&String, &(usize, usize))| format!("... and {nodes} more of {kind}, {free} devices, all free\n");
        self.more.iter().map(line).collect::<Vec<_>>().concat()
    }
}

#[derive(Clone, Debug)]
enum Cell {
    Free,
    Unhealthy,
    Unknown,
    Whole(String),
    Shares(Vec<(char, u32)>),
}

impl Cell {
    fn text(&self, color: bool) -> String {
        let (text, code) = match self {
            Self::Free => ("[· ]".to_owned(), "2"),
            Self::Unhealthy => ("[x ]".to_owned(), "31"),
            Self::Unknown => ("[? ]".to_owned(), "33"),
            Self::Whole(letter) => (format!("[{letter:<2}]"), "36"),
            Self::Shares(shares) => match shares.as_slice() {
                [(letter, milli)] => (format!("[{letter}{}]", eighths(*milli)), "35"),
                [(first, _), (second, _)] => (format!("[{first}{second}]"), "35"),
                [(first, _), ..] => (format!("[{first}+]"), "35"),
                [] => ("[· ]".to_owned(), "2"),
            },
        };
        if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text }
    }
}

/// How full a device is, as a bar of eighths.
fn eighths(milli: u32) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    BARS[usize::try_from(milli.saturating_mul(8) / 1001).unwrap_or(0).min(7)]
}

/// What holds each known device of each node.
type Cells = BTreeMap<(NodeName, ResourceName, DeviceId), Cell>;

fn cells(cluster: &Cluster, letters: &BTreeMap<PodUid, String>) -> Cells {
    let mut cells = Cells::new();
    for pod in holders(cluster) {
        let (Some(grant), Some(letter)) = (&pod.pod.recorded, letters.get(&pod.pod.uid)) else { continue };
        for share in grant.containers.iter().flat_map(|container| &container.devices) {
            let Some(device) = &share.device else { continue };
            let key = (grant.node.clone(), share.resource.clone(), device.clone());
            match share.amount {
                Amount::Whole => drop(cells.insert(key, Cell::Whole(letter.clone()))),
                Amount::Share { milli, .. } => {
                    let cell = cells.entry(key).or_insert_with(|| Cell::Shares(Vec::new()));
                    if let Cell::Shares(shares) = cell {
                        let letter = letter.chars().next().unwrap_or('#');
                        match shares.iter_mut().find(|(holder, _)| *holder == letter) {
                            Some((_, held)) => *held += milli,
                            None => shares.push((letter, milli)),
                        }
                    }
                }
            }
        }
    }
    cells
}

fn row(view: NodeView<'_>, pool: &Pool, cells: &Cells) -> Vec<Cell> {
    let node = &view.node.node.name;
    let mut unknown = view.usage.whole.get(&pool.resource).copied().unwrap_or(0);
    let mut row: Vec<Cell> = Vec::with_capacity(pool.devices.len());
    for device in &pool.devices {
        let held = cells.get(&(node.clone(), pool.resource.clone(), device.id.clone())).cloned();
        if matches!(held, Some(Cell::Whole(_))) {
            unknown = unknown.saturating_sub(1);
        }
        row.push(held.unwrap_or(match device.health {
            Health::Healthy => Cell::Free,
            Health::Unhealthy => Cell::Unhealthy,
        }));
    }
    // Holders without a record hold some of these: the last free ones are drawn so, which ones is not known.
    for cell in row.iter_mut().rev().filter(|cell| matches!(cell, Cell::Free)) {
        if unknown == 0 {
            break;
        }
        unknown -= 1;
        *cell = Cell::Unknown;
    }
    row
}

fn kind(pool: &Pool) -> String {
    pool.product.as_ref().map_or_else(|| pool.resource.to_string(), ToString::to_string)
}

/// By age, so that the picture does not depend on UIDs.
fn holders(cluster: &Cluster) -> Vec<&SimPod> {
    let mut holders: Vec<&SimPod> = cluster.pods().filter(|pod| pod.pod.occupies()).collect();
    holders.sort_by_key(|pod| pod.created);
    holders
}

/// Letters in the order of creation, pods of this run first: capitals for whole devices, small ones for shares.
fn letters(cluster: &Cluster, bound_before: &BTreeSet<PodUid>) -> BTreeMap<PodUid, String> {
    let mut granted: Vec<&SimPod> = holders(cluster).into_iter().filter(|pod| pod.pod.recorded.is_some()).collect();
    granted.sort_by_key(|pod| (bound_before.contains(&pod.pod.uid), pod.created));
    let (mut wholes, mut shares) = (0_u32, 0_u32);
    let mut letter = |pod: &SimPod| {
        let (first, count) = if pod.pod.request.has_shares() { ('a', &mut shares) } else { ('A', &mut wholes) };
        let (round, place) = (*count / LETTERS + 1, *count % LETTERS);
        *count += 1;
        match (char::from_u32(u32::from(first) + place), round) {
            (Some(letter), 1) => letter.to_string(),
            (Some(letter), 2..=9) if first == 'A' => format!("{letter}{round}"),
            _ => "#".to_owned(),
        }
    };
    granted.into_iter().map(|pod| (pod.pod.uid.clone(), letter(pod))).collect()
}

fn legend(cluster: &Cluster, letters: &BTreeMap<PodUid, String>) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for pod in holders(cluster) {
        let Some(grant) = &pod.pod.recorded else { continue };
        let letter = letters.get(&pod.pod.uid).map_or("#", String::as_str);
        let devices: Vec<String> = (grant.containers.iter())
            .map(|container| {
                let ids: Vec<String> = container.devices.iter().map(device).collect();
                format!("{}={}", container.container, ids.join(","))
            })
            .collect();
        lines.push((pod.created, format!("{letter}  {}  {}  {}\n", pod.pod.key, grant.node, devices.join(" "))));
    }
    if lines.is_empty() {
        return String::new();
    }
    lines.sort();
    let body: String = lines.into_iter().map(|(_, line)| line).collect();
    format!("\nPLACED\n{}", columns(&body))
}

fn device(share: &crate::model::DeviceShare) -> String {
    let id = share.device.as_ref().map_or("?", DeviceId::as_str);
    match share.amount {
        Amount::Whole => id.to_owned(),
        Amount::Share { milli, memory_mib } => {
            let memory = memory_mib.map(|mib| format!("/{mib}MiB")).unwrap_or_default();
            format!("{id}:{milli}m{memory}")
        }
    }
}

/// Aligns fields that are two blanks apart.
fn columns(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split("  ").collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|field| field.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<&str>| {
        let fields: Vec<String> = row.iter().zip(&widths).map(|(field, width)| format!("{field:<width$}")).collect();
        format!("  {}\n", fields.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Letters of the alphabet.
const LETTERS: u32 = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_much_of_a_device_one_holder_has() {
        for (milli, bar) in [(1, '▁'), (250, '▂'), (500, '▄'), (750, '▆'), (1000, '█')] {
            assert_eq!(eighths(milli), bar, "{milli}");
        }
    }

    #[test]
    fn fields_two_blanks_apart_stand_under_each_other() {
        assert_eq!(columns("A  ml/a  n1\nB2  ml/longer  n1\n"), "  A   ml/a       n1\n  B2  ml/longer  n1\n");
    }
}
