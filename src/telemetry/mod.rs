//! Logs and the metric table.
