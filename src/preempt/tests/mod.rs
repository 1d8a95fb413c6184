//! What is taken is what costs least, whole, within budgets, and never more than is needed.

mod brute_force;
mod defrag;
mod scene;

use super::Reach;
use crate::model::fixtures::pod;
use scene::{Scene, Wished, prefer, require};

/// Two blocks of two racks of two nodes, eight devices each.
fn racks() -> Scene {
    let places = [("b1", "r1"), ("b1", "r2"), ("b2", "r3"), ("b2", "r4")];
    let nodes = places.iter().flat_map(|(block, rack)| (0..2).map(move |at| (format!("{rack}-n{at}"), vec![*block, *rack])));
    Scene::new(&["block", "rack"], nodes)
}

/// Every node full with a pod of its own, which has lost so much per node as the list says.
fn full(lost_ms: [u64; 8]) -> Scene {
    let mut scene = racks();
    let names: Vec<String> = scene.nodes();
    for (name, lost_ms) in names.iter().zip(lost_ms) {
        scene.unit(&format!("on-{name}"), &[(name, 8)], 0, lost_ms);
    }
    scene
}

#[test]
fn the_least_lost_work_goes_wherever_it_is() {
    let mut scene = full([9, 1, 9, 9, 1, 9, 9, 2]);
    assert_eq!(scene.victims(8, 2, &[]), ["on-r1-n1", "on-r3-n0"]);
    assert_eq!(scene.victims(8, 3, &[]), ["on-r1-n1", "on-r3-n0", "on-r4-n1"]);
    assert_eq!(scene.victims(4, 3, &[]), ["on-r1-n1", "on-r3-n0"], "two members on one node");
}

#[test]
fn the_wished_domain_comes_before_the_cost_and_a_required_one_before_everything() {
    let mut scene = full([9, 1, 9, 8, 1, 9, 9, 2]);
    assert_eq!(
        scene.victims(8, 2, &[prefer("rack")]),
        ["on-r1-n0", "on-r1-n1"],
        "10 in rack r1 and in rack r3: the first along the fabric"
    );
    assert_eq!(scene.victims(8, 2, &[require("rack")]), ["on-r1-n0", "on-r1-n1"]);
    assert_eq!(scene.victims(8, 3, &[prefer("rack")]), ["on-r3-n0", "on-r3-n1", "on-r4-n1"], "no rack holds three: a block");
    assert_eq!(scene.victims(8, 3, &[require("rack")]), Vec::<String>::new());
    assert_eq!(scene.victims(8, 5, &[prefer("rack")]).len(), 5);
}

#[test]
fn lower_priority_goes_first_however_much_more_of_it_there_must_be() {
    let mut scene = racks();
    for (at, name) in scene.nodes().iter().enumerate() {
        let priority = i32::from(at % 2 == 1);
        scene.unit(&format!("on-{name}"), &[(name, 8)], priority, if priority == 1 { 1 } else { 100 });
    }
    assert_eq!(scene.victims(8, 4, &[]), ["on-r1-n0", "on-r2-n0", "on-r3-n0", "on-r4-n0"]);
    // Once one of the higher priority must go, the others cost what they cost.
    assert_eq!(scene.victims(8, 5, &[]), ["on-r1-n0", "on-r1-n1", "on-r2-n1", "on-r3-n1", "on-r4-n1"]);
    scene.reach_max(0);
    assert_eq!(scene.victims(8, 5, &[]), Vec::<String>::new(), "what the rules do not allow is not taken");
}

#[test]
fn a_gang_goes_whole_and_counts_whole() {
    let mut scene = racks();
    scene.unit("gang", &[("r1-n0", 8), ("r1-n1", 8), ("r2-n0", 8)], 0, 6);
    scene.unit("alone-1", &[("r2-n1", 8)], 0, 3);
    scene.unit("alone-2", &[("r3-n0", 8)], 0, 4);
    for name in ["r3-n1", "r4-n0", "r4-n1"] {
        scene.unit(&format!("on-{name}"), &[(name, 8)], 9, 0);
    }
    assert_eq!(scene.victims(8, 1, &[]), ["alone-1"]);
    assert_eq!(scene.victims(8, 2, &[]), ["gang"], "6 for three nodes is less than 7 for two");
    assert_eq!(scene.victims(8, 4, &[]), ["alone-1", "gang"]);
}

#[test]
fn an_elastic_gang_gives_what_is_above_its_minimum_before_it_goes_whole() {
    let mut scene = racks();
    scene.unit("whole", &[("r1-n0", 8), ("r1-n1", 8), ("r2-n0", 8), ("r2-n1", 8)], 0, 40);
    scene.part("whole", "surplus-3", 3, 10);
    scene.part("whole", "surplus-2", 2, 10);
    for name in ["r3-n0", "r3-n1", "r4-n0", "r4-n1"] {
        scene.unit(&format!("on-{name}"), &[(name, 8)], 9, 0);
    }
    scene.reach_max(0);
    assert_eq!(scene.victims(8, 1, &[]), ["surplus-3"], "of equal ones the first");
    assert_eq!(scene.victims(8, 2, &[]), ["surplus-2", "surplus-3"]);
    assert_eq!(scene.victims(8, 3, &[]), ["whole"]);
}

#[test]
fn a_disruption_budget_is_kept_whatever_else_it_costs() {
    let mut scene = full([1, 1, 1, 5, 5, 5, 5, 5]);
    scene.budget(1, &["on-r1-n0", "on-r1-n1", "on-r2-n0"]);
    assert_eq!(scene.victims(8, 2, &[]).len(), 2);
    assert_eq!(scene.cost().lost_ms, 6, "one of the budget, one beside it");
    scene.budget(0, &["on-r2-n1", "on-r3-n0", "on-r3-n1", "on-r4-n0"]);
    assert_eq!(scene.victims(8, 2, &[])[1], "on-r4-n1");
    assert_eq!(scene.cost().lost_ms, 6, "the other one is any of the three that cost 1");
    assert_eq!(scene.victims(8, 3, &[]), Vec::<String>::new(), "rather none than one more than may go");
}

#[test]
fn what_is_going_already_is_waited_for_and_nobody_else_is_taken() {
    let mut scene = full([1; 8]);
    scene.going("on-r4-n0");
    assert_eq!(scene.victims(8, 1, &[]), Vec::<String>::new());
    let takeover = scene.search(8, 1, &[]).expect("room for one");
    assert_eq!((takeover.reach, takeover.awaited.len()), (None, 1));
    assert_eq!(scene.victims(8, 2, &[]), ["on-r1-n0"]);
}

#[test]
fn of_equal_work_fewer_pods_go() {
    let mut scene = Scene::new(&[], [("a".to_owned(), vec![]), ("b".to_owned(), vec![])]);
    (0..4).for_each(|at| scene.unit(&format!("small-{at}"), &[("a", 2)], 0, 1));
    scene.unit("large", &[("b", 8)], 0, 4);
    assert_eq!(scene.victims(8, 1, &[]), ["large"]);
    assert_eq!(scene.victims(2, 1, &[]), ["small-0"], "and no more of them than are needed");
}

#[test]
fn a_node_whose_freed_devices_are_of_no_use_is_left_alone() {
    let mut scene = full([1, 2, 3, 4, 5, 6, 7, 8]);
    scene.unhealthy("r1-n0");
    scene.cordon("r1-n1");
    scene.cpu("r2-n0", 100);
    scene.member.cpu_milli = 1000;
    assert_eq!(scene.victims(8, 1, &[]), ["on-r2-n1"]);
}

#[test]
fn members_of_different_shapes_and_groups_in_parts_are_planned_whole() {
    let mut scene = full([9, 1, 9, 8, 1, 9, 9, 2]);
    let roles = [(scene.member.clone().gpus(8), 1), (scene.member.clone().gpus(2), 4)];
    let takeover = scene.search_roles(&roles, &[]).expect("room");
    assert_eq!((takeover.victims.len(), takeover.cost.lost_ms, takeover.proven), (2, 2, true));
    let even = Wished::even("rack");
    assert_eq!(scene.victims(8, 4, &[even]).len(), 4);
    assert_eq!(scene.cost().lost_ms, 1 + 8 + 1 + 2, "one in each rack: four equal parts are as good as two");
}

#[test]
fn shares_are_freed_on_one_device() {
    let mut scene = Scene::new(&[], [("a".to_owned(), vec![])]);
    scene.serve();
    scene.share("x", "a", 0, 700, 5);
    scene.share("y", "a", 0, 300, 5);
    scene.share("z", "a", 1, 600, 9);
    (2..8).for_each(|device| scene.share(&format!("high-{device}"), "a", device, 900, 0));
    (2..8).for_each(|device| scene.raise(&format!("high-{device}"), 9));
    scene.reach_max(0);
    let roles = [(pod("m").share(800, None), 1)];
    let takeover = scene.search_roles(&roles, &[]).expect("room");
    assert_eq!(scene.titles(&takeover), ["z"], "9 for one device; the other costs 10");
    assert_eq!(takeover.reach, Some(Reach::default()));
}
