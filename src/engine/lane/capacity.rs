//! Gangs that lack nodes: how autoscalers learn of them, by the profile. Either their pods are let go without places, so that
//! kube-scheduler finds them unschedulable (they still start together, through filter), or a ProvisioningRequest is made. Nothing
//! here places anybody: when there are nodes the gang is planned as ever. What was asked for is known by the watch alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Gang, Step};
use crate::engine::decider::reference;
use crate::engine::{Effect, Engine, Event};
use crate::gang::life::Phase;
use crate::model::{GangId, OwnerRef, Pod, PodKey, PodUid, ProvisioningOrder, ProvisioningRequest, ProvisioningState, Time};
use crate::policy::{Autoscaling, AutoscalingMode};

/// Gangs for which nodes are asked at once, the most urgent first.
const STARVING_MAX: usize = 256;
/// Requests at once.
const REQUESTS_MAX: usize = 64;
/// What was ordered, and is not seen, is ordered again.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a request that failed stands, for people to see, before the next one.
const FAILED_STANDS: Duration = Duration::from_mins(5);
/// As the API server limits a request's pod sets.
const SETS_MAX: usize = 32;
/// How much of a name goes into a request's.
const NAME_LETTERS_MAX: usize = 45;
const UID_LETTERS: usize = 8;

/// What is known of nodes that are asked for.
#[derive(Debug, Default)]
pub(super) struct Capacity {
    /// The version in which ProvisioningRequests are served.
    served: Option<Arc<str>>,
    /// Requests, and since when each is as it is.
    requests: BTreeMap<PodKey, (ProvisioningRequest, Time)>,
    starving: BTreeMap<GangId, Starving>,
    /// When a request was last ordered, or its deletion, by gang.
    ordered: BTreeMap<GangId, Time>,
}

/// A gang that lacks nodes.
#[derive(Debug)]
struct Starving {
    since: Time,
    released: bool,
    /// Members that say which request is theirs.
    consumers: BTreeSet<PodUid>,
}

impl Capacity {
    fn request_of(&self, id: &GangId) -> Option<&(ProvisioningRequest, Time)> {
        self.requests.values().find(|(request, _)| request.gang == *id)
    }

    /// Whether it is time to order again.
    fn may_order(&mut self, now: Time, id: &GangId) -> bool {
        if self.ordered.get(id).is_some_and(|at| now - *at < AGAIN) {
            return false;
        }
        self.ordered.insert(id.clone(), now);
        true
    }
}

impl Engine {
    pub(in crate::engine) fn provisioning_served(&mut self, version: Option<Arc<str>>) {
        self.lane.capacity.served = version;
    }

    pub(in crate::engine) fn provisioning_applied(&mut self, now: Time, request: ProvisioningRequest) {
        let id = request.gang.clone();
        let known = self.lane.capacity.requests.get(&request.key);
        let same = known.is_some_and(|(known, _)| (known.state, &known.uid) == (request.state, &request.uid));
        let since = known.filter(|_| same).map_or(now, |(_, since)| *since);
        let (state, text) = (request.state, words(&request));
        if known.is_none() {
            self.lane.capacity.ordered.remove(&id);
        }
        self.lane.capacity.requests.insert(request.key.clone(), (request, since));
        let told = matches!(state, ProvisioningState::Pending | ProvisioningState::Accepted);
        if let Some(pod) = self.first_waiting(&id).filter(|_| self.synced && !same && !told) {
            let warning = state != ProvisioningState::Provisioned;
            self.effects.push(Effect::Event(Event { pod: reference(pod), reason: "GangNodes", note: text, warning }));
        }
    }

    pub(in crate::engine) fn provisioning_deleted(&mut self, now: Time, key: &PodKey) {
        if let Some((request, _)) = self.lane.capacity.requests.remove(key)
            && let Some(starving) = self.lane.capacity.starving.get_mut(&request.gang)
        {
            starving.since = now;
            starving.consumers.clear();
            self.lane.capacity.ordered.remove(&request.gang);
        }
    }

    fn first_waiting(&self, id: &GangId) -> Option<&Pod> {
        let gang = self.lane.gangs.get(id)?;
        gang.at(|step| step == Step::Waiting).iter().find_map(|uid| Some(&self.pods.get(uid)?.pod))
    }

    /// Time passed: gangs that have lacked nodes for long enough ask for them, and what nobody needs any more is given up.
    pub(super) fn ask_for_nodes(&mut self, now: Time) {
        let wanted = self.profiles.all().any(|rules| rules.profile.autoscaling.mode != AutoscalingMode::None);
        if !self.synced || !wanted && self.lane.capacity.requests.is_empty() {
            self.lane.capacity.starving.clear();
            return;
        }
        self.note_who_starves(now);
        let starving: Vec<(GangId, Time)> = self.lane.capacity.starving.iter().map(|(id, starving)| (id.clone(), starving.since)).collect();
        for (id, since) in starving {
            let Some(rules) = self.autoscaling_of(&id) else { continue };
            match rules.mode {
                AutoscalingMode::None => {}
                _ if now - since < rules.after => {}
                AutoscalingMode::Release => self.let_go(&id),
                AutoscalingMode::ProvisioningRequest => self.provision(now, &id, &rules),
            }
        }
        self.give_up_requests(now);
    }

    fn autoscaling_of(&self, id: &GangId) -> Option<Autoscaling> {
        Some(self.rules(self.first_waiting(id)?).profile.autoscaling.clone())
    }

    /// Those that were refused for lack of room, the most urgent first; who waits for another look since is still one of them.
    fn note_who_starves(&mut self, now: Time) {
        let lane = &mut self.lane;
        let lacks = |gang: &Gang| {
            let waits = matches!(gang.phase, Phase::Queued | Phase::Released { .. } | Phase::Bound) && gang.tally.waiting > 0;
            waits && gang.refusal.as_ref().is_some_and(|refusal| refusal.reason.lacks_room())
        };
        lane.capacity.starving.retain(|id, _| lane.gangs.get(id).is_some_and(lacks));
        for turn in lane.refused.iter().take(STARVING_MAX) {
            if lane.gangs.get(&turn.id).is_some_and(lacks) && lane.capacity.starving.len() < STARVING_MAX {
                let fresh = || Starving { since: now, released: false, consumers: BTreeSet::new() };
                lane.capacity.starving.entry(turn.id.clone()).or_insert_with(fresh);
            }
        }
        lane.capacity.ordered.retain(|_, at| now - *at < AGAIN);
    }

    /// The gates come off without a plan. kube-scheduler asks about each, is refused in constant words until all fit, and says
    /// on the pods that they are unschedulable, which is what autoscalers look for.
    fn let_go(&mut self, id: &GangId) {
        let Some(gang) = self.lane.gangs.get_mut(id) else { return };
        // Ours from here on, although its gates are off.
        gang.asked = true;
        let waiting = gang.at(|step| step == Step::Waiting);
        let gated = waiting.iter().filter_map(|uid| self.pods.get(uid)).filter(|record| record.pod.gated);
        let released: Vec<Effect> = gated.map(|record| Effect::Release { pod: reference(&record.pod), plan: None }).collect();
        self.effects.extend(released);
        if let Some(starving) = self.lane.capacity.starving.get_mut(id) {
            starving.released = true;
        }
    }

    /// Makes sure that there is a request for what a gang lacks.
    fn provision(&mut self, now: Time, id: &GangId, rules: &Autoscaling) {
        let Some(gang) = self.lane.gangs.get(id) else { return };
        let joining = gang.tally.planned + gang.tally.bound > 0;
        // What it needs to start; the others are asked for when it runs.
        let needed = self.lane.size(id, gang).filter(|_| !joining).map_or(usize::MAX, |(_, min)| min as usize);
        let roster = self.roster(id, &gang.at(|step| step == Step::Waiting), needed);
        let sets: Vec<((PodKey, PodUid), u32)> = roster.by_role().map(|(pod, count)| ((pod.key.clone(), pod.uid.clone()), count)).collect();
        let Some(lead) = roster.first() else { return };
        let Some((request, since)) = self.lane.capacity.request_of(id).cloned() else {
            let Some(version) = self.lane.capacity.served.clone() else { return };
            let (key, owner) = (name_of(id, lead), self.owner_of(id, lead));
            let (gang, class, parameters) = (id.clone(), rules.class.clone(), rules.parameters.clone());
            let room = self.lane.capacity.requests.len() + self.lane.capacity.ordered.len() < REQUESTS_MAX;
            if room && sets.len() <= SETS_MAX && self.lane.capacity.may_order(now, id) {
                self.effects.push(Effect::Provision(Box::new(ProvisioningOrder { key, version, gang, owner, class, parameters, sets })));
            }
            return;
        };
        let over = match request.state {
            ProvisioningState::Pending | ProvisioningState::Accepted | ProvisioningState::Provisioned => false,
            ProvisioningState::Failed => now - since >= FAILED_STANDS,
            ProvisioningState::BookingExpired | ProvisioningState::CapacityRevoked => true,
        };
        let other = request.class != rules.class || request.counts != sets.iter().map(|(_, count)| *count).collect::<Vec<_>>();
        if over || other {
            self.give_up(now, &request);
            return;
        }
        let members: Vec<PodUid> = roster.members.into_iter().map(|(uid, _)| uid).collect();
        let Some(starving) = self.lane.capacity.starving.get_mut(id) else { return };
        for uid in members {
            let Some(record) = self.pods.get(&uid) else { continue };
            if starving.consumers.insert(uid) {
                let (request, class) = (request.key.name.clone(), request.class.clone());
                self.effects.push(Effect::Consume { pod: reference(&record.pod), request, class });
            }
        }
    }

    /// Whoever it is with whom the request shall go: the owner of the whole, else that of a member, else the member.
    fn owner_of(&self, id: &GangId, lead: &Pod) -> OwnerRef {
        let whole = self.lane.spec(id).and_then(|spec| spec.suspend.clone());
        whole.or_else(|| lead.controller.clone()).unwrap_or_else(|| OwnerRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            key: lead.key.clone(),
            uid: lead.uid.as_str().into(),
        })
    }

    /// Requests of gangs that run, that are gone, or whose profile asks for none.
    fn give_up_requests(&mut self, now: Time) {
        let needless = |request: &ProvisioningRequest| {
            let Some(gang) = self.lane.gangs.get(&request.gang) else { return true };
            if gang.tally.waiting == 0 {
                return gang.phase == Phase::Bound;
            }
            let mode = self.autoscaling_of(&request.gang).map(|rules| rules.mode);
            mode.is_some_and(|mode| mode != AutoscalingMode::ProvisioningRequest)
        };
        let mut gangs = BTreeSet::new();
        let over = |(request, _): &&(ProvisioningRequest, Time)| !gangs.insert(request.gang.clone()) || needless(request);
        let over: Vec<ProvisioningRequest> =
            self.lane.capacity.requests.values().filter(over).map(|(request, _)| request.clone()).collect();
        over.iter().for_each(|request| self.give_up(now, request));
    }

    fn give_up(&mut self, now: Time, request: &ProvisioningRequest) {
        let Some(version) = self.lane.capacity.served.clone() else { return };
        if self.lane.capacity.may_order(now, &request.gang) {
            let (key, uid, sets) = (request.key.clone(), request.uid.clone(), request.counts.len());
            self.effects.push(Effect::Unprovision { request: key, uid, version, sets });
        }
    }

    /// What was done so that a gang gets the nodes that it lacks, for people.
    pub(super) fn nodes_asked(&self, id: &GangId) -> Option<String> {
        let capacity = &self.lane.capacity;
        if let Some((request, _)) = capacity.request_of(id) {
            return Some(words(request));
        }
        let starving = capacity.starving.get(id)?;
        let rules = self.autoscaling_of(id)?;
        match rules.mode {
            AutoscalingMode::None => None,
            AutoscalingMode::Release if starving.released => {
                Some("its pods were let go, so that an autoscaler sees that they are unschedulable".into())
            }
            AutoscalingMode::ProvisioningRequest if capacity.served.is_none() => {
                Some("nobody can be asked: the cluster serves no ProvisioningRequest".into())
            }
            AutoscalingMode::ProvisioningRequest if capacity.ordered.contains_key(id) => {
                Some("a ProvisioningRequest was ordered and is not there yet; what refuses it stands in Gangplank's log".into())
            }
            AutoscalingMode::Release | AutoscalingMode::ProvisioningRequest => {
                Some(format!("asked for when it has lacked nodes for {} s", rules.after.as_secs()))
            }
        }
    }

    /// The same, of the gang that a pod is a member of.
    pub fn nodes_asked_for(&self, uid: &PodUid) -> Option<String> {
        self.nodes_asked(self.lane.gang_of.get(uid)?)
    }
}

fn words(request: &ProvisioningRequest) -> String {
    let said = if request.message.is_empty() { String::new() } else { format!(": {}", request.message) };
    format!("ProvisioningRequest {} ({}): {}{said}", request.key, request.class, request.state.words())
}

/// A name that another gang of the same name does not have.
fn name_of(id: &GangId, lead: &Pod) -> PodKey {
    let uid: &str = if id.uid.is_empty() { lead.uid.as_str() } else { &id.uid };
    let cut =
        |text: &str, letters: usize| text.chars().filter(char::is_ascii_alphanumeric).take(letters).collect::<String>().to_lowercase();
    let name: String = id.key.name.chars().take(NAME_LETTERS_MAX).collect();
    PodKey::new(id.key.namespace.clone(), format!("{}-{}", name.trim_end_matches(['-', '.']), cut(uid, UID_LETTERS)))
}
