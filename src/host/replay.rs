//! Replay: a journal file, line by line through the same door into a fresh engine, at the times of the recording.
//! It decides whether the answers are the recorded ones. Nothing leaves the process: effects are dropped.

use std::io::BufRead;
use std::sync::Arc;

use thiserror::Error;

use super::{Clock, Host, Journal, JournalLimits, VerbFailure};
use crate::engine::{BindOutcome, Input};
use crate::model::{GangId, GangKind, NodeName, PodKey, PodUid, Time};
use crate::policy::{ProfileText, Profiles};
use crate::telemetry::Metrics;
use crate::wire::gang::specs;
use crate::wire::journal::{Line, Outcome, Record};

/// What a replay showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Inputs taken.
    pub entries: u64,
    /// Answers compared with the recorded ones.
    pub compared: u64,
    /// Places of answers that came out differently.
    pub differing: Vec<u64>,
    /// Entries missing between others: from the first of them on, answers may differ for that reason alone.
    pub missing: u64,
    /// The rendered answers to filter, prioritize and preempt, in order.
    pub replies: Vec<Vec<u8>>,
    /// The book's digest at the end.
    pub digest: String,
}

/// Why a journal cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The reader failed.
    #[error("line {line} of the journal cannot be read")]
    Read {
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a journal line.
    #[error("line {line} of the journal is not an entry: {problem}")]
    Parse {
        /// Which line, from 1.
        line: usize,
        /// What the parser met.
        problem: String,
    },
}

/// Feeds a journal to a fresh engine.
///
/// # Errors
/// A journal that cannot be read. Answers that differ are no error: the report has them.
pub fn replay(profiles: impl Into<Profiles>, journal: impl BufRead) -> Result<ReplayReport, ReplayError> {
    let (clock, metrics) = (Clock::simulated(Time::default()), Arc::new(Metrics::new()));
    let limits = JournalLimits { entries_max: 1, ..JournalLimits::default() };
    let (host, _effects) = Host::new(profiles, clock.clone(), metrics.clone(), Journal::new(limits, metrics).hashing());
    let mut report = ReplayReport::default();
    let mut seq_next = 0;
    for (index, text) in journal.lines().enumerate() {
        let text = text.map_err(|source| ReplayError::Read { line: index + 1, source })?;
        let line: Line = serde_json::from_str(&text).map_err(|error| ReplayError::Parse { line: index + 1, problem: error.to_string() })?;
        clock.set(Time::from_unix_ms(line.now_ms));
        report.missing += line.seq.saturating_sub(seq_next);
        seq_next = line.seq + line.input.times();
        report.entries += line.input.times();
        if let Some(reply) = take(&host, line.input) {
            report.replies.push(reply);
        }
        if let Some(recorded) = line.answer {
            report.compared += 1;
            if host.journal(|journal| journal.newest(1).pop().and_then(|line| line.answer)) != Some(recorded) {
                report.differing.push(line.seq);
            }
        }
    }
    report.digest = host.look(crate::engine::Engine::digest);
    Ok(report)
}

/// One recorded input through the door it came in by.
fn take(host: &Host, record: Record) -> Option<Vec<u8>> {
    let reply = |answered: Result<Vec<u8>, VerbFailure>| answered.ok();
    match record {
        Record::PodApplied { object } => drop(host.pod_applied(object)),
        Record::PodDeleted { uid } => host.pod_deleted(&PodUid::new(uid)),
        Record::NodeApplied { object, report } => host.node_applied(object, report),
        Record::NodeDeleted { name } => host.node_deleted(&NodeName::new(name)),
        Record::VolumeApplied { object } => host.volume_applied(object),
        Record::VolumeDeleted { name } => host.volume_deleted(&name),
        Record::QuotaApplied { object } => host.quota_applied(object),
        Record::QuotaDeleted { namespace, name } => host.quota_deleted(&namespace, &name),
        Record::BudgetApplied { object } => host.budget_applied(object),
        Record::BudgetDeleted { namespace, name } => host.budget_deleted(&namespace, &name),
        Record::PriorityClassApplied { object } => host.priority_class_applied(object),
        Record::PriorityClassDeleted { name } => host.priority_class_deleted(&name),
        Record::GangApplied { object, place, suspends } => {
            let spec = specs(&object, suspends.as_ref()).into_iter().nth(usize::try_from(place).unwrap_or(usize::MAX));
            if let Some(spec) = spec {
                host.gang_applied(spec, &object, place, suspends.as_ref());
            }
        }
        Record::GangDeleted { gang, namespace, name, uid } => {
            if let Some(kind) = GangKind::ALL.into_iter().find(|kind| kind.name() == &*gang) {
                host.gang_deleted(&GangId { kind, key: PodKey { namespace, name }, uid });
            }
        }
        Record::CreationFailed { event, above } => host.creation_failed(&event, above),
        Record::NodeFailed { pod } => host.pod_failed(pod),
        Record::ProvisioningServed { version } => host.provisioning_served(version),
        Record::ProvisioningApplied { object } => host.provisioning_applied(object),
        Record::ProvisioningDeleted { namespace, name } => host.provisioning_deleted(&PodKey { namespace, name }),
        Record::EndedListed { namespace, pods } => host.ended_listed(namespace, pods),
        Record::TopologyApplied { name, spec } => drop(host.topology_applied(&name, spec)),
        Record::TopologyDeleted { name } => host.topology_deleted(&name),
        Record::HyperNodeApplied { name, spec } => drop(host.hyper_node_applied(&name, spec)),
        Record::HyperNodeDeleted { name } => host.hyper_node_deleted(&name),
        Record::ProfilesReplaced { profiles } => {
            let texts: Vec<_> = profiles.into_iter().map(|(file, yaml)| ProfileText { file, yaml }).collect();
            drop(host.replace_profiles(&texts));
        }
        Record::Synced => drop(host.ask(Input::Synced, Record::Synced)),
        Record::Desynced => drop(host.ask(Input::Desynced, Record::Desynced)),
        Record::Relisted { pods, nodes } => host.relisted(pods, nodes),
        Record::Tick => host.tick(),
        Record::Prepare { times } => (0..times).for_each(|_| {
            host.prepare();
        }),
        Record::Plan => host.plan(),
        Record::Reset => host.reset(),
        Record::Filter { body } => return reply(host.answer_filter(&body.0)),
        Record::Prioritize { body } => return reply(host.answer_prioritize(&body.0)),
        Record::Preempt { body } => return reply(host.answer_preempt(&body.0)),
        Record::Bind { object, node } => drop(host.may_bind(object, &NodeName::new(node))),
        Record::BindOutcome { uid, node, outcome } => {
            let outcome = match outcome {
                Outcome::Bound => BindOutcome::Bound,
                Outcome::Refused => BindOutcome::Refused,
                Outcome::Unknown => BindOutcome::Unknown,
            };
            host.bind_ended(&PodUid::new(uid), &NodeName::new(node), outcome);
        }
    }
    None
}
