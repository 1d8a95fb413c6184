//! `gangplank defrag --execute`: carries a plan out with the rights of whoever types it, one move after the other. The block's nodes
//! carry a taint meanwhile, so that nothing new starts there; before each move the plan is asked for anew, and what does not hold any
//! more stops everything. Nobody is evicted who has no place to go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{DefragArgs, list, table, text};
use crate::cli::{Advice, Console, Exit};
use crate::cluster::{KubeWriter, connect};
use crate::engine::{Effect, PodRef};
use crate::host::{WriteError, Writer};
use crate::model::{PodKey, PodUid, Time};
use crate::wire::PodObject;
use crate::wire::api::{EvictView, OwnerView};

/// Keeps everything new from the nodes of a block that is being opened.
const TAINT: &str = "gangplank.dev/defrag";
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// A node's object may change while it is written.
const TRIES: usize = 8;
const WHY: &str = "its node is cleared by gangplank defrag";

/// What was done.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    /// The block: its nodes.
    nodes: Vec<String>,
    moved: Vec<Moved>,
    /// Nobody holds anything of the block.
    open: bool,
    /// The taint stays on its nodes.
    kept_closed: bool,
    /// Why it was not carried out to the end.
    stopped: Option<String>,
}

/// Work that runs elsewhere now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Moved {
    who: String,
    from: Vec<String>,
    to: Vec<String>,
}

/// A pod that moves.
struct Going {
    pod: PodRef,
    controller: String,
}

struct Execution<'a> {
    args: &'a DefragArgs,
    console: Console,
    client: Client,
    writer: Arc<KubeWriter>,
    /// Nodes on which the taint is ours.
    closed: Vec<String>,
}

/// Plans, and carries the plan out if everybody who moves has a place to go.
pub(super) fn execute(args: &DefragArgs, console: Console) -> anyhow::Result<Exit> {
    let view = args.ask(&[])?;
    if view["plan"]["movesOnly"] != true {
        console.data(&view, table)?;
        console.talk("nothing was moved: only a plan in which everybody has a place to go is carried out");
        return Ok(Exit::DoesNotFit);
    }
    console.talk(&table(&view));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    let done = runtime.block_on(async {
        let client = connect(args.kubeconfig.as_deref()).await?;
        let writer = KubeWriter::new(client.clone(), "defrag".into());
        Execution { args, console, client, writer, closed: Vec::new() }.run(&view["plan"]).await
    })?;
    console.data(&done, Done::table)?;
    Ok(if done.open { Exit::Ok } else { Exit::DoesNotFit })
}

impl Execution<'_> {
    async fn run(mut self, plan: &Value) -> anyhow::Result<Done> {
        let nodes = names(&plan["nodes"]);
        let mut done = Done { nodes: nodes.clone(), ..Done::default() };
        let carried_out = async {
            self.close(&nodes).await?;
            self.carry_out(plan, &nodes, &mut done.moved).await
        };
        let outcome = tokio::select! {
            outcome = carried_out => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("it was interrupted")),
        };
        done.open = outcome.is_ok();
        done.stopped = outcome.err().map(|error| format!("{error:#}"));
        done.kept_closed = done.open && self.args.keep_closed;
        if !done.kept_closed {
            self.reopen().await?;
        }
        Ok(done)
    }

    /// Nothing new starts on these nodes from here on.
    async fn close(&mut self, nodes: &[String]) -> anyhow::Result<()> {
        for name in nodes {
            let taken = |taints: &mut Vec<Taint>| -> anyhow::Result<()> {
                if taints.iter().any(|taint| taint.key == TAINT) {
                    let remedy = format!("wait for it; if it was ended by force: kubectl taint nodes {name} {TAINT}-");
                    return Err(Advice::new(format!("node {name} is being cleared by somebody else"), remedy).into());
                }
                let (key, value, effect) = (TAINT.into(), Some("opening".into()), "NoSchedule".into());
                taints.push(Taint { key, value, effect, time_added: None });
                Ok(())
            };
            self.change_taints(name, taken).await?;
            self.closed.push(name.clone());
        }
        Ok(())
    }

    async fn reopen(&self) -> anyhow::Result<()> {
        for name in &self.closed {
            let given_back = |taints: &mut Vec<Taint>| {
                taints.retain(|taint| taint.key != TAINT);
                Ok(())
            };
            let problem = || format!("the taint stays: kubectl taint nodes {name} {TAINT}-");
            self.change_taints(name, given_back).await.with_context(problem)?;
        }
        Ok(())
    }

    async fn change_taints(&self, name: &str, change: impl Fn(&mut Vec<Taint>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for _ in 0..TRIES {
            let node = nodes.get(name).await.with_context(|| format!("node {name} cannot be read"))?;
            let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
            change(&mut taints)?;
            let patch = json!({"metadata": {"resourceVersion": node.resource_version()}, "spec": {"taints": taints}});
            match nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error).with_context(|| format!("the taints of node {name} cannot be written")),
            }
        }
        bail!("node {name} changes all the time")
    }

    /// Move after move, until the plan for these nodes has none left.
    async fn carry_out(&self, plan: &Value, nodes: &[String], moved: &mut Vec<Moved>) -> anyhow::Result<()> {
        let known: BTreeSet<String> = moves(plan).map(|going| text(&going["who"])).collect();
        let mut gone: BTreeSet<PodUid> = BTreeSet::new();
        let mut until = self.until();
        loop {
            let plan = self.plan_on(nodes)?;
            let Some(next) = moves(&plan).next() else {
                let awaited = list(&plan["awaited"]);
                if awaited.is_empty() {
                    return Ok(());
                }
                ensure!(Instant::now() < until, "{awaited} does not go");
                sleep(LOOK_AGAIN).await;
                continue;
            };
            let who = text(&next["who"]);
            ensure!(known.contains(&who), "{who} is in the way by now, and was not when it was planned");
            let going = self.read(next).await?;
            if going.is_empty() || going.iter().all(|one| gone.contains(&one.pod.uid)) {
                // The server has not heard of it yet.
                ensure!(Instant::now() < until, "{who} went, and the server still plans with it");
                sleep(LOOK_AGAIN).await;
                continue;
            }
            until = self.until();
            if !self.has_notice(nodes, next, &going).await? {
                continue;
            }
            self.console.talk(&format!("moving {who} from {}, which has room on {}", list(&next["from"]), list(&next["to"])));
            self.let_go(next, until).await.with_context(|| format!("{who} cannot be moved"))?;
            let to = self.wait_for_return(&who, &going, until).await?;
            self.console.talk(&format!("{who} runs on {}; {} of {}", to.join(", "), moved.len() + 1, known.len()));
            gone.extend(going.into_iter().map(|one| one.pod.uid));
            moved.push(Moved { who, from: names(&next["from"]), to });
            until = self.until();
        }
    }

    fn until(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.args.patience_seconds)
    }

    /// The plan for these nodes, as everything is by now.
    fn plan_on(&self, nodes: &[String]) -> anyhow::Result<Value> {
        let mut view = self.args.ask(nodes)?;
        if view["refusal"].is_object() {
            bail!("the plan no longer holds: {}; {}", text(&view["refusal"]["there"]), text(&view["refusal"]["remedy"]));
        }
        let plan = view["plan"].take();
        let stranded = moves(&plan).find(|going| !going["to"].is_array()).map(|going| text(&going["who"]));
        stranded.map_or(Ok(plan), |who| bail!("the plan no longer holds: {who} has no place to go by now"))
    }

    /// The pods of a move that are there, and who would create each again.
    async fn read(&self, going: &Value) -> anyhow::Result<Vec<Going>> {
        let mut read = Vec::new();
        for key in names(&going["pods"]) {
            let (namespace, name) = key.split_once('/').context("a pod without a namespace")?;
            let pods: Api<PodObject> = Api::namespaced(self.client.clone(), namespace);
            let Some(pod) = pods.get_opt(name).await.with_context(|| format!("pod {key} cannot be read"))? else { continue };
            let Some(controller) = controller_of(&pod) else { bail!("pod {key} has no controller: nobody would create it again") };
            let pod = PodRef { key: PodKey::new(namespace, name), uid: PodUid::new(pod.uid().unwrap_or_default()) };
            read.push(Going { pod, controller });
        }
        Ok(read)
    }

    /// Pods know of it as long before as their profile says. False if they need not go when that is over.
    async fn has_notice(&self, nodes: &[String], next: &Value, going: &[Going]) -> anyhow::Result<bool> {
        let seconds = next["noticeSeconds"].as_u64().unwrap_or(0);
        if seconds == 0 {
            return Ok(true);
        }
        let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
        let at = Some(Time::from_unix_ms(now_ms + seconds * 1000));
        self.console.talk(&format!("{} has notice: {seconds} s", text(&next["who"])));
        self.tell(going, at).await?;
        sleep(Duration::from_secs(seconds)).await;
        let plan = self.plan_on(nodes);
        let holds = plan.as_ref().is_ok_and(|plan| moves(plan).any(|going| going["who"] == next["who"] && going["pods"] == next["pods"]));
        if !holds {
            self.tell(going, None).await?;
        }
        plan.map(|_| holds)
    }

    async fn tell(&self, going: &[Going], at: Option<Time>) -> anyhow::Result<()> {
        for Going { pod, .. } in going {
            match self.writer.carry_out(&Effect::Notice { pod: pod.clone(), at }).await {
                Ok(()) | Err(WriteError::NotFound(_)) => {}
                Err(error) => return Err(error).with_context(|| format!("pod {} cannot be told", pod.key)),
            }
        }
        Ok(())
    }

    /// Through owners that are suspended, and that Gangplank lets go on once their pods are gone; else by the Eviction API, which hears
    /// disruption budgets and leaves pods their grace.
    async fn let_go(&self, next: &Value, until: Instant) -> anyhow::Result<()> {
        let owners: Vec<OwnerView> = serde_json::from_value(next["suspend"].clone())?;
        let pods: Vec<EvictView> = serde_json::from_value(next["evict"].clone())?;
        let suspended = owners.iter().map(|owner| Effect::Suspend { owner: owner.owner(), suspend: true });
        let evicted = pods.iter().map(|pod| Effect::Evict { pod: pod.pod(), why: WHY, force: false });
        for effect in suspended.chain(evicted) {
            loop {
                match self.writer.carry_out(&effect).await {
                    Ok(()) | Err(WriteError::NotFound(_)) => break,
                    // A disruption budget that is used up for the moment.
                    Err(WriteError::Throttled { after, .. }) if Instant::now() + after < until => sleep(after).await,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Where it runs again.
    async fn wait_for_return(&self, who: &str, going: &[Going], until: Instant) -> anyhow::Result<Vec<String>> {
        let namespaces: BTreeSet<&str> = going.iter().map(|one| &*one.pod.key.namespace).collect();
        let controllers: BTreeSet<&str> = going.iter().map(|one| one.controller.as_str()).collect();
        let old: BTreeSet<&str> = going.iter().map(|one| one.pod.uid.as_str()).collect();
        loop {
            let (mut left, mut back) = (0, Vec::new());
            for namespace in &namespaces {
                let pods: Api<PodObject> = Api::namespaced(self.client.clone(), namespace);
                let listed = pods.list(&ListParams::default()).await.with_context(|| format!("cannot list pods of {namespace}"))?;
                for pod in listed.items {
                    let of_it = controller_of(&pod).is_some_and(|uid| controllers.contains(uid.as_str()));
                    if pod.uid().is_some_and(|uid| old.contains(uid.as_str())) {
                        left += 1;
                    } else if of_it && pod.metadata.deletion_timestamp.is_none() {
                        back.extend(pod.spec.node_name.clone());
                    }
                }
            }
            if left == 0 && back.len() >= going.len() {
                back.sort_unstable();
                back.dedup();
                return Ok(back);
            }
            let (back, all) = (back.len(), going.len());
            ensure!(Instant::now() < until, "of {who} {left} pods are not gone, and {back} of {all} run again; see gangplank queue");
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Done {
    fn table(&self) -> String {
        let mut lines: Vec<String> = self
            .moved
            .iter()
            .map(|moved| format!("moved   {} from {} to {}", moved.who, moved.from.join(", "), moved.to.join(", ")))
            .collect();
        let nodes = self.nodes.join(", ");
        lines.push(match &self.stopped {
            Some(why) => format!("stopped {why}"),
            None => format!("open    {nodes}"),
        });
        if self.kept_closed {
            lines.push(format!("closed  to whoever does not tolerate {TAINT}: kubectl taint nodes {} {TAINT}-", self.nodes.join(" ")));
        }
        lines.join("\n")
    }
}

fn moves(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["moves"].as_array().into_iter().flatten()
}

fn names(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// By UID.
fn controller_of(pod: &PodObject) -> Option<String> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}
