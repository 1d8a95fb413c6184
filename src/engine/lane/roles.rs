//! Members in the order of their ranks, in roles of members that are alike, as the planner takes them.

use std::borrow::Cow;

use crate::engine::Engine;
use crate::gang::{Group, Member, Role};
use crate::model::{GangId, Pod, PodKey, PodUid, TopologyWishes};

/// Members that are to be planned.
#[derive(Debug)]
pub(super) struct Roster {
    /// With their ranks, in the order of ranks.
    pub(super) members: Vec<(PodUid, u32)>,
    /// One pod for each role, and how many members follow it.
    roles: Vec<(Pod, Vec<Member>)>,
    pub(super) wishes: TopologyWishes,
}

impl Roster {
    /// What the planner takes.
    pub(super) fn group(&self, id: &GangId) -> Group<'_> {
        let roles = self.roles.iter().map(|(pod, members)| Role { pod, members: members.clone() }).collect();
        Group { key: id.key.clone(), roles, wishes: &self.wishes }
    }

    /// One pod for each role, with the number of its members.
    pub(super) fn by_role(&self) -> impl Iterator<Item = (&Pod, u32)> {
        self.roles.iter().map(|(pod, members)| (pod, u32::try_from(members.len()).unwrap_or(u32::MAX)))
    }

    /// The same places for others than these, who are not there yet.
    pub(super) fn stand_in(&mut self) {
        for member in self.roles.iter_mut().flat_map(|(_, members)| members) {
            member.uid = super::vacancy_of(&member.uid);
            member.key = PodKey::new(member.key.namespace.clone(), format!("{} (lost)", member.key.name));
        }
    }

    /// The member that comes first.
    pub(super) fn first(&self) -> Option<&Pod> {
        self.roles.first().map(|(pod, _)| pod)
    }
}

impl Engine {
    /// Some members of a gang, at most so many, the lowest ranks first. Ranks that others have are not given again.
    pub(super) fn roster(&self, id: &GangId, uids: &[PodUid], members_max: usize) -> Roster {
        let order = |role: &str| {
            let spec = self.lane.spec(id);
            spec.and_then(|spec| spec.roles.iter().position(|(name, _)| **name == *role)).unwrap_or(usize::MAX)
        };
        let pods: Vec<Cow<'_, Pod>> = uids.iter().filter_map(|uid| Some(self.with_volumes(&self.pods.get(uid)?.pod))).collect();
        let mut pods: Vec<&Pod> = pods.iter().map(AsRef::as_ref).collect();
        pods.sort_by_cached_key(|pod| {
            let gang = pod.gang.as_ref();
            let role = gang.map(|gang| gang.role.clone());
            let place = role.as_ref().map_or(usize::MAX, |role| order(role));
            (place, role, gang.and_then(|gang| gang.rank).unwrap_or(u32::MAX), pod.key.clone())
        });
        pods.truncate(members_max);
        let mut roles: Vec<(Pod, Vec<Member>)> = Vec::new();
        for pod in &pods {
            let member = Member { uid: pod.uid.clone(), key: pod.key.clone() };
            // Neighbours in the order only: ranks follow it.
            match roles.last_mut().filter(|(lead, _)| alike(lead, pod)) {
                Some((_, members)) => members.push(member),
                None => roles.push(((*pod).clone(), vec![member])),
            }
        }
        let ranks = self.ranks(id, &pods);
        let members = pods.iter().map(|pod| pod.uid.clone()).zip(ranks).collect();
        let own = pods.iter().map(|pod| &pod.topology).find(|wishes| !wishes.is_empty()).cloned();
        let wishes = own.or_else(|| self.lane.spec(id).map(|spec| spec.topology.clone())).unwrap_or_default();
        Roster { members, roles, wishes }
    }

    /// What members say themselves, if they have one role and no two say the same; else the lowest that are free.
    fn ranks(&self, id: &GangId, pods: &[&Pod]) -> Vec<u32> {
        let taken = self.lane.gangs.get(id).map(|gang| &gang.ranks);
        let others: std::collections::BTreeSet<u32> =
            taken.into_iter().flatten().filter(|(uid, _)| pods.iter().all(|pod| pod.uid != **uid)).map(|(_, rank)| *rank).collect();
        let said: Option<Vec<u32>> = pods.iter().map(|pod| pod.gang.as_ref().and_then(|gang| gang.rank)).collect();
        let one_role =
            pods.windows(2).all(|pair| pair[0].gang.as_ref().map(|gang| &gang.role) == pair[1].gang.as_ref().map(|gang| &gang.role));
        let distinct = |said: &Vec<u32>| said.is_sorted_by(|a, b| a < b) && said.iter().all(|rank| !others.contains(rank));
        said.filter(|said| one_role && distinct(said))
            .unwrap_or_else(|| (0..).filter(|rank| !others.contains(rank)).take(pods.len()).collect())
    }
}

/// Whether the planner may take one for the other.
pub(super) fn alike(a: &Pod, b: &Pod) -> bool {
    a.request.containers.len() == b.request.containers.len()
        && a.request == b.request
        && (a.cpu_milli, a.memory_bytes, a.priority) == (b.cpu_milli, b.memory_bytes, b.priority)
        && a.constraints == b.constraints
}
