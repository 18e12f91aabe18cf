//! Plots over time and over steps: breakdown, steps, leaks, and the marks of timelines.
