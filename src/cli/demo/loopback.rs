//! The world as a scheduler outside of the process sees it: kube-scheduler's bytes to a real server over loopback.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::memory::Memory;
use super::pump::Pump;
use crate::cli::http::{Client, Reply};
use crate::model::{NodeName, PodUid};
use crate::sim::{CallError, Calls, Cluster, FilterReply, RefusedNode, SimPod, Story, World};
use crate::wire::extender::{BindRequest, client};

/// The cluster in memory, and the extender behind HTTP.
#[derive(Debug)]
pub(in crate::cli) struct Loopback {
    memory: Arc<Memory>,
    pump: Pump,
    server: Client,
    calls: Calls,
    filter_us: Vec<u64>,
}

impl Loopback {
    pub(in crate::cli) fn new(pump: Pump, address: &str) -> Self {
        Self { memory: Arc::clone(&pump.memory), pump, server: Client::new(address), calls: Calls::default(), filter_us: Vec::new() }
    }

    /// What carries effects out, for whoever goes on with the extender.
    pub(in crate::cli) fn into_pump(self) -> Pump {
        self.pump
    }

    pub(in crate::cli) fn calls(&self) -> Calls {
        self.calls
    }

    /// Microseconds from request to answer at the given rank, in hundredths; `None` before the first call.
    pub(in crate::cli) fn filter_us(&self, percentile: usize) -> Option<u64> {
        let mut sorted = self.filter_us.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percentile).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied()
    }

    fn ask(&mut self, verb: &str, body: &[u8]) -> Result<Reply, CallError> {
        let reply = self.server.post(&format!("/scheduler/{verb}"), body).map_err(|error| CallError(format!("{error:#}")))?;
        if reply.status == 200 {
            return Ok(reply);
        }
        Err(CallError(format!("{verb}: status {}: {}", reply.status, String::from_utf8_lossy(&reply.body).trim())))
    }

    fn question(&self, pod: &SimPod, names: &[NodeName]) -> Result<Vec<u8>, CallError> {
        let object = self.memory.pod(&pod.pod.uid).ok_or_else(|| CallError("the pod is gone".into()))?;
        let object = client::pod_json(&object).map_err(|error| CallError(error.to_string()))?;
        let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        Ok(client::render_filter_request(&object, &names))
    }
}

impl World for Loopback {
    fn look<R>(&self, read: impl FnOnce(&Cluster) -> R) -> R {
        self.memory.look(read)
    }

    fn change<R>(&mut self, write: impl FnOnce(&mut Cluster) -> R) -> R {
        self.memory.change(write)
    }

    fn filter(&mut self, pod: &SimPod, names: &[NodeName]) -> Result<FilterReply, CallError> {
        self.calls.filter += 1;
        self.pump.settle();
        let question = self.question(pod, names)?;
        let asked = Instant::now();
        let reply = self.ask("filter", &question)?;
        self.filter_us.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
        let answer = client::parse_filter_response(&reply.body).map_err(|error| CallError(error.to_string()))?;
        if !answer.error.is_empty() {
            return Err(CallError(answer.error));
        }
        let place = |name: &str| {
            let place = names.iter().position(|sent| sent.as_str() == name).and_then(|place| u32::try_from(place).ok());
            place.ok_or_else(|| CallError(format!("the extender passed {name}, which it was not asked about")))
        };
        let mut nodes = answer.node_names.unwrap_or_default().iter().map(|name| place(name)).collect::<Result<Vec<u32>, _>>()?;
        nodes.sort_unstable();
        let mut refused = Vec::new();
        for (failed, curable) in [(answer.failed_nodes, true), (answer.failed_and_unresolvable_nodes, false)] {
            for (name, text) in failed.unwrap_or_default() {
                refused.push(RefusedNode { place: place(&name)?, text, curable });
            }
        }
        Ok(FilterReply { nodes, refused })
    }

    fn prioritize(&mut self, pod: &SimPod, names: &[NodeName]) -> Result<Vec<i64>, CallError> {
        self.calls.prioritize += 1;
        let question = self.question(pod, names)?;
        let reply = self.ask("prioritize", &question)?;
        let scores = client::parse_prioritize_response(&reply.body).map_err(|error| CallError(error.to_string()))?;
        let of = |name: &NodeName| scores.iter().find(|entry| entry.host == name.as_str()).map_or(0, |entry| entry.score);
        Ok(names.iter().map(of).collect())
    }

    fn bind(&mut self, pod: &SimPod, node: &NodeName) -> Result<(), CallError> {
        self.calls.bind += 1;
        let request = BindRequest { key: pod.pod.key.clone(), uid: pod.pod.uid.clone(), node: node.clone() };
        let reply = self.ask("bind", &client::render_bind_request(&request))?;
        let answer = client::parse_bind_response(&reply.body).map_err(|error| CallError(error.to_string()))?;
        if answer.error.is_empty() { Ok(()) } else { Err(CallError(answer.error)) }
    }

    fn refusal(&mut self, pod: &SimPod) -> Option<Story> {
        let reply = self.server.get(&format!("/api/v1/pods/{}/{}", pod.pod.key.namespace, pod.pod.key.name)).ok()?;
        let view: Value = serde_json::from_slice(&reply.body).ok()?;
        let refusal = &view["trace"]["refusal"];
        let text = |field: &str| refusal[field].as_str().map(String::from);
        Some(Story { code: text("reason")?.into(), needed: text("needed")?, there: text("there")?, remedy: text("remedy")? })
    }

    fn condition(&self, pod: &SimPod) -> Option<String> {
        self.memory.condition(&pod.pod.uid)
    }

    fn touched(&mut self) -> Vec<PodUid> {
        self.pump.settle();
        self.memory.touched()
    }
}
