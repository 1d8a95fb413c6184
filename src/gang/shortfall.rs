//! Why a group does not fit, in words that a user can act on: what came nearest, what it lacks, what would change it.

use super::Group;
use super::choose::{Scope, even};
use super::seats::{Seats, Shut, len};
use super::wishes::Resolved;
use crate::model::{DeviceRequest, Parts, Reason, Refusal};

/// What counting showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shortfall {
    /// No scope has room for all members.
    Together {
        /// The scope with most room, and how much; none if no node takes a member.
        nearest: Option<(String, u32)>,
        /// A wider level that would hold them, and its domain.
        wider: Option<(String, String)>,
        /// How the group could be divided over domains of the required level: how many parts, of how many members.
        parts: Option<(u32, u32)>,
    },
    /// Too few domains have room for a part.
    Parts {
        /// The level's name.
        level: String,
        /// How many parts, of how many members each.
        parts: (u32, u32),
        /// How many parts there is room for.
        there: u32,
        /// The domain that comes nearest to one more, and its room.
        nearest: Option<(String, u32)>,
    },
    /// Counting allowed it, the devices did not: shares do not add up across devices, or roles want the same ones.
    Unequal,
}

impl Shortfall {
    /// Counts what is missing.
    pub(super) fn of(seats: &Seats<'_>, scopes: &[Scope], members: u32, wishes: &Resolved) -> Self {
        // Most room first; of equal ones the first along the fabric.
        let nearest = scopes.iter().rev().max_by_key(|scope| seats.room(&scope.rows));
        let Some(Scope { title, rows, .. }) = nearest.filter(|scope| !scope.rows.is_empty()) else {
            return Self::Together { nearest: None, wider: None, parts: None };
        };
        let room = seats.room(rows);
        if let Some((level, parts)) = wishes.parts {
            return Self::parts(seats, rows, level, parts, members);
        }
        if room >= members {
            return Self::Unequal;
        }
        let rooms: Vec<u32> = scopes.iter().map(|scope| seats.room(&scope.rows)).collect();
        let parts = even(&rooms, members).filter(|(_, each)| *each > 1);
        Self::Together { nearest: Some((title.clone(), room)), wider: wider(seats, members, wishes), parts }
    }

    fn parts(seats: &Seats<'_>, rows: &[usize], level: usize, parts: Parts, members: u32) -> Self {
        let groups = seats.by_place(rows, level);
        let rooms: Vec<u32> = groups.iter().map(|(_, rows)| seats.room(rows)).collect();
        let holds = |each: u32| -> u32 { len(&rooms.iter().filter(|room| **room >= each).collect::<Vec<_>>()) };
        let (parts, there) = match parts {
            Parts::Slices(each) => ((members / each, each), rooms.iter().map(|room| room / each).sum()),
            Parts::Whole | Parts::Even => {
                let most = len(&rooms).max(1).min(members);
                let divisors = (1..=most).filter(|count| members.is_multiple_of(*count));
                // How many members' room is missing in the domains that come nearest.
                let mut largest = rooms.clone();
                largest.sort_unstable_by(|a, b| b.cmp(a));
                let missing =
                    |count: u32| -> u32 { largest.iter().take(count as usize).map(|room| (members / count).saturating_sub(*room)).sum() };
                let nearest = divisors.min_by_key(|count| (missing(*count), *count)).unwrap_or(1);
                ((nearest, members / nearest), holds(members / nearest))
            }
        };
        debug_assert!(even(&rooms, members).is_none() || there < parts.0);
        let lacking = groups.iter().zip(&rooms).rev().filter(|(_, room)| **room % parts.1 != 0 || **room < parts.1);
        let nearest = lacking.max_by_key(|(_, room)| **room % parts.1).map(|((place, _), room)| (seats.title(*place), room % parts.1));
        Self::Parts { level: seats.fabric.rules().name_of(level).to_owned(), parts, there, nearest }
    }
}

/// The narrowest level above the required one that would hold all members.
fn wider(seats: &Seats<'_>, members: u32, wishes: &Resolved) -> Option<(String, String)> {
    let required = wishes.together.iter().copied().max()?;
    let all: Vec<usize> = (0..seats.rows.len()).collect();
    let found = (0..required).rev().find_map(|level| {
        let fitting = seats.by_place(&all, level).into_iter().find(|(_, rows)| seats.room(rows) >= members)?;
        Some((seats.fabric.rules().name_of(level).to_owned(), seats.title(fitting.0)))
    });
    found.or_else(|| (seats.room(&all) >= members).then(|| (String::new(), "the cluster".to_owned())))
}

/// The story of a group that does not fit.
pub(super) fn story(seats: &Seats<'_>, group: &Group<'_>, wishes: &Resolved, shortfall: Shortfall) -> Refusal {
    let size = group.size();
    let each = group.roles.first().map_or_else(String::new, |role| summary(&role.pod.request));
    let rules = seats.fabric.rules();
    let required: Vec<&str> = wishes.together.iter().map(|level| rules.name_of(*level)).collect();
    let within = if required.is_empty() { String::new() } else { format!(" in one {}", required.join(" and one ")) };
    let apart = if group.roles.iter().any(|role| role.pod.constraints.apart) { ", no two on one node" } else { "" };
    let needed = format!("{size} members of {each} each{within}{apart}, all at once");
    let reason = if required.is_empty() && wishes.parts.is_none() { Reason::GroupDoesNotFit } else { Reason::NoDomainForGroup };
    let (there, remedy) = match shortfall {
        Shortfall::Together { nearest: None, .. } => {
            let missing = if required.is_empty() { String::new() } else { format!(" that is in a {}", required.join(" and in a ")) };
            (format!("no node{missing} takes a member"), "free or add such nodes, or ask for less".to_owned())
        }
        Shortfall::Together { nearest: Some((title, room)), wider, parts } => {
            let mut remedy = format!("free room for {} more in {title}, or run at most {room} members", size - room);
            if seats.spares > 0 && seats.shut == Shut::default() {
                remedy = format!("run at most {room} members, or let the profile use its spares (fabric.usableNodes)");
            }
            if let (Some((count, each)), Some(level)) = (parts, required.last()) {
                remedy = format!("{remedy}, or divide the group with `{level}:even` into {count} of {each}");
            }
            if let Some((level, domain)) = wider {
                let instead = if level.is_empty() { "no level".to_owned() } else { format!("`{level}`") };
                remedy = format!("{remedy}, or require {instead} instead: {domain} has room for all");
            }
            (format!("{room} of {size} fit in {title}, the nearest to enough{}", coverage(seats, size)), remedy)
        }
        Shortfall::Parts { level, parts: (count, each), there, nearest } => {
            let mut words = format!("as {count} of {each} it needs {count} times room for {each} in one {level}; there are {there}");
            let mut remedy = format!("free room in more domains of level {level}, or change the group's size");
            if let Some((title, room)) = nearest {
                words = format!("{words}; nearest to one more is {title} with room for {room}");
                remedy = format!("free room for {} more in {title}, or change the group's size", each - room);
            }
            (words, remedy)
        }
        Shortfall::Unequal => (
            "by count there is room, but not on devices that a member can use together".to_owned(),
            "smaller shares, or running pods must end first".to_owned(),
        ),
    };
    Refusal { reason, needed, there: format!("{there}{}", shut(seats)), remedy }
}

/// How many would fit if one thing alone mattered, where CPU or memory is what lacks.
fn coverage(seats: &Seats<'_>, size: u32) -> String {
    if seats.shut.load == 0 {
        return String::new();
    }
    let of = |room: u32| format!("{} of {size}", room.min(size));
    format!("; in the whole cluster {} by devices alone, {} by CPU, memory and pods alone", of(seats.alone.devices), of(seats.alone.load))
}

/// Why nodes take no member, where that is not the end of the story.
fn shut(seats: &Seats<'_>) -> String {
    let counts = [
        (seats.shut.devices, "lack free devices"),
        (seats.shut.load, "lack CPU, memory or pods"),
        (seats.shut.out, "are closed to it"),
        (seats.spares, "are spares"),
    ];
    let parts: Vec<String> = counts.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if parts.is_empty() { String::new() } else { format!(" (of the other nodes {})", parts.join(", ")) }
}

/// What a member asks for: `8 of nvidia.com/gpu`.
fn summary(request: &DeviceRequest) -> String {
    let mut parts: Vec<String> = request.resources().into_iter().map(|name| format!("{} {name}", request.whole_of(name))).collect();
    if request.has_shares() {
        parts.push(format!("{} gpu-milli", request.share_milli()));
    }
    parts.join(" and ")
}
