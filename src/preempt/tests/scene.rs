//! Small full clusters for the tests of this module.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::book::{Book, Holder, HolderState, Load, takes};
use crate::gang::{Context, Group, Member, Plan, Role, plan};
use crate::model::fixtures::{gpu, node, pod};
use crate::model::{
    Amount, ContainerGrant, ContainerRole, DeviceId, DeviceShare, Grant, NodeName, Parts, Pod, PodKey, PodUid, Refusal, ResourceName, Time,
    TopologyWishes, Wish,
};
use crate::policy::{Profile, Scorer};
use crate::preempt::{Ask, Block, Clearance, Cost, Opening, Reach, Return, Takeover, Unit, Wanted, blocks, open, search};
use crate::topology::fabric::{Fabric, FabricRules};

/// A wish, required or preferred.
#[derive(Clone, Debug)]
pub(super) struct Wished {
    pub(super) required: bool,
    pub(super) wish: Wish,
}

pub(super) fn require(level: &str) -> Wished {
    Wished { required: true, wish: Wish { level: level.into(), parts: Parts::Whole } }
}

pub(super) fn prefer(level: &str) -> Wished {
    Wished { required: false, ..require(level) }
}

impl Wished {
    pub(super) fn even(level: &str) -> Self {
        Self { required: true, wish: Wish { level: level.into(), parts: Parts::Even } }
    }
}

pub(super) struct Scene {
    pub(super) book: Book,
    pub(super) member: Pod,
    pub(super) units: Vec<Unit>,
    pub(super) allowances: Vec<u32>,
    pub(super) going: BTreeSet<PodUid>,
    pub(super) steps_max: u64,
    rules: FabricRules,
    profile: Profile,
    free: BTreeMap<String, Vec<u32>>,
    resource: ResourceName,
    last: Cost,
}

impl Scene {
    pub(super) fn new(levels: &[&str], nodes: impl IntoIterator<Item = (String, Vec<&'static str>)>) -> Self {
        Self::of_gpus(8, levels, nodes)
    }

    pub(super) fn of_gpus(gpus: u32, levels: &[&str], nodes: impl IntoIterator<Item = (String, Vec<&'static str>)>) -> Self {
        let (mut book, mut free) = (Book::default(), BTreeMap::new());
        for (name, values) in nodes {
            let mut node = node(&name, gpus);
            let labels = levels.iter().zip(values).filter(|(_, value)| !value.is_empty());
            node.labels = labels.map(|(key, value)| (Arc::from(*key), Arc::from(value))).collect();
            book.set_node(node);
            free.insert(name, (0..gpus).collect());
        }
        Self {
            book,
            member: pod("m"),
            units: Vec::new(),
            allowances: Vec::new(),
            going: BTreeSet::new(),
            steps_max: Ask::STEPS_MAX,
            rules: FabricRules::labels(levels.iter().copied()),
            profile: Profile::shipped(),
            free,
            resource: gpu(),
            last: Cost::default(),
        }
    }

    pub(super) fn nodes(&self) -> Vec<String> {
        self.book.nodes().map(|entry| entry.node.name.to_string()).collect()
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut crate::model::Node)) {
        let mut node = (*self.book.node(name).unwrap().node).clone();
        change(&mut node);
        self.book.set_node(node);
    }

    pub(super) fn cordon(&mut self, name: &str) {
        self.change(name, |node| node.unschedulable = true);
    }

    pub(super) fn cpu(&mut self, name: &str, cpu_milli: u64) {
        self.change(name, |node| node.cpu_milli = cpu_milli);
    }

    pub(super) fn unhealthy(&mut self, name: &str) {
        self.change(name, |node| *node = node.clone().unhealthy(&[3]));
    }

    pub(super) fn serve(&mut self) {
        for name in self.nodes() {
            self.change(&name, |node| *node = node.clone().served());
        }
    }

    /// A pod that asks for so many devices.
    fn asking(&self, name: &str, devices: u32) -> Pod {
        pod(name).container(ContainerRole::Main, vec![(self.resource.clone(), devices)], None)
    }

    /// The nodes become TPU hosts of four chips, so many to a node pool of this topology.
    pub(super) fn tpu_hosts(&mut self, hosts: usize, topology: &str) {
        self.resource = "google.com/tpu".into();
        for (at, name) in self.nodes().into_iter().enumerate() {
            let pool = format!("pool-{}", at / hosts);
            let labels = [
                ("cloud.google.com/gke-tpu-accelerator", "tpu-v5p-slice"),
                ("cloud.google.com/gke-tpu-topology", topology),
                ("cloud.google.com/gke-nodepool", &pool),
            ];
            let resource = self.resource.clone();
            self.change(&name, |node| {
                node.labels.extend(labels.map(|(key, value)| (Arc::from(key), Arc::from(value))));
                (node.pools[0].resource, node.pools[0].product) = (resource, Some("tpu-v5p-slice".into()));
            });
        }
    }

    /// How many devices of a node nobody holds.
    pub(super) fn left(&self, name: &str) -> usize {
        self.free[name].len()
    }

    /// A pod that holds so many devices of a node.
    pub(super) fn hold(&mut self, name: &str, on: &str, gpus: u32) -> PodUid {
        let asked = self.asking(name, gpus);
        let ids: Vec<u32> = self.free.get_mut(on).unwrap().drain(..gpus as usize).collect();
        let resource = self.resource.clone();
        let device =
            |id: u32| DeviceShare { resource: resource.clone(), device: Some(DeviceId::new(id.to_string())), amount: Amount::Whole };
        self.grant(&asked, on, ids.into_iter().map(device).collect())
    }

    fn grant(&mut self, asked: &Pod, on: &str, devices: Vec<DeviceShare>) -> PodUid {
        let container = asked.request.containers[0].container.clone();
        let grant = Grant { node: on.into(), containers: vec![ContainerGrant { container, devices }] };
        let (takes, honoured) = takes(&asked.request, Some(&grant));
        assert!(honoured);
        self.book.set_holder(Holder {
            uid: asked.uid.clone(),
            key: asked.key.clone(),
            priority: 0,
            node: on.into(),
            state: HolderState::Bound,
            grant: Some(grant),
            takes,
            load: Load::of(asked),
            changed_at: Time::default(),
        });
        asked.uid.clone()
    }

    /// Pods that go together.
    pub(super) fn unit(&mut self, title: &str, pods: &[(&str, u32)], priority: i32, lost_ms: u64) {
        let pods = pods.iter().enumerate().map(|(at, (on, gpus))| self.hold(&format!("{title}-{at}"), on, *gpus)).collect();
        self.units.push(Unit {
            title: title.into(),
            pods,
            reach: Reach { tier: 0, priority, ..Reach::default() },
            lost_ms,
            budgets: Vec::new(),
        });
    }

    /// One pod of a unit, which may go alone.
    pub(super) fn part(&mut self, whole: &str, title: &str, at: usize, lost_ms: u64) {
        let whole = self.units.iter().find(|unit| unit.title == whole).unwrap();
        let unit = Unit { title: title.into(), pods: vec![whole.pods[at].clone()], lost_ms, ..whole.clone() };
        self.units.push(unit);
    }

    /// A share of a device.
    pub(super) fn share(&mut self, title: &str, on: &str, device: u32, milli: u32, lost_ms: u64) {
        let asked = pod(title).share(milli, None);
        let amount = Amount::Share { milli, memory_mib: None };
        let uid = self.grant(&asked, on, vec![DeviceShare { resource: gpu(), device: Some(DeviceId::new(device.to_string())), amount }]);
        self.units.push(Unit { title: title.into(), pods: vec![uid], reach: Reach::default(), lost_ms, budgets: Vec::new() });
    }

    pub(super) fn raise(&mut self, title: &str, priority: i32) {
        self.units.iter_mut().filter(|unit| unit.title == title).for_each(|unit| unit.reach.priority = priority);
    }

    /// What is above this may not be taken.
    pub(super) fn reach_max(&mut self, priority: i32) {
        self.units.retain(|unit| unit.reach.priority <= priority);
    }

    /// So many pods of these units may go.
    pub(super) fn budget(&mut self, allowed: u32, titles: &[&str]) {
        let budget = self.allowances.len();
        self.allowances.push(allowed);
        for unit in self.units.iter_mut().filter(|unit| titles.contains(&unit.title.as_str())) {
            unit.budgets.push((budget, u32::try_from(unit.pods.len()).unwrap()));
        }
    }

    /// The unit is going already.
    pub(super) fn going(&mut self, title: &str) {
        let at = self.units.iter().position(|unit| unit.title == title).unwrap();
        let unit = self.units.remove(at);
        self.going.extend(unit.pods);
    }

    pub(super) fn fabric(&self) -> Fabric {
        let mut fabric = Fabric::new(Arc::new(self.rules.clone()));
        self.book.nodes().for_each(|entry| fabric.set_node(&entry.node));
        fabric
    }

    fn with<T>(&mut self, roles: &[(Pod, u32)], wished: &[Wished], run: impl FnOnce(&mut Book, Context<'_>, &Group<'_>) -> T) -> T {
        let topology = wishes(wished);
        let member = |role: usize| {
            move |at: u32| Member { uid: PodUid::new(format!("member-{role}-{at}")), key: PodKey::new("ns", format!("m-{role}-{at}")) }
        };
        let roles = roles.iter().enumerate().map(|(at, (pod, members))| Role { pod, members: (0..*members).map(member(at)).collect() });
        let group = Group { key: PodKey::new("ns", "g"), roles: roles.collect(), wishes: &topology };
        let (fabric, scorer) = (self.fabric(), Scorer::new(&self.profile));
        let (state, now) = (HolderState::Planned, Time::default());
        let context = Context { fabric: &fabric, profile: &self.profile, scorer: &scorer, offered: None, state, now };
        run(&mut self.book, context, &group)
    }

    pub(super) fn search_roles(&mut self, roles: &[(Pod, u32)], wished: &[Wished]) -> Option<Takeover> {
        let (units, allowances, going) = (self.units.clone(), self.allowances.clone(), self.going.clone());
        let steps_max = self.steps_max;
        let found = self.with(roles, wished, |book, context, group| {
            search(book, &Ask { context, group, units: &units, allowances: &allowances, going: &going, steps_max })
        });
        assert!(self.book.violations().is_empty());
        self.last = found.as_ref().map(|found| found.cost).unwrap_or_default();
        found
    }

    pub(super) fn search(&mut self, gpus: u32, members: u32, wished: &[Wished]) -> Option<Takeover> {
        let roles = [(self.member.clone().gpus(gpus), members)];
        self.search_roles(&roles, wished)
    }

    /// The blocks of a kind.
    pub(super) fn blocks(&self, wanted: &Wanted) -> Result<Vec<Block>, Refusal> {
        blocks(&self.book, &self.fabric(), wanted)
    }

    /// Who moves where so that a block stands open. What moves comes back as it is, with these wishes.
    pub(super) fn open(&mut self, wanted: &Wanted, wished: &[Wished], sets_max: usize) -> Option<(Block, Opening)> {
        let (fabric, scorer, blocks) = (self.fabric(), Scorer::new(&self.profile), self.blocks(wanted).ok()?);
        let (state, now) = (HolderState::Planned, Time::default());
        let context = Context { fabric: &fabric, profile: &self.profile, scorer: &scorer, offered: None, state, now };
        let topology = wishes(wished);
        let pods: Vec<Vec<Pod>> = self.units.iter().map(|unit| unit.pods.iter().map(|uid| self.asked(uid)).collect()).collect();
        let returns: Vec<Option<Return<'_>>> = pods
            .iter()
            .map(|pods| {
                Some(Return { context, group: Group { key: PodKey::new("ns", "again"), roles: each_alone(pods), wishes: &topology } })
            })
            .collect();
        let (units, allowances, going) = (&self.units, &self.allowances, &self.going);
        let found = open(&mut self.book, &Clearance { context, blocks: &blocks, units, returns: &returns, allowances, going, sets_max });
        assert!(self.book.violations().is_empty());
        found.map(|opening| (blocks[opening.block].clone(), opening))
    }

    /// Whether these units are planned elsewhere in any order once they are gone and these nodes, by place, are closed.
    pub(super) fn comes_back(&mut self, set: &[usize], closed: &[usize]) -> bool {
        let (fabric, scorer, wishes) = (self.fabric(), Scorer::new(&self.profile), wishes(&[]));
        let (state, now) = (HolderState::Planned, Time::default());
        let pods: Vec<Vec<Pod>> = set.iter().map(|unit| self.units[*unit].pods.iter().map(|uid| self.asked(uid)).collect()).collect();
        let names = self.nodes();
        let open: BTreeSet<&str> = (0..names.len()).filter(|at| !closed.contains(at)).map(|at| names[at].as_str()).collect();
        let context = Context { fabric: &fabric, profile: &self.profile, scorer: &scorer, offered: Some(&open), state, now };
        let mark = self.book.checkpoint();
        pods.iter().flatten().for_each(|pod| drop(self.book.release(&pod.uid)));
        // Largest first: where there are many, that is the only order.
        let mut order: Vec<usize> = (0..pods.len()).collect();
        let devices = |at: usize| pods[at].iter().map(|pod| pod.request.units()).sum::<u64>();
        order.sort_by_key(|at| (std::cmp::Reverse(devices(*at)), set[*at]));
        let orders = if order.len() <= 4 { permutations(&order) } else { vec![order] };
        let fits = orders.iter().any(|order| {
            let inner = self.book.checkpoint();
            let planned = order.iter().all(|at| {
                let group = Group { key: PodKey::new("ns", "again"), roles: each_alone(&pods[*at]), wishes: &wishes };
                plan(&mut self.book, context, &group).is_ok()
            });
            self.book.rollback(inner);
            planned
        });
        self.book.rollback(mark);
        fits
    }

    /// A pod as it asked for what it holds, whole devices alone.
    fn asked(&self, uid: &PodUid) -> Pod {
        let holder = self.book.holder(uid).unwrap();
        let devices = u32::try_from(holder.takes.len()).unwrap();
        Pod { uid: uid.clone(), key: holder.key.clone(), ..self.asking("again", devices) }
    }

    /// Whether the group fits without these units, as the planner sees it; `required` counts instead of what is preferred.
    pub(super) fn fits_without(&mut self, roles: &[(Pod, u32)], wished: &[Wished], units: &[usize]) -> Option<Plan> {
        let gone: Vec<PodUid> = units.iter().flat_map(|unit| self.units[*unit].pods.clone()).chain(self.going.clone()).collect();
        let mark = self.book.checkpoint();
        gone.iter().for_each(|uid| drop(self.book.release(uid)));
        let found = self.with(roles, wished, |book, context, group| plan(book, context, group).ok());
        self.book.rollback(mark);
        found
    }

    pub(super) fn titles(&self, takeover: &Takeover) -> Vec<String> {
        let mut titles: Vec<String> = takeover.victims.iter().map(|unit| self.units[*unit].title.clone()).collect();
        titles.sort();
        titles
    }

    /// Who goes, by title; proven to be the best.
    pub(super) fn victims(&mut self, gpus: u32, members: u32, wished: &[Wished]) -> Vec<String> {
        let Some(takeover) = self.search(gpus, members, wished) else { return Vec::new() };
        assert!(takeover.proven);
        assert_eq!(takeover.plan.members.len(), members as usize);
        self.titles(&takeover)
    }

    /// What the last search's victims cost.
    pub(super) fn cost(&self) -> Cost {
        self.last
    }

    /// A node's domain of a level.
    pub(super) fn domain(&self, level: &str, node: &NodeName) -> Option<String> {
        let fabric = self.fabric();
        let level = self.rules.level_of(level)?;
        let id = fabric.domains_of(node.as_str())?[level]?;
        Some(fabric.title(id))
    }
}

fn wishes(wished: &[Wished]) -> TopologyWishes {
    let of = |required: bool| wished.iter().filter(|wish| wish.required == required).map(|wish| wish.wish.clone()).collect();
    TopologyWishes { required: of(true), preferred: of(false), unreadable: None }
}

fn each_alone(pods: &[Pod]) -> Vec<Role<'_>> {
    pods.iter().map(|pod| Role { pod, members: vec![Member { uid: pod.uid.clone(), key: pod.key.clone() }] }).collect()
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    let without = |item: &usize| items.iter().copied().filter(|other| other != item).collect::<Vec<_>>();
    let begin = |item: &usize| permutations(&without(item)).into_iter().map(|rest| [vec![*item], rest].concat()).collect::<Vec<_>>();
    if items.is_empty() { vec![Vec::new()] } else { items.iter().flat_map(begin).collect() }
}
