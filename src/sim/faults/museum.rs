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
    Piece { flaw: Flaw::DeafToTheLease, seen: "koordinator PR#1289, HAMi#2911: a replica of an old term goes on", seed: 39 },
    Piece {
        flaw: Flaw::SleepsThroughTheLease,
        seen: "Jepsen on etcd's locks: who was stopped does not know that its lease is over",
        seed: 5303,
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
];
