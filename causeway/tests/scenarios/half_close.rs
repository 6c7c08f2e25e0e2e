//! One direction of a stream ends, and the other goes on: kept each way, by each way in.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use crate::support::{Origin, Plane};

/// The caller ends first: the origin reads to the end and then answers.
#[test]
fn caller_ends_and_origin_answers_through_an_ingress() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("late", &origin.tcp())
        .tcp_ingress("late")
        .start();
    let caller = plane.dial_ingress("late");
    ends_then_hears(caller, || origin.accept());
}

#[test]
fn caller_ends_and_upstream_answers_through_a_forward() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder().forward("late", &origin.tcp()).start();
    let caller = plane.dial_forward("late");
    ends_then_hears(caller, || origin.accept());
}

/// The origin ends first: the caller reads to the end and can still send.
#[test]
fn origin_ends_and_caller_answers_through_an_ingress() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("early", &origin.tcp())
        .tcp_ingress("early")
        .start();
    let caller = plane.dial_ingress("early");
    let at_origin = origin.accept();
    ends_then_hears(at_origin, || caller);
}

#[test]
fn upstream_ends_and_caller_answers_through_a_forward() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder().forward("early", &origin.tcp()).start();
    let caller = plane.dial_forward("early");
    let at_origin = origin.accept();
    ends_then_hears(at_origin, || caller);
}

/// An end with nothing before it is an end as well.
#[test]
fn an_empty_direction_ends() {
    let origin = Origin::digest();
    let mut plane = Plane::builder()
        .expose("sink", &origin.tcp())
        .tcp_ingress("sink")
        .start();
    let mut caller = plane.dial_ingress("sink");
    caller.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("0 e3b0c442"), "{answer}");
}

/// `first` speaks and ends; `second` reads to the end and only then answers, in several parts.
#[track_caller]
fn ends_then_hears(mut first: TcpStream, second: impl FnOnce() -> TcpStream) {
    first.write_all(b"a question").unwrap();
    first.shutdown(Shutdown::Write).unwrap();

    let mut second = second();
    let mut question = String::new();
    second.read_to_string(&mut question).unwrap();
    assert_eq!(question, "a question");

    let part = vec![b'x'; 100_000];
    for _ in 0..10 {
        second.write_all(&part).unwrap();
    }
    second.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 1_000_000);
}
