//! HTTP routes: the scheduler's verbs, admission, explain, metrics, health.
