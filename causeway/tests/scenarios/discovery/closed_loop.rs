//! The loop closed: a client finds its edge by the records that the edge itself publishes.

use super::field::{Field, request};
use crate::support::{
    Origin, address_for_server,
    nameserver::{EDGE, Zone},
    wait_for,
};

const ZONE: &str = "apps.test";

#[test]
fn by_what_its_edge_writes_on_bind_a_client_finds_it_whoever_is_first() {
    let Some(mut field) = Field::new(&Zone::new(ZONE)) else {
        return;
    };
    let secret = field.names.key(EDGE).secret.as_str().to_owned();
    let secret = field.file("tsig.secret", &secret);
    let provider = format!(
        "provider = \"rfc2136\"\n[dns.rfc2136]\nserver = \"{}\"\nkey = \"{EDGE}\"\nsecret_file = \"{}\"",
        field.names.address(),
        secret.display(),
    );
    field.publish(ZONE, &provider);
    // The zone is there, and has no such name yet.
    the_client_finds_its_edge_whoever_is_first(field, "denied");
}

#[test]
fn by_what_its_edge_answers_itself_a_client_finds_it_whoever_is_first() {
    let Some(mut field) = Field::new(&Zone::new("other.test")) else {
        return;
    };
    let server = address_for_server();
    let provider =
        format!("[dns.embedded]\nlisten = \"{server}\"\nnameservers = \"ns1.example.org\"");
    field.publish(ZONE, &provider);
    field.resolve_at(server);
    // The name server is in the edge, which is not there yet.
    the_client_finds_its_edge_whoever_is_first(field, "failed");
}

fn the_client_finds_its_edge_whoever_is_first(mut field: Field, before: &str) {
    let origin = Origin::echo();
    field.start_client(&format!("srv = \"{ZONE}\""), &origin);
    field.await_name(before);
    field.start_edge(1);
    field.await_connected(&["edge-1"]);
    wait_for("a request to work", || request(field.forward()).ok());

    for edge_first in [true, false] {
        field.edge(1).kill();
        field.client().kill();
        if edge_first {
            field.start_edge(1);
            field.start_client_again();
        } else {
            field.start_client_again();
            field.start_edge(1);
        }
        field.await_connected(&["edge-1"]);
        wait_for("a request to work again", || request(field.forward()).ok());
    }
}
