//! Queues with endless demand come to have what their weights say.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::shop::{Coming, Shop};

const HOURS: u64 = 20;
const QUEUES: &str = "{list: [{name: one, namespaces: {matchNames: [one]}}, {name: two, namespaces: {matchNames: [two]}, weight: 2},
    {name: five, namespaces: {matchNames: [five]}, weight: 5}]}";

const NAMESPACES: [&str; 3] = ["one", "two", "five"];
/// GPUs of jobs.
const SIZES: [u32; 3] = [1, 2, 4];

/// GPU seconds of each queue in the last tenth of a run in which each always has jobs of every size waiting.
fn last_tenth(seed: u64, queues: &str) -> BTreeMap<String, u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut shop = Shop::new(6, queues);
    let mut count = 0;
    let mut comes = |shop: &mut Shop, namespace: &'static str, gpus: u32| {
        count += 1;
        shop.comes(&format!("job-{count}"), &Coming { namespace, gpus, runs_s: random.random_range(300..=1800) });
    };
    for (namespace, gpus) in NAMESPACES.iter().flat_map(|namespace| SIZES.map(|gpus| (*namespace, gpus))) {
        (0..5).for_each(|_| comes(&mut shop, namespace, gpus));
    }
    loop {
        shop.settle();
        // Whoever starts leaves another one like it behind.
        for (namespace, gpus) in std::mem::take(&mut shop.started) {
            comes(&mut shop, namespace, gpus);
        }
        let Some(at_s) = shop.next_end_s().filter(|at_s| *at_s < HOURS * 3600) else { break };
        let early = shop.now_s < HOURS * 3600 * 9 / 10;
        shop.pass_to(at_s);
        if early {
            shop.had_s.clear();
        }
    }
    assert_eq!(shop.engine.violations(), []);
    shop.had_s.iter().map(|(namespace, had_s)| (namespace.to_string(), *had_s)).collect()
}

fn assert_shares(had_s: &BTreeMap<String, u64>, weights: [(&str, u64); 3]) {
    let all: u64 = had_s.values().sum();
    let of_all: u64 = weights.iter().map(|(_, weight)| weight).sum();
    for (namespace, weight) in weights {
        let is = had_s[namespace] as f64 / all as f64 / (weight as f64 / of_all as f64);
        assert!((0.98..=1.02).contains(&is), "{namespace}: {is} of its share; {had_s:?}");
    }
    let possible_s = 48 * HOURS * 360;
    assert!(all * 100 >= possible_s * 97, "{all} of {possible_s} GPU seconds are used");
}

#[test]
fn queues_with_weights_1_2_5_and_endless_demand_come_to_1_2_5() {
    let had_s = last_tenth(1, QUEUES);
    assert_shares(&had_s, [("one", 1), ("two", 2), ("five", 5)]);
}

#[test]
fn a_hierarchy_shares_first_between_parents() {
    let queues = "{list: [{name: org, weight: 3}, {name: one, parent: org, namespaces: {matchNames: [one]}},
        {name: two, parent: org, namespaces: {matchNames: [two]}, weight: 2}, {name: five, namespaces: {matchNames: [five]}, weight: 5}]}";
    let had_s = last_tenth(7, queues);
    assert_shares(&had_s, [("one", 1), ("two", 2), ("five", 5)]);
}
