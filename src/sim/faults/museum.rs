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
    /// A Binding carries no resourceVersion, and a second flow of the same pod may run beside the first.
    NoFence,
    /// Questions are answered before the pods were listed.
    ReadyTooEarly,
    /// After a broken watch is listed anew, what the list lacks stays in the book.
    KeepWhatTheListLacks,
    /// A relist lays older objects over what the watch has delivered since.
    RelistOverNews,
    /// A replica never looks who leads.
    DeafToTheLease,
    /// A new process binds at once, before it has seen what the one before it wrote last.
    NoSettling,
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
    /// Nobody is touched awake.
    NeverTouch,
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
        Self::NoSettling,
        Self::RecordAfterBinding,
        Self::ReportUnread,
        Self::EvictOnBlip,
        Self::FinishedStillCounts,
        Self::DeletingIsGone,
        Self::NewsOutOfOrder,
        Self::BareGangName,
        Self::MembersAlone,
        Self::NoDeadline,
        Self::NeverTouch,
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
pub const ALL: &[Piece] = &[];
