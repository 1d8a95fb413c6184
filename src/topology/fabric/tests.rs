//! Nodes fall into the domains that their labels, or the HyperNodes, say.

use super::*;
use crate::model::{Constraints, Operator, Requirement, fixtures};

fn node(name: &str, labels: &[(&str, &str)]) -> Node {
    let mut node = fixtures::node(name, 8);
    node.labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    node
}

fn of(rules: FabricRules, nodes: &[Node]) -> Fabric {
    let mut fabric = Fabric::new(Arc::new(rules));
    nodes.iter().for_each(|node| fabric.set_node(node));
    fabric
}

/// Every domain with its nodes.
fn shown(fabric: &Fabric) -> Vec<String> {
    let levels = 0..fabric.rules().levels.len();
    let domains = levels.flat_map(|level| fabric.domains(level).collect::<Vec<_>>());
    domains
        .map(|(id, domain)| {
            let nodes: Vec<&str> = domain.nodes.iter().map(NodeName::as_str).collect();
            format!("{}: {}", fabric.title(id), nodes.join(" "))
        })
        .collect()
}

#[test]
fn every_preset_reads_the_labels_of_its_provider() {
    for (preset, labels, expected) in [
        (
            "topograph",
            &[
                ("fabric.topograph.run/tier-2", "c"),
                ("fabric.topograph.run/tier-1", "s"),
                ("fabric.topograph.run/tier-0", "l"),
                ("accelerator.topograph.run/domain", "nvl1"),
                ("accelerator.topograph.run/sub-domain", "nvl1-a"),
            ][..],
            &["core c", "spine s of core c", "leaf l of spine s of core c", "accelerator nvl1", "sub-accelerator nvl1-a"][..],
        ),
        (
            "topograph-old",
            &[
                ("network.topology.nvidia.com/core", "c"),
                ("network.topology.nvidia.com/spine", "s"),
                ("network.topology.nvidia.com/leaf", "l"),
                ("network.topology.nvidia.com/accelerator", "nvl1"),
            ],
            &["core c", "spine s of core c", "leaf l of spine s of core c", "accelerator nvl1"],
        ),
        (
            "gke",
            &[
                ("cloud.google.com/gce-topology-block", "b"),
                ("cloud.google.com/gce-topology-subblock", "s"),
                ("cloud.google.com/gce-topology-host", "h"),
            ],
            &["block b", "subblock s of block b", "host h of subblock s of block b"],
        ),
        (
            "aws",
            &[
                ("topology.k8s.aws/network-node-layer-1", "nn-1"),
                ("topology.k8s.aws/network-node-layer-2", "nn-2"),
                ("topology.k8s.aws/network-node-layer-3", "nn-3"),
            ],
            &["layer-1 nn-1", "layer-2 nn-2 of layer-1 nn-1", "layer-3 nn-3 of layer-2 nn-2 of layer-1 nn-1"],
        ),
        (
            "oci",
            &[("oci.oraclecloud.com/host.network_block_id", "b"), ("oci.oraclecloud.com/host.rack_id", "r")],
            &["block b", "rack r of block b"],
        ),
        ("nvlink", &[("nvidia.com/gpu.clique", "9f1c.32766")], &["nvlink-domain 9f1c", "clique 9f1c.32766"]),
        (
            "auto",
            &[
                ("topology.k8s.aws/network-node-layer-1", "nn-1"),
                ("topology.k8s.aws/network-node-layer-3", "nn-3"),
                ("nvidia.com/gpu.clique", "9f1c.1"),
            ],
            &["block nn-1", "rack nn-3 of block nn-1", "nvlink-domain 9f1c", "clique 9f1c.1"],
        ),
    ] {
        let fabric = of(FabricRules::preset(Preset::of(preset).unwrap()), &[node("n", labels)]);
        let expected: Vec<String> = expected.iter().map(|title| format!("{title}: n")).collect();
        assert_eq!(shown(&fabric), expected, "{preset}");
        assert_eq!(fabric.rules().level_of("kubernetes.io/hostname"), Some(fabric.rules().levels.len()));
    }
    assert!(Preset::of("slurm").is_none());
    for preset in PRESETS {
        let levels = preset.levels();
        let names: BTreeSet<&str> = levels.iter().map(|level| &*level.name).collect();
        assert!(names.len() == levels.len() && !names.contains(NODE_LEVEL), "{}: a name means one level", preset.name);
    }
}

#[test]
fn equal_values_in_different_blocks_are_different_racks_unless_they_are_unique() {
    let racks = || FabricRules::labels(["block", "rack"]);
    let nodes = [node("a", &[("block", "b1"), ("rack", "1")]), node("b", &[("block", "b2"), ("rack", "1")])];
    assert_eq!(shown(&of(racks(), &nodes)), ["block b1: a", "block b2: b", "rack 1 of block b1: a", "rack 1 of block b2: b"]);
    let mut unique = racks();
    unique.levels[1].unique = true;
    assert_eq!(shown(&of(unique, &nodes)), ["block b1: a", "block b2: b", "rack 1: a b"]);
}

#[test]
fn a_node_without_a_label_is_outside_that_level_alone() {
    let nodes = [node("a", &[("rack", "1")]), node("b", &[("block", "b")]), node("c", &[])];
    let fabric = of(FabricRules::labels(["block", "rack"]), &nodes);
    assert_eq!(shown(&fabric), ["block b: b", "rack 1: a"]);
    let order: Vec<&str> = fabric.nodes().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, ["b", "a", "c"], "nodes outside come last");
}

#[test]
fn domains_follow_the_nodes_that_come_change_and_go() {
    let rules = || FabricRules::labels(["rack"]);
    let mut fabric = of(rules(), &[node("a", &[("rack", "1")]), node("b", &[("rack", "1")])]);
    fabric.set_node(&node("b", &[("rack", "2")]));
    assert_eq!(shown(&fabric), ["rack 1: a", "rack 2: b"]);
    fabric.remove_node(&"a".into());
    fabric.set_node(&node("c", &[("rack", "3")]));
    assert_eq!(shown(&fabric), ["rack 2: b", "rack 3: c"]);
    let afresh = of(rules(), &[node("c", &[("rack", "3")]), node("b", &[("rack", "2")])]);
    assert_eq!(shown(&fabric), shown(&afresh));
    fabric.remove_node(&"b".into());
    fabric.remove_node(&"c".into());
    assert!(shown(&fabric).is_empty() && fabric.nodes().next().is_none() && fabric.domains_of("c").is_none());
}

#[test]
fn a_level_is_found_by_its_name_or_a_label_that_it_reads() {
    let rules = FabricRules::preset(Preset::of("auto").unwrap());
    for (wanted, expected) in [
        ("block", Some("block")),
        ("clique", Some("clique")),
        ("cloud.google.com/gce-topology-subblock", Some("rack")),
        ("nvidia.com/gpu.clique", Some("clique")),
        ("node", Some("node")),
        ("row", None),
    ] {
        assert_eq!(rules.level_of(wanted).map(|level| rules.name_of(level)), expected, "{wanted}");
    }
}

#[test]
fn hyper_nodes_take_members_by_name_pattern_label_and_through_each_other() {
    let hyper_node = |name: &str, tier: u32, hyper_nodes: bool, selectors: Vec<Selector>| HyperNode {
        name: name.into(),
        tier,
        tier_name: (tier == 2).then(|| "spine".into()),
        members: selectors.into_iter().map(|selector| Member { hyper_nodes, selector }).collect(),
    };
    let in_rack = Requirement { key: "rack".into(), field: false, operator: Operator::In, values: vec!["z".into()] };
    let labelled = Selector::Labels(Constraints { node_selector: vec![in_rack], ..Constraints::default() });
    let rules = FabricRules::hyper_nodes(vec![
        hyper_node("s0", 2, true, vec![Selector::Pattern("^leaf-[ab]$".into())]),
        hyper_node("s1", 2, true, vec![Selector::Exact("leaf-c".into())]),
        hyper_node("leaf-a", 1, false, vec![Selector::Exact("n1".into()), Selector::Exact("n2".into())]),
        hyper_node("leaf-b", 1, false, vec![Selector::Pattern(r"^n[3-4]\d*$".into())]),
        hyper_node("leaf-c", 1, false, vec![labelled]),
        hyper_node("broken", 1, false, vec![Selector::Pattern("(".into())]),
    ]);
    assert_eq!(rules.names(), ["spine", "tier-1", "node"]);
    assert_eq!(["spine", "tier-2", "tier-1", "tier-3"].map(|level| rules.level_of(level)), [Some(0), Some(0), Some(1), None]);
    let mut nodes: Vec<Node> = ["n1", "n2", "n3", "n42", "n5"].iter().map(|name| node(name, &[])).collect();
    nodes.push(node("z", &[("rack", "z")]));
    assert_eq!(
        shown(&of(rules, &nodes)),
        ["spine s0: n1 n2 n3 n42", "spine s1: z", "tier-1 leaf-a: n1 n2", "tier-1 leaf-b: n3 n42", "tier-1 leaf-c: z"]
    );
}
