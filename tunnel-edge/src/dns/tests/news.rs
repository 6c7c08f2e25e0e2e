//! What the log is told: each fact when it begins, and when it is over.

use hickory_proto::rr::RecordType;

use super::server::Fault;
use super::world::*;
use crate::dns::news::{Event, News};
use crate::dns::provider::Reason;
use crate::dns::view::Unreachable;

/// What is told of a round now, in one word each; of a name, with the name.
fn told(world: &mut World, news: &mut News) -> Vec<String> {
    let report = world.round();
    let word = |event: Event<'_>| match event {
        Event::Unread(reason, _) => format!("unread {}", reason.label()),
        Event::ReadAgain => "read again".to_owned(),
        Event::NoRegistry(_) => "no registry".to_owned(),
        Event::RegistryAgain => "registry again".to_owned(),
        Event::Changed(_) => "changed".to_owned(),
        Event::Capped => "capped".to_owned(),
        Event::Foreign(name, _) => format!("foreign {name}"),
        Event::Unfit(name, _) => format!("unfit {name}"),
        Event::InSyncAgain(name, _) => format!("in sync again {name}"),
    };
    news.of(report).into_iter().map(word).collect()
}

#[test]
fn a_zone_that_cannot_be_read_is_told_once_and_that_it_can_be_again() {
    let mut world = World::new(&["acme/prod-1"]);
    let mut news = News::default();
    assert_eq!(told(&mut world, &mut news), ["changed"]);
    world.server.reading.extend([Reason::Timeout; 2]);
    assert_eq!(told(&mut world, &mut news), ["unread timeout"]);
    assert_eq!(told(&mut world, &mut news), [""; 0]);
    // What was away in between does not make it forgotten.
    let view = world.view.clone();
    world.view = Err(Unreachable("etcd".to_owned()));
    assert_eq!(told(&mut world, &mut news), ["no registry"]);
    assert_eq!(told(&mut world, &mut news), [""; 0]);
    world.view = view;
    assert_eq!(
        told(&mut world, &mut news),
        ["registry again", "read again"]
    );
    assert_eq!(told(&mut world, &mut news), [""; 0]);
}

#[test]
fn a_name_that_was_somebody_elses_is_told_when_it_is_in_sync_again() {
    let mut world = World::new(&["acme/prod-1"]);
    let mut news = News::default();
    let address = key("prod-1--acme", RecordType::A);
    world.server.edit(address.clone(), Some(by_hand(99)));
    let foreign = "foreign prod-1--acme.apps.example.com.";
    assert_eq!(told(&mut world, &mut news), ["changed", foreign]);
    assert_eq!(told(&mut world, &mut news), [""; 0]);
    world.server.edit(address, None);
    let again = "in sync again prod-1--acme.apps.example.com.";
    assert_eq!(told(&mut world, &mut news), ["changed", again]);
    assert_eq!(told(&mut world, &mut news), [""; 0]);
}

#[test]
fn a_name_that_failed_is_told_when_it_is_in_sync_again() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    let mut news = News::default();
    let address = key("prod-1--acme", RecordType::A);
    world.server.edit(address, None);
    world.server.changing = [Fault::Fails(Reason::Refused)].into();
    // That the change failed was told when it did.
    assert_eq!(told(&mut world, &mut news), ["changed"]);
    let again = "in sync again prod-1--acme.apps.example.com.";
    assert_eq!(told(&mut world, &mut news), ["changed", again]);
    assert_eq!(told(&mut world, &mut news), [""; 0]);
}
