use serde_json::json;

use super::*;

fn plan() -> Plan {
    let set = |ttl: u32, data: &[&str]| json!({ "ttl": ttl, "data": data });
    let plan = json!({
        "zone": "apps.example.com.", "provider": "embedded", "at": "2026-01-01T00:00:00Z", "owned": 3,
        "changes": [{
            "act": "update", "name": "a.apps.example.com.",
            "sets": [
                {"name": "a.apps.example.com.", "type": "A", "from": set(60, &["192.0.2.1", "192.0.2.2"]), "to": set(60, &["192.0.2.2", "192.0.2.3"])},
                {"name": "a._causeway.apps.example.com.", "type": "TXT", "from": null, "to": set(60, &["v=1\u{1b}"])},
            ],
        }],
        "held": [{"name": "b.apps.example.com.", "for": "cluster/acme/b", "records": [], "because": "settling", "until": "2026-01-01T00:02:00Z"}],
        "foreign": [{"name": "c.apps.example.com.", "why": "it has no ownership record"}],
        "failed": [{"name": "d.apps.example.com.", "why": "REFUSED"}],
    });
    serde_json::from_value(plan).unwrap()
}

#[test]
fn a_plan_says_what_would_be_done_and_what_not() {
    assert_eq!(
        show::plan(&plan()),
        "apps.example.com. (embedded): 1 to change, 1 held back, 1 of others\n\
         \nto change:\n\
         \x20 ACT     NAME                 TYPE  FROM                         TO\n\
         \x20 update  a.apps.example.com.  A     192.0.2.1, 192.0.2.2 (60 s)  192.0.2.2, 192.0.2.3 (60 s)\n\
         \nto go, but held back:\n\
         \x20 NAME                 FOR             WHAT      WHY\n\
         \x20 b.apps.example.com.  cluster/acme/b  the name  settling, until 2026-01-01T00:02:00Z\n\
         \nof others, left as they are:\n\
         \x20 NAME                 WHY\n\
         \x20 c.apps.example.com.  it has no ownership record\n\
         \nfailed the last time:\n\
         \x20 NAME                 WHY\n\
         \x20 d.apps.example.com.  REFUSED\n"
    );
}

#[test]
fn a_difference_is_shown_record_by_record() {
    assert_eq!(
        show::diff(&plan()),
        "- a.apps.example.com. 60 IN A 192.0.2.1\n\
         + a.apps.example.com. 60 IN A 192.0.2.3\n\
         + a._causeway.apps.example.com. 60 IN TXT \"v=1\\u{1b}\"\n\
         ; b.apps.example.com. is to go: settling, until 2026-01-01T00:02:00Z\n\
         ; c.apps.example.com. is another's: it has no ownership record\n\
         ; d.apps.example.com. failed: REFUSED\n"
    );
    assert!(!plan().is_empty());
    let equal = json!({
        "zone": "apps.example.com.", "provider": "embedded", "changes": [], "held": [], "foreign": [], "failed": [],
    });
    let equal: Plan = serde_json::from_value(equal).unwrap();
    assert!(equal.is_empty());
    assert_eq!(
        show::diff(&equal),
        "; apps.example.com. (embedded): no difference\n"
    );
}

#[test]
fn a_round_says_what_it_did_and_what_failed() {
    let state = |outcome: &str, failed: usize| -> State {
        let state = json!({
            "zone": "apps.example.com.", "provider": "rfc2136", "serial": 7, "held": [],
            "last_read": "2026-01-01T00:00:00Z",
            "last_round": {
                "outcome": outcome, "message": "changes have failed; the names say which", "took_ms": 12.4,
                "added": 2, "updated": 1, "repaired": 0, "removed": 0, "overtaken": 0, "failed": failed,
            },
            "names": [
                {"name": "a.apps.example.com.", "for": "cluster/acme/a", "state": "in_sync", "why": null},
                {"name": "b.apps.example.com.", "for": "cluster/acme/b", "state": if failed > 0 { "failed" } else { "pending" }, "why": "addition failed 1 times: refused"},
            ],
        });
        serde_json::from_value(state).unwrap()
    };
    assert_eq!(
        show::applied(&state("unfinished", 1)),
        "apps.example.com. (rfc2136), serial 7: round unfinished in 12 ms: 2 added, 1 updated, 0 repaired, 0 removed, 0 overtaken, 1 failed\n\
         \x20 changes have failed; the names say which\n\
         1 of 2 names in sync\n\
         \nnot in sync:\n\
         \x20 NAME                 FOR             STATE   WHY\n\
         \x20 b.apps.example.com.  cluster/acme/b  failed  addition failed 1 times: refused\n"
    );
    assert_eq!(
        show::applied(&state("unread", 0)),
        "apps.example.com. (rfc2136): round unread in 12 ms: 2 added, 1 updated, 0 repaired, 0 removed, 0 overtaken, 0 failed\n\
         \x20 changes have failed; the names say which\n\
         nothing newer is known than of 2026-01-01T00:00:00Z, with the serial 7: then 1 of 2 names were in sync\n"
    );
    assert!(!state("unread", 0).is_well());
    assert!(!state("unfinished", 1).is_well());
    assert!(!state("finished", 1).is_well());
    assert!(state("finished", 0).is_well());
}
