//! Whether a GPU may be granted, and what is wrong with one that may.
//!
//! Unhealthy is what no program can run on, and what would corrupt one. A brake comes and goes by itself, and an error that
//! was contained has killed its program already: for these a warning, so that nobody's placement flaps.

use super::facts::{ComputeMode, Gone, Gpu};
use crate::wire::HealthReport;

/// What is to be said of a GPU.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) health: HealthReport,
    pub(super) reason: Option<String>,
    pub(super) warning: Option<String>,
}

/// Judges what was read.
pub(super) fn verdict(gpu: &Gpu) -> Verdict {
    let reason = reason(gpu).map(String::from);
    let health = if reason.is_some() { HealthReport::Unhealthy } else { HealthReport::Healthy };
    let warnings = warnings(gpu);
    Verdict { health, reason, warning: (!warnings.is_empty()).then(|| warnings.join("; ")) }
}

fn reason(gpu: &Gpu) -> Option<&'static str> {
    match gpu.gone {
        Some(Gone::Lost) => return Some("it fell off the bus: drain the node and reboot it; if it stays away, replace the GPU"),
        Some(Gone::ResetRequired) => return Some("it needs a reset: stop what uses it, then `nvidia-smi --gpu-reset`"),
        Some(Gone::Refused) => return Some("the driver refuses to open it: see `dmesg`, and whether this process may open /dev/nvidia*"),
        None => {}
    }
    if gpu.rows.is_some_and(|rows| rows.failed) {
        return Some("its memory has an error and no spare row: replace the GPU");
    }
    if gpu.compute_mode == Some(ComputeMode::Prohibited) {
        return Some("its compute mode is Prohibited: `nvidia-smi --compute-mode 0`");
    }
    gpu.uuid.is_none().then_some("the driver does not tell its UUID, so no container can be given it")
}

fn warnings(gpu: &Gpu) -> Vec<&'static str> {
    let rows_pending = gpu.rows.is_some_and(|rows| rows.pending && !rows.failed);
    let all = [
        (rows_pending, "memory rows are to be replaced at its next reset"),
        (gpu.memory_errors.unwrap_or(0) > 0, "uncorrected memory errors since the driver was loaded"),
        (gpu.brakes.thermal, "slowed by heat"),
        (gpu.brakes.power, "slowed by the power brake"),
    ];
    all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, warning)| warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::facts::{Brakes, Rows};

    fn gpu() -> Gpu {
        Gpu { uuid: Some("GPU-a".into()), ..Gpu::default() }
    }

    #[test]
    fn what_no_program_can_run_on_is_unhealthy_and_says_what_to_do() {
        let broken = [
            Gpu { gone: Some(Gone::Lost), ..gpu() },
            Gpu { gone: Some(Gone::ResetRequired), ..gpu() },
            Gpu { gone: Some(Gone::Refused), ..gpu() },
            Gpu { rows: Some(Rows { failed: true, pending: false }), ..gpu() },
            Gpu { compute_mode: Some(ComputeMode::Prohibited), ..gpu() },
            Gpu::default(),
        ];
        for gpu in broken {
            let verdict = verdict(&gpu);
            assert_eq!(verdict.health, HealthReport::Unhealthy, "{gpu:?}");
            assert!(verdict.reason.is_some_and(|reason| reason.len() <= 256), "{gpu:?}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_a_warning() {
        assert_eq!(verdict(&gpu()), Verdict { health: HealthReport::Healthy, reason: None, warning: None });
        let slow = Gpu {
            brakes: Brakes { thermal: true, power: true },
            memory_errors: Some(3),
            rows: Some(Rows { pending: true, failed: false }),
            ..gpu()
        };
        let verdict = verdict(&slow);
        assert_eq!((verdict.health, verdict.reason), (HealthReport::Healthy, None));
        let warning = verdict.warning.unwrap();
        assert!(warning.len() <= 256 && ["rows", "errors", "heat", "brake"].iter().all(|word| warning.contains(word)), "{warning}");
    }
}
