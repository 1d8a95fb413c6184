//! The planner: from a group to a plan that the book holds already, or to the one story of why there is none.

use super::choose::{Choice, choose};
use super::seats::Seats;
use super::shortfall::{Shortfall, story};
use super::wishes::{self, Resolved};
use super::{place, seats, slice};
use crate::book::{Book, HolderState, Shape};
use crate::model::{Grant, NodeName, Pod, PodKey, PodUid, Reason, Refusal, Time, TopologyWishes};
use crate::policy::{Profile, Scorer};
use crate::topology::fabric::Fabric;

/// Pods that start together or not at all.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// For people.
    pub key: PodKey,
    /// Members that are alike, in the order of their ranks; at least one role, each with at least one member.
    pub roles: Vec<Role<'a>>,
    /// How near to each other they want to be.
    pub wishes: &'a TopologyWishes,
}

/// Members that are alike.
#[derive(Clone, Debug)]
pub struct Role<'a> {
    /// What each of them asks for, and what it bears.
    pub pod: &'a Pod,
    /// Who they are, in the order of their ranks.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Identity: the pod's, or a stand-in for one that does not exist yet.
    pub uid: PodUid,
    /// Namespace and name, for people.
    pub key: PodKey,
}

/// What a plan is made with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where nodes are.
    pub fabric: &'a Fabric,
    /// The rules.
    pub profile: &'a Profile,
    /// The policies, weighed.
    pub scorer: &'a Scorer,
    /// Names that kube-scheduler offered for a member; none where it was not asked.
    pub offered: Option<&'a std::collections::BTreeSet<&'a str>>,
    /// How firmly the members' devices are held.
    pub state: HolderState,
    /// When.
    pub now: Time,
}

/// Where everybody goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By rank.
    pub members: Vec<Planned>,
    /// The domains, for people: `rack r2 of block b1`, or several.
    pub domains: String,
}

/// One member's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Who.
    pub member: Member,
    /// Which of the group, from 0.
    pub rank: u32,
    /// Where.
    pub node: NodeName,
    /// What it gets there.
    pub grant: Grant,
}

/// Places a whole group. On success the members' devices are held in the book; on refusal the book is as it was.
///
/// # Errors
/// The one story of why the group does not fit as a whole.
pub fn plan(book: &mut Book, context: Context<'_>, group: &Group<'_>) -> Result<Plan, Refusal> {
    let wishes = wishes::resolve(context.fabric.rules(), group)?;
    for role in &group.roles {
        if Shape::of(&role.pod.request).is_none() {
            return Err(impossible(group));
        }
    }
    // The role that takes most goes first: what is left suits the others.
    let mut order: Vec<usize> = (0..group.roles.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse((group.roles[*at].pod.request.units(), group.roles[*at].members.len())));
    let lead = &group.roles[order[0]];
    let seats = Seats::of(book, context, lead.pod);
    let rest: Vec<(Seats<'_>, u32)> =
        order[1..].iter().map(|at| (Seats::of(book, context, group.roles[*at].pod), seats::len(&group.roles[*at].members))).collect();
    let choices = match slice::choose(book, &seats, group)? {
        Some(slice) => Ok(vec![slice]),
        None => choose(&seats, &rest, seats::len(&lead.members), &wishes),
    };
    let choices = choices.map_err(|shortfall| story(&seats, group, &wishes, shortfall))?;
    let mut placed = None;
    for choice in choices {
        let mark = book.checkpoint();
        if let Some(members) = all_roles(book, context, group, &order, &choice, &wishes) {
            book.commit(mark);
            placed = Some((members, choice.title));
            break;
        }
        book.rollback(mark);
    }
    let Some((mut members, domains)) = placed else {
        let seats = Seats::of(book, context, lead.pod);
        return Err(story(&seats, group, &wishes, Shortfall::Unequal));
    };
    members.sort_by_key(|planned: &Planned| planned.rank);
    Ok(Plan { members, domains })
}

/// Places role after role on the nodes of one choice.
fn all_roles(
    book: &mut Book,
    context: Context<'_>,
    group: &Group<'_>,
    order: &[usize],
    choice: &Choice,
    wishes: &Resolved,
) -> Option<Vec<Planned>> {
    let mut members = Vec::new();
    for (turn, at) in order.iter().enumerate() {
        let role = &group.roles[*at];
        let first_rank: u32 = group.roles[..*at].iter().map(|role| seats::len(&role.members)).sum();
        let counts = if turn == 0 {
            choice.counts.clone()
        } else {
            // What the roles before took is taken by now.
            let seats = Seats::of(book, context, role.pod).within(&choice.bounds);
            super::choose::compact(&seats, seats::len(&role.members), wishes)?
        };
        members.extend(place::deal(book, context, role, first_rank, &counts)?);
    }
    Some(members)
}

pub(super) fn impossible(group: &Group<'_>) -> Refusal {
    Refusal {
        reason: Reason::InvalidRequest,
        needed: format!("{} members of group {}", group.size(), group.key),
        there: "a member asks for what no node can grant".into(),
        remedy: "ask for whole devices, or for shares of 1 to 1000 gangplank.dev/gpu-milli each".into(),
    }
}

impl Group<'_> {
    /// How many members.
    pub fn size(&self) -> u32 {
        self.roles.iter().map(|role| seats::len(&role.members)).sum()
    }
}
