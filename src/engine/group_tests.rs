//! Groups through filter and bind: planned by the first member, read by the others, and never half.

use super::*;
use crate::book::HolderState;
use crate::model::fixtures::{gpu, node, pod};
use crate::model::{GangId, GangKind, GangRef, Parts, Pod, PodKey, PodUid, Quota, Reason, Time, Wish};
use crate::policy::Profile;
use std::sync::Arc;
use std::time::Duration;

const RACKS: &str = "fabric: {levels: [{name: rack, nodeLabel: rack}]}\naccelerators:";

struct Run {
    engine: Engine,
    now: Time,
}

impl Run {
    /// Two racks of three nodes of eight.
    fn new() -> Self {
        let profile = Profile::parse(&Profile::DEFAULT_YAML.replace("accelerators:", RACKS)).unwrap();
        let mut run = Self { engine: Engine::new(Arc::new(profile)), now: Time::from_unix_ms(0) };
        for name in NAMES {
            let mut node = node(name, 8);
            node.labels.insert("rack".into(), name[..2].into());
            run.step(Input::NodeApplied(node));
        }
        run.step(Input::Synced);
        run
    }

    fn step(&mut self, input: Input<'_>) -> Output {
        self.now = self.now + Duration::from_millis(1);
        let output = self.engine.step(self.now, input);
        assert_eq!(self.engine.violations(), []);
        output
    }

    fn filter_of(&mut self, pod: &Pod, names: &[&'static str]) -> Result<&'static str, Reason> {
        let Answer::Filter(answer) = self.step(Input::Filter(FilterQuery { pod, names })).answer else { panic!("no answer to filter") };
        match (answer.nodes.as_slice(), answer.refused) {
            ([place], Refused::None) => Ok(names[*place as usize]),
            ([], Refused::All(reason, _)) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    fn filter(&mut self, pod: &Pod) -> Result<&'static str, Reason> {
        self.filter_of(pod, &NAMES)
    }

    fn bind(&mut self, pod: &Pod, node: &str) {
        let query = BindQuery { pod: pod.clone(), node: node.into() };
        let Answer::Bind(BindAnswer::Write(order)) = self.step(Input::Bind(query)).answer else { panic!("not bound") };
        let bound = Pod { recorded: Some(order.grant), ..pod.clone().on(node) };
        self.step(Input::BindOutcome { uid: pod.uid.clone(), node: node.into(), outcome: BindOutcome::Bound });
        self.step(Input::PodApplied(bound));
    }

    fn held(&self) -> Vec<&str> {
        self.engine.book().holders().map(|holder| holder.node.as_str()).collect()
    }
}

const NAMES: [&str; 6] = ["r1-a", "r1-b", "r1-c", "r2-a", "r2-b", "r2-c"];

fn gang(size: u32, rank: Option<u32>) -> GangRef {
    let id = GangId { kind: GangKind::Annotation, key: PodKey::new("ns", "train"), uid: "".into() };
    GangRef { id, size: Some(size), min: None, role: "".into(), rank }
}

fn member(name: &str, size: u32, gpus: u32) -> Pod {
    let mut pod = pod(name).gpus(gpus);
    pod.gang = Some(gang(size, None));
    pod.topology.required = vec![Wish { level: "rack".into(), parts: Parts::Whole }];
    pod
}

#[test]
fn the_first_member_plans_for_all_and_siblings_read_the_plan() {
    let mut run = Run::new();
    assert_eq!(run.filter(&member("a", 3, 8)), Ok("r1-a"));
    assert_eq!(run.held(), ["r1-b", "r1-c", "r1-a"], "stand-ins hold what siblings will get");
    assert_eq!(run.filter(&pod("stranger").gpus(8)), Ok("r2-a"), "nobody else gets it meanwhile");
    let third = Pod { gang: Some(gang(3, Some(2))), ..member("c", 3, 8) };
    assert_eq!(run.filter(&third), Ok("r1-c"), "who says its rank gets that place");
    assert_eq!(run.filter(&member("b", 3, 8)), Ok("r1-b"));
    assert_eq!(run.filter(&member("b", 3, 8)), Ok("r1-b"), "asked again, the same");
    assert_eq!(run.filter(&member("d", 3, 8)), Err(Reason::GroupInvalid), "a fourth of three");
    for (name, node) in [("a", "r1-a"), ("b", "r1-b"), ("c", "r1-c")] {
        run.bind(&member(name, 3, 8), node);
    }
    assert_eq!(run.engine.rank(&PodUid::from("uid-c")), Some(2));
    assert!(run.engine.book().holders().filter(|holder| holder.state == HolderState::Bound).count() == 3);
}

#[test]
fn a_group_that_does_not_fit_holds_nothing_and_every_member_hears_the_same() {
    let mut run = Run::new();
    run.filter(&pod("x").gpus(8)).unwrap();
    run.filter(&pod("y").gpus(8)).unwrap();
    let before = run.held().len();
    for name in ["a", "b"] {
        assert_eq!(run.filter(&member(name, 4, 8)), Err(Reason::NoDomainForGroup));
    }
    assert_eq!(run.held().len(), before);
    assert_eq!(run.filter(&member("a", 3, 8)).map(|node| &node[..2]), Ok("r2"));
}

#[test]
fn a_plan_that_nobody_follows_ends_with_its_holds() {
    let mut run = Run::new();
    run.filter(&member("a", 3, 8)).unwrap();
    run.now = run.now + Duration::from_secs(901);
    run.step(Input::Tick);
    assert!(run.held().is_empty());
    assert_eq!(run.filter(&pod("stranger").gpus(8)), Ok("r1-a"));
    assert_eq!(run.filter(&member("a", 3, 8)), Ok("r2-a"));
    run.step(Input::PodDeleted("uid-a".into()));
    assert_eq!(run.held(), ["r1-a"], "without members there is no group to hold for");
}

#[test]
fn siblings_that_nobody_creates_keep_devices_from_others_for_a_minute() {
    let mut run = Run::new();
    run.filter(&member("a", 3, 8)).unwrap();
    run.now = run.now + Duration::from_secs(61);
    run.step(Input::Tick);
    assert_eq!(run.held(), ["r1-a"], "what the one that came was given is its own");
    assert_eq!(run.filter(&pod("stranger").gpus(8)), Ok("r1-b"));
    assert_eq!(run.filter(&member("b", 3, 8)).map(|node| &node[..2]), Ok("r2"), "nobody is bound yet: planned anew, in one rack");
}

#[test]
fn a_node_that_kube_scheduler_refuses_makes_a_new_plan_until_somebody_is_bound() {
    let mut run = Run::new();
    run.filter(&member("a", 3, 8)).unwrap();
    let without = ["r1-a", "r1-c", "r2-a", "r2-b", "r2-c"];
    assert_eq!(run.filter_of(&member("b", 3, 8), &without), Ok("r2-a"), "the whole group moves");
    assert_eq!(run.filter(&member("a", 3, 8)), Ok("r2-b"));
    run.bind(&member("a", 3, 8), "r2-b");
    assert_eq!(run.filter_of(&member("c", 3, 8), &["r1-a"]), Err(Reason::PlannedElsewhere));
    assert_eq!(run.filter(&member("c", 3, 8)), Ok("r2-c"), "the plan stands");
}

#[test]
fn a_member_that_replaces_another_joins_the_rest() {
    let mut run = Run::new();
    for (name, node) in [("a", "r1-a"), ("b", "r1-b")] {
        assert_eq!(run.filter(&member(name, 2, 8)), Ok(node));
        run.bind(&member(name, 2, 8), node);
    }
    run.step(Input::PodDeleted("uid-b".into()));
    assert_eq!(run.filter(&member("b2", 2, 8)), Ok("r1-b"), "its place was kept");
    run.bind(&member("b2", 2, 8), "r1-b");
    run.now = run.now + Duration::from_secs(901);
    run.step(Input::Tick);
    run.step(Input::PodDeleted("uid-a".into()));
    run.filter(&pod("stranger").gpus(8)).unwrap();
    assert_eq!(run.filter(&member("a2", 2, 8)), Ok("r1-c"), "the same rack without a plan, for the group requires one");
}

#[test]
fn a_quota_that_holds_part_of_a_group_refuses_all_of_it() {
    let mut run = Run::new();
    let hard = [(gpu(), 16)].into_iter().collect();
    run.step(Input::QuotaApplied(Quota { namespace: "ns".into(), name: "q".into(), hard }));
    assert_eq!(run.filter(&member("a", 3, 8)), Err(Reason::QuotaExceeded("q".into())));
    assert!(run.held().is_empty());
    assert!(run.filter(&member("a", 2, 8)).is_ok());
}

#[test]
fn members_that_ask_for_other_devices_are_told_so_and_a_relist_leaves_stand_ins_alone() {
    let mut run = Run::new();
    let first = member("a", 2, 8);
    run.filter(&first).unwrap();
    assert_eq!(run.filter(&member("b", 2, 4)), Err(Reason::GroupInvalid));
    run.now = run.now + Duration::from_secs(60);
    let nodes = run.engine.book().nodes().map(|entry| (*entry.node).clone()).collect();
    run.step(Input::Relisted { pods: vec![first], nodes });
    assert_eq!(run.held().len(), 2);
}
