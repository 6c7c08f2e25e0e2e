//! DNS records that follow tunnels.

#![allow(dead_code, reason = "the reconciler that uses it comes next")]

mod provider;
mod records;
