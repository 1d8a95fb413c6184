//! Several profiles at once: which of them a pod gets, and what they must agree on.
//!
//! What is managed cannot depend on the pod, because nodes are read before pods come: the default profile says it for all.

use std::sync::Arc;

use super::mistake::{Mistake, ProfileError};
use super::places::Places;
use super::{FabricSection, Profile, Queues, Selects};
use crate::model::{Classes, Pod};
use crate::policy::Scorer;
use crate::topology::fabric::FabricRules;

/// The text of a profile, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileText {
    /// The file, for messages.
    pub file: Arc<str>,
    /// What is in it.
    pub yaml: Arc<str>,
}

/// A profile, with its policies weighed.
#[derive(Debug)]
pub struct Rules {
    /// The profile.
    pub profile: Arc<Profile>,
    /// Its policies.
    pub scorer: Scorer,
}

/// The profiles in force.
#[derive(Clone, Debug)]
pub struct Profiles {
    default: Arc<Rules>,
    others: Vec<Arc<Rules>>,
}

/// Why a pod got its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectedBy {
    /// The pod names it, and it lets itself be named.
    Annotation,
    /// It is for the pod's namespace.
    Namespace,
    /// It is for the pod's scheduler name.
    SchedulerName,
    /// No other is for the pod.
    Default,
}

impl Profiles {
    /// Reads profiles that are in force together.
    ///
    /// # Errors
    /// The first mistake in one of them, or between them.
    pub fn parse(texts: &[ProfileText]) -> Result<Self, ProfileError> {
        let mut profiles = Vec::new();
        for text in texts {
            profiles.push(Profile::parse(&text.yaml).map_err(|error| error.in_file(text.file.clone()))?);
        }
        let mistaken = |at: usize, mistake: Mistake| mistake.found(&Places::of(&texts[at].yaml)).in_file(texts[at].file.clone());
        for at in 0..profiles.len() {
            disjoint(&profiles[..at], &profiles[at]).map_err(|mistake| mistaken(at, mistake))?;
        }
        let default = default_of(&profiles).map_err(|(at, mistake)| match texts.get(at) {
            Some(_) => mistaken(at, mistake),
            None => mistake.found(&Places::default()),
        })?;
        let classes = profiles[default].classes.clone();
        for (at, profile) in profiles.iter_mut().enumerate() {
            if profile.inherits_classes {
                profile.classes = classes.clone();
            } else if profile.classes != classes {
                let problem = "differs from that of the default profile, and what is managed cannot depend on the pod";
                let remedy = format!("leave it out: `{}` says it for all", texts[default].file);
                return Err(mistaken(at, Mistake::new("accelerators", problem, remedy)));
            }
        }
        let (fabric, unset) = (profiles[default].fabric.clone(), Profile::shipped().fabric);
        for (at, profile) in profiles.iter_mut().enumerate() {
            if profile.fabric == unset {
                profile.fabric = fabric.clone();
            } else if profile.fabric != fabric {
                let remedy = format!("leave it out: `{}` says it for all", texts[default].file);
                return Err(mistaken(
                    at,
                    Mistake::new("fabric", "differs from that of the default profile, and there is one network", remedy),
                ));
            }
        }
        let (queues, unset) = (profiles[default].queues.clone(), Queues::default());
        for (at, profile) in profiles.iter_mut().enumerate() {
            if profile.queues == unset {
                profile.queues = queues.clone();
            } else if profile.queues != queues {
                let remedy = format!("leave it out: `{}` says it for all", texts[default].file);
                return Err(mistaken(
                    at,
                    Mistake::new("queues", "differs from that of the default profile, and there is one cluster to share", remedy),
                ));
            }
        }
        let default = Self::from(profiles.remove(default));
        let others = profiles.into_iter().map(|profile| Self::from(profile).default).collect();
        Ok(Self { others, ..default })
    }

    /// The same, where nodes were read already, by what is managed so far.
    ///
    /// # Errors
    /// As [`Self::parse`], and a change of what is managed.
    pub fn parse_again(texts: &[ProfileText], managed: &Classes) -> Result<Self, ProfileError> {
        let profiles = Self::parse(texts)?;
        if **profiles.classes() == *managed {
            return Ok(profiles);
        }
        let default =
            texts.iter().find(|text| Profile::parse(&text.yaml).is_ok_and(|profile| profile.name == profiles.default.profile.name));
        let mistake = Mistake::new(
            "accelerators",
            "differs from what it was at the start, and nodes are read by it only then",
            "restart Gangplank to take the change, or undo it",
        );
        Err(match default {
            Some(text) => mistake.found(&Places::of(&text.yaml)).in_file(text.file.clone()),
            None => mistake.found(&Places::default()),
        })
    }

    /// The profile of a pod: by annotation, else by namespace, else by scheduler name, else the default.
    pub fn of(&self, pod: &Pod) -> (&Arc<Rules>, SelectedBy) {
        let find = |wanted: &dyn Fn(&Profile) -> bool| self.all().find(|rules| wanted(&rules.profile));
        let named = |profile: &Profile| profile.selects.by_pods && pod.profile.as_ref() == Some(&profile.name);
        if let Some(rules) = pod.profile.as_ref().and_then(|_| find(&named)) {
            return (rules, SelectedBy::Annotation);
        }
        if let Some(rules) = find(&|profile| profile.selects.namespaces.contains(&pod.key.namespace)) {
            return (rules, SelectedBy::Namespace);
        }
        match find(&|profile| profile.selects.scheduler_names.contains(&pod.scheduler)) {
            Some(rules) => (rules, SelectedBy::SchedulerName),
            None => (&self.default, SelectedBy::Default),
        }
    }

    /// For the trace of a pod's decision, where there was something to select: which profile, and why.
    pub fn line(&self, pod: &Pod) -> Option<String> {
        let (rules, by) = self.of(pod);
        if self.others.is_empty() && pod.profile.is_none() {
            return None;
        }
        let why = match by {
            SelectedBy::Annotation => "the pod's annotation names it",
            SelectedBy::Namespace => "it is for the pod's namespace",
            SelectedBy::SchedulerName => "it is for the pod's schedulerName",
            SelectedBy::Default => "the default",
        };
        let refused = pod.profile.is_some() && by != SelectedBy::Annotation && pod.profile.as_ref() != Some(&rules.profile.name);
        let refused = if refused { "; the one that the annotation names is not for pods to choose" } else { "" };
        Some(format!("profile {}: {why}{refused}", rules.profile.name))
    }

    /// The one for pods that no other is for.
    pub fn default_rules(&self) -> &Arc<Rules> {
        &self.default
    }

    /// What is managed.
    pub fn classes(&self) -> &Arc<Classes> {
        &self.default.profile.classes
    }

    /// Where nodes are relative to each other.
    pub fn fabric(&self) -> &Arc<FabricRules> {
        &self.default.profile.fabric.rules
    }

    /// The section that says so, which is the same in each.
    pub fn fabric_section(&self) -> &FabricSection {
        &self.default.profile.fabric
    }

    /// The same, with what `read` makes of the section `fabric`, which is the same in each.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn with_fabric<E>(self, read: impl FnOnce(FabricSection) -> Result<FabricSection, E>) -> Result<Self, E> {
        let fabric = read(self.default.profile.fabric.clone())?;
        let with = |rules: &Arc<Rules>| Self::from(Profile { fabric: fabric.clone(), ..Profile::clone(&rules.profile) }).default;
        Ok(Self { default: with(&self.default), others: self.others.iter().map(with).collect() })
    }

    /// Who shares the cluster with whom, which is the same in each.
    pub fn queues(&self) -> &Queues {
        &self.default.profile.queues
    }

    /// Every one, the default first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Rules>> {
        std::iter::once(&self.default).chain(&self.others)
    }
}

impl From<Arc<Profile>> for Profiles {
    fn from(profile: Arc<Profile>) -> Self {
        let scorer = Scorer::new(&profile);
        Self { default: Arc::new(Rules { profile, scorer }), others: Vec::new() }
    }
}

impl From<Profile> for Profiles {
    fn from(profile: Profile) -> Self {
        Self::from(Arc::new(profile))
    }
}

/// The place of the profile for the rest: the only one, or the only one that is for no pods in particular.
fn default_of(profiles: &[Profile]) -> Result<usize, (usize, Mistake)> {
    if profiles.len() == 1 {
        return Ok(0);
    }
    let mut rest = (0..profiles.len()).filter(|at| profiles[*at].selects == Selects::default());
    match (rest.next(), rest.next()) {
        (Some(default), None) => Ok(default),
        (Some(default), Some(at)) => {
            let problem = format!("`{}` and `{}` are both for no pods in particular", profiles[default].name, profiles[at].name);
            Err((at, Mistake::new("selects", problem, "say which pods one of them is for: `selects`, or `selectableByPods: true`")))
        }
        (None, _) => {
            let remedy = "add one without `selects` and `selectableByPods`: it is for the rest, such as policies/default.yaml";
            Err((0, Mistake::new("selects", "each profile is for some pods, and none for the rest", remedy)))
        }
    }
}

/// One name, namespace or scheduler name has one profile.
fn disjoint(above: &[Profile], profile: &Profile) -> Result<(), Mistake> {
    let Selects { scheduler_names, namespaces, .. } = &profile.selects;
    for other in above {
        if other.name == profile.name {
            return Err(Mistake::new("name", format!("there are two profiles `{}`", profile.name), "give each its own name"));
        }
        let taken = |field: &str, names: &[Arc<str>], theirs: &[Arc<str>]| {
            let twice = names.iter().position(|name| theirs.contains(name));
            twice.map_or(Ok(()), |at| {
                let problem = format!("`{}` is selected by profile `{}` already", names[at], other.name);
                Err(Mistake::new(format!("selects.{field}[{at}]"), problem, "take it out of one of the two"))
            })
        };
        taken("schedulerNames", scheduler_names, &other.selects.scheduler_names)?;
        taken("namespaces.matchNames", namespaces, &other.selects.namespaces)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::pod;

    fn text(file: &str, body: &str) -> ProfileText {
        let yaml = format!("apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: {file}\n{body}");
        ProfileText { file: file.into(), yaml: yaml.into() }
    }

    #[test]
    fn annotation_comes_before_namespace_before_scheduler_name_before_the_rest() {
        let profiles = Profiles::parse(&[
            text("training", "selects: {schedulerNames: [batch]}"),
            text("rest", ""),
            text("ours", "selects: {namespaces: {matchNames: [ml]}}"),
            text("chosen", "selectableByPods: true"),
        ])
        .unwrap();
        let of = |namespace: &str, scheduler: &str, annotation: Option<&str>| {
            let mut pod = pod("p");
            (pod.key.namespace, pod.scheduler, pod.profile) = (namespace.into(), scheduler.into(), annotation.map(Arc::from));
            (profiles.of(&pod).0.profile.name.to_string(), profiles.line(&pod).unwrap())
        };
        assert_eq!(of("ml", "batch", Some("chosen")).0, "chosen");
        assert_eq!(of("ml", "batch", None).0, "ours");
        assert_eq!(of("x", "batch", None), ("training".into(), "profile training: it is for the pod's schedulerName".into()));
        assert_eq!(of("x", "y", None).0, "rest");
        let line = "profile rest: the default; the one that the annotation names is not for pods to choose";
        assert_eq!(of("x", "y", Some("ours")), ("rest".into(), line.into()));
        assert_eq!(of("x", "y", Some("none")).0, "rest");
    }

    #[test]
    fn what_profiles_do_not_agree_on_is_told_with_file_and_line() {
        let gpu = "accelerators: [{name: gpu, resources: [example.com/gpu]}]";
        for (texts, told) in [
            (vec![text("a", ""), text("b", "")], "b:1: selects: `a` and `b` are both for no pods"),
            (vec![text("a", "selectableByPods: true"), text("b", "selectableByPods: true")], "a:1: selects: each profile is for some pods"),
            (vec![text("a", ""), text("b", &format!("selectableByPods: true\n{gpu}"))], "b:5: accelerators: differs"),
            (
                vec![text("a", "selects: {schedulerNames: [x]}"), text("b", "selects:\n  schedulerNames: [y, x]"), text("c", "")],
                "b:5: selects.schedulerNames[1]: `x` is selected by profile `a` already",
            ),
            (vec![text("a", ""), text("b", "selectableByPods: true\nfabric: {preset: gke}")], "b:5: fabric: differs"),
            (vec![text("a", ""), text("b", "selectableByPods: true\nqueues: {list: [{name: q}]}")], "b:5: queues: differs"),
            (vec![text("a", ""), text("b", "decide: maybe")], "b:4: decide: "),
        ] {
            let error = Profiles::parse(&texts).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
        let mut twice = text("a", "selectableByPods: true");
        twice.file = "b".into();
        let error = Profiles::parse(&[text("a", ""), twice]).unwrap_err().to_string();
        assert!(error.starts_with("b:3: name: there are two profiles `a`"), "{error}");
        assert!(Profiles::parse(&[]).is_err());
    }

    #[test]
    fn the_default_profile_says_what_is_managed() {
        let gpu = "accelerators: [{name: gpu, resources: [example.com/gpu]}]";
        let profiles = Profiles::parse(&[text("a", "selectableByPods: true"), text("b", gpu)]).unwrap();
        assert!(profiles.all().all(|rules| rules.profile.classes == *profiles.classes()));
        assert!(profiles.classes().of("example.com/gpu").is_some());
        let managed = profiles.classes();
        assert!(Profiles::parse_again(&[text("c", &format!("decide: score\n{gpu}"))], managed).is_ok());
        let error = Profiles::parse_again(&[text("c", &gpu.replace("/gpu", "/npu"))], managed).unwrap_err().to_string();
        assert!(error.starts_with("c:4: accelerators: differs from what it was at the start"), "{error}");
        assert_eq!(*Profiles::parse(&[text("a", "")]).unwrap().classes(), Profile::shipped().classes);
    }
}
