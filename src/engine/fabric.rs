//! Levels that come from objects of the cluster (Kueue's Topology, Volcano's HyperNodes): which are known, and when the
//! fabric is laid out anew. Objects come one by one, and large clusters have hundreds: the layout waits for the next
//! question or tick.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use super::domains::Domains;
use crate::model::Time;
use crate::topology::fabric::{Fabric, FabricRules, HyperNode};

/// The objects that levels may come from.
#[derive(Debug, Default)]
pub(super) struct FabricSources {
    /// Label keys by name, widest first.
    topologies: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    hyper_nodes: BTreeMap<Arc<str>, HyperNode>,
    /// The fabric is laid out by them as they are.
    settled: bool,
    /// Why there are no levels although the profile says where they come from; in words.
    problem: Option<String>,
}

impl Engine {
    pub(super) fn topology_applied(&mut self, name: Arc<str>, label_keys: Vec<Arc<str>>) {
        self.sources.settled = false;
        self.sources.topologies.insert(name, label_keys);
    }

    pub(super) fn topology_deleted(&mut self, name: &str) {
        self.sources.settled &= self.sources.topologies.remove(name).is_none();
    }

    pub(super) fn hyper_node_applied(&mut self, hyper_node: HyperNode) {
        self.sources.settled = false;
        self.sources.hyper_nodes.insert(hyper_node.name.clone(), hyper_node);
    }

    pub(super) fn hyper_node_deleted(&mut self, name: &str) {
        self.sources.settled &= self.sources.hyper_nodes.remove(name).is_none();
    }

    /// Lays the fabric out anew if objects that it comes from have changed.
    pub(super) fn follow_objects(&mut self, now: Time) {
        if !std::mem::replace(&mut self.sources.settled, true) {
            self.lay_out(now);
        }
    }

    /// The same if its rules are others by now. What was decided stays; what was refused may be taken now.
    pub(super) fn lay_out(&mut self, now: Time) {
        let (rules, problem) = match self.fabric_rules() {
            Ok(rules) => (rules, None),
            Err(problem) => (Arc::default(), Some(problem)),
        };
        self.sources.problem = problem;
        if *rules == *self.fabric.rules() {
            return;
        }
        self.fabric = Fabric::new(rules);
        self.domains = Domains::default();
        self.book.nodes().for_each(|entry| self.fabric.set_node(&entry.node));
        self.gained(now);
    }

    /// Why the fabric has no levels although the profile says where they come from; in words.
    pub fn fabric_problem(&self) -> Option<&str> {
        self.sources.problem.as_deref()
    }

    fn fabric_rules(&self) -> Result<Arc<FabricRules>, String> {
        let section = self.profiles.fabric_section();
        if section.objects.is_none() || !section.rules.levels.is_empty() {
            // Levels of its own, or those of objects that were read before.
            return Ok(section.rules.clone());
        }
        let hyper_nodes = self.sources.hyper_nodes.values().cloned().collect();
        section.clone().with_objects(&self.sources.topologies, hyper_nodes).map(|section| section.rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Input;
    use crate::model::fixtures::node;
    use crate::policy::Profile;
    use crate::topology::fabric::{Member, Selector};

    fn engine(preset: &str) -> Engine {
        let yaml = Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nfabric: {{preset: {preset}}}\naccelerators:"));
        let mut engine = Engine::new(Arc::new(Profile::parse(&yaml).unwrap()));
        tell(&mut engine, Input::NodeApplied(node("n", 8)));
        tell(&mut engine, Input::Synced);
        engine
    }

    fn tell(engine: &mut Engine, input: Input<'_>) {
        engine.step(Time::default(), input);
    }

    fn levels(engine: &mut Engine) -> Vec<String> {
        tell(engine, Input::Tick);
        engine.fabric.rules().names().into_iter().map(str::to_owned).collect()
    }

    fn hyper_node(name: &str, tier: u32) -> Input<'static> {
        let members = vec![Member { hyper_nodes: false, selector: Selector::Exact("n".into()) }];
        Input::HyperNodeApplied(HyperNode { name: name.into(), tier, tier_name: None, members })
    }

    #[test]
    fn levels_are_there_as_long_as_the_objects_that_they_come_from() {
        let mut engine = engine("volcano");
        assert_eq!(levels(&mut engine), ["node"]);
        assert_eq!(engine.fabric_problem(), Some("fabric.preset: there is no HyperNode"));
        tell(&mut engine, hyper_node("spine", 2));
        tell(&mut engine, hyper_node("leaf", 1));
        assert_eq!(levels(&mut engine), ["tier-2", "tier-1", "node"]);
        assert!(engine.fabric.domains_of("n").unwrap().iter().all(Option::is_some), "nodes that were there before are in them");
        assert_eq!(engine.fabric_problem(), None);
        tell(&mut engine, Input::HyperNodeDeleted("spine".into()));
        assert_eq!(levels(&mut engine), ["tier-1", "node"]);
        tell(&mut engine, Input::HyperNodeDeleted("leaf".into()));
        assert_eq!(levels(&mut engine), ["node"]);
    }

    #[test]
    fn of_several_topologies_none_is_guessed_and_a_profile_with_labels_of_its_own_reads_none() {
        let topology = |name: &str, key: &str| Input::TopologyApplied { name: name.into(), label_keys: vec![key.into()] };
        let mut by_objects = engine("kueue");
        tell(&mut by_objects, topology("a", "dc/rack"));
        assert_eq!(levels(&mut by_objects), ["dc/rack", "node"]);
        tell(&mut by_objects, topology("b", "dc/row"));
        assert_eq!(levels(&mut by_objects), ["node"]);
        assert!(by_objects.fabric_problem().is_some_and(|problem| problem.contains("name one")));
        tell(&mut by_objects, Input::TopologyDeleted("a".into()));
        assert_eq!(levels(&mut by_objects), ["dc/row", "node"]);
        let mut by_labels = engine("gke");
        tell(&mut by_labels, topology("a", "dc/rack"));
        assert_eq!(levels(&mut by_labels), ["block", "subblock", "host", "node"]);
    }
}
