//! DNS is not there, or has nothing to say.

use super::field::{Field, holds_for, outage, request};
use crate::support::{Origin, nameserver::Zone, wait_for};

#[test]
fn while_no_name_server_answers_the_last_answer_serves() {
    let zone = Zone::new("apps.test").record("edge 1 A 127.0.0.1");
    let Some(mut field) = Field::with_edges(&zone, 1) else {
        return;
    };
    let address = format!("address = \"edge.apps.test:{}\"", field.port);
    field.start_client(&address, &Origin::echo());
    field.await_connected(&["edge-1"]);
    field.names.stop();
    let name = field.await_name("stale");
    assert_eq!(name["records"], 1, "{name}");
    let forward = field.forward();
    holds_for(outage(), || request(forward).is_ok());

    field.edge(1).kill();
    field.await_connected(&[]);
    field.start_edge(1);
    field.await_connected(&["edge-1"]);
    request(forward).unwrap();
    assert_eq!(field.await_name("stale")["records"], 1);

    field.names.start_again();
    let name = field.await_name("fresh");
    assert_eq!(name["error"], serde_json::Value::Null);
    assert!(field.client().has_ended().is_none());
}

#[test]
fn a_client_that_starts_before_its_name_server_waits_for_it() {
    let zone = Zone::new("apps.test").record("edge 1 A 127.0.0.1");
    let Some(mut field) = Field::with_edges(&zone, 1) else {
        return;
    };
    field.names.stop();
    let address = format!("address = \"edge.apps.test:{}\"", field.port);
    field.start_client(&address, &Origin::echo());
    let name = field.await_name("failed");
    let error = name["error"].as_str().unwrap();
    wait_for("the client to say why it is not ready", || {
        let (status, reasons) = field.readyz();
        assert_eq!(status, 503);
        reasons.contains("edge.apps.test: no").then_some(())
    });
    assert_eq!(field.status()["dialing"]["state"], "waiting", "{error}");
    assert!(field.client().has_ended().is_none());

    field.names.start_again();
    field.await_connected(&["edge-1"]);
    request(field.forward()).unwrap();
}

#[test]
fn a_name_that_does_not_exist_yet_is_waited_for() {
    let Some(mut field) = Field::with_edges(&Zone::new("apps.test"), 1) else {
        return;
    };
    let address = format!("address = \"edge.apps.test:{}\"", field.port);
    field.start_client(&address, &Origin::echo());
    let name = field.await_name("denied");
    assert_eq!(name["error"], "the name does not exist (NXDOMAIN)");
    wait_for("the client to say why it is not ready", || {
        let (_, reasons) = field.readyz();
        let why = "edge.apps.test: the name does not exist (NXDOMAIN)";
        reasons.contains(why).then_some(())
    });
    // Other records make it exist, and lead nowhere either.
    field.names.update("add edge 1 TXT nothing");
    wait_for("the name to have no addresses", || {
        (field.await_name("denied")["error"] == "the name has no addresses").then_some(())
    });
    field.names.update("add edge 1 A 127.0.0.1");
    field.await_connected(&["edge-1"]);
    let metrics = field.metrics();
    for outcome in ["nxdomain", "nothing", "answered"] {
        let counted =
            format!("causeway_discovery_lookups_total{{kind=\"address\",outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&counted), "{counted} in {metrics}");
    }
}

/// A server that is none for this zone, which is what an authoritative one says of others' names.
#[test]
fn a_name_server_that_refuses_is_asked_again_and_named() {
    let Some(mut field) = Field::with_edges(&Zone::new("apps.test"), 1) else {
        return;
    };
    let address = format!("address = \"edge.elsewhere.test:{}\"", field.port);
    field.start_client(&address, &Origin::echo());
    let name = field.await_name("failed");
    assert_eq!(name["error"], "the name server answered REFUSED");
    assert!(field.client().has_ended().is_none());
}
