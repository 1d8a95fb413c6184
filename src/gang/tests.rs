//! Groups land in the domains that they should, whole or not at all, and refusals say what would help.

mod properties;
mod scene;

use crate::model::{Parts, Reason};
use scene::{Scene, prefer, require};

/// Two blocks of two racks of three nodes.
fn racks() -> Scene {
    let places = [("b1", "r1"), ("b1", "r2"), ("b2", "r3"), ("b2", "r4")];
    let nodes = places.iter().flat_map(|(block, rack)| (0..3).map(move |at| (format!("{rack}-n{at}"), vec![*block, *rack])));
    Scene::new(&["block", "rack"], nodes)
}

#[test]
fn four_pods_land_on_one_node_in_one_rack_in_one_block_by_what_they_need() {
    let one_each = |gpus: u32, members: u32| racks().plan(gpus, members, &[]);
    assert_eq!(one_each(2, 4), ["0-3 r1-n0"]);
    assert_eq!(one_each(8, 3), ["0 r1-n0", "1 r1-n1", "2 r1-n2"]);
    assert_eq!(one_each(8, 4), ["0 r1-n0", "1 r1-n1", "2 r1-n2", "3 r2-n0"]);
    assert_eq!(one_each(4, 5), ["0-1 r1-n0", "2-3 r1-n1", "4 r1-n2"]);
}

#[test]
fn the_tightest_domain_is_taken_and_larger_ones_stay_whole() {
    let mut scene = racks();
    scene.occupy("r3-n1", 8);
    assert_eq!(scene.plan(8, 2, &[]), ["0 r3-n0", "1 r3-n2"], "rack r3 has room for two and no more");
    assert_eq!(scene.plan(8, 3, &[]), ["0 r1-n0", "1 r1-n1", "2 r1-n2"]);
    scene.occupy("r2-n0", 8);
    assert_eq!(scene.plan(8, 5, &[]), ["0 r1-n0", "1 r1-n1", "2 r1-n2", "3 r2-n1", "4 r2-n2"], "block b1 has room for five and no more");
}

#[test]
fn a_required_rack_is_kept_or_the_group_waits_and_is_told_what_would_help() {
    let mut scene = racks();
    for node in ["r1-n0", "r2-n0", "r3-n0", "r4-n0", "r4-n1"] {
        scene.occupy(node, 8);
    }
    assert_eq!(scene.plan(8, 2, &[require("rack")]), ["0 r1-n1", "1 r1-n2"]);
    let refusal = scene.refusal(8, 3, &[require("rack")]);
    assert_eq!(refusal.reason, Reason::NoDomainForGroup);
    assert_eq!(
        [refusal.needed, refusal.there, refusal.remedy],
        [
            "3 members of 8 nvidia.com/gpu each in one rack, all at once",
            "2 of 3 fit in rack r1 of block b1, the nearest to enough (of the other nodes 5 lack free devices)",
            "free room for 1 more in rack r1 of block b1, or run at most 2 members, or require `block` instead: block b1 has room for all",
        ]
    );
    assert_eq!(scene.plan(8, 3, &[prefer("rack")]), ["0 r3-n1", "1 r3-n2", "2 r4-n2"], "block b2 has room for three and no more");
    assert_eq!(scene.plan(8, 7, &[prefer("rack")]).len(), 7, "spread as far as it must be");
    assert_eq!(scene.refusal(8, 8, &[prefer("rack")]).reason, Reason::GroupDoesNotFit);
    assert_eq!(scene.held(), 0, "a refused group holds nothing");
}

#[test]
fn several_levels_hold_together_and_the_narrowest_is_looked_for_inside() {
    let mut scene = racks();
    for node in ["r1-n0", "r2-n0", "r3-n0"] {
        scene.occupy(node, 8);
    }
    assert_eq!(scene.plan(8, 3, &[require("block"), prefer("rack")]), ["0 r4-n0", "1 r4-n1", "2 r4-n2"]);
    assert_eq!(scene.plan(8, 4, &[require("block"), prefer("rack")]), ["0 r1-n1", "1 r1-n2", "2 r2-n1", "3 r2-n2"]);
    assert_eq!(scene.refusal(8, 6, &[require("block"), prefer("rack")]).reason, Reason::NoDomainForGroup);
    assert_eq!(scene.plan(8, 3, &[require("block"), require("rack")]), ["0 r4-n0", "1 r4-n1", "2 r4-n2"]);
}

/// NVL72 racks: 18 trays of four GPUs each.
fn cliques(count: u32) -> Scene {
    let nodes = (0..count).flat_map(|clique| {
        let title: &'static str = ["9f1c.1", "9f1c.2", "9f1c.3"][clique as usize];
        (1..=18).map(move |tray| (format!("rack{clique}-tray-{tray}"), vec![title]))
    });
    Scene::of_gpus(4, &["clique"], nodes)
}

#[test]
fn two_of_eighteen_trays_are_spares_where_the_profile_says_sixteen_are_usable() {
    let mut scene = cliques(2);
    scene.usable("clique", 16);
    let plan = scene.plan(4, 16, &[require("clique")]);
    assert_eq!(plan.len(), 16);
    assert_eq!((plan[0].as_str(), plan[15].as_str()), ("0 rack0-tray-1", "15 rack0-tray-16"));
    let refusal = scene.refusal(4, 17, &[require("clique")]);
    assert_eq!(refusal.there, "16 of 17 fit in clique 9f1c.1, the nearest to enough (of the other nodes 4 are spares)");
    // Two trays fail: the spares stand in, and all sixteen that are left are usable.
    scene.cordon("rack0-tray-3");
    scene.cordon("rack0-tray-7");
    scene.occupy("rack1-tray-1", 4);
    let plan = scene.plan(4, 16, &[require("clique")]);
    assert_eq!((plan[2].as_str(), plan[15].as_str()), ("2 rack0-tray-4", "15 rack0-tray-18"));
    scene.cordon("rack0-tray-8");
    assert_eq!(scene.refusal(4, 16, &[require("clique")]).reason, Reason::NoDomainForGroup);
}

#[test]
fn twenty_four_are_divided_as_twelve_and_twelve() {
    let mut scene = cliques(3);
    scene.usable("clique", 16);
    let even = require("clique").parts(Parts::Even);
    let plan = scene.plan(4, 24, std::slice::from_ref(&even));
    assert_eq!(plan[0], "0 rack0-tray-1");
    assert_eq!((plan[11].as_str(), plan[12].as_str()), ("11 rack0-tray-12", "12 rack1-tray-1"));
    assert_eq!(scene.plan(4, 16, std::slice::from_ref(&even)).len(), 16, "one domain is enough for sixteen");
    assert_eq!(scene.domains(4, 36, std::slice::from_ref(&even)), "12 in clique 9f1c.1, 12 in clique 9f1c.2, 12 in clique 9f1c.3");
    let refusal = scene.refusal(4, 51, &[even]);
    assert_eq!(
        [refusal.there, refusal.remedy],
        [
            "as 3 of 17 it needs 3 times room for 17 in one clique; there are 0; nearest to one more is clique 9f1c.1 with room for 16 (of the other nodes 6 are spares)",
            "free room for 1 more in clique 9f1c.1, or change the group's size",
        ]
    );
}

#[test]
fn slices_of_consecutive_ranks_share_a_domain() {
    let mut scene = cliques(3);
    scene.occupy("rack0-tray-1", 4);
    let slices = |members| require("clique").parts(Parts::Slices(members));
    assert_eq!(scene.domains(4, 32, &[slices(16)]), "16 in clique 9f1c.1, 16 in clique 9f1c.2");
    assert_eq!(scene.domains(4, 32, &[slices(8)]), "16 in clique 9f1c.1, 16 in clique 9f1c.2");
    assert_eq!(scene.domains(4, 18, &[slices(6)]), "18 in clique 9f1c.2");
    let refusal = scene.refusal(4, 10, &[slices(4)]);
    assert_eq!((refusal.reason, refusal.needed.as_str()), (Reason::GroupInvalid, "10 members in slices of 4"));
}

#[test]
fn parts_that_are_only_preferred_give_way() {
    let mut scene = racks();
    for node in ["r1-n0", "r2-n0", "r3-n0", "r4-n0"] {
        scene.occupy(node, 8);
    }
    let even = prefer("rack").parts(Parts::Even);
    assert_eq!(scene.domains(8, 4, std::slice::from_ref(&even)), "2 in rack r1 of block b1, 2 in rack r2 of block b1");
    assert_eq!(scene.plan(8, 7, &[even]).len(), 7);
}

#[test]
fn a_level_that_is_not_there_is_told_with_those_that_are() {
    let refusal = racks().refusal(8, 2, &[require("row")]);
    assert_eq!(
        refusal.to_string(),
        "topology level `row`; the profile's fabric has block, rack, node; name one of these, or add the level to the profile's `fabric`"
    );
    assert_eq!(racks().plan(4, 2, &[require("kubernetes.io/hostname")]), ["0-1 r1-n0"]);
    assert_eq!(racks().refusal(8, 2, &[require("node")]).reason, Reason::NoDomainForGroup);
}

#[test]
fn nodes_that_kube_scheduler_would_refuse_are_not_counted_on() {
    let mut scene = racks();
    scene.cordon("r1-n0");
    scene.taint("r2-n0");
    scene.cpu("r3-n0", 1_000);
    scene.member.cpu_milli = 2_000;
    assert_eq!(scene.plan(8, 3, &[require("rack")]), ["0 r4-n0", "1 r4-n1", "2 r4-n2"]);
    scene.occupy("r4-n2", 1);
    let refusal = scene.refusal(8, 3, &[require("rack")]);
    assert!(
        refusal.there.ends_with("(of the other nodes 1 lack free devices, 1 lack CPU, memory or pods, 2 are closed to it)"),
        "{refusal}"
    );
}

#[test]
fn shares_are_planned_on_devices_that_hold_them() {
    let mut scene = Scene::new(&["rack"], [("a".to_owned(), vec!["r1"]), ("b".to_owned(), vec!["r2"])]);
    scene.serve();
    assert_eq!(scene.plan_shares(600, 8, &[require("rack")]), ["0-7 a"], "one to a device, though 13 are left by count");
    assert_eq!(scene.refusal_shares(600, 9, &[require("rack")]).reason, Reason::NoDomainForGroup);
    assert_eq!(scene.plan_shares(600, 16, &[]).len(), 2);
    assert_eq!(scene.held(), 0);
}
