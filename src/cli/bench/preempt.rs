//! The search for victims in `bench gangs`: boxes of eight GPUs, every one full of lower priority. A quarter of the nodes
//! holds single pods of one to four GPUs; the others hold gangs of three nodes, half of them in pairs on the same nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::book::{Book, Holder, HolderState, Load, takes};
use crate::gang::{Context, Group, Member, Role};
use crate::model::{Pod, PodKey, PodUid, Time, TopologyWishes};
use crate::policy::{Profile, Scorer};
use crate::preempt::{Ask, Reach, Takeover, Unit, search};
use crate::topology::fabric::Fabric;

/// A full cluster, and who may be taken.
pub(super) struct Full {
    book: Book,
    fabric: Fabric,
    profile: Profile,
    units: Vec<Unit>,
    allowances: Vec<u32>,
}

/// Budgets, of which each unit is under one in eight.
const BUDGETS: usize = 5;

impl Full {
    /// `node` and `pod` make the objects; a pod is told its name and how many GPUs it asks for.
    pub(super) fn new(
        nodes: usize,
        node: impl Fn(usize) -> anyhow::Result<crate::model::Node>,
        pod: impl Fn(&str, u32) -> anyhow::Result<Pod>,
    ) -> anyhow::Result<Self> {
        let profile = Profile::shipped();
        let (mut book, mut fabric) = (Book::default(), Fabric::new(Arc::clone(&profile.fabric.rules)));
        let mut names = Vec::new();
        for index in 0..nodes {
            let node = node(index)?;
            names.push(node.name.clone());
            fabric.set_node(&node);
            book.set_node(node);
        }
        let (mut units, mut next) = (Vec::new(), 0_usize);
        let mut dice = 0x9e37_79b9_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        while next < nodes {
            let hold = |book: &mut Book, unit: &mut Unit, at: usize, gpus: u32| -> anyhow::Result<()> {
                let asked = pod(&format!("{}-{}", unit.title, unit.pods.len()), gpus)?;
                let shape = crate::book::Shape::of(&asked.request).context("asks for nothing")?;
                let grant =
                    book.node(names[at].as_str()).context("no node")?.grant(&shape).map_err(|(reason, _)| anyhow::anyhow!("{reason}"))?;
                let (takes, _) = takes(&asked.request, Some(&grant));
                let (key, load, changed_at) = (asked.key.clone(), Load::of(&asked), Time::default());
                let (state, node) = (HolderState::Bound, names[at].clone());
                book.set_holder(Holder {
                    uid: asked.uid.clone(),
                    key,
                    priority: 0,
                    node,
                    state,
                    grant: Some(grant),
                    takes,
                    load,
                    changed_at,
                });
                unit.pods.push(asked.uid);
                Ok(())
            };
            let mut open = |units: &Vec<Unit>| {
                let priority = i32::try_from(roll(4)).unwrap_or(0);
                let budgets = if roll(8) == 0 { vec![(usize::try_from(roll(BUDGETS as u64)).unwrap_or(0), 1)] } else { Vec::new() };
                let (title, pods) = (format!("unit-{}", units.len()), Vec::new());
                Unit { title, pods, reach: Reach { tier: 0, priority, ..Reach::default() }, lost_ms: 1_000 * roll(3_600), budgets }
            };
            if next % 4 == 0 {
                let mut left = 8;
                while left > 0 {
                    let mut unit = open(&units);
                    let gpus = (1 + u32::try_from(unit.lost_ms / 1_000 % 4).unwrap_or(0)).min(left);
                    hold(&mut book, &mut unit, next, gpus)?;
                    units.push(unit);
                    left -= gpus;
                }
                next += 1;
                continue;
            }
            // Up to the next node of single pods; every other gang shares its nodes with a second one.
            let size = (4 - next % 4).min(nodes - next);
            let twins = if next % 8 > 4 { 2 } else { 1 };
            for _ in 0..twins {
                let mut unit = open(&units);
                for at in next..next + size {
                    hold(&mut book, &mut unit, at, 8 / twins)?;
                }
                unit.budgets.iter_mut().for_each(|(_, pods)| *pods = u32::try_from(size).unwrap_or(0));
                units.push(unit);
            }
            next += size;
        }
        Ok(Self { book, fabric, profile, units, allowances: vec![2; BUDGETS] })
    }

    /// The time of one search for a gang of so many members like `asked`.
    pub(super) fn run(&mut self, asked: &Pod, members: usize) -> anyhow::Result<(Duration, Takeover)> {
        let scorer = Scorer::new(&self.profile);
        let member = |at: usize| Member { uid: PodUid::new(format!("member-{at}")), key: PodKey::new("bench", format!("member-{at}")) };
        let roles = vec![Role { pod: asked, members: (0..members).map(member).collect() }];
        let wishes = TopologyWishes::default();
        let group = Group { key: PodKey::new("bench", "gang"), roles, wishes: &wishes };
        let (state, now, going) = (HolderState::Planned, Time::default(), BTreeSet::new());
        let context = Context { fabric: &self.fabric, profile: &self.profile, scorer: &scorer, offered: None, state, now };
        let (units, allowances, steps_max) = (&self.units, &self.allowances, Ask::STEPS_MAX);
        let ask = Ask { context, group: &group, units, allowances, going: &going, steps_max };
        let began = Instant::now();
        let found = search(&mut self.book, &ask);
        let spent = began.elapsed();
        let found = found.context("nobody to take")?;
        ensure!(found.plan.members.len() == members && !found.victims.is_empty(), "not a plan");
        Ok((spent, found))
    }
}
