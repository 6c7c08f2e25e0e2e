//! That the name servers which the tests of DNS stand on do what those tests take for granted.

use std::sync::Arc;

use crate::support::{
    nameserver::{Fate, NameServer, Software, Way, Zone, is_update},
    wait_for,
};

#[test]
fn bind_serves_is_updated_transferred_and_restarted() {
    serves_is_updated_transferred_and_restarted(Software::Bind);
}

#[test]
fn knot_serves_is_updated_transferred_and_restarted() {
    serves_is_updated_transferred_and_restarted(Software::Knot);
}

fn serves_is_updated_transferred_and_restarted(software: Software) {
    let zone = Zone::new("apps.test")
        .record("www 300 A 192.0.2.1")
        .record("www 300 TXT \"two words\"")
        .record("_causeway._tcp 300 SRV 1 2 7443 www");
    let Some(mut server) = NameServer::start(software, &zone) else {
        return;
    };
    assert_eq!(server.query("www", "A"), ["192.0.2.1"]);
    assert_eq!(
        server.query("_causeway._tcp", "SRV"),
        ["1 2 7443 www.apps.test."]
    );
    assert_eq!(server.serial(), 1);

    server.update("add www 300 A 192.0.2.2\nadd www 60 AAAA 2001:db8::1\ndelete _causeway._tcp");
    let after = [
        "apps.test. 30 IN NS ns1.apps.test.",
        "ns1.apps.test. 30 IN A 127.0.0.1",
        "www.apps.test. 300 IN A 192.0.2.1",
        "www.apps.test. 300 IN A 192.0.2.2",
        "www.apps.test. 300 IN TXT \"two words\"",
        "www.apps.test. 60 IN AAAA 2001:db8::1",
    ];
    assert_eq!(server.records(), after);
    assert_eq!(server.serial(), 2);

    server.stop();
    assert_eq!(server.query("www", "A"), [""; 0]);
    server.start_again();
    assert_eq!(server.records(), after);
    server.kill();
    server.start_again();
    assert_eq!(server.records(), after);
    assert_eq!(server.serial(), 2);
}

#[test]
fn a_relay_counts_updates_and_meddles() {
    let Some(server) = NameServer::start(Software::Bind, &Zone::new("apps.test")) else {
        return;
    };
    let server = Arc::new(server);
    let relay = server.relay();
    let done = server.try_update_at(relay.address(), "add a 60 A 192.0.2.1");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(relay.updates(), 1);
    // What nsupdate asks before is no update.
    assert!(relay.messages() >= 1);

    // Somebody else is first, in the very moment between.
    relay.judge({
        let server = Arc::clone(&server);
        move |way, message| {
            if way == Way::ToServer && is_update(message) {
                server.update("add b 60 A 192.0.2.2");
            }
            Fate::Pass
        }
    });
    let late = server.try_update_at(relay.address(), "prereq nxdomain b\nadd b 60 A 192.0.2.3");
    assert!(!late.status.success(), "{late:?}");
    assert_eq!(server.query("b", "A"), ["192.0.2.2"]);

    relay.judge(|way, _| match way {
        Way::ToServer => Fate::Pass,
        Way::ToClient => Fate::Cut,
    });
    let cut = server.try_update_at(relay.address(), "add c 60 A 192.0.2.4");
    assert!(!cut.status.success(), "{cut:?}");
    wait_for("the update whose answer was lost", || {
        (server.query("c", "A") == ["192.0.2.4"]).then_some(())
    });
}
