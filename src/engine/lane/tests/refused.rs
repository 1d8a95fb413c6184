//! Of many that wait and are alike one is looked at, and nobody gets anything else for it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::run::{Run, gated, uid};
use crate::engine::Input;
use crate::model::fixtures::pod;
use crate::model::{GangId, GangKind, GangRef, Pod, PodKey, Reason};

/// A gated member of a gang of its own name.
fn of_gang(gang: &str, at: u32, (size, min): (u32, u32), gpus: u32) -> Pod {
    let id = GangId { kind: GangKind::Annotation, key: PodKey::new("ns", gang), uid: "".into() };
    let gang_ref = GangRef { id, size: Some(size), min: Some(min), role: "".into(), rank: None };
    gated(Pod { gang: Some(gang_ref), ..pod(&format!("{gang}-{at}")).gpus(gpus) })
}

fn reasons(run: &Run) -> Vec<(String, Option<Reason>)> {
    let reason = |pod: &Pod| run.engine.explain(&pod.uid).and_then(|trace| trace.refusal.as_ref().map(|refusal| refusal.reason.clone()));
    run.pods.values().map(|pod| (pod.key.name.to_string(), reason(pod))).collect()
}

fn places(run: &Run) -> Vec<String> {
    run.engine.book().holders().map(|holder| format!("{} on {}", holder.key.name, holder.node)).collect()
}

#[test]
fn whoever_waits_behind_others_gets_what_it_would_get_if_each_were_looked_at() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut ours, mut each) = (Run::new(), Run::new());
        each.engine.lane.refused.tell_none_apart();
        let mut there: Vec<String> = Vec::new();
        for step in 0..60 {
            let gone = (there.len() > 4 && random.random_bool(0.4)).then(|| there.swap_remove(random.random_range(0..there.len())));
            let priority = i32::from(random.random_bool(0.2));
            let gpus = [1, 2, 4, 8, 8][random.random_range(0..5)];
            let size = [1, 1, 1, 2, 4][random.random_range(0..5)];
            let (word, cordoned) = (random.random_bool(0.1), random.random_bool(0.5));
            for run in [&mut ours, &mut each] {
                if let Some(name) = &gone {
                    run.delete(name);
                } else if word {
                    let mut node = super::run::nodes().swap_remove(0);
                    node.unschedulable = cordoned;
                    run.step(Input::NodeApplied(node));
                    run.settle();
                } else if size == 1 {
                    run.create(gated(pod(&format!("p{step}")).gpus(gpus).priority(priority)));
                } else {
                    (0..size).for_each(|at| run.create(of_gang(&format!("g{step}"), at, (size, size), gpus).priority(priority)));
                }
                run.wait(7);
            }
            if gone.is_none() && !word {
                there.extend(if size == 1 { vec![format!("p{step}")] } else { (0..size).map(|at| format!("g{step}-{at}")).collect() });
            }
            assert_eq!(places(&ours), places(&each), "seed {seed}, step {step}");
            assert_eq!(reasons(&ours), reasons(&each), "seed {seed}, step {step}");
        }
    }
}

#[test]
fn a_gang_that_can_begin_with_fewer_is_not_refused_for_one_that_cannot() {
    let mut run = Run::new();
    (0..4).for_each(|at| run.create(pod_on(at)));
    (0..4).for_each(|at| run.bind(&format!("full-{at}")));
    (0..4).for_each(|at| run.create(of_gang("whole", at, (4, 4), 8)));
    (0..4).for_each(|at| run.create(of_gang("elastic", at, (4, 2), 8)));
    let held = places(&run);
    assert_eq!(held.iter().filter(|place| place.starts_with("elastic")).count(), 2, "{held:?}");
}

fn pod_on(at: u32) -> Pod {
    pod(&format!("full-{at}")).gpus(8)
}

#[test]
fn when_the_first_of_a_kind_goes_the_next_is_looked_at() {
    let mut run = Run::new();
    (0..6).for_each(|at| run.create(pod_on(at)));
    (0..6).for_each(|at| run.bind(&format!("full-{at}")));
    ["a", "b", "c"].into_iter().for_each(|name| run.create(gated(pod(name).gpus(8))));
    run.step(Input::PodDeleted(uid("full-0")));
    run.step(Input::PodDeleted(uid("a")));
    run.settle();
    assert_eq!(places(&run).iter().filter(|place| place.starts_with("b on")).count(), 1, "{:?}", places(&run));
    assert_eq!(run.engine.explain(&uid("c")).unwrap().refusal.as_ref().unwrap().reason, Reason::InsufficientDevices);
}
