//! The bug museum: switches that bring back mistakes which other schedulers made. A simulator that does not catch them
//! proves nothing by finding nothing. Each is a mistake of the shell around the engine as this simulator models it, so
//! that no production code has a switch.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// A Binding without an answer is taken for refused.
    ForgetOnTimeout,
    /// A Binding names no UID and no version: it lands on whoever bears the name.
    BindByName,
    /// A Binding carries no resourceVersion and is sent without a last look at the lease, and a second flow of the same pod may run
    /// beside the first.
    NoFence,
    /// Questions are answered before the pods were listed.
    ReadyTooEarly,
    /// After a broken watch is listed anew, what the list lacks stays in the book.
    KeepWhatTheListLacks,
    /// A relist lays older objects over what the watch has delivered since.
    RelistOverNews,
    /// A replica never looks who leads.
    DeafToTheLease,
    /// The devices are written on the pod by a second call, after the Binding.
    RecordAfterBinding,
    /// What the agent reports of a node is not read.
    ReportUnread,
    /// Devices that vanish from a node take their pods with them at once.
    EvictOnBlip,
    /// A pod that has finished is still counted.
    FinishedStillCounts,
    /// A pod that is being deleted is no longer counted.
    DeletingIsGone,
    /// Events of one object are taken in any order.
    NewsOutOfOrder,
    /// A gang is known by its bare name, in whatever namespace.
    BareGangName,
    /// Members of a gang are placed one by one.
    MembersAlone,
    /// Nothing ever expires.
    NoDeadline,
    /// A process that was stopped believes in its lease until it looks again.
    SleepsThroughTheLease,
    /// Whoever else is of lower priority on a victim's node goes with it.
    EvictMore,
    /// What runs is not known as members of gangs: one of them may go.
    MemberByMember,
    /// Disruption budgets are not read, and pods are deleted past them.
    BudgetUnread,
    /// An eviction names no UID, and waits in a queue before it is sent.
    EvictByName,
    /// Evictions wait in a queue, and are sent whatever became of the plan that they are for.
    LateEvictions,
    /// An owner is suspended, and nothing is written down about who did it.
    ForgetsWhoSuspended,
    /// What queues are guaranteed is not read.
    GuaranteeUnread,
    /// `preemptionPolicy: Never` is not read.
    NeverUnread,
    /// What victims leave is kept for nobody.
    FreedForAnybody,
    /// A pod on a node that does not answer is ended by force.
    ForceWhereItMayRun,
    /// That a node does not answer is not read.
    LostNodeUnseen,
}

impl Flaw {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::ForgetOnTimeout,
        Self::BindByName,
        Self::NoFence,
        Self::ReadyTooEarly,
        Self::KeepWhatTheListLacks,
        Self::RelistOverNews,
        Self::DeafToTheLease,
        Self::RecordAfterBinding,
        Self::ReportUnread,
        Self::EvictOnBlip,
        Self::FinishedStillCounts,
        Self::DeletingIsGone,
        Self::NewsOutOfOrder,
        Self::BareGangName,
        Self::MembersAlone,
        Self::NoDeadline,
        Self::SleepsThroughTheLease,
        Self::EvictMore,
        Self::MemberByMember,
        Self::BudgetUnread,
        Self::EvictByName,
        Self::LateEvictions,
        Self::ForgetsWhoSuspended,
        Self::GuaranteeUnread,
        Self::NeverUnread,
        Self::FreedForAnybody,
        Self::ForceWhereItMayRun,
        Self::LostNodeUnseen,
    ];
}

/// A museum piece: what it is, where it happened, and a seed whose schedule catches it.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// The switch.
    pub flaw: Flaw,
    /// Where it was seen.
    pub seen: &'static str,
    /// A seed that catches it.
    pub seed: u64,
}

/// Every piece.
pub const ALL: &[Piece] = &[
    Piece {
        flaw: Flaw::ForgetOnTimeout,
        seen: "HAMi#1896, k/k#96579: a failed or unanswered write is taken for one that was not made",
        seed: 166,
    },
    Piece {
        flaw: Flaw::BindByName,
        seen: "k/k#139914, HiveD keys by bare names: what was meant for a pod lands on the next of its name",
        seed: 3,
    },
    Piece { flaw: Flaw::NoFence, seen: "koordinator PR#1289: one GPU twice after a change of leader", seed: 71 },
    Piece { flaw: Flaw::ReadyTooEarly, seen: "HAMi#2911: ready is said before the books are whole", seed: 256 },
    Piece {
        flaw: Flaw::KeepWhatTheListLacks,
        seen: "HAMi#2923, k/k#31977: eight idle GPUs are refused because deleted pods still hold them",
        seed: 76,
    },
    Piece { flaw: Flaw::RelistOverNews, seen: "k/k#76624, etcd#15220: an older state is laid over a newer one", seed: 8 },
    Piece { flaw: Flaw::DeafToTheLease, seen: "koordinator PR#1289, HAMi#2911: a replica of an old term goes on", seed: 63 },
    Piece {
        flaw: Flaw::SleepsThroughTheLease,
        seen: "Jepsen on etcd's locks: who was stopped does not know that its lease is over",
        seed: 5015,
    },
    Piece { flaw: Flaw::RecordAfterBinding, seen: "gpushare's Allocate, HAMi#1896: two writes where one may fail", seed: 2 },
    Piece { flaw: Flaw::ReportUnread, seen: "HAMi#1741, #2080, #3096: kubelet picks another device, nothing is noticed", seed: 0 },
    Piece { flaw: Flaw::EvictOnBlip, seen: "armada PR#4390: a restart of the operator shows 0 GPUs, and everything is evicted", seed: 11 },
    Piece { flaw: Flaw::FinishedStillCounts, seen: "volcano dceaa6cca, HAMi#2622: what is finished is counted", seed: 0 },
    Piece { flaw: Flaw::DeletingIsGone, seen: "k/k#109595: devices of pods that end are given away", seed: 19 },
    Piece { flaw: Flaw::NewsOutOfOrder, seen: "etcd#15271, #17529: watch events out of order", seed: 47 },
    Piece { flaw: Flaw::BareGangName, seen: "KAI PR#2095, HiveD: groups of other namespaces, or of before, under one name", seed: 37 },
    Piece { flaw: Flaw::MembersAlone, seen: "scheduler-plugins#117, trainer#165: gangs hold halves and wait for each other", seed: 8 },
    Piece { flaw: Flaw::NoDeadline, seen: "scheduler-plugins#713, koordinator#1919: assumed members starve the others", seed: 0 },
    Piece { flaw: Flaw::EvictMore, seen: "volcano#5984, #5994: one must go, and ten are evicted", seed: 10_005 },
    Piece { flaw: Flaw::MemberByMember, seen: "volcano#4607: one pod of each of ten jobs is evicted", seed: 10_008 },
    Piece { flaw: Flaw::BudgetUnread, seen: "KAI, HiveD: victims are chosen without a look at disruption budgets", seed: 10_015 },
    Piece { flaw: Flaw::EvictByName, seen: "k/k#139914: what was meant for a pod hits the next of its name", seed: 42 },
    Piece { flaw: Flaw::LateEvictions, seen: "kueue#13662: evictions that are not in step with the plan that they are for", seed: 84 },
    Piece { flaw: Flaw::ForgetsWhoSuspended, seen: "kueue KEP-2724: a workload stays suspended for hours", seed: 10_000 },
    Piece { flaw: Flaw::GuaranteeUnread, seen: "volcano#4947, PR#4936: reclaim takes a queue below what it deserves", seed: 10_001 },
    Piece { flaw: Flaw::NeverUnread, seen: "volcano#3738, PR#3739: who must not preempt anybody does", seed: 10_003 },
    Piece { flaw: Flaw::FreedForAnybody, seen: "volcano PR#5011, PR#5022: victims go, and the preemptor is not placed", seed: 10_000 },
    Piece {
        flaw: Flaw::ForceWhereItMayRun,
        seen: "k/k#35145: pods are ended by force on nodes that do not answer, and run on",
        seed: 10_013,
    },
    Piece { flaw: Flaw::LostNodeUnseen, seen: "volcano#5805: a gang is never healed after its node is lost", seed: 10_058 },
];
