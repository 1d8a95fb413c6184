//! `BatchJob`: the same program over many chunks of data, some at a time. A chunk is an index; no chunk waits for another,
//! so that it is no gang.

use serde_json::json;

use super::begin;
use super::fields::{MAIN, Worker, workload};
use super::names::KUEUE_QUEUE;
use super::object::{Named, SpecOf};
use super::pod::{Around, Variable, template};
use super::{Recipe, Rendered};
use crate::policy::Mistake;

workload! {
    /// The same program over many chunks of data, some at a time.
    BatchJobSpec {
        /// The image, with a tag or a digest.
        image: String,
        /// How many chunks there are. The program finds its own in CHUNK_INDEX, from 0, and their number in CHUNK_COUNT.
        #[cfg_attr(feature = "io", schemars(range(min = 1, max = 100_000)))]
        chunks: u32,
        /// How many at a time; all of them if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "io", schemars(range(min = 1, max = 100_000)))]
        parallel: Option<u32>,
        /// How often a failed chunk is tried again. Eviction does not count.
        #[serde(default = "retries_default")]
        #[cfg_attr(feature = "io", schemars(range(min = 0, max = 100)))]
        retries: u32,
        /// How many chunks may fail for good before the job is given up; none if left out.
        #[serde(default)]
        failed_chunks: u32,
    }
}

fn retries_default() -> u32 {
    3
}

#[derive(Debug)]
struct BatchJob {
    worker: Worker,
    chunks: u32,
    parallel: u32,
    retries: u32,
    failed_chunks: u32,
}

impl SpecOf for BatchJobSpec {
    const KIND: &'static str = "BatchJob";
    const ABOUT: &'static str = "The same program over many chunks of data, some at a time";
    const PLURAL: Option<&'static str> = None;
    const COLUMNS: &'static [(&'static str, &'static str)] = &[];
    const FORMS: &'static [&'static str] = &[];
    const BEGIN: &'static begin::Begin = &begin::BATCH_JOB;

    fn check(self, _: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        let worker = self.common(self.image.clone()).check()?;
        if worker.accelerators.as_ref().and_then(|accelerators| accelerators.slice).is_some_and(|slice| slice.hosts > 1) {
            return Err(Mistake::new("accelerators", "is a slice of several hosts", "take a slice of one host, or a TrainingJob"));
        }
        let parallel = self.parallel.unwrap_or(self.chunks);
        for (field, is, max) in [("chunks", self.chunks, CHUNKS_MAX), ("parallel", parallel, self.chunks)] {
            if !(1..=max).contains(&is) {
                return Err(Mistake::range(field, is, &format!("1..={max}")));
            }
        }
        if self.retries > 100 {
            return Err(Mistake::range("retries", self.retries, "0..=100"));
        }
        if self.failed_chunks > self.chunks {
            return Err(Mistake::range("failedChunks", self.failed_chunks, &format!("0..={}", self.chunks)));
        }
        let (chunks, retries, failed_chunks) = (self.chunks, self.retries, self.failed_chunks);
        Ok(Box::new(BatchJob { worker, chunks, parallel, retries, failed_chunks }))
    }
}

impl Recipe for BatchJob {
    fn render(&self, of: &Named, _: Option<&str>) -> Result<Rendered, Mistake> {
        let around = Around {
            // As many at a time as there are would be taken for a gang: each chunk is one of its own.
            annotations: vec![(super::names::GANG_SIZE, "1".to_owned())],
            env: vec![Variable::index("CHUNK_INDEX"), Variable::text("CHUNK_COUNT", &self.chunks), Variable::text("PYTHONUNBUFFERED", "1")],
            restart_policy: Some("Never"),
            ..Around::default()
        };
        let mut metadata = of.metadata(&of.name);
        if let Some(queue) = &self.worker.queue {
            metadata["labels"][KUEUE_QUEUE] = json!(queue);
        }
        let spec = json!({
            "completionMode": "Indexed",
            "completions": self.chunks,
            "parallelism": self.parallel,
            "backoffLimitPerIndex": self.retries,
            "maxFailedIndexes": self.failed_chunks,
            "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {"action": "FailJob", "onExitCodes": {"containerName": MAIN, "operator": "In", "values": [126, 127]}},
            ]},
            "template": template(of, &self.worker, &around),
        });
        let mut objects = self.worker.storage.objects(of);
        objects.push(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}));
        Ok(Rendered { objects, notes: self.worker.notes() })
    }
}

/// Indexed Jobs with limits for each index have no more.
const CHUNKS_MAX: u32 = 100_000;
