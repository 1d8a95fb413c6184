//! A second opinion: a book that is built anew from the objects, told in another order and some of it twice.

use super::run::Run;
use super::store::{Kind, News};
use crate::engine::{Engine, Input};
use crate::model::{Node, NodeReport};

impl Run {
    /// The digest of a book that hears the objects as they are, shuffled.
    pub(super) fn fresh_digest(&mut self) -> String {
        let mut engine = Engine::new(self.scenario.profiles.clone());
        let now = self.time();
        let pods = self.store.list(Kind::Pods).into_iter().filter(|news| !matches!(news, News::Pod(pod, _) if pod.phase.is_finished()));
        let mut list: Vec<News> = pods.chain(self.store.list(Kind::Nodes)).collect();
        for place in (1..list.len()).rev() {
            let other = self.dice.place(place + 1);
            list.swap(place, other);
        }
        let twice: Vec<News> = list.iter().take(3).cloned().collect();
        for news in list.into_iter().chain(twice) {
            let input = match news {
                News::Pod(pod, _) => Input::PodApplied(self.as_read(&pod)),
                News::Node(node) => {
                    let report = self.store.report(&node.name).map(|report| NodeReport::clone(report));
                    Input::NodeApplied(Node { report, ..Node::clone(&node) })
                }
                _ => continue,
            };
            engine.step(now, input);
        }
        engine.digest()
    }

    /// Who is in one book and not in the other, in words.
    pub(super) fn difference(&self, at: usize) -> String {
        let book = self.replicas[at].engine.book();
        let mut lines = Vec::new();
        for holder in book.holders() {
            let pod = self.store.pod(&holder.uid);
            if pod.is_none_or(|pod| pod.node.as_ref() != Some(&holder.node) || !pod.occupies()) {
                lines.push(format!("; {} is in the book on {} ({:?})", holder.key, holder.node, holder.state));
            }
        }
        for pod in self.store.pods().filter(|pod| pod.occupies() && !pod.request.is_empty() && book.holder(&pod.uid).is_none()) {
            lines.push(format!("; {} is bound and not in the book", pod.key));
        }
        for node in self.store.nodes() {
            if book.node(node.name.as_str()).is_none_or(|entry| entry.node.pools != node.pools) {
                lines.push(format!("; node {} differs", node.name));
            }
        }
        lines.concat()
    }
}
