//! What a seed means: the cluster, the work that comes, and what goes wrong when. Nothing is decided while it runs but
//! how long things take and which call fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dice::Dice;
use super::rivalry::{self, Rivalry};
use super::timeline::Ms;
use crate::model::{
    ContainerRequest, ContainerRole, Device, Health, Link, LinkKind, Node, NodeName, NodeReport, PodKey, Pool, Quota, ResourceName,
    ShareRequest,
};
use crate::policy::{Profile, Profiles};

/// Everything that a seed decides beforehand.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) replicas: usize,
    pub(super) profiles: Profiles,
    pub(super) nodes: Vec<(Node, Option<Agent>)>,
    pub(super) quotas: Vec<Quota>,
    pub(super) jobs: Vec<JobPlan>,
    /// Pods that ask for nothing managed: when, and how much CPU.
    pub(super) plain: Vec<(Ms, u64)>,
    pub(super) disturbances: Vec<(Ms, Disturbance)>,
    pub(super) rates: Rates,
    pub(super) calm_at: Ms,
    /// The profiles without what queues are guaranteed, for the museum.
    pub(super) unguaranteed: Profiles,
    /// Preemption, queues and repair, where the seed has them.
    pub(super) rivalry: Option<Rivalry>,
}

/// What speaks for a node's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agent {
    /// Serves them: kubelet gives what was planned.
    Serves,
    /// Only tells what kubelet gave; kubelet may choose otherwise.
    Watches,
}

/// How often things go wrong, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Calls of Gangplank to the API server.
    pub(super) api: u64,
    /// Calls of kube-scheduler to Gangplank.
    pub(super) http: u64,
    /// Effects that are never carried out.
    pub(super) effects: u64,
    /// How late news may be.
    pub(super) news_ms: Ms,
    /// Deletions that a watch never delivers.
    pub(super) lost_deletes: u64,
}

/// A Job, or a group of pods that one controller keeps.
#[derive(Clone, Debug)]
pub(super) struct JobPlan {
    pub(super) at: Ms,
    pub(super) key: PodKey,
    pub(super) size: u32,
    /// How few of them can start.
    pub(super) min: u32,
    /// Starts together.
    pub(super) gang: bool,
    pub(super) ask: Ask,
    pub(super) cpu_milli: u64,
    pub(super) priority: i32,
    pub(super) run_ms: Ms,
    /// Between the creation of two members.
    pub(super) pause_ms: Ms,
    /// Members keep their names when they are created anew.
    pub(super) steady_names: bool,
    /// Its pods have our gate when they are created.
    pub(super) gated: bool,
    /// How its pods say that they belong together.
    pub(super) says: Says,
    /// Its owner has a suspend field.
    pub(super) suspendable: bool,
    /// It cannot fit on this cluster at all.
    pub(super) impossible: bool,
    /// `preemptionPolicy: Never`.
    pub(super) never_preempts: bool,
    /// Its pods say how long they will run.
    pub(super) says_expected: bool,
    /// How long its pods may take to end when they are deleted.
    pub(super) grace_ms: Ms,
    /// The disruption budget that its pods are under.
    pub(super) budget: Option<&'static str>,
}

/// How pods say that they belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// By our annotations, size included.
    Annotation,
    /// By their controller, which says how many.
    Owner,
}

/// What each member asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Whole(u32),
    Share(u32),
}

/// Something that goes wrong, and is mended after a while.
#[derive(Clone, Debug)]
pub(super) enum Disturbance {
    KillGangplank(usize, Ms),
    PauseGangplank(usize, Ms),
    /// Gangplank and the kube-scheduler beside it: one pod, one machine.
    PauseBoth(usize, Ms),
    KillScheduler(usize, Ms),
    /// A watch of Gangplank breaks; afterwards it goes on, or is told 410 and lists anew.
    BreakWatch {
        replica: usize,
        kind: usize,
        ms: Ms,
        gone: bool,
    },
    LoseNode(usize, Ms),
    SickDevice(usize, usize, Ms),
    /// The vendor's plugin restarts: no devices at all for a moment.
    Blip(usize, Ms),
    Cordon(usize, Ms),
    /// Volumes of this Job cannot be mounted on that node: only kube-scheduler knows.
    Zone(usize, usize, Ms),
    /// The node does not answer: what runs there runs on, and nobody can end it.
    Unanswering(usize, Ms),
    LoseForGood(usize),
    /// Pods of this Job have a finalizer that nobody removes for so long.
    Finalizer(usize, Ms),
    /// A user suspends it, and resumes it.
    SuspendJob(usize, Ms),
    /// The next Binding that is sent springs a trap.
    AtBinding(Trap),
    /// The next eviction, or suspension, that is sent does.
    AtEviction(Trap),
    DeleteMember(usize),
    FailMember(usize),
    DeleteJob(usize),
    /// Deleted, and created anew under its name.
    RecreateJob(usize, Ms),
}

/// What happens at the very moment in which a Binding or an eviction leaves Gangplank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    /// The process dies, and is there again soon.
    Kill(Ms),
    /// The process is stopped before the write leaves it, with the kube-scheduler beside it.
    Pause(Ms),
    /// A user deletes the pod; the write is slow.
    Delete,
}

/// The resource of this cluster.
pub(super) fn gpu() -> ResourceName {
    ResourceName::from("nvidia.com/gpu")
}

/// What a run has more of than others: one in four each, so that rare coincidences are not left to chance alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Anything,
    /// Processes that die at the moment in which they bind.
    Restarts,
    /// Leaders that are stopped past their lease at the moment in which they bind, and wake.
    Leaders,
}

impl Theme {
    fn of(seed: u64) -> Self {
        match seed % 4 {
            2 => Self::Restarts,
            3 => Self::Leaders,
            _ => Self::Anything,
        }
    }

    fn disturbances(self, dice: &mut Dice, replicas: usize) -> Vec<(Ms, Disturbance)> {
        let count = dice.between(1, 5);
        let mut one = || {
            let at = dice.between(500, STORM_MS - 45_000);
            let disturbance = match self {
                Self::Anything => return None,
                Self::Restarts if dice.chance(800) => Disturbance::AtBinding(Trap::Kill(dice.between(20, 400))),
                Self::Restarts => Disturbance::KillGangplank(dice.place(replicas), dice.between(20, 400)),
                Self::Leaders if dice.chance(800) => Disturbance::AtBinding(Trap::Pause(dice.between(14_000, 40_000))),
                Self::Leaders => Disturbance::PauseBoth(dice.place(replicas), dice.between(14_000, 40_000)),
            };
            Some((at, disturbance))
        };
        (0..count).filter_map(|_| one()).collect()
    }
}

/// How long faults go on.
pub(super) const STORM_MS: Ms = 150_000;

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let theme = Theme::of(seed);
        let replicas = if theme == Theme::Leaders || dice.chance(200) { 2 } else { 1 };
        let per_node = *dice.pick(&[2_u32, 4, 4, 8]).unwrap_or(&4);
        let count = dice.between(3, if per_node == 8 { 5 } else { 8 });
        // Without our admission, with it, or installed halfway.
        let admission = *dice.pick(&[0, 500, 1000, 1000]).unwrap_or(&1000);
        let agent = |dice: &mut Dice| match dice.below(4) {
            0 => Some(Agent::Serves),
            1 => Some(Agent::Watches),
            _ => None,
        };
        let nodes: Vec<(Node, Option<Agent>)> = (0..count).map(|at| (node(at, per_node), agent(&mut dice))).collect();
        let jobs: Vec<JobPlan> = (0..dice.between(4, 9)).map(|at| job(&mut dice, admission, at, per_node, count)).collect();
        let plain = (0..dice.below(4)).map(|_| (dice.below(60_000), dice.between(1, 8) * 1000)).collect();
        let wild = dice.below(3);
        let rates = Rates {
            api: [0, 60, 200][usize::try_from(wild).unwrap_or(0)],
            http: *dice.pick(&[0, 10, 60]).unwrap_or(&0),
            effects: *dice.pick(&[0, 50, 300]).unwrap_or(&0),
            news_ms: *dice.pick(&[20, 300, 3000]).unwrap_or(&20),
            lost_deletes: if dice.chance(100) { 100 } else { 0 },
        };
        let mut disturbances: Vec<(Ms, Disturbance)> = (0..dice.below(9))
            .map(|_| (dice.between(500, STORM_MS - 10_000), disturbance(&mut dice, replicas, nodes.len(), jobs.len())))
            .collect();
        disturbances.extend(theme.disturbances(&mut dice, replicas));
        disturbances.sort_by_key(|(at, _)| *at);
        let quotas = if dice.chance(150) { vec![quota(&jobs, per_node)] } else { Vec::new() };
        let profile = profile(&mut dice);
        let profiles = profiles(&profile, "preemption: {enabled: false}\n");
        let mut scenario = Self {
            replicas,
            unguaranteed: profiles.clone(),
            profiles,
            nodes,
            quotas,
            jobs,
            plain,
            disturbances,
            rates,
            calm_at: STORM_MS,
            rivalry: None,
        };
        if seed >= rivalry::FROM {
            scenario.add_rivalry(seed, &profile, per_node);
        }
        scenario.mark_impossible();
        scenario
    }

    fn add_rivalry(&mut self, seed: u64, profile: &str, per_node: u32) {
        let rivalry = rivalry::add(self, &mut rivalry::dice(seed));
        self.disturbances.sort_by_key(|(at, _)| *at);
        if !self.quotas.is_empty() {
            self.quotas = vec![quota(&self.jobs, per_node)];
        }
        self.profiles = profiles(profile, &rivalry.profile(true));
        self.unguaranteed = profiles(profile, &rivalry.profile(false));
        self.rivalry = Some(rivalry);
    }

    /// Which Jobs can never run, by the crudest count there is: members that fit on each empty node, added up.
    fn mark_impossible(&mut self) {
        let quota = |namespace: &str| self.quotas.iter().find(|quota| &*quota.namespace == namespace).map(|quota| quota.hard[0].1);
        let devices: Vec<u32> = self.nodes.iter().map(|(node, _)| node.pools[0].allocatable).collect();
        let verdicts: Vec<bool> = (self.jobs.iter())
            .map(|job| {
                let room: u32 = match job.ask {
                    Ask::Whole(each) => devices.iter().map(|all| all / each).sum(),
                    Ask::Share(milli) => devices.iter().map(|all| all * (1000 / milli)).sum(),
                };
                let over_quota = quota(&job.key.namespace).is_some_and(|hard| match job.ask {
                    Ask::Whole(each) => each * job.min > hard,
                    Ask::Share(milli) => (milli * job.min).div_ceil(1000) > hard,
                });
                let together = if job.gang { job.min } else { 1 };
                let alone = matches!(job.ask, Ask::Whole(each) if quota(&job.key.namespace).is_some_and(|hard| each > hard));
                room < together || (job.gang && over_quota) || alone
            })
            .collect();
        for (job, impossible) in self.jobs.iter_mut().zip(verdicts) {
            job.impossible = impossible;
        }
    }
}

/// A quota that single pods run into. All gangs of the namespace fit beside each other: two that are created half each would
/// block each other at the API server, and no scheduler could help.
fn quota(jobs: &[JobPlan], per_node: u32) -> Quota {
    let of_gang = |job: &JobPlan| match job.ask {
        Ask::Whole(each) => each * job.size,
        Ask::Share(milli) => (milli * job.size).div_ceil(1000),
    };
    let gangs: u32 = jobs.iter().filter(|job| job.gang && &*job.key.namespace == "a").map(of_gang).sum();
    Quota { namespace: "a".into(), name: "team".into(), hard: vec![(gpu(), gangs + per_node)] }
}

fn profile(dice: &mut Dice) -> String {
    let hold = dice.pick(&["15", "30", "120"]).copied().unwrap_or("30");
    let yaml = Profile::DEFAULT_YAML;
    let before = yaml.lines().find(|line| line.starts_with("holdSeconds:")).unwrap_or_default().to_owned();
    let yaml = yaml.replace(&before, &format!("holdSeconds: {hold}"));
    let yaml = if dice.chance(200) { yaml.replace("decide: auto", "decide: score") } else { yaml };
    if dice.chance(500) { yaml.replace("nominateAboveNodes: 1000", "nominateAboveNodes: 0") } else { yaml }
}

/// The profile with these sections.
fn profiles(profile: &str, sections: &str) -> Profiles {
    let yaml = profile.replace("\naccelerators:", &format!("\n{sections}accelerators:"));
    match Profile::parse(&yaml) {
        Ok(profile) => Profiles::from(Arc::new(profile)),
        Err(mistake) => panic!("{mistake}\n{yaml}"),
    }
}

fn node(at: u64, devices: u32) -> Node {
    let device = |index: u32| Device {
        id: index.to_string().as_str().into(),
        index,
        memory_mib: Some(81_920),
        numa_node: None,
        partition: None,
        health: Health::Healthy,
    };
    let links = (0..devices).flat_map(|a| (a + 1..devices).map(move |b| Link::new(a, b, LinkKind::NvLink(18))));
    let name = format!("n{at}");
    Node {
        name: NodeName::from(name.as_str()),
        labels: BTreeMap::from([("kubernetes.io/hostname".into(), name.as_str().into())]),
        taints: Vec::new(),
        unschedulable: false,
        ready: true,
        cpu_milli: 64_000,
        memory_bytes: 1 << 40,
        pods: 110,
        pools: vec![Pool {
            resource: gpu(),
            allocatable: devices,
            product: None,
            devices: (0..devices).map(device).collect(),
            links: links.collect(),
            sharable: true,
        }],
        report: None,
    }
}

/// What the agent of a node says before anybody runs there.
pub(super) fn first_report(agent: Agent) -> NodeReport {
    NodeReport { serves_devices: agent == Agent::Serves, actual: BTreeMap::new() }
}

fn job(dice: &mut Dice, admission: u64, at: u64, per_node: u32, nodes: u64) -> JobPlan {
    let gang = dice.chance(600);
    let size = u32::try_from(if gang { dice.between(2, 6) } else { dice.between(1, 3) }).unwrap_or(1);
    let ask = if !gang && dice.chance(250) {
        Ask::Share(*dice.pick(&[200, 300, 500, 700]).unwrap_or(&500))
    } else {
        let most = u64::from(per_node) * nodes * 3 / 4 / u64::from(size);
        Ask::Whole(u32::try_from(dice.between(1, u64::from(per_node).min(most.max(1)))).unwrap_or(1))
    };
    // Two namespaces with the same names.
    let namespace = if dice.chance(700) { "a" } else { "b" };
    JobPlan {
        at: dice.below(60_000),
        key: PodKey::new(namespace, format!("job{}", at / 2 * 2 + u64::from(namespace == "a" && at % 2 == 1))),
        size,
        min: size,
        gang,
        ask,
        cpu_milli: dice.between(1, 8) * 1000,
        priority: i32::try_from(dice.below(3)).unwrap_or(0) * 100,
        run_ms: dice.between(2000, 40_000),
        pause_ms: *dice.pick(&[1, 30, 1500]).unwrap_or(&30),
        steady_names: dice.chance(500),
        gated: dice.chance(admission),
        says: if dice.chance(500) { Says::Annotation } else { Says::Owner },
        suspendable: dice.chance(700),
        impossible: false,
        never_preempts: false,
        says_expected: false,
        grace_ms: 15_000,
        budget: None,
    }
}

fn disturbance(dice: &mut Dice, replicas: usize, nodes: usize, jobs: usize) -> Disturbance {
    let (replica, node, job) = (dice.place(replicas), dice.place(nodes), dice.place(jobs));
    let (short, long) = (dice.between(200, 5000), dice.between(5000, 40_000));
    match dice.below(20) {
        16 | 17 => Disturbance::AtBinding(Trap::Kill(dice.between(50, 800))),
        18 => Disturbance::AtBinding(Trap::Pause(if replicas > 1 { 14_000 + long } else { short })),
        19 => Disturbance::AtBinding(Trap::Delete),
        0 | 1 => Disturbance::KillGangplank(replica, short),
        2 => Disturbance::PauseGangplank(replica, short + 500),
        3 if replicas > 1 => Disturbance::PauseBoth(replica, 15_000 + long),
        3 | 4 => Disturbance::KillScheduler(replica, short),
        5 | 6 => Disturbance::BreakWatch {
            replica,
            kind: dice.place(2),
            ms: if dice.chance(500) { short } else { long },
            gone: dice.chance(600),
        },
        7 => Disturbance::LoseNode(node, long),
        8 => Disturbance::SickDevice(node, dice.place(2), long),
        9 => Disturbance::Blip(node, short * 2),
        10 => Disturbance::Cordon(node, long),
        11 => Disturbance::Zone(job, node, long * 2),
        12 => Disturbance::DeleteMember(job),
        13 => Disturbance::FailMember(job),
        14 => Disturbance::DeleteJob(job),
        _ => Disturbance::RecreateJob(job, short),
    }
}

impl JobPlan {
    /// The containers of a member.
    pub(super) fn containers(&self) -> Vec<ContainerRequest> {
        let (whole, share) = match self.ask {
            Ask::Whole(count) => (vec![(gpu(), count)], None),
            Ask::Share(milli) => (Vec::new(), Some(ShareRequest { milli, memory_mib: None })),
        };
        vec![ContainerRequest { container: "main".into(), index: 0, role: ContainerRole::Main, whole, share }]
    }
}
