//! What happens on the way, or in between: connections that end, answers that are lost, changed
//! or made up, and people who are faster.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RecordType, TSigResponseContext},
};

use super::support::{
    Access, a, change, cluster, done, expecting, failed, key, name,
    nameserver::{Fate, NameServer, Relay, Software, Way, Zone, is_update},
    overtaken, provider, read, set, under, unread, with_bind_and_knot, zone,
};
use crate::dns::{
    provider::{Applied, Provider, Reason, rfc2136::Rfc2136},
    records::Expectation,
};

with_bind_and_knot!(
    an_edit_between_our_read_and_our_update_survives,
    a_transfer_that_is_cut_short_yields_nothing,
    a_transfer_that_was_changed_on_the_way_yields_nothing,
    an_update_without_an_answer_may_have_been_made,
    a_server_that_dies_over_an_update_has_made_all_of_it_or_nothing,
    of_many_updates_on_a_connection_that_ends_none_is_believed_made_that_is_not,
    an_answer_that_was_changed_on_the_way_does_not_count,
    an_answer_to_another_question_does_not_count,
    a_refusal_has_its_reason_even_if_nobody_signed_it,
    an_answer_that_the_server_cut_does_not_count,
);

/// A server, and a provider that reaches it through a relay.
fn behind_relay(software: Software, zone: &Zone) -> Option<(Arc<NameServer>, Relay, Rfc2136)> {
    let server = NameServer::start(software, zone)?;
    let relay = server.relay();
    let provider = Access::to(&server, relay.address()).provider();
    Some((Arc::new(server), relay, provider))
}

/// One whose transfer takes several messages.
fn large_zone() -> Zone {
    (0..5000).fold(zone(), |zone, number| {
        zone.record(&format!("c{number}--acme 60 A 192.0.2.1"))
    })
}

async fn an_edit_between_our_read_and_our_update_survives(software: Software) {
    let Some((server, relay, provider)) = behind_relay(software, &zone()) else {
        return;
    };
    let ours = cluster("one", "192.0.2.1");
    done(&provider, &change("one", &ours)).await;
    let seen = read(&provider).await;
    let expected = Expectation::Exactly(
        key("one", RecordType::A),
        under(&seen, "one")[&RecordType::A].data.clone(),
    );
    let ours = expecting("one", &[expected], &cluster("one", "192.0.2.2"));

    let somebody = Arc::clone(&server);
    relay.judge(move |way, message| {
        if way == Way::ToServer && is_update(message) {
            somebody.update("add one 60 A 192.0.2.99");
        }
        Fate::Pass
    });
    overtaken(&provider, &ours).await;
    relay.pass();
    assert_eq!(server.query("one", "A"), ["192.0.2.1", "192.0.2.99"]);
    let seen = read(&provider).await;
    let both = set("one", 60, &[a("192.0.2.1"), a("192.0.2.99")]);
    assert_eq!(under(&seen, "one")[&RecordType::A], both.1);
}

async fn a_transfer_that_is_cut_short_yields_nothing(software: Software) {
    let Some((_server, relay, provider)) = behind_relay(software, &large_zone()) else {
        return;
    };
    let whole = read(&provider).await;
    for (passing, fate) in [
        (1, Fate::Cut),
        (1, Fate::CutInside),
        (2, Fate::Cut),
        (3, Fate::CutInside),
    ] {
        // The first message tells the serial, all others are the transfer.
        let passed = AtomicUsize::new(0);
        relay.judge(move |way, _| match way {
            Way::ToClient if passed.fetch_add(1, Ordering::SeqCst) >= passing => fate,
            Way::ToClient | Way::ToServer => Fate::Pass,
        });
        let error = unread(&provider).await;
        assert_eq!(error.reason, Reason::Truncated, "{error}");
        assert!(error.message.contains("nothing is used"), "{error}");
        relay.pass();
        assert_eq!(read(&provider).await, whole);
    }
}

/// Not every message of a transfer is signed, yet each is covered by a signature.
async fn a_transfer_that_was_changed_on_the_way_yields_nothing(software: Software) {
    const ADDRESS: [u8; 4] = [192, 0, 2, 1];
    let Some((_server, relay, provider)) = behind_relay(software, &large_zone()) else {
        return;
    };
    let whole = read(&provider).await;
    for changed in 1..4 {
        let seen = AtomicUsize::new(0);
        relay.judge(move |way, message| {
            if way == Way::ToClient && seen.fetch_add(1, Ordering::SeqCst) == changed {
                let address = message.windows(4).rposition(|bytes| bytes == ADDRESS);
                message[address.unwrap() + 3] = 66;
            }
            Fate::Pass
        });
        let error = unread(&provider).await;
        assert_eq!(error.reason, Reason::BadSignature, "{changed}: {error}");
        relay.pass();
        assert_eq!(read(&provider).await, whole);
    }
}

async fn an_update_without_an_answer_may_have_been_made(software: Software) {
    let Some((server, relay, provider)) = behind_relay(software, &zone()) else {
        return;
    };
    let mut impatient = Access::to(&server, relay.address());
    impatient.settings.timeout = Duration::from_millis(300);
    let impatient = impatient.provider();
    for (name_of, way_of_loss, made) in
        [("one", Way::ToClient, true), ("two", Way::ToServer, false)]
    {
        relay.judge(move |way, _| match way == way_of_loss {
            true => Fate::Swallow,
            false => Fate::Pass,
        });
        let error = failed(&impatient, &change(name_of, &cluster(name_of, "192.0.2.1"))).await;
        assert_eq!(error.reason, Reason::Timeout, "{error}");
        let known = "whether it was made shows when the zone is read again";
        assert!(error.message.contains(known), "{error}");
        relay.pass();
        // The lost answer meant that the update was through.
        let seen = read(&provider).await;
        assert_eq!(!under(&seen, name_of).is_empty(), made, "{name_of}");
    }
}

async fn a_server_that_dies_over_an_update_has_made_all_of_it_or_nothing(software: Software) {
    for (dies, made) in [(Way::ToServer, false), (Way::ToClient, true)] {
        let Some(server) = NameServer::start(software, &zone()) else {
            return;
        };
        let relay = server.relay();
        let provider = Access::to(&server, relay.address()).provider();
        let server = Arc::new(Mutex::new(server));
        let victim = Arc::clone(&server);
        relay.judge(move |way, _| match way == dies {
            true => {
                victim.lock().unwrap().kill();
                Fate::Cut
            }
            false => Fate::Pass,
        });
        let error = failed(&provider, &change("one", &cluster("one", "192.0.2.1"))).await;
        assert_eq!(error.reason, Reason::Unreachable, "{error}");
        relay.pass();
        server.lock().unwrap().start_again();
        let seen = read(&provider).await;
        assert_eq!(under(&seen, "one").len(), usize::from(made));
        assert_eq!(under(&seen, "one._causeway").len(), usize::from(made));
        done(&provider, &change("one", &cluster("one", "192.0.2.2"))).await;
        assert_eq!(server.lock().unwrap().query("one", "A"), ["192.0.2.2"]);
    }
}

async fn of_many_updates_on_a_connection_that_ends_none_is_believed_made_that_is_not(
    software: Software,
) {
    let Some((server, relay, provider)) = behind_relay(software, &zone()) else {
        return;
    };
    let passed = AtomicUsize::new(0);
    relay.judge(move |way, _| match way {
        Way::ToClient if passed.fetch_add(1, Ordering::SeqCst) == 40 => Fate::Cut,
        Way::ToClient | Way::ToServer => Fate::Pass,
    });
    let names: Vec<_> = (0..100).map(|number| format!("c{number}--acme")).collect();
    let changes: Vec<_> = names
        .iter()
        .map(|name_of| {
            let unused = Expectation::Unused(name(name_of));
            expecting(name_of, &[unused], &cluster(name_of, "192.0.2.1"))
        })
        .collect();
    let results = join_all(changes.iter().map(|change| provider.apply(change))).await;
    relay.pass();
    let seen = read(&provider).await;
    let mut failures = 0;
    for (name_of, result) in names.iter().zip(results) {
        let there =
            under(&seen, name_of).len() + under(&seen, &format!("{name_of}._causeway")).len();
        match result {
            Ok(applied) => assert_eq!((applied, there), (Applied::Done, 2), "{name_of}"),
            Err(error) => {
                failures += 1;
                assert_eq!(error.reason, Reason::Unreachable, "{error}");
                assert!(there == 0 || there == 2, "{name_of} has {there}");
            }
        }
    }
    assert!(failures > 0, "nobody was cut off");
    // Whoever makes the same again is told what is there, and makes the rest.
    for change in &changes {
        provider.apply(change).await.unwrap();
    }
    assert_eq!(
        read(&provider).await.records.len(),
        read(&self::provider(&server)).await.records.len()
    );
}

async fn an_answer_that_was_changed_on_the_way_does_not_count(software: Software) {
    let Some((server, relay, provider)) = behind_relay(software, &zone()) else {
        return;
    };
    relay.judge(|way, message| {
        if way == Way::ToClient {
            // A letter of the first name behind the header.
            message[14] ^= 1;
        }
        Fate::Pass
    });
    let error = unread(&provider).await;
    assert_eq!(error.reason, Reason::BadSignature, "{error}");
    let error = failed(&provider, &change("one", &cluster("one", "192.0.2.1"))).await;
    assert_eq!(error.reason, Reason::BadSignature, "{error}");
    relay.pass();
    assert_eq!(read(&provider).await, read(&self::provider(&server)).await);
}

async fn an_answer_to_another_question_does_not_count(software: Software) {
    let Some((_server, relay, provider)) = behind_relay(software, &zone()) else {
        return;
    };
    relay.judge(|way, message| {
        if way == Way::ToClient {
            message[0] ^= 0x40;
        }
        Fate::Pass
    });
    let error = unread(&provider).await;
    assert_eq!(error.reason, Reason::Malformed, "{error}");
    let error = failed(&provider, &change("one", &cluster("one", "192.0.2.1"))).await;
    assert_eq!(error.reason, Reason::Malformed, "{error}");
    assert!(error.message.contains("which nobody asked"), "{error}");
    relay.pass();
    read(&provider).await;
}

async fn a_refusal_has_its_reason_even_if_nobody_signed_it(software: Software) {
    let Some((_server, relay, provider)) = behind_relay(software, &zone()) else {
        return;
    };
    let one = change("one", &cluster("one", "192.0.2.1"));
    for (code, reason) in [
        (ResponseCode::NoError, Reason::BadSignature),
        (ResponseCode::FormErr, Reason::Malformed),
        (ResponseCode::ServFail, Reason::ServerFailure),
        (ResponseCode::NotImp, Reason::Refused),
        (ResponseCode::Refused, Reason::Refused),
        (ResponseCode::NotAuth, Reason::NotAuthoritative),
        (ResponseCode::NotZone, Reason::NotAuthoritative),
        // Anybody could say that: it is no reason to take the change for overtaken.
        (ResponseCode::YXRRSet, Reason::ServerFailure),
    ] {
        relay.judge(move |way, message| {
            if way == Way::ToClient {
                message.truncate(12);
                message[3] = code.low();
                message[4..].fill(0);
            }
            Fate::Pass
        });
        let error = failed(&provider, &one).await;
        assert_eq!(error.reason, reason, "{code:?}: {error}");
        let error = unread(&provider).await;
        assert_eq!(error.reason, reason, "{code:?}: {error}");
        assert!(error.message.contains(&relay.address().to_string()));

        // The same, signed.
        answer_instead(&relay, &provider, move |answer| {
            answer.metadata.response_code = code;
        });
        let update = provider.apply(&one).await;
        if code == ResponseCode::NoError {
            assert_eq!(update.unwrap(), Applied::Done);
        } else if code == ResponseCode::YXRRSet {
            assert_eq!(update.unwrap(), Applied::Overtaken);
        } else {
            assert_eq!(update.unwrap_err().reason, reason, "{code:?}");
        }
    }
    relay.pass();
    read(&provider).await;
}

async fn an_answer_that_the_server_cut_does_not_count(software: Software) {
    let Some((_server, relay, provider)) = behind_relay(software, &zone()) else {
        return;
    };
    answer_instead(&relay, &provider, |answer| {
        answer.metadata.truncation = true;
    });
    let error = unread(&provider).await;
    assert_eq!(error.reason, Reason::Truncated, "{error}");
    let error = failed(&provider, &change("one", &cluster("one", "192.0.2.1"))).await;
    assert_eq!(error.reason, Reason::Truncated, "{error}");
    relay.pass();
    read(&provider).await;
}

/// From now on, every question gets this answer, signed as the server would.
fn answer_instead(
    relay: &Relay,
    provider: &Rfc2136,
    shape: impl Fn(&mut Message) + Send + Sync + 'static,
) {
    let signer = provider.signer.clone();
    let question = Mutex::new(None);
    relay.judge(move |way, message| {
        let mut question = question.lock().unwrap();
        match way {
            Way::ToServer => *question = Some(Message::from_vec(message).unwrap()),
            Way::ToClient => {
                let question = question.take().unwrap();
                let mut answer = Message::response(question.id, question.op_code);
                shape(&mut answer);
                let asked = question.signature().unwrap().data.mac.clone();
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
                let signing =
                    TSigResponseContext::new(question.id, now, signer.clone(), asked, None);
                answer.set_signature(signing.sign(&answer.to_vec().unwrap()).unwrap());
                *message = answer.to_vec().unwrap();
            }
        }
        Fate::Pass
    });
}
