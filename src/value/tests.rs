//! Behaviour of the market as a whole, on clusters small enough to reason about.

use super::*;

fn share(milli: u16) -> Spec {
    Spec { cpu_milli: 4000, memory_mib: 8192, num: 1, milli, products: Products::ANY }
}

fn whole(num: u8) -> Spec {
    Spec { cpu_milli: 8000, memory_mib: 16_384, num, milli: WHOLE, products: Products::ANY }
}

fn node(cpu_milli: u32, residual_milli: &[u16]) -> (Shape, NodeState) {
    let devices = u8::try_from(residual_milli.len()).unwrap();
    (Shape { cpu_milli: 128_000, memory_mib: 1 << 20, devices }, NodeState::new(cpu_milli, 1 << 20, 0, residual_milli))
}

fn best(market: &mut Market, spec: &Spec, slots: usize) -> Option<usize> {
    let mut asked = market.ask(spec);
    let quotes = (0..slots).filter_map(|slot| Some((slot, asked.quote(slot)?.total)));
    quotes.reduce(|a, b| if b.1 > a.1 { b } else { a }).map(|(slot, _)| slot)
}

#[test]
fn a_share_fills_the_gap_that_fits_it_rather_than_breaking_a_whole_device() {
    let mut market = Market::default();
    [node(128_000, &[1000; 8]), node(128_000, &[1000, 530]), node(128_000, &[350, 0])]
        .into_iter()
        .enumerate()
        .for_each(|(slot, node)| market.set_node(slot, Some(node)));
    for _ in 0..50 {
        market.observe(&share(470));
        market.observe(&whole(1));
        market.observe(&share(320));
    }
    assert_eq!(best(&mut market, &share(470), 3), Some(1));
    assert_eq!(market.ask(&share(470)).quote(1).map(|quote| quote.residual_milli), Some(530));
    assert_eq!(market.ask(&share(360)).quote(2), None, "350 is less than 360");
}

#[test]
fn a_whole_box_is_kept_for_a_pod_that_needs_it_while_any_other_node_will_do() {
    let mut market = Market::default();
    market.set_node(0, Some(node(128_000, &[1000; 8])));
    for slot in 1..4 {
        market.set_node(slot, Some(node(32_000, &[1000; 2])));
    }
    for _ in 0..20 {
        market.observe(&whole(1));
    }
    market.observe(&Spec { cpu_milli: 120_000, ..whole(8) });
    assert!(best(&mut market, &whole(1), 4) > Some(0));
    // Without any arrival that needs it, the doubt that one may come protects it all the same.
    let mut fresh = Market::default();
    fresh.set_node(0, Some(node(128_000, &[1000; 8])));
    fresh.set_node(1, Some(node(128_000, &[1000, 1000, 1000, 1000, 1000, 1000, 1000, 0])));
    fresh.observe(&whole(1));
    assert_eq!(best(&mut fresh, &whole(1), 2), Some(1));
}

#[test]
fn a_product_that_some_pods_insist_on_is_left_to_them() {
    let mut market = Market::default();
    for slot in 0..2 {
        let state = NodeState::new(64_000, 1 << 20, u8::try_from(slot).unwrap(), &[1000; 2]);
        market.set_node(slot, Some((Shape { cpu_milli: 64_000, memory_mib: 1 << 20, devices: 2 }, state)));
    }
    let picky = Spec { products: Products::of([0]), ..whole(1) };
    for _ in 0..40 {
        market.observe(&picky);
        market.observe(&whole(1));
    }
    market.prepare(1000);
    assert_eq!(best(&mut market, &whole(1), 2), Some(1));
    assert_eq!(best(&mut market, &picky, 2), Some(0));
    assert_eq!(market.ask(&picky).quote(1), None);
}

#[test]
fn work_done_ahead_changes_no_quote() {
    let mut lazy = Market::default();
    let specs = [share(470), share(810), share(160), whole(1), whole(4)];
    for slot in 0..20 {
        let gap = u16::try_from(slot * 50).unwrap();
        lazy.set_node(slot, Some(node(96_000 - 1000 * u32::from(gap / 50), &[1000, gap, 1000 - gap, 1000])));
    }
    for spec in specs.iter().cycle().take(150) {
        lazy.observe(spec);
        lazy.ask(spec).quote(0);
    }
    while lazy.prepare(16) {}
    let mut eager = lazy.clone();
    for market in [&mut lazy, &mut eager] {
        (0..20).for_each(|slot| market.set_node(slot, Some(node(50_000 + u32::try_from(slot).unwrap(), &[1000, 1000, 340, 0]))));
    }
    while eager.prepare(16) {}
    let quotes = |market: &mut Market| specs.map(|spec| (0..20).map(|slot| market.ask(&spec).quote(slot)).collect::<Vec<_>>());
    assert_eq!(quotes(&mut lazy), quotes(&mut eager));
    assert_eq!(eager.ask(&specs[0]).evaluations(), 0);
}

#[test]
fn equal_inputs_give_equal_quotes_whatever_nodes_were_before() {
    let mut straight = Market::default();
    let mut detour = Market::default();
    for slot in 0..6 {
        detour.set_node(slot, Some(node(50_000, &[700, 300])));
        detour.set_node(slot, None);
    }
    for slot in 0..6 {
        straight.set_node(slot, Some(node(96_000, &[1000, 470])));
        detour.set_node(5 - slot, Some(node(96_000, &[470, 1000])));
    }
    for market in [&mut straight, &mut detour] {
        for _ in 0..120 {
            market.observe(&share(530));
            market.observe(&whole(2));
        }
    }
    assert_eq!(straight.ask(&share(400)).quote(3), detour.ask(&share(400)).quote(3));
}

#[test]
fn states_no_node_is_in_are_dropped_and_quotes_survive_it() {
    let mut market = Market::default();
    market.set_node(1, Some(node(64_000, &[1000, 640])));
    market.observe(&share(320));
    let before = market.ask(&share(320)).quote(1);
    for cpu in 0..20_000 {
        market.set_node(0, Some(node(cpu, &[1000, 640])));
    }
    market.set_node(0, None);
    assert_eq!(market.ask(&share(320)).quote(1), before);
    assert_eq!(market.ask(&share(320)).quote(0), None);
}

#[test]
fn a_question_that_would_take_too_long_is_answered_by_estimates() {
    let mut market = Market::default();
    for slot in 0..2000 {
        market.set_node(slot, Some(node(96_000 - u32::try_from(slot).unwrap(), &[1000, 640])));
    }
    market.observe(&share(320));
    let mut asked = market.ask(&share(300));
    assert!((0..2000).all(|slot| asked.quote(slot).is_some()), "every node that fits has a quote");
    assert!(asked.evaluations() < 1000, "{}", asked.evaluations());
}

#[test]
fn demand_is_bounded_and_keeps_what_is_frequent() {
    let mut demand = Demand::default();
    for odd in 0..5000 {
        demand.observe(&share(500));
        demand.observe(&Spec { cpu_milli: odd, ..share(100) });
    }
    assert_eq!(demand.all().count(), Demand::KINDS_MAX);
    assert_eq!(demand.typical(0.4), [(share(500), 1.0)]);
    for _ in 0..200_000 {
        demand.observe(&whole(1));
    }
    assert!(demand.seen() < Demand::SEEN_MAX);
    assert_eq!(demand.typical(0.9), [(whole(1), 1.0)], "what was asked for long ago fades");
}

#[test]
fn a_gap_is_worth_what_is_still_to_come_for_it() {
    let worth = |gaps_of_350: usize| {
        let mut inventory = Inventory::default();
        inventory.add(&vec![350; gaps_of_350]);
        inventory.add(&[1000; 100]);
        let mut gaps = Gaps::default();
        (0..5).for_each(|_| gaps.refresh(&[(share(320), 0.1), (whole(1), 0.9)], &inventory));
        gaps.worth(350)
    };
    assert!(worth(1) > 200.0, "{}", worth(1));
    assert!(worth(1000) < 100.0, "{}", worth(1000));
}

#[test]
fn where_pods_leave_a_broken_box_is_broken_further_so_that_others_come_free() {
    let mut market = Market::default();
    let (broken, nearly_whole) =
        (node(128_000, &[1000, 1000, 0, 0, 0, 0, 0, 0]), node(128_000, &[1000, 1000, 1000, 1000, 1000, 1000, 1000, 0]));
    market.set_node(0, Some(nearly_whole));
    market.set_node(1, Some(broken));
    let came_and_went = |market: &mut Market| {
        market.set_node(2, Some(node(128_000, &[1000])));
        market.set_node(2, Some(node(120_000, &[0])));
        market.set_node(2, Some(node(128_000, &[1000])));
        market.set_node(2, None);
    };
    for _ in 0..40 {
        (0..4).for_each(|_| market.observe(&whole(1)));
        market.observe(&whole(8));
    }
    let loss = |market: &mut Market, slot| -market.ask(&whole(1)).change(slot).map_or(0.0, |change| change.room);
    assert!(loss(&mut market, 0).abs() < 1e-9 && loss(&mut market, 1).abs() < 1e-9, "neither takes a pod of eight, and nobody leaves");
    (0..20).for_each(|_| came_and_went(&mut market));
    (0..100).for_each(|_| market.observe(&whole(8)));
    while market.prepare(u32::MAX) {}
    assert!(loss(&mut market, 0) > 10.0 * loss(&mut market, 1), "{} {}", loss(&mut market, 0), loss(&mut market, 1));
    assert_eq!(best(&mut market, &whole(1), 2), Some(1));
}
