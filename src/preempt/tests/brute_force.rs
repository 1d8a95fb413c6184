//! On random small clusters the search is as good as trying every set of units; and what it takes is needed, every bit.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::scene::{Scene, Wished, prefer, require};
use crate::model::{NodeName, Pod};
use crate::preempt::{Cost, Reach};

/// What a choice of victims is worth: how far down the wishes, how high it reaches, what it costs.
type Worth = (usize, Option<Reach>, Cost);

/// A cluster, who wants to start, and its wishes.
struct Case {
    scene: Scene,
    roles: Vec<(Pod, u32)>,
    wished: Vec<Wished>,
}

const UNITS_MAX: usize = 8;

fn case(seed: u64) -> Case {
    let mut rng = StdRng::seed_from_u64(seed);
    let gpus = [2, 4, 8][rng.random_range(0..3)];
    let nodes = rng.random_range(2..=6_usize);
    let places = (0..nodes).map(|at| {
        let block = ["b1", "b2", ""][rng.random_range(0..3)];
        (format!("n{at}"), vec![block, ["r1", "r2", "r3", ""][rng.random_range(0..4)]])
    });
    let places: Vec<_> = places.collect();
    let mut scene = Scene::of_gpus(gpus, &["block", "rack"], places);
    let names = scene.nodes();
    let (low, high) = (rng.random_range(1..=3_u64), rng.random_range(1..=3));
    while scene.units.len() < UNITS_MAX {
        let open: Vec<&String> = names.iter().filter(|name| scene.left(name) > 0).collect();
        if open.is_empty() {
            break;
        }
        // A gang, or a pod alone; few kinds of them, so that there are ties.
        let members = if rng.random_bool(0.4) { rng.random_range(2..=3) } else { 1 };
        let mut pods: Vec<(&str, u32)> = Vec::new();
        for _ in 0..members {
            let on = open[rng.random_range(0..open.len())];
            let taken: u32 = pods.iter().filter(|(name, _)| name == on).map(|(_, gpus)| *gpus).sum();
            let left = u32::try_from(scene.left(on)).unwrap() - taken;
            if left > 0 {
                pods.push((on, rng.random_range(1..=left)));
            }
        }
        let (title, priority, lost_ms) = (format!("u{}", scene.units.len()), rng.random_range(0..=2), low + rng.random_range(0..=high));
        scene.unit(&title, &pods, priority, lost_ms);
        if pods.len() > 1 && rng.random_bool(0.3) && scene.units.len() < UNITS_MAX {
            scene.part(&title, &format!("{title}-part"), pods.len() - 1, rng.random_range(0..=lost_ms));
        }
    }
    for at in 0..rng.random_range(0..=2_usize) {
        let some: Vec<String> = scene.units.iter().map(|unit| unit.title.clone()).filter(|_| rng.random_bool(0.5)).collect();
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        scene.budget(rng.random_range(0..=3), &some);
        assert_eq!(scene.allowances.len(), at + 1);
    }
    if rng.random_bool(0.2) && scene.units.iter().all(|unit| !unit.title.ends_with("part")) {
        let title = scene.units[rng.random_range(0..scene.units.len())].title.clone();
        scene.going(&title);
    }
    scene.member.constraints.apart = rng.random_bool(0.2);
    let role = |rng: &mut StdRng, scene: &Scene| (scene.member.clone().gpus(rng.random_range(1..=gpus)), rng.random_range(1..=4));
    let mut roles = vec![role(&mut rng, &scene)];
    if rng.random_bool(0.15) {
        roles.push(role(&mut rng, &scene));
    }
    let wished = match rng.random_range(0..5) {
        0 => vec![require("rack")],
        1 => vec![prefer("rack")],
        2 => vec![require("block"), prefer("rack")],
        _ => Vec::new(),
    };
    Case { scene, roles, wished }
}

/// The wishes with each level that is preferred required in turn: independent of how the search ranks them.
fn rungs(wished: &[Wished]) -> Vec<Vec<Wished>> {
    let required: Vec<Wished> = wished.iter().filter(|wish| wish.required).cloned().collect();
    let with = |level: &str| required.iter().cloned().chain([require(level)]).collect::<Vec<Wished>>();
    let mut rungs = Vec::new();
    if wished.iter().any(|wish| !wish.required) {
        rungs.push(with("rack"));
        if required.is_empty() {
            rungs.push(with("block"));
        }
    }
    rungs.push(required);
    rungs
}

impl Case {
    fn keeps_budgets(&self, units: &[usize]) -> bool {
        let taken = |budget: usize| -> u32 {
            let weights = units.iter().flat_map(|unit| &self.scene.units[*unit].budgets);
            weights.filter(|(of, _)| *of == budget).map(|(_, pods)| pods).sum()
        };
        (0..self.scene.allowances.len()).all(|budget| taken(budget) <= self.scene.allowances[budget])
    }

    fn worth(&self, rung: usize, units: &[usize]) -> Worth {
        let units = || units.iter().map(|unit| &self.scene.units[*unit]);
        (rung, units().map(|unit| unit.reach).max(), units().map(super::super::Unit::cost).sum())
    }

    /// The best of all sets of units, by trying them in the order of their worth.
    fn brute_force(&mut self) -> Option<Worth> {
        let count = self.scene.units.len();
        let list = |set: u32| (0..count).filter(|unit| set & 1 << unit != 0).collect::<Vec<usize>>();
        let sets: Vec<Vec<usize>> = (0..1_u32 << count).map(list).filter(|set| self.keeps_budgets(set)).collect();
        for (rung, wished) in rungs(&self.wished).into_iter().enumerate() {
            let mut sets: Vec<(Worth, &Vec<usize>)> = sets.iter().map(|set| (self.worth(rung, set), set)).collect();
            sets.sort();
            for (worth, set) in sets {
                if self.scene.fits_without(&self.roles, &wished, set).is_some() {
                    return Some(worth);
                }
            }
        }
        None
    }

    /// How far down the wishes a plan is.
    fn rung_of(&self, nodes: &BTreeSet<&NodeName>) -> usize {
        let rungs = rungs(&self.wished);
        let shares = |level: &str| {
            let domains: BTreeSet<Option<String>> = nodes.iter().map(|node| self.scene.domain(level, node)).collect();
            domains.len() == 1 && !domains.contains(&None)
        };
        let holds = |wished: &Vec<Wished>| wished.iter().all(|wish| shares(&wish.wish.level));
        rungs.iter().position(holds).expect("what is required holds")
    }
}

#[test]
fn on_a_thousand_small_clusters_it_is_as_good_as_trying_every_set() {
    let (mut found, mut in_vain, mut free, mut several) = (0, 0, 0, 0);
    for seed in 0..1000 {
        let mut case = case(seed);
        let best = case.brute_force();
        let takeover = case.scene.search_roles(&case.roles.clone(), &case.wished.clone());
        let worth = takeover.as_ref().map(|takeover| {
            let nodes: BTreeSet<&NodeName> = takeover.plan.members.iter().map(|planned| &planned.node).collect();
            case.worth(case.rung_of(&nodes), &takeover.victims)
        });
        if let (Some((_, None, _)), None) = (best, worth) {
            // There is room without anybody going: nobody asks then.
            free += 1;
            continue;
        }
        assert_eq!(worth, best, "seed {seed}");
        let Some(takeover) = takeover else {
            in_vain += 1;
            continue;
        };
        assert!(takeover.proven, "seed {seed}");
        found += 1;
        several += usize::from(takeover.victims.len() > 1);
        // Without any one of them it does not fit as well.
        let wished = &rungs(&case.wished)[worth.map_or(0, |(rung, ..)| rung)];
        for victim in &takeover.victims {
            let others: Vec<usize> = takeover.victims.iter().copied().filter(|other| other != victim).collect();
            assert!(case.scene.fits_without(&case.roles, wished, &others).is_none(), "seed {seed}: {victim} goes in vain");
        }
    }
    assert!(found > 400 && in_vain > 100 && several > 100, "{found} found, {in_vain} in vain, {free} with room, {several} of several");
}

#[test]
fn what_is_taken_is_needed_however_few_steps_the_search_has() {
    for seed in 0..300 {
        let mut case = case(seed);
        case.scene.steps_max = seed % 40;
        let Some(takeover) = case.scene.search_roles(&case.roles.clone(), &case.wished.clone()) else { continue };
        assert!(case.keeps_budgets(&takeover.victims), "seed {seed}");
        let nodes: BTreeSet<&NodeName> = takeover.plan.members.iter().map(|planned| &planned.node).collect();
        let wished = &rungs(&case.wished)[case.rung_of(&nodes)];
        for victim in &takeover.victims {
            let others: Vec<usize> = takeover.victims.iter().copied().filter(|other| other != victim).collect();
            assert!(case.scene.fits_without(&case.roles, wished, &others).is_none(), "seed {seed}: {victim} goes in vain");
        }
    }
}
