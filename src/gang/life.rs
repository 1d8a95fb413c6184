//! The life of a gang as one total function: phase, what is there, and the time go in; the next phase and what to do
//! come out. It looks at counts alone, so that a lost, repeated or late piece of news changes when, never what.
//!
//! ```text
//! Collecting --all there--> Queued --planned--> Reserved --nominated--> Released --all bound--> Bound
//!     ^                       ^                    |                     |  ^                     |
//!     |                       +---- given back ----+--- nobody bound ----+  +--- a member joins --+
//!     +------------------------------ taken back <-- Undoing <-- too late, and some are bound
//! ```

use std::time::Duration;

use crate::model::Time;

/// Where a gang is. Nothing of it is written anywhere: after a restart it follows from the pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Members are missing.
    #[default]
    Collecting,
    /// All that are needed are there, and wait for a plan.
    Queued,
    /// Victims are on their way out, and what they free is held for it.
    Preempting {
        /// When those that are not gone are no longer waited for.
        until: Time,
    },
    /// The plan holds their devices; nominations are on their way.
    Reserved {
        /// Without waiting longer for nominations: they are hints.
        until: Time,
    },
    /// The gates are off: kube-scheduler binds.
    Released {
        /// When those that are not bound are reminded, or the plan is undone.
        until: Time,
        /// How often they were reminded.
        reminded: u32,
        /// When it is undone whatever members did meanwhile: one that loses its place again and again must not keep the others.
        by: Time,
    },
    /// Every member with a plan is bound.
    Bound,
    /// Some were bound and the others cannot be: those are taken back.
    Undoing {
        /// When that is asked for again: the word may be lost.
        until: Time,
    },
}

impl Phase {
    /// A short, stable name for metrics, explain and docs/states.md.
    pub fn name(self) -> &'static str {
        match self {
            Self::Collecting => "collecting",
            Self::Queued => "queued",
            Self::Preempting { .. } => "preempting",
            Self::Reserved { .. } => "reserved",
            Self::Released { .. } => "released",
            Self::Bound => "bound",
            Self::Undoing { .. } => "undoing",
        }
    }

    /// Every phase by name, in the order of a life.
    pub const NAMES: [&'static str; 7] = ["collecting", "queued", "preempting", "reserved", "released", "bound", "undoing"];

    /// The gates came off just now.
    pub fn released(now: Time) -> Self {
        Self::Released { until: now + BINDING, reminded: 0, by: now + FORWARD }
    }

    /// Members got places beside those that have theirs, and have their own time to be bound. A gang that does not run yet gets no
    /// more for it in all.
    #[must_use]
    pub fn joined(self, members: &Members, now: Time) -> Self {
        match self {
            Self::Released { by, .. } if members.bound < members.needed => Self::Released { until: by.min(now + BINDING), reminded: 0, by },
            _ => Self::released(now),
        }
    }

    /// When time alone moves it on.
    pub fn deadline(self) -> Option<Time> {
        match self {
            Self::Preempting { until } | Self::Reserved { until } | Self::Released { until, .. } | Self::Undoing { until } => Some(until),
            Self::Collecting | Self::Queued | Self::Bound => None,
        }
    }
}

/// Members by what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// How many are waited for before a plan is made; none while nobody knows.
    pub wanted: Option<u32>,
    /// How many must start together: of an elastic gang, fewer than are wanted.
    pub needed: u32,
    /// There, and without a place.
    pub waiting: u32,
    /// With a place, not bound.
    pub planned: u32,
    /// Of those with a place, the ones whose nomination was not seen yet.
    pub unnominated: u32,
    /// Of those with a place, the ones that stand in line at a kube-scheduler which is busy with others.
    pub in_line: u32,
    /// Bound or being bound.
    pub bound: u32,
}

impl Members {
    /// Whether all that are needed are there.
    pub fn are_there(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.waiting + self.planned + self.bound >= wanted)
    }

    /// Whether those are there without whom nothing starts. Others may still be waited for: they cost nobody what is freed already.
    fn are_enough(&self) -> bool {
        self.waiting + self.planned + self.bound >= self.needed
    }

    fn have_places(&self) -> bool {
        self.planned + self.bound >= self.needed
    }

    /// Those that replace others are there, and without them it does not run.
    fn are_too_few(&self) -> bool {
        self.wanted.is_some() && self.waiting > 0 && self.bound < self.needed
    }

    /// It is nobody's fault that they are not bound yet, and nothing runs in part meanwhile.
    fn stand_in_line(&self) -> bool {
        self.in_line > 0 && self.bound == 0
    }

    fn are_bound(&self) -> bool {
        self.planned == 0 && self.bound >= self.needed.max(1)
    }
}

/// What a step asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Rest,
    /// Give back what members hold that are not bound, clear their nominations, and wait.
    GiveBack,
    /// Take the gates off, all at once.
    Release,
    /// Nominate again those that are not bound, which wakes them.
    Remind,
    /// Give back as [`Act::GiveBack`] does, and take the bound ones back, through an owner that can be suspended where there is one.
    Undo,
    /// Let a suspended owner go on.
    Resume,
    /// Wait for victims no longer, and keep what is free by now.
    Lapse,
}

/// How long nominations are waited for.
pub const NOMINATION: Duration = Duration::from_secs(3);
/// How long members may take to be bound, each time. kube-scheduler's longest backoff is 10 s.
pub const BINDING: Duration = Duration::from_secs(11);
/// How long those that are taken back may take to be gone, before that is asked for again: most pods end within their 30 s of
/// grace, and asking twice is harmless.
pub const UNDO: Duration = Duration::from_secs(20);
/// How often they are reminded before the plan is undone.
pub const REMINDERS: u32 = 1;
/// How long a gang may be rolled forward in all, from its release on: places are found anew for members within it, not after it.
pub const FORWARD: Duration = Duration::from_secs(60);

/// The next phase and what to do. Calling it again with the same facts changes nothing: [`Act::Rest`].
pub fn next(phase: Phase, members: &Members, now: Time) -> (Phase, Act) {
    match phase {
        Phase::Collecting | Phase::Queued if members.are_bound() => (Phase::Bound, Act::Rest),
        Phase::Collecting if members.are_there() => (Phase::Queued, Act::Rest),
        Phase::Queued if !members.are_there() => (Phase::Collecting, Act::Rest),
        // It has its places without those who were to go for it.
        Phase::Preempting { .. } if members.are_bound() => (Phase::Bound, Act::GiveBack),
        Phase::Preempting { .. } if !members.are_enough() => (Phase::Collecting, Act::GiveBack),
        Phase::Preempting { until } if until <= now => (Phase::Queued, Act::Lapse),
        Phase::Reserved { .. } | Phase::Released { .. } if members.bound == 0 && !members.have_places() => {
            (Phase::Collecting, Act::GiveBack)
        }
        Phase::Reserved { until } if members.unnominated == 0 || until <= now => (Phase::released(now), Act::Release),
        Phase::Released { .. } if members.are_bound() => (Phase::Bound, Act::Rest),
        Phase::Released { until, reminded, .. } if until <= now && members.stand_in_line() => {
            (Phase::Released { until: now + BINDING, reminded, by: now + FORWARD }, Act::Rest)
        }
        Phase::Released { until, reminded, by } if until <= now && now < by && members.in_line > 0 => {
            (Phase::Released { until: by.min(now + BINDING), reminded, by }, Act::Rest)
        }
        Phase::Released { until, reminded, by } if until <= now && now < by && reminded < REMINDERS => {
            (Phase::Released { until: by.min(now + BINDING), reminded: reminded + 1, by }, Act::Remind)
        }
        Phase::Released { until, .. } if until <= now && members.bound == 0 => (Phase::Collecting, Act::GiveBack),
        // More than the needed ones run: those that cannot join do not take them down.
        Phase::Released { until, .. } if until <= now && members.bound >= members.needed => (Phase::Bound, Act::GiveBack),
        Phase::Released { until, .. } if until <= now => (Phase::Undoing { until: now + UNDO }, Act::Undo),
        Phase::Bound if members.planned > 0 => (Phase::released(now), Act::Release),
        Phase::Bound if members.bound == 0 => (Phase::Collecting, Act::Rest),
        // The place of a member that went is another's by now: it is not kept in part for long.
        Phase::Bound if members.are_too_few() => {
            (Phase::Released { until: now + FORWARD, reminded: REMINDERS, by: now + FORWARD }, Act::Rest)
        }
        Phase::Undoing { .. } if members.bound == 0 => (Phase::Collecting, Act::Resume),
        // Nobody went, and what was missing is there again: a node that had been lost, or a Binding of which nobody had heard.
        Phase::Undoing { until } if until <= now && members.are_bound() => (Phase::Bound, Act::Rest),
        Phase::Undoing { until } if until <= now => (Phase::Undoing { until: now + UNDO }, Act::Undo),
        Phase::Collecting
        | Phase::Queued
        | Phase::Preempting { .. }
        | Phase::Reserved { .. }
        | Phase::Released { .. }
        | Phase::Bound
        | Phase::Undoing { .. } => (phase, Act::Rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix_ms(100_000);
    const PAST: Time = Time::from_unix_ms(99_000);
    const LATER: Time = Time::from_unix_ms(101_000);

    fn phases() -> Vec<Phase> {
        let mut phases = vec![Phase::Collecting, Phase::Queued, Phase::Bound];
        for until in [PAST, LATER] {
            phases.push(Phase::Undoing { until });
            phases.push(Phase::Preempting { until });
            phases.push(Phase::Reserved { until });
            for by in [PAST, LATER].into_iter().filter(|by| *by >= until) {
                phases.extend((0..=REMINDERS).map(|reminded| Phase::Released { until, reminded, by }));
            }
        }
        phases
    }

    fn all() -> impl Iterator<Item = (Phase, Members)> {
        let counts = || 0..=3_u32;
        phases().into_iter().flat_map(move |phase| {
            [(None, 1), (Some(1), 1), (Some(3), 3), (Some(3), 2)].into_iter().flat_map(move |(wanted, needed)| {
                counts().flat_map(move |waiting| {
                    counts().flat_map(move |planned| {
                        (0..=planned).flat_map(move |unnominated| {
                            counts().flat_map(move |bound| {
                                let line = [0, planned].into_iter().take(if planned > 0 { 2 } else { 1 });
                                let members = Members { wanted, needed, waiting, planned, unnominated, in_line: 0, bound };
                                line.map(move |in_line| (phase, Members { in_line, ..members }))
                            })
                        })
                    })
                })
            })
        })
    }

    /// What the engine does to the counts when it acts.
    fn done(mut members: Members, act: Act) -> Members {
        if matches!(act, Act::GiveBack | Act::Undo) {
            members.waiting += std::mem::take(&mut members.planned);
            (members.unnominated, members.in_line) = (0, 0);
        }
        members
    }

    #[test]
    fn it_comes_to_rest_from_everywhere() {
        for (start, members) in all() {
            let (mut phase, mut members, mut steps) = (start, members, 0);
            loop {
                let (following, act) = next(phase, &members, NOW);
                members = done(members, act);
                if following == phase && act == Act::Rest {
                    break;
                }
                phase = following;
                steps += 1;
                assert!(steps < 6, "{start:?} {members:?} runs in circles");
            }
        }
    }

    #[test]
    fn the_gates_come_off_only_when_all_that_are_needed_have_places() {
        for (phase, members) in all() {
            let (_, act) = next(phase, &members, NOW);
            let joining = phase == Phase::Bound || members.bound > 0;
            assert!(act != Act::Release || joining || members.have_places(), "{phase:?} {members:?}");
        }
    }

    #[test]
    fn no_phase_with_a_part_of_a_gang_bound_is_without_an_end() {
        for (phase, members) in all() {
            let part = members.bound > 0 && members.bound < members.needed && members.planned > 0;
            let (following, _) = next(phase, &members, NOW);
            let ends = following.deadline().is_some();
            // The planner never leaves members with places in these two.
            let never = matches!(phase, Phase::Collecting | Phase::Queued | Phase::Preempting { .. });
            assert!(!part || ends || never, "{phase:?} {members:?} -> {following:?}");
        }
    }

    #[test]
    fn what_is_freed_for_a_gang_is_given_back_only_below_the_minimum_or_where_it_runs() {
        for (phase, members) in all().filter(|(phase, _)| matches!(phase, Phase::Preempting { .. })) {
            let enough = members.waiting + members.planned + members.bound >= members.needed;
            let runs = members.planned == 0 && members.bound >= members.needed.max(1);
            assert_eq!(next(phase, &members, NOW).1 == Act::GiveBack, !enough || runs, "{phase:?} {members:?}");
        }
    }

    #[test]
    fn what_runs_is_taken_back_only_below_the_minimum_and_after_the_last_reminder() {
        for (phase, members) in all() {
            if next(phase, &members, NOW).1 == Act::Undo {
                let last = |phase| matches!(phase, Phase::Released { until: PAST, reminded, by } if reminded == REMINDERS || by == PAST);
                assert!(last(phase) || phase == (Phase::Undoing { until: PAST }), "{phase:?}");
                assert!(members.bound < members.needed || members.planned > 0, "{phase:?} {members:?}");
            }
        }
    }

    #[test]
    fn who_stands_in_line_at_a_busy_kube_scheduler_is_neither_reminded_nor_taken_back_while_nobody_is_bound() {
        let alone = Members { wanted: Some(1), needed: 1, planned: 1, in_line: 1, ..Members::default() };
        let (mut phase, mut now) = (Phase::released(NOW), NOW);
        while now < NOW + 3 * FORWARD {
            now = now + Duration::from_secs(1);
            let (following, act) = next(phase, &alone, now);
            assert_eq!(act, Act::Rest, "after {:?}", now - NOW);
            phase = following;
        }
        // When the line is gone, its time is as ever.
        let (_, act) = next(phase, &Members { in_line: 0, ..alone }, now + BINDING);
        assert_eq!(act, Act::Remind);
    }

    #[test]
    fn members_that_join_again_and_again_put_nothing_off_below_the_minimum() {
        let part = Members { wanted: Some(3), needed: 3, planned: 1, bound: 2, ..Members::default() };
        let (mut phase, mut now, mut acts) = (Phase::released(NOW), NOW, Vec::new());
        while now < NOW + 2 * FORWARD && !acts.contains(&Act::Undo) {
            now = now + Duration::from_secs(1);
            let (following, act) = next(phase, &part, now);
            phase = if act == Act::Undo { following } else { following.joined(&part, now) };
            acts.push(act);
        }
        assert_eq!((acts.last(), now), (Some(&Act::Undo), NOW + FORWARD));
        // Nor does a kube-scheduler that is busy with others.
        let late = Phase::Released { until: PAST, reminded: 0, by: PAST };
        assert_eq!(next(late, &Members { in_line: 1, ..part }, NOW).1, Act::Undo);
        // Those who join a gang that runs have their own time.
        let runs = Members { needed: 2, ..part };
        assert_eq!(Phase::released(NOW).joined(&runs, LATER), Phase::released(LATER));
    }

    #[test]
    fn the_page_of_states_names_every_phase_with_its_deadline() {
        let page = include_str!("../../docs/states.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let names: Vec<&str> = rows.iter().filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(names, Phase::NAMES);
        let victims = crate::policy::Profile::shipped().preemption.deadline;
        let deadlines = [("preempting", victims), ("reserved", NOMINATION), ("released", BINDING), ("undoing", UNDO)];
        for (phase, row) in names.iter().zip(&rows) {
            let last = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
            match deadlines.iter().find(|(name, _)| name == phase) {
                Some((_, span)) => assert!(last.starts_with(&format!("{} s:", span.as_secs())), "{row}"),
                None => assert!(last.starts_with("none"), "{row}"),
            }
        }
        let released = rows.iter().find(|row| row.starts_with("| `released`")).unwrap();
        assert!(released.contains(&format!("{} s after the release", FORWARD.as_secs())), "{released}");
    }
}
