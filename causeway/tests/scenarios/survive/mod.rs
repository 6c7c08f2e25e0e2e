//! Streams that survive the loss of their connection: real programs at both ends, an emulated link
//! between them, and every fault that a network has for it.
//!
//! [`echoes`] is the short form, always run, and [`roaming`] what a client does when its machine has another
//! address. The matrix is for the long suite: each cell is one fault
//! over one transport, with everything at once, none of which may lose, repeat or see anything of it
//! but a pause.

mod cell;
mod conversation;
mod echoes;
mod fault;
mod roaming;
mod streams;
mod transfers;

use std::time::Duration;

use chaos::wire::Rate;

pub(crate) use self::conversation::Numbered;
use self::{cell::Cell, fault::Fault};
use crate::protocols::on_each_transport;

/// A file that is on its way for a minute and a half at [`FAST`], and one for less.
const LONG: u64 = 2 << 30;
const SHORT: u64 = 256 << 20;

/// How fast the link is each way.
const FAST: Rate = Rate::mbit(200);

on_each_transport![
    survives_a_reset,
    survives_a_cut_of_1_s,
    survives_a_cut_of_10_s,
    survives_a_cut_of_30_s,
    survives_a_cut_of_100_s,
    survives_a_nat_that_forgets,
    survives_another_address,
    survives_flapping,
];

fn survives_a_reset(transport: &'static str) {
    short(transport, Fault::Reset);
}

fn survives_a_cut_of_1_s(transport: &'static str) {
    short(transport, Fault::Cut(Duration::from_secs(1)));
}

fn survives_a_cut_of_10_s(transport: &'static str) {
    short(transport, Fault::Cut(Duration::from_secs(10)));
}

fn survives_a_cut_of_30_s(transport: &'static str) {
    Cell {
        transport,
        fault: Fault::Cut(Duration::from_secs(30)),
        file: LONG,
        rate: FAST,
    }
    .run();
}

fn survives_a_cut_of_100_s(transport: &'static str) {
    short(transport, Fault::Cut(Duration::from_secs(100)));
}

fn survives_a_nat_that_forgets(transport: &'static str) {
    short(transport, Fault::Rebound);
}

fn survives_another_address(transport: &'static str) {
    short(transport, Fault::Moved);
}

fn survives_flapping(transport: &'static str) {
    // Slow enough that the files last: half of the time nothing passes.
    Cell {
        transport,
        fault: Fault::Flapping,
        file: SHORT * 2,
        rate: Rate::mbit(50),
    }
    .run();
}

#[test]
fn survives_the_loss_of_udp() {
    Cell {
        transport: "auto",
        fault: Fault::UdpBlocked,
        file: LONG,
        rate: FAST,
    }
    .run();
}

fn short(transport: &'static str, fault: Fault) {
    Cell {
        transport,
        fault,
        file: SHORT,
        rate: FAST,
    }
    .run();
}
