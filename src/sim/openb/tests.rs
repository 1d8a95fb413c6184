//! Each baseline on nodes small enough to do the sums by hand, and the rules that hold for all of them.

use std::sync::Arc;

use super::*;
use crate::policy::Profile;

const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\n";
const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n";

fn lists(nodes: &[&str], pods: &[&str]) -> (Nodes, Pods) {
    let nodes = Nodes::parse(&format!("{NODES}{}", nodes.join("\n"))).unwrap();
    let pods = Pods::parse(&format!("{PODS}{}", pods.join("\n")), &nodes).unwrap();
    (nodes, pods)
}

/// Where a policy puts the pods of a list, in the order of names: node and device mask each.
fn placed(policy: &str, nodes: &[&str], pods: &[&str]) -> Vec<Option<(usize, u32)>> {
    let (nodes, pods) = lists(nodes, pods);
    let baseline = ALL.iter().find(|baseline| baseline.name == policy).unwrap();
    let mut packer = (baseline.start)(&nodes, &pods, 7);
    let (mut state, mut offered) = (ClusterState::new(&nodes), Vec::new());
    let mut put = |(arrival, pod): (usize, &PodSpec)| {
        state.offer(pod, &mut offered);
        let place = packer.choose(&state, &Asked { arrival, pod }, &offered)?;
        state.place(pod, &place);
        Some((place.node, place.devices))
    };
    pods.list.iter().enumerate().map(&mut put).collect()
}

/// 8 cores and 2 GPUs, 64 cores and 4 GPUs.
const TWO: [&str; 2] = ["a,8000,65536,2,T4", "b,64000,65536,4,G2"];

#[test]
fn first_fit_takes_the_first_name_and_the_tightest_device() {
    let pods = ["p1,1000,1024,1,600,", "p2,1000,1024,1,500,", "p3,1000,1024,1,400,", "p4,1000,1024,2,1000,", "p5,1000,1024,1,300,G2"];
    let expected = [Some((0, 0b01)), Some((0, 0b10)), Some((0, 0b01)), Some((1, 0b0011)), Some((1, 0b0100))];
    assert_eq!(placed("first-fit", &TWO, &pods), expected);
}

#[test]
fn best_fit_takes_the_node_with_the_least_left() {
    // Left of 128 cores and 8 GPUs, halved and summed: a 7/128, 1/8 -> 0.090; b 63/128, 3/8 -> 0.433.
    assert_eq!(placed("best-fit", &TWO, &["p1,1000,1024,1,1000,"]), [Some((0, 0b01))]);
    // 8 cores of a are too few for the second.
    assert_eq!(placed("best-fit", &TWO, &["p1,1000,1024,1,1000,", "p2,8000,1024,1,1000,"]), [Some((0, 0b01)), Some((1, 0b0001))]);
    // Integers: 101 and 100 cores left of 128 are 60.5 and 60.9, both 60, and the first name wins.
    let close = ["x,102000,65536,0,T4", "y,101000,65536,0,T4"];
    assert_eq!(placed("best-fit", &close, &["p1,1000,1024,0,0,"]), [Some((0, 0))]);
}

#[test]
fn dot_product_takes_the_node_that_is_least_like_the_pod() {
    // 32 of 128 cores asked for: a 8/128 * 32/128 = 0.016, were it large enough; c 96/128 * 32/128 = 0.19, b 0.13.
    let three = ["a,8000,65536,2,T4", "b,64000,65536,4,G2", "c,96000,65536,4,G2"];
    assert_eq!(placed("dot-product", &three, &["p1,32000,1024,0,0,"]), [Some((1, 0))]);
}

#[test]
fn gpu_packing_fills_used_devices_then_used_nodes_then_small_nodes() {
    let pods = ["p1,1000,1024,1,600,", "p2,1000,1024,1,300,", "p3,1000,1024,1,500,", "p4,1000,1024,2,1000,", "p5,0,0,1,1000,"];
    // Empty nodes: 33 - 2 for a, 33 - 4 for b. p2 beside p1; p3 on the used node; p4 fits b alone; p5 on used b.
    let expected = [Some((0, 0b01)), Some((0, 0b01)), Some((0, 0b10)), Some((1, 0b0011)), Some((1, 0b0100))];
    assert_eq!(placed("gpu-packing", &TWO, &pods), expected);
}

#[test]
fn fgd_goes_where_the_fewest_gpus_become_useless() {
    // The usual pods are halves and wholes alike. On a: a whole one leaves one free GPU, which both can use. A half leaves
    // 500 that only halves can use (250 lost on average); the next half goes beside it, which mends that.
    let node = ["a,64000,65536,2,T4", "b,64000,65536,2,T4"];
    let pods = ["p1,1000,1024,1,500,", "p2,1000,1024,1,1000,", "p3,1000,1024,1,500,", "p4,1000,1024,1,1000,"];
    let expected = [Some((0, 0b01)), Some((0, 0b10)), Some((0, 0b01)), Some((1, 0b01))];
    assert_eq!(placed("fgd", &node, &pods), expected);
    let (nodes, pods) = lists(&node, &pods);
    let usual = Usual::of(&pods.list);
    let mut state = ClusterState::new(&nodes);
    assert!(usual.fragments_milli(&state.nodes[0]).abs() < 1e-9, "every usual pod can use every idle GPU");
    state.place(&pods.list[0], &Place { node: 0, devices: 1 });
    assert!((usual.fragments_milli(&state.nodes[0]) - 250.0).abs() < 1e-9, "500 are useless to every other pod");
    state.nodes[0].cpu_milli = 0;
    assert!((usual.fragments_milli(&state.nodes[0]) - 1500.0).abs() < 1e-9, "without CPU everything idle is useless");
}

#[test]
fn kube_scheduler_spreads_or_packs_by_its_own_percentages() {
    // 1 core and 1 GiB: a keeps (87 + 98) / 2 % free, b (98 + 98) / 2 %.
    assert_eq!(placed("least-allocated", &TWO, &["p1,1000,1024,1,600,"]), [Some((1, 0b0001))]);
    // a is used by (12 + 1 + 30) / 3 %, b by (1 + 1 + 15) / 3 %.
    assert_eq!(placed("most-allocated", &TWO, &["p1,1000,1024,1,600,"]), [Some((0, 0b01))]);
}

/// Enough to fill ten nodes and more, with every kind of pod.
fn crowd() -> (Nodes, Pods) {
    let nodes: Vec<String> =
        (0..10).map(|at| format!("n{at},{},262144,{},{}", 16_000 + 8_000 * at, 2 + at % 3 * 3, ["T4", "G2"][at % 2])).collect();
    let kinds = ["1000,1024,1,810,", "2000,4096,1,470,", "8000,8192,1,1000,", "500,512,1,160,G2", "4000,1024,0,0,", "3000,1024,2,1000,T4"];
    let pods: Vec<String> = (0..240).map(|at| format!("p{at:03},{}", kinds[at * 7 % 11 % 6])).collect();
    let refs = |lines: &[String]| lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let nodes = Nodes::parse(&format!("{NODES}{}", refs(&nodes))).unwrap();
    let pods = Pods::parse(&format!("{PODS}{}", refs(&pods)), &nodes).unwrap();
    (nodes, pods)
}

/// Everybody, ours included, by name.
fn everybody(nodes: &Nodes, pods: &Pods, seed: u64) -> Vec<(&'static str, Box<dyn Packer>)> {
    let ours = Box::new(Ours::new(nodes, Arc::new(Profile::shipped()), seed, || 0)) as Box<dyn Packer>;
    let others = ALL.iter().map(|baseline| (baseline.name, (baseline.start)(nodes, pods, seed)));
    std::iter::once(("gangplank", ours)).chain(others).collect()
}

#[test]
fn nobody_is_refused_while_a_node_fits_and_the_same_seed_gives_the_same_run() {
    let (nodes, pods) = crowd();
    let order = arrivals(&pods.list, 42, None);
    let run = |packer: &mut dyn Packer| {
        let fill = fill(&nodes, &pods, &order, packer, || 0).unwrap();
        (fill.state.nodes, fill.placed, fill.refused)
    };
    for ((name, mut once), (_, mut again)) in everybody(&nodes, &pods, 42).into_iter().zip(everybody(&nodes, &pods, 42)) {
        let first = run(&mut *once);
        assert!(first.1 > 40 && first.2 > 40, "{name}: {} placed, {} refused", first.1, first.2);
        assert_eq!(first, run(&mut *again), "{name}");
    }
    let mut ours = Ours::new(&nodes, Arc::new(Profile::shipped()), 42, || 0);
    run(&mut ours);
    assert_eq!(ours.engine().violations(), []);
}

#[test]
fn a_packer_that_breaks_the_rules_is_caught() {
    #[derive(Debug)]
    struct Always(Option<Place>);
    impl Packer for Always {
        fn choose(&mut self, _: &ClusterState, _: &Asked<'_>, _: &[usize]) -> Option<Place> {
            self.0
        }
    }
    let (nodes, pods) = lists(&TWO, &["p1,9000,1024,1,600,"]);
    let problem = |place| fill(&nodes, &pods, &[0], &mut Always(place), || 0).unwrap_err().problem;
    assert_eq!(problem(None), "refused although a node fits");
    assert_eq!(problem(Some(Place { node: 0, devices: 1 })), "put on a node that was not offered");
    for devices in [0, 0b11, 0b10000] {
        assert_eq!(problem(Some(Place { node: 1, devices })), "put on devices that do not have what it asks for");
    }
}
