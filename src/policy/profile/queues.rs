//! `queues`: who shares the cluster with whom, and by what right. One set of queues for all profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mistake::Mistake;
use super::text;
use crate::model::Classes;
use crate::policy::order::{ORDERS, Order, order};

/// The section as it is written.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct QueuesFile {
    /// After how many seconds what a queue had counts half.
    #[cfg_attr(feature = "io", schemars(range(min = 60, max = 31_536_000)))]
    half_life_seconds: u64,
    /// The queues. One named `default` has the pods of namespaces that no other names; left out, it has no guarantee and weight 1.
    #[cfg_attr(feature = "io", schemars(length(max = 256)))]
    list: Vec<QueueFile>,
}

/// One queue.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QueueFile {
    /// Its name in metrics and messages.
    #[cfg_attr(feature = "io", schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")))]
    name: Arc<str>,
    /// The queue whose amounts it shares with its other children.
    parent: Option<Arc<str>>,
    /// Whose pods wait in it. A queue with children has none of its own.
    #[serde(default)]
    namespaces: NamespacesFile,
    /// What it can always have: others only borrow it.
    #[serde(default)]
    guaranteed: Vec<AmountFile>,
    /// What it cannot pass.
    #[serde(default)]
    maximum: Vec<AmountFile>,
    /// Its part of what nobody is guaranteed, against its siblings.
    #[serde(default = "weight_default")]
    #[cfg_attr(feature = "io", schemars(range(min = 1, max = 1000)))]
    weight: u32,
    /// Who goes first among its jobs of equal priority: `priority` (fairness between its namespaces, then age), `srtf`, `srsf`, `las`.
    #[serde(default = "order_default")]
    #[cfg_attr(feature = "io", schemars(schema_with = "order_schema"))]
    order: Arc<str>,
    /// The only priority classes that its pods may have; left out, any.
    priority_classes: Option<Vec<Arc<str>>>,
}

#[derive(Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct NamespacesFile {
    /// Namespaces by name.
    match_names: Vec<Arc<str>>,
}

/// So much of one class: devices, or whole boxes.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AmountFile {
    /// A class of `accelerators`.
    class: Arc<str>,
    /// So many devices, wherever they are.
    devices: Option<u32>,
    /// So many whole nodes.
    boxes: Option<u32>,
}

/// How much of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueAmount {
    /// Devices, wherever they are.
    Devices(u32),
    /// Nodes with devices of the class.
    Boxes(u32),
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRule {
    /// Its name.
    pub name: Arc<str>,
    /// The place of its parent in the list, below its own.
    pub parent: Option<usize>,
    /// Whose pods wait in it.
    pub namespaces: Vec<Arc<str>>,
    /// What it can always have, by class. Of a queue with children at least what those are guaranteed.
    pub guaranteed: BTreeMap<Arc<str>, QueueAmount>,
    /// What it cannot pass, by class.
    pub maximum: BTreeMap<Arc<str>, QueueAmount>,
    /// Its part against its siblings.
    pub weight: u32,
    /// Who goes first among its jobs of equal priority.
    pub order: &'static dyn Order,
    /// The only priority classes that its pods may have.
    pub priority_classes: Option<Vec<Arc<str>>>,
}

/// The queues of all profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    /// After how long what a queue had counts half.
    pub half_life: Duration,
    /// Parents before their children; empty where the profile declares none.
    list: Vec<QueueRule>,
    by_namespace: BTreeMap<Arc<str>, usize>,
    rest: usize,
}

const QUEUES_MAX: usize = 256;
const DEPTH_MAX: usize = 8;
const HALF_LIFE_SECONDS: u64 = 86_400;
const REST: &str = "default";

fn weight_default() -> u32 {
    1
}

fn order_default() -> Arc<str> {
    ORDERS[0].name().into()
}

impl Default for QueuesFile {
    fn default() -> Self {
        Self { half_life_seconds: HALF_LIFE_SECONDS, list: Vec::new() }
    }
}

impl Default for Queues {
    fn default() -> Self {
        Self { half_life: Duration::from_secs(HALF_LIFE_SECONDS), list: Vec::new(), by_namespace: BTreeMap::new(), rest: 0 }
    }
}

impl Queues {
    /// Whether none is declared: all wait in one line, by priority and age.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Every queue, parents before their children. A place in this list is what else names a queue.
    pub fn all(&self) -> &[QueueRule] {
        &self.list
    }

    /// The place of the queue in which the pods of a namespace wait. Where none is declared there is no such place.
    pub fn of(&self, namespace: &str) -> usize {
        self.by_namespace.get(namespace).copied().unwrap_or(self.rest)
    }

    /// Whether any amount is counted in boxes.
    pub fn count_boxes(&self) -> bool {
        let amounts = self.list.iter().flat_map(|rule| rule.guaranteed.values().chain(rule.maximum.values()));
        amounts.into_iter().any(|amount| matches!(amount, QueueAmount::Boxes(_)))
    }

    /// A queue and those above it, from the lowest on; none where none is declared.
    pub fn path(&self, queue: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(queue).filter(|at| *at < self.list.len()), |at| self.list.get(*at)?.parent)
    }

    /// Those right below a queue, or the topmost.
    pub fn children(&self, parent: Option<usize>) -> impl Iterator<Item = usize> {
        self.list.iter().enumerate().filter(move |(_, rule)| rule.parent == parent).map(|(at, _)| at)
    }
}

pub(super) fn check(file: &QueuesFile, classes: &Classes) -> Result<Queues, Mistake> {
    if !(60..=31_536_000).contains(&file.half_life_seconds) {
        return Err(Mistake::range("halfLifeSeconds", file.half_life_seconds, "60..=31536000"));
    }
    let half_life = Duration::from_secs(file.half_life_seconds);
    if file.list.is_empty() {
        return Ok(Queues { half_life, ..Queues::default() });
    }
    if file.list.len() > QUEUES_MAX {
        return Err(Mistake::range("list", file.list.len(), "0..=256"));
    }
    let places = in_order(&file.list)?;
    let mut list: Vec<QueueRule> = Vec::new();
    for at in &places {
        let queue = queue(&file.list[*at], &list, classes).map_err(|mistake| mistake.at(*at).within("list"))?;
        list.push(queue);
    }
    claims(&file.list)?;
    add_up(&mut list).map_err(|(place, mistake)| mistake.at(places[place]).within("list"))?;
    if list.iter().all(|queue| *queue.name != *REST) {
        list.push(QueueRule {
            name: REST.into(),
            parent: None,
            namespaces: Vec::new(),
            guaranteed: BTreeMap::new(),
            maximum: BTreeMap::new(),
            weight: weight_default(),
            order: ORDERS[0],
            priority_classes: None,
        });
    }
    let rest = list.iter().position(|queue| *queue.name == *REST).unwrap_or_default();
    let names = list.iter().enumerate().flat_map(|(at, queue)| queue.namespaces.iter().map(move |name| (name.clone(), at)));
    Ok(Queues { half_life, by_namespace: names.collect(), rest, list })
}

/// Places in the file, parents before their children, else as they are written.
fn in_order(files: &[QueueFile]) -> Result<Vec<usize>, Mistake> {
    for (at, file) in files.iter().enumerate() {
        let wrong = |mistake: Mistake| mistake.at(at).within("list");
        text::name("name", &file.name).map_err(wrong)?;
        if files[..at].iter().any(|other| other.name == file.name) {
            return Err(wrong(Mistake::new("name", format!("there are two queues `{}`", file.name), "give each its own name")));
        }
        if let Some(parent) = file.parent.as_ref().filter(|parent| files.iter().all(|other| other.name != **parent)) {
            let names: Vec<&str> = files.iter().map(|other| &*other.name).collect();
            return Err(wrong(Mistake::unknown("parent", "queue", parent, &names)));
        }
    }
    let mut places: Vec<usize> = Vec::new();
    for _ in 0..DEPTH_MAX {
        let known: BTreeSet<&str> = places.iter().map(|at| &*files[*at].name).collect();
        let ready = |file: &QueueFile| file.parent.as_deref().is_none_or(|parent| known.contains(parent));
        let next = (0..files.len()).filter(|at| !places.contains(at) && ready(&files[*at])).collect::<Vec<_>>();
        places.extend(next);
    }
    match (0..files.len()).find(|at| !places.contains(at)) {
        None => Ok(places),
        Some(at) => {
            let remedy = "let each parent stand above its children, at most eight deep";
            Err(Mistake::new("parent", "it is below itself, or too deep", remedy).at(at).within("list"))
        }
    }
}

/// One queue below those above it.
fn queue(file: &QueueFile, above: &[QueueRule], classes: &Classes) -> Result<QueueRule, Mistake> {
    if !(1..=1000).contains(&file.weight) {
        return Err(Mistake::range("weight", file.weight, "1..=1000"));
    }
    let known: Vec<&str> = ORDERS.iter().map(|order| order.name()).collect();
    let Some(order) = order(&file.order) else { return Err(Mistake::unknown("order", "order", &file.order, &known)) };
    if let Some(listed) = &file.priority_classes {
        if listed.is_empty() {
            let remedy = "name those that its pods may have, or leave the list out";
            return Err(Mistake::new("priorityClasses", "the list is empty, so no pod could wait in it", remedy));
        }
        if let Some((at, name)) = listed.iter().enumerate().find(|(at, name)| name.is_empty() || listed[..*at].contains(name)) {
            return Err(Mistake::new(format!("priorityClasses[{at}]"), format!("`{name}` is empty, or stands there twice"), "take it out"));
        }
    }
    let guaranteed = amounts("guaranteed", &file.guaranteed, classes)?;
    let maximum = amounts("maximum", &file.maximum, classes)?;
    for (class, most) in &maximum {
        at_most("guaranteed", class, guaranteed.get(class), *most, "the queue's own maximum")?;
    }
    Ok(QueueRule {
        name: file.name.clone(),
        parent: file.parent.as_ref().and_then(|parent| above.iter().position(|queue| queue.name == *parent)),
        namespaces: file.namespaces.match_names.clone(),
        guaranteed,
        maximum,
        weight: file.weight,
        order,
        priority_classes: file.priority_classes.clone(),
    })
}

fn amounts(field: &str, files: &[AmountFile], classes: &Classes) -> Result<BTreeMap<Arc<str>, QueueAmount>, Mistake> {
    let mut amounts = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        let wrong = |mistake: Mistake| mistake.at(at).within(field);
        if classes.0.iter().all(|class| class.name != file.class) {
            let names: Vec<&str> = classes.0.iter().map(|class| &*class.name).collect();
            return Err(wrong(Mistake::unknown("class", "class", &file.class, &names)));
        }
        let amount = match (file.devices, file.boxes) {
            (Some(devices), None) => QueueAmount::Devices(devices),
            (None, Some(boxes)) => QueueAmount::Boxes(boxes),
            _ => {
                let remedy = "write `devices: 16` or `boxes: 2`";
                return Err(wrong(Mistake::new("", "it says how much neither in devices nor in boxes, or in both", remedy)));
            }
        };
        if amounts.insert(file.class.clone(), amount).is_some() {
            return Err(wrong(Mistake::new("class", format!("`{}` stands there twice", file.class), "keep one of the two")));
        }
    }
    Ok(amounts)
}

/// A namespace has one queue, and one without children.
fn claims(files: &[QueueFile]) -> Result<(), Mistake> {
    let mut claimed: BTreeMap<&str, &str> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        let wrong = |mistake: Mistake| mistake.at(at).within("list");
        let names = &file.namespaces.match_names;
        let has_children = files.iter().any(|other| other.parent.as_ref() == Some(&file.name));
        if has_children && (!names.is_empty() || *file.name == *REST) {
            let remedy = "give these namespaces to one of its children, or to a further one";
            return Err(wrong(Mistake::new("namespaces", "pods wait in queues without children alone", remedy)));
        }
        for (place, name) in names.iter().enumerate() {
            let field = format!("namespaces.matchNames[{place}]");
            text::name(&field, name).map_err(wrong)?;
            if let Some(other) = claimed.insert(name, &file.name) {
                return Err(wrong(Mistake::new(field, format!("`{name}` is of queue `{other}` already"), "take it out of one of the two")));
            }
        }
    }
    Ok(())
}

/// Guarantees add up to those above them: a parent that says none is guaranteed what its children are.
fn add_up(list: &mut [QueueRule]) -> Result<(), (usize, Mistake)> {
    for at in (0..list.len()).rev() {
        let mut sums: BTreeMap<Arc<str>, QueueAmount> = BTreeMap::new();
        for child in list.iter().filter(|queue| queue.parent == Some(at)) {
            for (class, amount) in &child.guaranteed {
                let sum = match (sums.get(class), amount) {
                    (None, amount) => *amount,
                    (Some(QueueAmount::Devices(a)), QueueAmount::Devices(b)) => QueueAmount::Devices(a.saturating_add(*b)),
                    (Some(QueueAmount::Boxes(a)), QueueAmount::Boxes(b)) => QueueAmount::Boxes(a.saturating_add(*b)),
                    _ => return Err((at, units("guaranteed", class, "another of its children"))),
                };
                sums.insert(class.clone(), sum);
            }
        }
        for (class, sum) in sums {
            match list[at].guaranteed.get(&class).copied() {
                Some(own) => {
                    at_most("guaranteed", &class, Some(&sum), own, "the guarantee of the queue itself").map_err(|wrong| (at, wrong))?;
                }
                None => drop(list[at].guaranteed.insert(class.clone(), sum)),
            }
            if let Some(most) = list[at].maximum.get(&class) {
                at_most("maximum", &class, Some(&sum), *most, "the maximum of the queue itself").map_err(|wrong| (at, wrong))?;
            }
        }
    }
    Ok(())
}

/// An amount is not more than another, and counted like it.
fn at_most(field: &str, class: &str, amount: Option<&QueueAmount>, most: QueueAmount, whose: &str) -> Result<(), Mistake> {
    match (amount, most) {
        (Some(QueueAmount::Devices(amount)), QueueAmount::Devices(most)) | (Some(QueueAmount::Boxes(amount)), QueueAmount::Boxes(most)) => {
            if *amount <= most {
                return Ok(());
            }
            let problem = format!("{amount} of {class} are guaranteed, and {whose} is {most}");
            Err(Mistake::new(field, problem, "guarantee less, or raise the other"))
        }
        (Some(_), _) => Err(units(field, class, whose)),
        (None, _) => Ok(()),
    }
}

fn units(field: &str, class: &str, whose: &str) -> Mistake {
    let problem = format!("{class} is counted in devices here and in boxes there: {whose}");
    Mistake::new(field, problem, "count a class in devices or in boxes, the same above and below")
}

/// The names that there are, so that editors offer them.
#[cfg(feature = "io")]
fn order_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = ORDERS.iter().map(|order| order.name()).collect();
    schemars::json_schema!({"enum": names})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Profile;

    fn read(list: &str) -> Result<Queues, String> {
        let yaml = Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nqueues: {{list: [{list}]}}\naccelerators:"));
        Profile::parse(&yaml).map(|profile| profile.queues).map_err(|error| format!("{}: {}; {}", error.field, error.problem, error.remedy))
    }

    #[test]
    fn a_namespace_has_its_queue_or_the_one_for_the_rest() {
        assert!(Profile::shipped().queues.is_empty());
        let queues = read(
            "{name: nlp, parent: org, namespaces: {matchNames: [nlp, nlp-dev]}, order: las, guaranteed: [{class: nvidia-gpu, devices: 16}]},
             {name: org, maximum: [{class: nvidia-gpu, devices: 64}]}, {name: vision, parent: org, weight: 2, guaranteed: [{class: nvidia-gpu, devices: 8}]}",
        )
        .unwrap();
        let names: Vec<&str> = queues.all().iter().map(|queue| &*queue.name).collect();
        assert_eq!(names, ["org", "nlp", "vision", "default"]);
        assert_eq!(["nlp", "nlp-dev", "else"].map(|namespace| names[queues.of(namespace)]), ["nlp", "nlp", "default"]);
        assert_eq!(queues.path(1).collect::<Vec<_>>(), [1, 0]);
        assert_eq!((queues.children(None).collect::<Vec<_>>(), queues.children(Some(0)).collect::<Vec<_>>()), (vec![0, 3], vec![1, 2]));
        let org = &queues.all()[0];
        assert_eq!(org.guaranteed["nvidia-gpu"], QueueAmount::Devices(24), "what its children are guaranteed");
        assert_eq!((queues.all()[1].order.name(), queues.all()[2].order.name(), queues.all()[2].weight), ("las", "priority", 2));
    }

    #[test]
    fn the_queue_for_the_rest_can_be_declared() {
        let queues = read("{name: default, weight: 3}, {name: a, namespaces: {matchNames: [a]}}").unwrap();
        assert_eq!((queues.all().len(), queues.all()[queues.of("x")].weight), (2, 3));
    }

    #[test]
    fn what_cannot_be_kept_is_a_mistake() {
        for (list, told) in [
            ("{name: a, parent: b}, {name: b, parent: a}", "queues.list[0].parent: it is below itself"),
            ("{name: a, namespaces: {matchNames: [x]}}, {name: b, parent: a}", "queues.list[0].namespaces: pods wait in queues without"),
            ("{name: a, guaranteed: [{class: nvidia-gpu}]}", "queues.list[0].guaranteed[0]: it says how much neither"),
            (
                "{name: a, guaranteed: [{class: nvidia-gpu, boxes: 1}]}, {name: b, parent: a, guaranteed: [{class: nvidia-gpu, devices: 8}]}",
                "queues.list[0].guaranteed: nvidia-gpu is counted in devices here",
            ),
            (
                "{name: a, maximum: [{class: nvidia-gpu, devices: 8}]}, {name: b, parent: a, guaranteed: [{class: nvidia-gpu, devices: 9}]}",
                "queues.list[0].maximum: 9 of nvidia-gpu are guaranteed, and the maximum of the queue itself is 8",
            ),
            ("{name: a, priorityClasses: []}", "queues.list[0].priorityClasses: the list is empty"),
        ] {
            let error = read(list).unwrap_err();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
