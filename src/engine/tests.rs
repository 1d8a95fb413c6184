//! The engine, question by question.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::book::{Book, HolderState};
use crate::model::fixtures::{gpu, node, pod};
use crate::model::{Curable, Node, Pod, PodPhase, Quota, Reason, Time};
use crate::policy::Profile;

/// An engine with a clock of its own.
struct Rig {
    engine: Engine,
    now: Time,
}

impl Rig {
    fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        let mut rig = Self { engine: Engine::new(Arc::new(Profile::shipped())), now: Time::from_unix_ms(1_000_000) };
        nodes.into_iter().for_each(|node| drop(rig.step(Input::NodeApplied(node))));
        rig.step(Input::Synced);
        rig.wait(10);
        rig
    }

    fn step(&mut self, input: Input<'_>) -> Output {
        let output = self.engine.step(self.now, input);
        let broken: Vec<_> = self.engine.violations().into_iter().filter(|violation| violation.kind != "double-grant").collect();
        assert_eq!(broken, vec![]);
        output
    }

    fn wait(&mut self, seconds: u64) -> Vec<Effect> {
        self.now = self.now + Duration::from_secs(seconds);
        self.step(Input::Tick).effects
    }

    /// The nodes that pass, or the refusals.
    fn filter(&mut self, pod: &Pod, names: &[&str]) -> Result<Vec<String>, Refused> {
        match self.step(Input::Filter(FilterQuery { pod, names })).answer {
            Answer::Filter(FilterAnswer { nodes, refused }) if nodes.is_empty() => Err(refused),
            Answer::Filter(FilterAnswer { nodes, .. }) => Ok(nodes.iter().map(|place| names[*place as usize].to_owned()).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn bind(&mut self, pod: &Pod, node: &str) -> BindAnswer {
        match self.step(Input::Bind(BindQuery { pod: pod.clone(), node: node.into() })).answer {
            Answer::Bind(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Ids written by a bind that goes through, confirmed.
    fn bound(&mut self, pod: &Pod, node: &str) -> Vec<String> {
        let BindAnswer::Write(order) = self.bind(pod, node) else { panic!("{pod:?} is not bound") };
        self.step(Input::BindOutcome { uid: pod.uid.clone(), node: node.into(), outcome: BindOutcome::Bound });
        ids(&order)
    }
}

fn ids(order: &BindOrder) -> Vec<String> {
    let devices = order.grant.containers.iter().flat_map(|container| &container.devices);
    devices.map(|device| device.device.as_ref().map_or("?".into(), ToString::to_string)).collect()
}

fn each(reason: Reason, curable: Curable, count: usize) -> Result<Vec<String>, Refused> {
    Err(Refused::Each(vec![(reason, curable); count]))
}

#[test]
fn nothing_is_answered_before_the_books_are_complete() {
    let mut engine = Engine::new(Arc::new(Profile::shipped()));
    let pod = pod("a").gpus(1);
    let ask = |engine: &mut Engine| engine.step(Time::default(), Input::Filter(FilterQuery { pod: &pod, names: &["n"] })).answer;
    assert!(matches!(ask(&mut engine), Answer::NotReady));
    engine.step(Time::default(), Input::Synced);
    assert!(matches!(ask(&mut engine), Answer::Filter(_)));
    engine.step(Time::default(), Input::Desynced);
    assert!(matches!(ask(&mut engine), Answer::NotReady));
}

#[test]
fn a_pod_that_asks_for_no_accelerator_passes_untouched() {
    let mut rig = Rig::new([node("n", 8)]);
    assert_eq!(rig.filter(&pod("web"), &["n", "elsewhere"]), Ok(vec!["n".into(), "elsewhere".into()]));
    assert_eq!(rig.engine.book().holders().count(), 0);
}

#[test]
fn the_fullest_node_that_fits_is_chosen_and_of_equal_ones_the_first_by_name() {
    let mut rig = Rig::new([node("a", 8), node("b", 8), node("c", 8)]);
    assert_eq!(rig.filter(&pod("one").gpus(2), &["c", "b", "a"]), Ok(vec!["a".into()]));
    assert_eq!(rig.filter(&pod("two").gpus(6), &["c", "b", "a"]), Ok(vec!["a".into()]));
    assert_eq!(rig.filter(&pod("three").gpus(1), &["c", "b", "a"]), Ok(vec!["b".into()]));
}

#[test]
fn asking_twice_gives_the_same_answer_and_holds_once() {
    let mut rig = Rig::new([node("a", 8), node("b", 8)]);
    let pod = pod("p").gpus(8);
    assert_eq!(rig.filter(&pod, &["a", "b"]), rig.filter(&pod, &["a", "b"]));
    assert_eq!(rig.engine.book().holders().count(), 1);
    assert_eq!(rig.filter(&pod, &["b"]), Ok(vec!["b".into()]), "a new attempt may end elsewhere");
    assert_eq!(rig.engine.book().holders().count(), 1);
}

#[test]
fn what_a_filter_held_no_other_pod_gets_and_bind_writes_it() {
    let mut rig = Rig::new([node("a", 2)]);
    let (first, second) = (pod("first").gpus(2), pod("second").gpus(1));
    assert_eq!(rig.filter(&first, &["a"]), Ok(vec!["a".into()]));
    assert_eq!(rig.filter(&second, &["a"]), each(Reason::InsufficientDevices, Curable::NotByScheduler, 1));
    assert_eq!(rig.bound(&first, "a"), ["0", "1"]);
    assert_eq!(rig.filter(&second, &["a"]), each(Reason::InsufficientDevices, Curable::ByEviction, 1), "now kube-scheduler counts it too");
}

#[test]
fn a_hold_that_nobody_binds_expires_and_the_refused_pod_is_touched_awake() {
    let mut rig = Rig::new([node("a", 1)]);
    let (first, second) = (pod("first").gpus(1), pod("second").gpus(1));
    rig.filter(&first, &["a"]).unwrap();
    rig.filter(&second, &["a"]).unwrap_err();
    assert_eq!(rig.wait(899), vec![]);
    assert_eq!(rig.wait(1), vec![], "freed: kube-scheduler may retry by itself");
    let touch = Effect::Touch(PodRef { key: second.key.clone(), uid: second.uid.clone() });
    assert_eq!(rig.wait(2), vec![touch]);
    assert_eq!(rig.wait(60), vec![], "once");
    assert_eq!(rig.filter(&second, &["a"]), Ok(vec!["a".into()]));
}

#[test]
fn pods_are_touched_awake_however_often_capacity_grows() {
    let mut rig = Rig::new([node("a", 1)]);
    let stranger = pod("stranger").gpus(1).on("a");
    rig.step(Input::PodApplied(stranger.clone()));
    let waiting: Vec<Pod> = (0..120).map(|index| pod(&format!("w{index}")).gpus(1)).collect();
    waiting.iter().for_each(|pod| drop(rig.filter(pod, &["a"]).unwrap_err()));
    let mut touched = std::collections::BTreeMap::<_, u32>::new();
    for _ in 0..4 {
        rig.step(Input::PodDeleted(stranger.uid.clone()));
        rig.step(Input::PodApplied(stranger.clone()));
        for effect in rig.wait(1) {
            let Effect::Touch(pod) = effect else { panic!("{effect:?}") };
            *touched.entry(pod.uid).or_default() += 1;
        }
    }
    assert_eq!((touched.len(), touched.values().max()), (120, Some(&1)), "all of them, in turn");
}

#[test]
fn bind_decides_afresh_when_nothing_is_held_there() {
    let mut rig = Rig::new([node("a", 2), node("b", 2)]);
    let pod = pod("p").gpus(1);
    rig.filter(&pod, &["a"]).unwrap();
    assert_eq!(rig.bound(&pod, "b"), ["0"]);
    let holder = rig.engine.book().holder(&pod.uid).unwrap();
    assert_eq!((holder.node.as_str(), holder.state), ("b", HolderState::Bound));
}

#[test]
fn explain_tells_why_a_node_was_chosen_also_after_the_bind() {
    let mut rig = Rig::new([node("a", 2), node("b", 2)]);
    let pod = pod("p").gpus(1);
    rig.filter(&pod, &["b", "a"]).unwrap();
    rig.bound(&pod, "a");
    let trace = rig.engine.explain(&pod.uid).unwrap();
    assert_eq!((trace.verb, trace.offered, trace.passed), ("filter", 2, 2));
    let lines = [
        "fit -: fits, devices known by id",
        "health 1.000 x 1: 2 of 2 devices healthy",
        "reserve -: keeps none from this pod",
        "named 1.000 x 4: every free device is known by id",
        "device-topology 1.000 x 2: links are 100 % of the best on an empty box",
        "pack 0.500 x 1: 50 % of its devices in use afterwards",
    ];
    assert_eq!(trace.lines, lines);
    let late = crate::model::fixtures::pod("late").gpus(1);
    rig.bound(&late, "b");
    assert_eq!(rig.engine.explain(&late.uid).unwrap().verb, "bind", "nobody asked filter");
}

#[test]
fn a_stranger_between_filter_and_bind_is_not_overrun() {
    let mut rig = Rig::new([node("a", 2)]);
    let mine = pod("mine").gpus(2);
    rig.filter(&mine, &["a"]).unwrap();
    rig.step(Input::PodApplied(pod("stranger").gpus(1).on("a")));
    assert!(matches!(rig.bind(&mine, "a"), BindAnswer::Refused(_)));
    assert!(rig.engine.book().holder(&mine.uid).is_none());
}

#[test]
fn bind_is_idempotent_and_an_unknown_outcome_keeps_the_hold() {
    let mut rig = Rig::new([node("a", 4)]);
    let mine = pod("mine").gpus(1);
    let BindAnswer::Write(first) = rig.bind(&mine, "a") else { panic!() };
    rig.step(Input::BindOutcome { uid: mine.uid.clone(), node: "a".into(), outcome: BindOutcome::Unknown });
    let BindAnswer::Write(again) = rig.bind(&mine, "a") else { panic!() };
    assert_eq!(first, again, "the same devices are written again");
    let bound = Pod { recorded: Some(first.grant), ..mine.clone().on("a") };
    assert!(matches!(rig.bind(&bound, "a"), BindAnswer::AlreadyBound));
    assert!(matches!(rig.bind(&bound, "b"), BindAnswer::Refused(_)));
    rig.step(Input::BindOutcome { uid: mine.uid.clone(), node: "a".into(), outcome: BindOutcome::Refused });
    assert!(rig.engine.book().holder(&mine.uid).is_some(), "the second write was refused; the first one may land yet");
    rig.wait(301);
    assert!(rig.engine.book().holder(&mine.uid).is_none());
    rig.bind(&mine, "a");
    rig.step(Input::BindOutcome { uid: mine.uid.clone(), node: "a".into(), outcome: BindOutcome::Refused });
    assert!(rig.engine.book().holder(&mine.uid).is_none(), "a first write that was refused frees at once");
}

#[test]
fn while_a_binding_is_undecided_its_devices_are_nobody_elses() {
    let mut rig = Rig::new([node("a", 1), node("b", 1)]);
    let (mine, other) = (pod("mine").gpus(1), pod("other").gpus(1));
    rig.bind(&mine, "a");
    rig.step(Input::BindOutcome { uid: mine.uid.clone(), node: "a".into(), outcome: BindOutcome::Unknown });
    let undecided = Err(Refused::All(Reason::BindingUndecided, Curable::NotByScheduler));
    assert_eq!(rig.filter(&mine, &["b"]), undecided, "kube-scheduler does not offer the node any more");
    assert!(matches!(rig.bind(&mine, "b"), BindAnswer::Refused(refusal) if refusal.reason == Reason::BindingUndecided));
    rig.step(Input::NodeApplied(node("a", 1).unhealthy(&[0])));
    assert!(matches!(rig.bind(&mine, "a"), BindAnswer::Refused(refusal) if refusal.reason == Reason::BindingUndecided));
    rig.step(Input::NodeApplied(node("a", 1)));
    rig.filter(&other, &["a"]).unwrap_err();
    assert_eq!(rig.filter(&mine, &["a", "b"]), Ok(vec!["a".into()]));
    rig.wait(301);
    assert_eq!(rig.filter(&mine, &["b"]), Ok(vec!["b".into()]), "decided by the deadline");
    rig.step(Input::PodApplied(mine.clone().on("b")));
    rig.filter(&mine, &["a"]).unwrap_err();
    assert!(rig.engine.book().holder(&mine.uid).is_some(), "an old question does not free what is bound");
}

#[test]
fn the_watch_decides_what_no_answer_did() {
    let mut rig = Rig::new([node("a", 4), node("b", 4)]);
    let mine = pod("mine").gpus(1);
    let BindAnswer::Write(order) = rig.bind(&mine, "a") else { panic!() };
    rig.step(Input::PodApplied(Pod { recorded: Some(order.grant), ..mine.clone().on("a") }));
    rig.step(Input::BindOutcome { uid: mine.uid.clone(), node: "a".into(), outcome: BindOutcome::Refused });
    assert_eq!(rig.engine.book().holder(&mine.uid).unwrap().state, HolderState::Bound, "a late report of the loser changes nothing");
    rig.step(Input::PodApplied(mine.clone()));
    assert!(rig.engine.book().holder(&mine.uid).is_some(), "an old event does not unbind");
    rig.step(Input::PodDeleted(mine.uid.clone()));
    assert!(rig.engine.book().holder(&mine.uid).is_none());
}

#[test]
fn devices_stay_held_while_a_pod_terminates_and_come_back_when_it_ends() {
    let mut rig = Rig::new([node("a", 2)]);
    rig.step(Input::PodApplied(Pod { deleting: true, ..pod("old").gpus(2).on("a") }));
    rig.filter(&pod("new").gpus(1), &["a"]).unwrap_err();
    rig.step(Input::PodApplied(Pod { phase: PodPhase::Succeeded, ..pod("old").gpus(2).on("a") }));
    assert_eq!(rig.filter(&pod("new").gpus(1), &["a"]), Ok(vec!["a".into()]));
}

#[test]
fn a_pod_with_preferences_sees_every_feasible_node_and_scores() {
    let mut rig = Rig::new([node("a", 8), node("b", 8), node("c", 1)]);
    rig.step(Input::PodApplied(pod("stranger").gpus(4).on("a")));
    let pod = Pod { has_preferences: true, ..pod("p").gpus(2) };
    let names = ["a", "b", "c", "unknown"];
    assert_eq!(rig.filter(&pod, &names), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(rig.engine.book().holder(&pod.uid), None, "bind will decide");
    let Answer::Prioritize(scores) = rig.step(Input::Prioritize(FilterQuery { pod: &pod, names: &names })).answer else { panic!() };
    assert!(scores[1] > scores[0] && scores[0] > 0, "b names its devices: {scores:?}");
    assert_eq!((scores[2], scores[3]), (0, 0));
    assert_eq!(rig.bound(&pod, "b"), ["0", "1"]);
}

#[test]
fn a_refusal_tells_its_story_once_and_its_text_never_changes() {
    let mut rig = Rig::new([node("a", 4), node("b", 8)]);
    rig.step(Input::PodApplied(pod("stranger").gpus(5).on("b")));
    let pod = pod("p").gpus(6);
    let output = rig.step(Input::Filter(FilterQuery { pod: &pod, names: &["a", "b", "gone"] }));
    let refusal = output.trace.as_ref().unwrap().refusal.clone().unwrap();
    assert_eq!(refusal.reason.to_string(), "gangplank: insufficient free accelerators");
    assert_eq!(refusal.needed, "6 of nvidia.com/gpu");
    assert_eq!(refusal.there, "of 3 offered nodes: 2 insufficient-devices, 1 unknown-node; nearest is a with 4 free");
    assert_eq!(refusal.remedy, "2 more freed on a, or a request of at most 4");
    let [Effect::Event(event)] = &output.effects[..] else { panic!("{:?}", output.effects) };
    assert_eq!((event.reason, event.warning, &event.pod.uid), ("AcceleratorsUnavailable", true, &pod.uid));
    assert!(rig.step(Input::Filter(FilterQuery { pod: &pod, names: &["a", "b", "gone"] })).effects.is_empty(), "told once");
    assert_eq!(rig.engine.explain(&pod.uid).unwrap().refusal, Some(refusal));
    assert_eq!(rig.engine.waiting().map(|(pod, _)| pod.key.to_string()).collect::<Vec<_>>(), ["ns/p"]);
}

#[test]
fn an_impossible_request_is_refused_everywhere_for_good() {
    let mut rig = Rig::new([node("a", 8)]);
    let all = Err(Refused::All(Reason::InvalidRequest, Curable::NotByScheduler));
    assert_eq!(rig.filter(&pod("mixed").gpus(1).share(500, None), &["a"]), all);
    assert_eq!(rig.filter(&pod("above").share(1500, None), &["a"]), all);
    let mut hostile = pod("hostile").gpus(1);
    hostile.request.impossible = Some("nvidia.com/gpu: 1e999".into());
    assert_eq!(rig.filter(&hostile, &["a"]), all);
}

#[test]
fn a_quota_counts_shares_beside_whole_devices_and_is_named() {
    let mut rig = Rig::new([node("a", 8), node("b", 8)]);
    let quota = |hard| Quota { namespace: "ns".into(), name: "team".into(), hard: vec![(gpu(), hard)] };
    rig.step(Input::QuotaApplied(quota(2)));
    rig.filter(&pod("whole").gpus(1), &["a"]).unwrap();
    rig.filter(&pod("half").share(500, None), &["b"]).unwrap();
    let over = pod("over").share(600, None);
    let refused = Refused::All(Reason::QuotaExceeded("team".into()), Curable::NotByScheduler);
    assert_eq!(rig.filter(&over, &["b"]), Err(refused));
    assert_eq!(rig.filter(&pod("fits").share(500, None), &["b"]), Ok(vec!["b".into()]));
    assert_eq!(rig.filter(&pod("fits").share(500, None), &["b"]), Ok(vec!["b".into()]), "its own hold does not count against it");
    let mut elsewhere = pod("elsewhere").gpus(1);
    elsewhere.key.namespace = "other".into();
    assert_eq!(rig.filter(&elsewhere, &["a"]), Ok(vec!["a".into()]));
    rig.step(Input::QuotaApplied(quota(3)));
    assert_eq!(rig.wait(2).len(), 1, "kube-scheduler does not wake pods for a quota: we do");
    assert_eq!(rig.filter(&over, &["b"]), Ok(vec!["b".into()]));
}

#[test]
fn a_share_carries_its_environment() {
    let mut rig = Rig::new([node("a", 2)]);
    let BindAnswer::Write(order) = rig.bind(&pod("p").share(500, None).share(255, Some(4096)), "a") else { panic!() };
    let env: Vec<_> = order.env.iter().map(|env| format!("{} {}={}", env.index, env.name, env.value)).collect();
    let expected = [
        "0 NVIDIA_VISIBLE_DEVICES=0",
        "0 CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50",
        "1 NVIDIA_VISIBLE_DEVICES=0",
        "1 CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=26",
        "1 CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=4096M",
    ];
    assert_eq!(env, expected);
}

#[test]
fn preemption_is_vetoed_where_the_devices_would_not_do_or_a_victim_is_not_below() {
    let mut rig = Rig::new([node("a", 4), node("b", 4), node("c", 4), node("d", 1)]);
    for (name, place, gpus, priority) in [("low", "a", 4, 1), ("half", "b", 2, 1), ("rest", "b", 2, 1), ("high", "c", 4, 9)] {
        rig.step(Input::PodApplied(pod(name).gpus(gpus).priority(priority).of_job(name).on(place)));
    }
    rig.step(Input::PodApplied(pod("orphan").gpus(1).on("d")));
    let preemptor = pod("p").gpus(4).priority(5);
    let candidate =
        |node, victims: &[&str]| PreemptCandidate { node, victims: victims.iter().map(|name| pod(name).uid).collect(), pdb_violations: 0 };
    let mut ask = |pod: &Pod, candidates: &[PreemptCandidate<'_>]| {
        let before = rig.engine.digest();
        let Answer::Preempt(choices) = rig.step(Input::Preempt(PreemptQuery { pod, candidates })).answer else { panic!() };
        assert_eq!(rig.engine.digest(), before, "a question changes nothing");
        choices.iter().map(|choice| candidates[choice.candidate as usize].node.to_owned()).collect::<Vec<_>>()
    };
    let proposals = [candidate("a", &["low"]), candidate("b", &["half"]), candidate("c", &["high"]), candidate("unknown", &["low"])];
    assert_eq!(ask(&preemptor, &proposals), ["a"]);
    assert_eq!(ask(&preemptor, &[candidate("b", &["half", "rest"])]), ["b"]);
    assert_eq!(ask(&Pod { never_preempts: true, ..preemptor.clone() }, &proposals), Vec::<String>::new());
    assert_eq!(ask(&pod("plain").priority(5), &[candidate("a", &["low"]), candidate("c", &["high"])]), ["a"], "plain preemptors too");
    assert_eq!(ask(&pod("plain").priority(5), &[candidate("d", &["orphan"])]), Vec::<String>::new(), "nobody would create it again");
    assert_eq!(ask(&pod("plain").priority(5), &[candidate("a", &["unrecorded"])]), ["a"], "victims that are none of our business");
}

#[test]
fn a_relist_finds_and_heals_what_the_watches_missed() {
    let mut rig = Rig::new([node("a", 4), node("gone", 4)]);
    rig.step(Input::PodApplied(pod("ghost").gpus(1).on("a")));
    rig.now = rig.now + Duration::from_secs(60);
    let fresh = pod("fresh").gpus(1);
    rig.filter(&fresh, &["a"]).unwrap();
    let pods = vec![pod("missed").gpus(2).on("a"), fresh.clone(), pod("web")];
    let truth = |pods: &[Pod]| Input::Relisted { pods: pods.to_vec(), nodes: vec![node("a", 4), node("new", 4)] };
    let output = rig.step(truth(&pods));
    let lines = output.trace.unwrap().lines.clone();
    assert_eq!(
        lines,
        ["node-redundant: node gone is gone", "node-missed: node new", "pod-redundant: pod uid-ghost is gone", "pod-missed: pod ns/missed"]
    );
    assert!(rig.engine.book().holder(&fresh.uid).is_some(), "a hold is not drift");
    assert!(rig.step(truth(&pods)).trace.is_none(), "healed");
    let census = rig.engine.census();
    assert_eq!(census.drift.values().sum::<u64>(), 4);
}

#[test]
fn of_two_pods_of_one_name_the_newer_is_explained() {
    let mut rig = Rig::new([node("a", 1)]);
    for uid in ["z-old", "a-new"] {
        rig.step(Input::PodApplied(Pod { uid: uid.into(), ..pod("p").gpus(1) }));
        rig.wait(1);
    }
    assert_eq!(rig.engine.pod("ns", "p").unwrap().uid.as_str(), "a-new");
}

#[test]
fn a_relist_frees_what_the_api_server_does_not_know_to_be_bound() {
    let mut rig = Rig::new([node("a", 2)]);
    let (bound, unsure) = (pod("bound").gpus(1), pod("unsure").gpus(1));
    rig.bound(&bound, "a");
    rig.bind(&unsure, "a");
    rig.step(Input::BindOutcome { uid: unsure.uid.clone(), node: "a".into(), outcome: BindOutcome::Unknown });
    rig.now = rig.now + Duration::from_secs(60);
    let output = rig.step(Input::Relisted { pods: vec![bound.clone(), unsure.clone()], nodes: vec![node("a", 2)] });
    assert_eq!(output.trace.unwrap().lines, ["pod-differs: pod ns/bound is not bound"]);
    assert!(rig.engine.book().holder(&bound.uid).is_none() && rig.engine.book().holder(&unsure.uid).is_some());
}

#[test]
fn after_a_restart_the_objects_alone_give_the_same_digest() {
    let mut rig = Rig::new([node("a", 4), node("b", 4).served()]);
    let mut objects = Vec::new();
    for (name, place, gpus) in [("p", "a", 2), ("q", "b", 3), ("r", "a", 1)] {
        let pod = pod(name).gpus(gpus);
        let BindAnswer::Write(order) = rig.bind(&pod, place) else { panic!() };
        rig.step(Input::BindOutcome { uid: pod.uid.clone(), node: place.into(), outcome: BindOutcome::Bound });
        objects.push(Pod { recorded: Some(order.grant), ..pod.on(place) });
    }
    let mut again = Rig::new([]);
    objects.into_iter().rev().for_each(|pod| drop(again.step(Input::PodApplied(pod))));
    [node("b", 4).served(), node("a", 4)].into_iter().for_each(|node| drop(again.step(Input::NodeApplied(node))));
    assert_eq!(again.engine.digest(), rig.engine.digest());
    assert_ne!(again.engine.digest(), Book::default().digest());
}

#[test]
fn unschedulable_news_frees_an_old_hold_and_spares_a_young_one() {
    let mut rig = Rig::new([node("a", 1)]);
    let mine = pod("mine").gpus(1);
    rig.filter(&mine, &["a"]).unwrap();
    rig.step(Input::PodApplied(Pod { unschedulable: true, ..mine.clone() }));
    assert!(rig.engine.book().holder(&mine.uid).is_some(), "news of the attempt before");
    rig.wait(6);
    rig.step(Input::PodApplied(Pod { unschedulable: true, ..mine.clone() }));
    assert!(rig.engine.book().holder(&mine.uid).is_none());
}

#[test]
fn pods_without_devices_count_for_their_cpu_whatever_told_of_them() {
    let mut rig = Rig::new([node("a", 2)]);
    let cpu = |rig: &Rig| rig.engine.book().node("a").unwrap().load.cpu_milli;
    let plain = Pod { cpu_milli: 4000, ..pod("plain").on("a") };
    rig.step(Input::PodApplied(plain.clone()));
    rig.step(Input::PodApplied(plain.clone()));
    assert_eq!(cpu(&rig), 4000);
    rig.step(Input::Relisted { pods: Vec::new(), nodes: vec![node("a", 2)] });
    assert_eq!(cpu(&rig), 0, "the list knows better");
    rig.step(Input::Relisted { pods: vec![plain.clone()], nodes: vec![node("a", 2)] });
    assert_eq!(cpu(&rig), 4000);
    rig.step(Input::PodApplied(Pod { phase: PodPhase::Succeeded, ..plain }));
    assert_eq!(cpu(&rig), 0);
    let mine = Pod { cpu_milli: 1000, ..pod("mine").gpus(1) };
    rig.filter(&mine, &["a"]).unwrap();
    assert_eq!(cpu(&rig), 1000, "held is carried");
    rig.step(Input::PodDeleted(mine.uid));
    assert_eq!(cpu(&rig), 0);
}

#[test]
fn plain_pods_pass_untouched_unless_the_profile_places_them() {
    let plain = Pod { cpu_milli: 4000, ..pod("plain") };
    let mut rig = Rig::new([node("a", 2), node("b", 2)]);
    let names = ["a", "b"];
    let passed = |rig: &mut Rig| match rig.step(Input::Filter(FilterQuery { pod: &plain, names: &names })).answer {
        Answer::Filter(answer) => answer.nodes,
        other => panic!("{other:?}"),
    };
    assert_eq!(passed(&mut rig), [0, 1]);
    let profile = Profile { plain_pods: crate::policy::PlainPods::Place, ..Profile::shipped() };
    rig.engine = Engine::new(Arc::new(profile));
    for name in names {
        rig.step(Input::NodeApplied(node(name, 2)));
    }
    rig.step(Input::Synced);
    assert_eq!(passed(&mut rig), [0], "one node, by the policies");
    let cpu = |rig: &Rig| rig.engine.book().node("a").unwrap().load.cpu_milli;
    assert_eq!(cpu(&rig), 4000, "counted between filter and bind");
    rig.bind(&plain, "a");
    rig.step(Input::BindOutcome { uid: plain.uid.clone(), node: "a".into(), outcome: BindOutcome::Bound });
    rig.step(Input::PodApplied(Pod { node: Some("a".into()), ..plain.clone() }));
    assert_eq!(cpu(&rig), 4000, "and once, after it");
    assert!(rig.engine.violations().is_empty());
    rig.step(Input::PodDeleted(plain.uid));
    assert_eq!(cpu(&rig), 0);
}
