//! Servers that say no: each with its reason, and a message that says what, where and what to do.

use std::{str::FromStr, time::Duration};

use hickory_proto::rr::LowerName;

use super::support::{
    Access, change, cluster, done, failed,
    nameserver::{EDGE, NameServer, Software},
    provider, read, unread, with_bind_and_knot, zone,
};
use crate::{
    config::TsigAlgorithm,
    dns::provider::{
        ProviderError, Reason,
        rfc2136::{Rfc2136, now},
    },
};

with_bind_and_knot!(
    a_key_that_the_server_does_not_know,
    a_key_with_another_algorithm,
    a_wrong_secret,
    a_clock_that_is_an_hour_ahead,
    a_clock_that_is_an_hour_behind,
    a_key_that_may_not_update,
    a_zone_that_the_server_does_not_have,
    a_name_outside_of_the_zone,
    a_server_that_is_down_and_comes_back,
);

async fn a_key_that_the_server_does_not_know(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let mut other = Access::to(&server, server.address());
    other.settings.key = LowerName::from_str("nobody").unwrap();
    let other = other.provider();
    for error in both(&other).await {
        says(&error, Reason::BadKey, &["nobody", "hmac-sha256", "BADKEY"]);
    }
    recovers(&server).await;
}

async fn a_key_with_another_algorithm(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let mut other = Access::to(&server, server.address());
    other.settings.algorithm = TsigAlgorithm::HmacSha512;
    let other = other.provider();
    for error in both(&other).await {
        says(&error, Reason::BadKey, &[EDGE, "hmac-sha512", "BADKEY"]);
    }
    recovers(&server).await;
}

async fn a_wrong_secret(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let mut other = Access::to(&server, server.address());
    other.secret = "c29tZXRoaW5nIHRoYXQgd2FzIHdyaXR0ZW4gZG93biB3cm9uZw==".to_owned();
    let other = other.provider();
    for error in both(&other).await {
        says(
            &error,
            Reason::BadSignature,
            &[EDGE, "same secret", "BADSIG"],
        );
    }
    recovers(&server).await;
}

async fn a_clock_that_is_an_hour_ahead(software: Software) {
    clocks_are_apart(software, || now() + 3600, "behind").await;
}

async fn a_clock_that_is_an_hour_behind(software: Software) {
    clocks_are_apart(software, || now() - 3600, "ahead of").await;
}

async fn clocks_are_apart(software: Software, clock: fn() -> u64, way_of_server: &str) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let mut wrong = provider(&server);
    wrong.clock = clock;
    for error in both(&wrong).await {
        says(&error, Reason::BadTime, &["BADTIME", way_of_server, "NTP"]);
        let mut numbers = error.message.split("the server's is ").skip(1);
        let seconds = numbers.next().and_then(|rest| rest.split(' ').next());
        let seconds: u64 = seconds.unwrap().parse().unwrap();
        assert!(seconds.abs_diff(3600) < 60, "{error}");
    }
    assert_eq!(server.query("one", "A"), [""; 0]);
    recovers(&server).await;
}

async fn a_key_that_may_not_update(software: Software) {
    let Some(server) = NameServer::start(software, &zone().without_updates()) else {
        return;
    };
    let provider = provider(&server);
    let before = read(&provider).await;
    let error = failed(&provider, &change("one", &cluster("one", "192.0.2.1"))).await;
    match software {
        Software::Bind => says(&error, Reason::Refused, &["one.apps.test", EDGE, "REFUSED"]),
        // It says the same of a key that it does not know.
        Software::Knot => says(&error, Reason::BadKey, &["one.apps.test", EDGE, "update"]),
    }
    assert_eq!(read(&provider).await, before);
}

async fn a_zone_that_the_server_does_not_have(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let mut other = Access::to(&server, server.address());
    other.zone = LowerName::from_str("elsewhere.test.").unwrap();
    let other = other.provider();
    let error = unread(&other).await;
    assert!(
        matches!(
            error.reason,
            Reason::Refused | Reason::NotAuthoritative | Reason::BadKey
        ),
        "{error:?}"
    );
    assert!(error.message.contains("elsewhere.test"), "{error}");
    let mut elsewhere = change("one", &[]);
    elsewhere.name = LowerName::from_str("one.elsewhere.test.").unwrap();
    let error = failed(&other, &elsewhere).await;
    assert!(
        matches!(error.reason, Reason::NotAuthoritative | Reason::BadKey),
        "{error:?}"
    );
    recovers(&server).await;
}

async fn a_name_outside_of_the_zone(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let provider = provider(&server);
    let mut outside = change("one", &cluster("one", "192.0.2.1"));
    outside.sets[0].0.name = LowerName::from_str("one.example.org.").unwrap();
    let error = failed(&provider, &outside).await;
    says(
        &error,
        Reason::Unwritable,
        &["one.example.org", "apps.test"],
    );
    recovers(&server).await;
}

async fn a_server_that_is_down_and_comes_back(software: Software) {
    let Some(mut server) = NameServer::start(software, &zone()) else {
        return;
    };
    let provider = provider(&server);
    let before = read(&provider).await;
    server.stop();
    for error in both(&provider).await {
        let server = server.address().to_string();
        says(&error, Reason::Unreachable, &[&server]);
    }
    server.start_again();
    assert_eq!(read(&provider).await, before);

    // It is there and says nothing.
    let mut impatient = Access::to(&server, server.address());
    impatient.settings.timeout = Duration::from_millis(200);
    let impatient = impatient.provider();
    server.process().signal("STOP");
    for error in both(&impatient).await {
        let server = server.address().to_string();
        says(&error, Reason::Timeout, &[&server, "200ms"]);
    }
    server.process().signal("CONT");
    recovers(&server).await;
}

/// What goes wrong with reading, and with a change.
async fn both(provider: &Rfc2136) -> [ProviderError; 2] {
    let unread = unread(provider).await;
    let unchanged = failed(provider, &change("one", &cluster("one", "192.0.2.1"))).await;
    [unread, unchanged]
}

/// Whoever is configured as the server is gets what was refused.
async fn recovers(server: &NameServer) {
    let provider = provider(server);
    done(&provider, &change("one", &cluster("one", "192.0.2.1"))).await;
    assert_eq!(server.query("one", "A"), ["192.0.2.1"]);
}

#[track_caller]
fn says(error: &ProviderError, reason: Reason, words: &[&str]) {
    assert_eq!(error.reason, reason, "{error}");
    for word in words {
        assert!(error.message.contains(word), "no {word} in: {error}");
    }
}
