//! The provider against BIND and Knot, and against a path that meddles.

mod changes;
mod documented;
mod meddling;
mod obstructed;
mod reading;
mod reconciling;
mod refusals;
mod support;
