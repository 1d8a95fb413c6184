//! Who may be taken for whom: the one place that says so, asked by the planner and by the preempt verb alike. A reason to be
//! taken is a rule: one function, one entry in [`ALL`]. The first rule that allows it gives the tier: what an earlier
//! rule allows is taken before anything that only a later one does.

use std::cmp::Reverse;

use super::Reach;
use crate::queue::Right;

/// Somebody who wants room, or has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// `spec.priority`: of a gang that has room the highest of its pods, of one that wants it the lowest.
    pub priority: i32,
    /// `spec.preemptionPolicy` of the one who wants room is Never.
    pub never_preempts: bool,
    /// Of one who has room: by what right the other's queue takes from its queue.
    pub right: Right,
    /// Of one who has room in the other's own queue: its rank in the queue's order, if it comes so far behind that the two take turns.
    pub behind: Option<u128>,
}

/// The highest priority that a PriorityClass of a user may have; above it is the system.
pub const PRIORITY_USER_MAX: i32 = 1_000_000_000;

/// Whether the first may take the room of the second.
type Rule = fn(Standing, Standing) -> bool;

/// Every rule, with its name for people; the place is the tier.
pub const ALL: &[(&str, Rule)] =
    &[("borrowed from its queue", borrowed), ("lower priority", lower_priority), ("behind in its queue", behind)];

/// How high a preemptor must reach for a victim; none if no rule lets it.
pub fn reach(preemptor: Standing, victim: Standing) -> Option<Reach> {
    if preemptor.never_preempts {
        return None;
    }
    let tier = ALL.iter().position(|(_, rule)| rule(preemptor, victim))?;
    let rank = victim.behind.unwrap_or(0);
    Some(Reach { tier: u8::try_from(tier).unwrap_or(u8::MAX), priority: victim.priority, behind: Reverse(rank) })
}

/// The name of the rule behind a tier.
pub fn name(reach: Reach) -> &'static str {
    ALL.get(usize::from(reach.tier)).map_or("", |(name, _)| name)
}

/// What a queue lent comes back whatever the priority. What is taken stays beyond the other's guarantee, and who takes it stays
/// within its own: the other has no such right in turn.
fn borrowed(_: Standing, victim: Standing) -> bool {
    victim.right == Right::Lent
}

/// Of equal priority in one queue, by its order, which says how far behind is far enough.
fn behind(preemptor: Standing, victim: Standing) -> bool {
    victim.behind.is_some() && victim.right == Right::Own && victim.priority == preemptor.priority
}

/// Strictly lower, so that no two can take each other's room in turn.
fn lower_priority(preemptor: Standing, victim: Standing) -> bool {
    victim.priority < preemptor.priority
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(priority: i32) -> Standing {
        Standing { priority, ..Standing::default() }
    }

    #[test]
    fn only_lower_priority_is_taken_and_never_by_a_pod_that_preempts_nobody() {
        assert_eq!(reach(standing(5), standing(4)), Some(Reach { tier: 1, priority: 4, ..Reach::default() }));
        assert_eq!(reach(standing(5), standing(5)), None);
        assert_eq!(reach(Standing { never_preempts: true, ..standing(5) }, standing(4)), None);
    }

    #[test]
    fn what_a_queue_lent_is_taken_before_lower_priority_and_whatever_its_own() {
        let lent = Standing { right: Right::Lent, ..standing(9) };
        assert_eq!(reach(standing(5), lent), Some(Reach { tier: 0, priority: 9, ..Reach::default() }));
        assert!(reach(standing(5), lent) < reach(standing(5), standing(-5)));
        assert_eq!(reach(standing(5), Standing { right: Right::Other, ..standing(5) }), None);
    }

    #[test]
    fn jobs_of_equal_priority_take_turns_inside_a_queue_alone() {
        let behind = Standing { behind: Some(7), ..standing(5) };
        assert_eq!(name(reach(standing(5), behind).unwrap()), "behind in its queue");
        assert_eq!(reach(standing(5), Standing { right: Right::Other, ..behind }), None);
        assert_eq!(reach(standing(5), Standing { priority: 6, ..behind }), None);
    }

    #[test]
    fn no_two_take_each_others_room_in_turn() {
        for (a, b) in (-2..3).flat_map(|a| (-2..3).map(move |b| (standing(a), standing(b)))) {
            assert!(reach(a, b).is_none() || reach(b, a).is_none(), "{a:?} {b:?}");
        }
    }
}
