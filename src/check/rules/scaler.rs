//! `autoscaler-without-measure`: a HorizontalPodAutoscaler of something that is not there, or by something that is not
//! measured.

use super::{At, Found, Input, Level, Pod, Rule};

pub(super) const RULE: Rule = Rule {
    id: "autoscaler-without-measure",
    finds: "A HorizontalPodAutoscaler whose target is not in these files, whose target's containers do not request what it measures, or that goes by a metric of pods that nothing here scrapes; a Deployment that fixes `replicas` beside it.",
    why: "Utilisation is a part of the request: without one the autoscaler says FailedGetResourceMetric and does nothing. The same with a metric that nobody collects. Replicas in the Deployment undo the autoscaler's work each time it is applied.",
    fix: "Name the target as it is called, give its containers the request, scrape its pods. Leave out `replicas`. These are amounts and names that are yours to say: `--fix` leaves them.",
    look,
};

fn look(input: &Input<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for scaler in input.of("autoscaling", "HorizontalPodAutoscaler") {
        let at = scaler.at();
        let (Some(kind), Some(name)) = (at.text_at("spec.scaleTargetRef.kind"), at.go("spec.scaleTargetRef.name")) else { continue };
        let near = |object: &&super::super::manifest::Object| object.kind == kind && object.namespace == scaler.namespace;
        let target = input.objects.iter().find(|object| near(object) && Some(object.name.as_str()) == name.text());
        let Some(target) = target else {
            // With others of its kind in its file, the name is more likely wrong than elsewhere.
            let level =
                if input.objects.iter().any(|object| near(&object) && object.file == scaler.file) { Level::Error } else { Level::Note };
            let problem = format!("{kind} `{}` is not in these files", name.text().unwrap_or_default());
            found.push(Found::new(level, &name, problem, "name the target as it is called, and give check its file too"));
            continue;
        };
        let pods = Pod::of(target);
        for metric in at.all("spec.metrics") {
            found.extend(measured(input, &metric, &pods));
        }
        if let Some(replicas) = target.at().go("spec.replicas") {
            let problem = format!("HorizontalPodAutoscaler {} sets the number, and each apply of this sets it back", scaler.name);
            found.push(Found::new(Level::Warning, &replicas, problem, "leave replicas out"));
        }
    }
    found
}

fn measured(input: &Input<'_>, metric: &At<'_>, pods: &[Pod<'_>]) -> Vec<Found> {
    let mut found = Vec::new();
    match metric.text_at("type") {
        Some("Resource") if metric.go("resource.target.averageUtilization").is_some() => {
            let Some(name) = metric.go("resource.name") else { return found };
            let what = name.text().unwrap_or_default();
            let has = |container: &At<'_>| {
                ["requests", "limits"].iter().any(|of| container.go("resources").and_then(|all| all.go(of)?.get(what)).is_some())
            };
            let without = pods.iter().flat_map(|pod| pod.spec.all("containers")).find(|container| !has(container));
            if let Some(container) = without {
                let container = container.text_at("name").unwrap_or_default().to_owned();
                let problem = format!("container {container} requests no {what}, so there is no utilisation of it");
                found.push(Found::new(Level::Error, &name, problem, format!("give {container} requests.{what}")));
            }
        }
        Some("Pods") => {
            let scraped = input.objects.iter().any(|object| ["ServiceMonitor", "PodMonitor"].contains(&object.kind.as_str()));
            let annotated = input.objects.iter().any(|object| {
                object.at().go("spec.template.metadata.annotations").is_some_and(|all| all.get("prometheus.io/scrape").is_some())
            });
            if let Some(name) = metric.go("pods.metric.name").filter(|_| !scraped && !annotated) {
                let problem = format!("nothing in these files scrapes `{}`", name.text().unwrap_or_default());
                found.push(Found::new(Level::Note, &name, problem, "add a ServiceMonitor, and an adapter that serves the metric"));
            }
        }
        _ => {}
    }
    found
}
