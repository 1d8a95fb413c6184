//! Logs and the metric table. Decides how the program speaks to people and to Prometheus, not what it says about
//! any one pod: series never carry a pod's, node's or user's name.

mod logs;
mod metrics;

pub use logs::{LogFormat, LogSetupError, logs};
pub use metrics::{Effects, Metrics, Row, TABLE, Writes};
