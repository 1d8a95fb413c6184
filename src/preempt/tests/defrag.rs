//! Opening blocks: who moves, where to, and that on random small clusters no other set of moves costs less.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::scene::{Scene, require};
use crate::model::{NodeName, PodUid, Reason};
use crate::preempt::{Block, Cost, Opening, Reach, Wanted, What};

const SETS_MAX: usize = 4096;

fn wanted(what: &str, nodes: Option<u32>) -> Wanted {
    Wanted { what: What::parse(what).unwrap(), nodes, resource: None, on: BTreeSet::new() }
}

fn racks(count: usize) -> Scene {
    Scene::new(&["rack"], (0..count).map(|at| (format!("n{at}"), vec![["r1", "r2", "r3"][at / 2]])))
}

/// Who moves, with the nodes that it goes to.
fn moves(scene: &Scene, opening: &Opening) -> Vec<(String, Vec<String>)> {
    let to = |plan: &crate::gang::Plan| plan.members.iter().map(|planned| planned.node.to_string()).collect();
    let line = |going: &crate::preempt::Move| (scene.units[going.unit].title.clone(), going.to.as_ref().map(to).unwrap_or_default());
    opening.moves.iter().map(line).collect()
}

fn line(who: &str, to: &[&str]) -> (String, Vec<String>) {
    (who.into(), to.iter().map(ToString::to_string).collect())
}

#[test]
fn a_box_is_opened_by_what_costs_least_to_move_to_the_room_that_there_is() {
    let mut scene = racks(2);
    scene.unit("dear", &[("n0", 2)], 0, 9_000);
    scene.unit("cheap", &[("n1", 3)], 0, 1_000);
    let (block, opening) = scene.open(&wanted("node", None), &[], SETS_MAX).unwrap();
    assert_eq!((block.title.as_str(), opening.nodes.as_slice()), ("a whole node", &[NodeName::from("n1")][..]));
    assert_eq!(moves(&scene, &opening), [line("cheap", &["n0"])]);
    assert_eq!((opening.cost, opening.proven), (Cost { lost_ms: 1_000, pods: 1 }, true));
    let on = wanted("node", None).on(["n0".into()]);
    assert_eq!(on.to_string(), "one whole node free, on n0");
    for named in [wanted("node=n0", None), on] {
        let (_, opening) = scene.open(&named, &[], SETS_MAX).unwrap();
        assert_eq!(moves(&scene, &opening), [line("dear", &["n1"])]);
    }
}

#[test]
fn a_dearer_set_in_which_everybody_has_a_place_comes_before_a_cheaper_one_with_an_eviction() {
    let mut scene = racks(3);
    scene.unit("whole", &[("n0", 8)], 0, 1);
    scene.unit("five", &[("n1", 5)], 0, 50);
    scene.unit("three", &[("n2", 3)], 0, 90);
    let (_, opening) = scene.open(&wanted("node", None), &[], SETS_MAX).unwrap();
    assert_eq!(moves(&scene, &opening), [line("five", &["n2"])]);
    assert!(opening.proven);
    // Named, the box is opened all the same, and it is said who has nowhere to go.
    let (_, opening) = scene.open(&wanted("node=n0", None), &[], SETS_MAX).unwrap();
    assert_eq!(moves(&scene, &opening), [line("whole", &[])]);
    assert!(opening.proven && !opening.moves_only());
}

#[test]
fn a_gang_moves_whole_and_as_its_topology_wants() {
    let mut scene = racks(6);
    scene.unit("gang", &[("n0", 4), ("n1", 4)], 0, 5);
    for node in ["n2", "n4", "n5"] {
        scene.unit(node, &[(node, 4)], 9, 9);
    }
    let (block, opening) = scene.open(&wanted("rack=r1", None), &[require("rack")], SETS_MAX).unwrap();
    assert_eq!(block.title, "rack r1");
    assert_eq!(opening.nodes, [NodeName::from("n0"), NodeName::from("n1")]);
    let [(who, to)] = moves(&scene, &opening).try_into().unwrap();
    assert_eq!(who, "gang");
    let racks: BTreeSet<Option<String>> = to.iter().map(|node| scene.domain("rack", &node.as_str().into())).collect();
    assert_eq!((to.len(), racks.len()), (2, 1), "{to:?}");
    // One node of any rack: the gang would go for it as a whole, and the lower priority goes first.
    let (_, opening) = scene.open(&wanted("rack", Some(1)), &[], SETS_MAX).unwrap();
    assert_eq!(opening.nodes, [NodeName::from("n3")], "it stands open");
    assert!(opening.moves.is_empty() && opening.cost == Cost::default());
}

#[test]
fn movers_are_planned_in_the_order_that_leaves_nobody_without_a_place() {
    let mut scene = racks(3);
    // Three and two must share the five on n1; whoever goes first to the three on n2 decides it.
    scene.unit("n1", &[("n1", 3)], 0, 500);
    scene.unit("n2", &[("n2", 4)], 0, 500);
    scene.unit("four", &[("n0", 4)], 0, 1);
    scene.unit("three", &[("n0", 3)], 0, 1);
    let (_, opening) = scene.open(&wanted("node=n0", None), &[], SETS_MAX).unwrap();
    assert!(opening.moves_only(), "{:?}", moves(&scene, &opening));
}

#[test]
fn what_may_not_go_keeps_a_block_shut() {
    let mut scene = racks(4);
    scene.unit("a", &[("n0", 1)], 0, 1);
    scene.hold("stays", "n1", 1);
    assert!(scene.open(&wanted("rack=r1", None), &[], SETS_MAX).is_none());
    assert!(scene.open(&wanted("rack", None), &[], SETS_MAX).is_some_and(|(block, _)| block.title == "rack r2"));
    scene.budget(0, &["a"]);
    assert!(scene.open(&wanted("node=n0", None), &[], SETS_MAX).is_none());
    scene.cordon("n2");
    assert!(scene.open(&wanted("rack", None), &[], SETS_MAX).is_none(), "a cordoned node is no open one");
    assert!(scene.open(&wanted("rack", Some(1)), &[], SETS_MAX).is_some_and(|(_, opening)| opening.nodes == [NodeName::from("n3")]));
}

#[test]
fn a_tpu_cube_is_opened_as_a_whole_node_pool() {
    let mut scene = Scene::of_gpus(4, &[], (0..34).map(|at| (format!("host-{at:02}"), Vec::new())));
    scene.tpu_hosts(16, "4x4x4");
    // Two hosts of a third pool are no cube; there is room for who moves there, and on what the other cube has left.
    scene.unit("cheap", &[("host-03", 4), ("host-05", 4)], 0, 10);
    scene.unit("dear", &[("host-20", 4)], 0, 90);
    let (block, opening) = scene.open(&wanted("4x4x4", None), &[], SETS_MAX).unwrap();
    assert_eq!((block.title.as_str(), opening.nodes.len()), ("a TPU slice of 4x4x4", 16));
    assert_eq!((opening.nodes[0].as_str(), opening.domains.as_str()), ("host-00", "node pool pool-0, workers in order"));
    assert_eq!(opening.moves.iter().map(|going| going.unit).collect::<Vec<_>>(), [0]);
    assert!(opening.moves_only() && opening.proven);
    let elsewhere = |node: &NodeName| !opening.nodes.contains(node);
    assert!(opening.moves[0].to.iter().flat_map(|plan| &plan.members).all(|planned| elsewhere(&planned.node)));
    assert_eq!(scene.blocks(&wanted("8x8x8", None)).unwrap_err().there, "no node pool has this topology");
}

#[test]
fn what_is_going_already_moves_nobody() {
    let mut scene = racks(2);
    scene.unit("a", &[("n0", 8)], 0, 1);
    scene.unit("b", &[("n1", 8)], 0, 1);
    scene.going("b");
    let (_, opening) = scene.open(&wanted("node", None), &[], SETS_MAX).unwrap();
    assert!(opening.moves.is_empty());
    assert_eq!((opening.nodes, opening.awaited), (vec![NodeName::from("n1")], vec![PodUid::new("uid-b-0")]));
}

#[test]
fn words_that_name_no_block_are_refused_with_what_there_is() {
    for text in ["", "node=", "=n0", "4x4x4x4 rack", "a rack"] {
        assert!(What::parse(text).is_err(), "{text:?}");
    }
    let scene = racks(2);
    let refusal = |what: &str, nodes| scene.blocks(&wanted(what, nodes)).unwrap_err();
    assert_eq!(refusal("shelf", None).there, "the profile's fabric has rack, node");
    assert_eq!(refusal("rack=r9", None).there, "no rack with accelerators has the name r9; there are r1");
    assert_eq!(refusal("node", Some(3)).there, "no kind of box is there so often in n0, n1");
    assert_eq!(refusal("4x4x4", None).reason, Reason::BlockShut);
    let named = Wanted { resource: Some("amd.com/gpu".into()), ..wanted("node", None) };
    assert_eq!(scene.blocks(&named).unwrap_err().there, "no node has such devices");
}

/// A cluster with some room, in which up to eight units run.
fn case(seed: u64) -> (Scene, Wanted) {
    let mut rng = StdRng::seed_from_u64(seed);
    let gpus = [2, 4, 8][rng.random_range(0..3)];
    let nodes = rng.random_range(2..=6_usize);
    let place = |rng: &mut StdRng, at: usize| (format!("n{at}"), vec![["r1", "r2", "r3", ""][rng.random_range(0..4)]]);
    let places: Vec<_> = (0..nodes).map(|at| place(&mut rng, at)).collect();
    let mut scene = Scene::of_gpus(gpus, &["rack"], places);
    let names = scene.nodes();
    let most = rng.random_range(2..=7);
    while scene.units.len() < most {
        let open: Vec<&String> = names.iter().filter(|name| scene.left(name) > 0).collect();
        if open.is_empty() {
            break;
        }
        let mut pods: Vec<(&str, u32)> = Vec::new();
        for _ in 0..if rng.random_bool(0.3) { 2 } else { 1 } {
            let on = open[rng.random_range(0..open.len())];
            let taken: u32 = pods.iter().filter(|(name, _)| name == on).map(|(_, gpus)| *gpus).sum();
            let left = u32::try_from(scene.left(on)).unwrap() - taken;
            if left > 0 {
                pods.push((on, rng.random_range(1..=left)));
            }
        }
        let title = format!("u{}", scene.units.len());
        scene.unit(&title, &pods, rng.random_range(0..=1), rng.random_range(1..=6));
    }
    if rng.random_bool(0.3) {
        let some: Vec<String> = scene.units.iter().map(|unit| unit.title.clone()).filter(|_| rng.random_bool(0.5)).collect();
        scene.budget(rng.random_range(0..=2), &some.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let (what, count) = [("node", None), ("rack", None), ("rack", Some(1)), ("rack", Some(2)), ("node", Some(2))][rng.random_range(0..5)];
    (scene, wanted(what, count))
}

/// Whether so many devices of each pod can lie on what nodes have free, tried in every way.
fn packs(free: &mut [u32], pods: &[u32]) -> bool {
    let Some((first, others)) = pods.split_first() else { return true };
    for node in 0..free.len() {
        if free[node] >= *first {
            free[node] -= first;
            let fits = packs(free, others);
            free[node] += first;
            if fits {
                return true;
            }
        }
    }
    false
}

struct Brute<'s> {
    scene: &'s mut Scene,
    gpus: u32,
    /// Sets that could be packed elsewhere, and that the planner, which goes gang by gang, does not pack.
    unpacked: usize,
}

impl Brute<'_> {
    fn held(&self, uid: &PodUid) -> u32 {
        u32::try_from(self.scene.book.holder(uid).unwrap().takes.len()).unwrap()
    }

    /// Free devices of each node once these units are gone.
    fn free(&self, set: &[usize]) -> Vec<u32> {
        let gone = |uid: &PodUid| set.iter().any(|unit| self.scene.units[*unit].pods.contains(uid));
        let free = |name: &String| {
            self.gpus
                - self.scene.book.holders_on(name).filter(|holder| !gone(&holder.uid)).map(|holder| self.held(&holder.uid)).sum::<u32>()
        };
        self.scene.nodes().iter().map(free).collect()
    }

    /// Choices of nodes that a block of this kind could be.
    fn choices(&self, block: &Block) -> Vec<Vec<usize>> {
        let names = self.scene.nodes();
        let of_block: Vec<usize> = (0..names.len()).filter(|at| block.nodes.contains(names[*at].as_str())).collect();
        let rack = |at: usize| self.scene.domain("rack", &names[at].as_str().into());
        let one_rack = block.title.contains("of one rack");
        (0..1_u32 << of_block.len())
            .map(|set| of_block.iter().enumerate().filter(|(bit, _)| set & 1 << bit != 0).map(|(_, at)| *at).collect::<Vec<usize>>())
            .filter(|nodes| nodes.len() == block.members as usize)
            .filter(|nodes| !one_rack || nodes.iter().map(|at| rack(*at)).collect::<BTreeSet<_>>().len() == 1 && rack(nodes[0]).is_some())
            .collect()
    }

    /// The best of all sets of units that opens a block and of which no unit is needless: first whether all have a place to go.
    fn best(&mut self, blocks: &[Block]) -> Option<(bool, Option<Reach>, Cost)> {
        let units = self.scene.units.clone();
        let choices: Vec<Vec<usize>> = blocks.iter().flat_map(|block| self.choices(block)).collect();
        let of_all = |this: &Self, set: &[usize]| -> Vec<Vec<usize>> {
            let free = this.free(set);
            choices.iter().filter(|nodes| nodes.iter().all(|at| free[*at] == this.gpus)).cloned().collect()
        };
        let list = |set: u32| -> Vec<usize> { (0..units.len()).filter(|unit| set & 1 << unit != 0).collect() };
        let allowances = self.scene.allowances.clone();
        let kept = |set: &Vec<usize>| {
            let taken = |budget: usize| {
                set.iter().flat_map(|unit| &units[*unit].budgets).filter(|(of, _)| *of == budget).map(|(_, pods)| *pods).sum::<u32>()
            };
            allowances.iter().enumerate().all(|(budget, allowed)| taken(budget) <= *allowed)
        };
        let mut best = None;
        for set in (0..1_u32 << units.len()).map(list).filter(|set| kept(set)) {
            // A block that fewer would open is opened by fewer.
            let fewer: Vec<Vec<usize>> =
                set.iter().flat_map(|unit| of_all(self, &set.iter().copied().filter(|other| other != unit).collect::<Vec<_>>())).collect();
            let needed: Vec<Vec<usize>> = of_all(self, &set).into_iter().filter(|nodes| !fewer.contains(nodes)).collect();
            if needed.is_empty() {
                continue;
            }
            let mut pods: Vec<u32> = set.iter().flat_map(|unit| &units[*unit].pods).map(|uid| self.held(uid)).collect();
            pods.sort_unstable();
            pods.reverse();
            let free = self.free(&set);
            let fits = |this: &mut Self, nodes: &Vec<usize>| {
                let mut left: Vec<u32> = free.iter().enumerate().map(|(at, free)| if nodes.contains(&at) { 0 } else { *free }).collect();
                let (packs, planned) = (packs(&mut left, &pods), this.scene.comes_back(&set, nodes));
                assert!(packs || !planned, "planned where nothing fits");
                this.unpacked += usize::from(packs && !planned);
                planned
            };
            let all_fit = needed.iter().any(|nodes| fits(self, nodes));
            let reach = set.iter().map(|unit| units[*unit].reach).max();
            let worth = (!all_fit, reach, set.iter().map(|unit| units[*unit].cost()).sum());
            best = Some(best.map_or(worth, |known: (bool, Option<Reach>, Cost)| known.min(worth)));
        }
        best
    }
}

#[test]
fn on_a_thousand_small_clusters_no_other_set_of_moves_costs_less() {
    let (mut moved, mut evicted, mut shut, mut open, mut several, mut unpacked) = (0, 0, 0, 0, 0, 0);
    for seed in 0..1000 {
        let (mut scene, wanted) = case(seed);
        let Ok(blocks) = scene.blocks(&wanted) else { continue };
        let gpus = u32::try_from(scene.book.nodes().next().unwrap().node.pools[0].devices.len()).unwrap();
        let mut brute = Brute { scene: &mut scene, gpus, unpacked: 0 };
        let best = brute.best(&blocks);
        unpacked += usize::from(brute.unpacked > 0);
        let found = scene.open(&wanted, &[], SETS_MAX).map(|(_, opening)| opening);
        let worth = found.as_ref().map(|found| (!found.moves_only(), found.reach, found.cost));
        assert_eq!(worth, best, "seed {seed}");
        let Some(opening) = found else {
            shut += 1;
            continue;
        };
        assert!(opening.proven, "seed {seed}");
        several += usize::from(opening.moves.len() > 1);
        match (opening.moves.is_empty(), opening.moves_only()) {
            (true, _) => open += 1,
            (_, true) => moved += 1,
            _ => evicted += 1,
        }
    }
    let counts = format!(
        "{moved} moved, {evicted} evicted, {shut} shut, {open} open, {several} of several, {unpacked} not packed as well as could be"
    );
    assert!(moved > 100 && evicted > 100 && shut > 50 && several > 100 && unpacked < 20, "{counts}");
    eprintln!("{counts}");
}
