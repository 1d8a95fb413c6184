//! A scripted cluster in memory, for the demo, simulate and tests. Pure.
