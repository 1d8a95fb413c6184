//! Room that is kept for a gang which has waited too long.

use std::time::Duration;

use super::run::{NAMES, Run, gated, member, uid};
use crate::model::fixtures::pod;
use crate::model::{OwnerRef, Pod, PodKey, PodPhase, Reason};

/// How long the built-in profile waits.
const PATIENCE_S: u64 = 86_400;

/// One after another, single pods of half a node that come and end; two on each node to begin with.
struct Stream {
    run: Run,
    next: usize,
    running: Vec<String>,
    expected_s: Option<u64>,
    /// Its pods are of Jobs that are numbered.
    owned: bool,
}

impl Stream {
    fn new(expected_s: Option<u64>) -> Self {
        Self::of(expected_s, false)
    }

    fn of(expected_s: Option<u64>, owned: bool) -> Self {
        let mut stream = Self { run: Run::new(), next: 0, running: Vec::new(), expected_s, owned };
        (0..2 * NAMES.len()).for_each(|_| assert!(stream.comes()));
        stream
    }

    /// A pod of four GPUs comes. True if it starts.
    fn comes(&mut self) -> bool {
        let name = format!("small-{:04}", self.next);
        self.next += 1;
        let expected = self.expected_s.map(Duration::from_secs);
        let key = PodKey::new("default", name.clone());
        let job = OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key, uid: name.as_str().into() };
        let controller = self.owned.then_some(job);
        self.run.create(gated(Pod { expected, controller, created_at: self.run.now, ..pod(&name).gpus(4) }));
        self.binds(name)
    }

    fn binds(&mut self, name: String) -> bool {
        let free = !self.run.pods[&uid(&name)].gated;
        if free {
            self.run.bind(&name);
            self.running.push(name);
        }
        free
    }

    /// The one that runs longest ends.
    fn ends(&mut self) {
        let name = self.running.remove(0);
        let ended = Pod { phase: PodPhase::Succeeded, ..self.run.pods[&uid(&name)].clone() };
        self.run.apply(ended);
        self.run.delete(&name);
    }

    /// One that runs there ends.
    fn ends_in_rack(&mut self, rack: &str) {
        let there = |name: &String| self.run.pods[&uid(name)].node.as_ref().is_some_and(|node| node.as_str().starts_with(rack));
        let place = self.running.iter().position(there).unwrap();
        self.running.swap(0, place);
        self.ends();
    }

    fn last(&self) -> String {
        format!("small-{:04}", self.next - 1)
    }

    fn reason_of_last(&self) -> Option<Reason> {
        self.run.engine.explain(&uid(&self.last())).and_then(|trace| Some(trace.refusal.as_ref()?.reason.clone()))
    }

    fn withdraw_last(&mut self) {
        self.run.delete(&self.last());
    }

    fn story(&self) -> String {
        self.run.engine.explain(&uid("a")).and_then(|trace| Some(trace.refusal.as_ref()?.there.clone())).unwrap_or_default()
    }

    fn gang(&mut self) {
        for name in ["a", "b", "c"] {
            self.run.create(gated(Pod { created_at: self.run.now, ..member(name, 3, 8) }));
        }
    }

    fn passes(&mut self, seconds: u64) {
        self.run.now = self.run.now + Duration::from_secs(seconds);
    }

    fn gang_runs(&self) -> bool {
        ["a", "b", "c"].iter().all(|name| !self.run.pods[&uid(name)].gated)
    }
}

#[test]
fn a_gang_that_small_pods_keep_out_starts_once_room_is_kept_for_it() {
    let mut stream = Stream::new(None);
    stream.gang();
    for _ in 0..20 {
        stream.ends();
        assert!(stream.comes(), "before that whoever fits passes");
    }
    assert!(!stream.gang_runs());
    stream.run.now = stream.run.now + Duration::from_secs(PATIENCE_S);
    let mut turned_away = 0;
    for _ in 0..12 {
        stream.ends();
        turned_away += usize::from(!stream.comes());
        if stream.gang_runs() {
            break;
        }
    }
    assert!(stream.gang_runs() && (6..=12).contains(&turned_away), "{turned_away}");
}

/// Two pods on each node that say they run for so long, a gang behind them, and a day later.
fn a_day_later(expected_s: Option<u64>) -> Stream {
    let mut stream = Stream::new(expected_s);
    stream.gang();
    stream.ends_in_rack("r2");
    assert!(stream.comes(), "it passes, and r1 comes free before r2");
    stream.run.now = stream.run.now + Duration::from_secs(PATIENCE_S);
    // The first that ends is on a node that is kept, and lets the planner look again.
    stream.ends_in_rack("r1");
    stream
}

#[test]
fn who_ends_before_the_gang_can_start_goes_first_and_who_does_not_say_waits() {
    let mut stream = a_day_later(Some(200_000));
    let story = stream.story();
    assert!(story.contains("3 nodes are kept for it; start expected in 0 to 113"), "{story}");
    for (expected_s, starts) in [(Some(150_000), false), (None, false), (Some(100_000), true)] {
        stream.expected_s = expected_s;
        let came = stream.comes();
        assert_eq!(came, starts, "{expected_s:?}");
        if !came {
            assert_eq!(stream.reason_of_last(), Some(Reason::RoomKept));
            stream.withdraw_last();
        }
    }
}

#[test]
fn a_start_is_not_predicted_where_somebody_does_not_say_how_long_it_runs() {
    let story = a_day_later(None).story();
    assert!(story.contains("start not predictable: 5 of the 5 pods"), "{story}");
}

#[test]
fn room_is_free_for_all_again_when_the_gang_is_gone() {
    let mut stream = a_day_later(None);
    assert!(!stream.comes());
    ["a", "b", "c"].into_iter().for_each(|name| stream.run.delete(name));
    assert!(!stream.run.pods[&uid(&stream.last())].gated, "who was turned away starts");
}

#[test]
fn what_earlier_runs_of_the_same_owner_took_tells_when_the_gang_can_start() {
    let mut stream = Stream::of(None, true);
    stream.passes(100_000);
    for _ in 0..12 {
        stream.ends();
        assert!(stream.comes());
    }
    stream.gang();
    stream.passes(50_000);
    stream.ends_in_rack("r2");
    assert!(stream.comes(), "it passes");
    stream.passes(40_000);
    stream.ends_in_rack("r1");
    let story = stream.story();
    let told = story.contains("start expected in 0 to 999") || story.contains("start expected in 0 to 10000");
    assert!(told && story.contains("by earlier runs of the owners of the 5 pods"), "{story}");
    assert!(!stream.comes(), "a run of this owner may take longer than that");
    stream.withdraw_last();
    stream.expected_s = Some(5000);
    assert!(stream.comes(), "who says that it ends before goes first");
}

#[test]
fn a_gang_that_runs_for_long_waits_ten_times_as_long_before_room_is_kept() {
    let mut stream = Stream::new(Some(200_000));
    for name in ["a", "b", "c"] {
        let expected = Some(Duration::from_secs(PATIENCE_S));
        stream.run.create(gated(Pod { expected, created_at: stream.run.now, ..member(name, 3, 8) }));
    }
    for (passes_s, kept) in [(9 * PATIENCE_S, false), (PATIENCE_S, true)] {
        stream.passes(passes_s);
        stream.ends_in_rack("r2");
        stream.comes();
        stream.ends_in_rack("r1");
        stream.comes();
        assert_eq!(stream.story().contains("nodes are kept for it"), kept, "{}", stream.story());
    }
}

#[test]
fn more_urgent_work_is_not_kept_out() {
    let mut stream = a_day_later(None);
    assert!(!stream.comes());
    stream.withdraw_last();
    stream.run.create(gated(Pod { priority: 10, created_at: stream.run.now, ..pod("urgent").gpus(4) }));
    assert!(!stream.run.pods[&uid("urgent")].gated);
}
