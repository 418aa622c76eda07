//! A record, what Catena answers, and what of that is news.

use std::collections::BTreeMap;

use reconciliation::Answers;
use serde_json::{Value, json};

use crate::written::{
    ENDS, OBSERVED, agreement, connection, instant, invitation, itself, listed, listed_at, record,
    request, says, schedule,
};

fn connections(items: impl IntoIterator<Item = Value>) -> Answers {
    Answers {
        connections: listed(items),
        ..Answers::default()
    }
}

fn agreements(items: impl IntoIterator<Item = Value>) -> Answers {
    Answers {
        agreements: listed(items),
        ..Answers::default()
    }
}

fn invitations(items: impl IntoIterator<Item = Value>) -> Answers {
    Answers {
        invitations: listed(items),
        all_invitations: true,
        ..Answers::default()
    }
}

fn requests(items: impl IntoIterator<Item = Value>) -> Answers {
    Answers {
        requests: listed(items),
        ..Answers::default()
    }
}

#[test]
fn how_a_connection_stands_is_told_at_its_own_time_or_else_as_of_now() {
    for (known, now, expected) in [
        // Agrees.
        ("450 state C active", json!({}), None),
        // Recovered, and Catena says when.
        (
            "450 state C stale",
            json!({ "updated_at": instant(700) }),
            Some("700 state C active"),
        ),
        // Recovered, but its time is older than what is known, or there is none.
        (
            "450 state C stale",
            json!({}),
            Some("100000 state C active"),
        ),
        (
            "450 state C stale",
            json!({ "updated_at": null }),
            Some("100000 state C active"),
        ),
        // Turned stale, before it was linked.
        (
            "350 state C active",
            json!({ "status": "stale", "updated_at": instant(380) }),
            Some("100000 state C stale"),
        ),
        (
            "450 state C active",
            json!({ "status": "stale", "updated_at": instant(700) }),
            Some("700 state C stale"),
        ),
        // Was over, and isn't.
        (
            "450 state C deleted",
            json!({ "status": "paused" }),
            Some("100000 state C paused"),
        ),
        // No clock of Catena's reaches beyond the answer.
        (
            "450 state C stale",
            json!({ "updated_at": instant(900_000) }),
            Some("100000~ state C active"),
        ),
        // Heard of after the answer was given.
        ("100001 state C stale", json!({}), None),
        // A status that this version doesn't know.
        (
            "450 state C active",
            json!({ "status": "resting" }),
            Some("100000 state C resting"),
        ),
    ] {
        let known = ["400 linked C", known];
        let expected: Vec<_> = expected.into_iter().collect();
        says(&known, &connections([connection(now)]), &expected);
    }
}

#[test]
fn a_connection_that_was_never_linked_is_linked_as_it_stands() {
    let link = "100000 linked C";
    for (status, expected) in [
        ("active", vec![link]),
        ("stale", vec!["100000 state C stale", link]),
        ("failed", vec!["100000 state C failed", link]),
        ("paused", vec!["100000 state C paused", link]),
        ("cancelled", vec![]),
        ("deleted", vec![]),
    ] {
        let answers = connections([connection(json!({ "status": status }))]);
        says(&["200 catena F"], &answers, &expected);
    }
    // Known by what was told about it, but not as the fleet's.
    says(
        &["450 state C stale"],
        &connections([connection(json!({}))]),
        &[link],
    );
    says(
        &["450 state C active"],
        &connections([connection(json!({ "status": "stale" }))]),
        &["100000 state C stale", link],
    );
}

#[test]
fn a_connection_of_another_fleet_is_not_linked_but_a_shared_one_is_told_of() {
    let theirs = json!({ "fleet_ref": "FLEET-2", "updated_at": instant(700) });
    says(&[], &connections([connection(theirs.clone())]), &[]);
    says(
        &["400 linked C", "450 state C stale"],
        &connections([connection(theirs)]),
        &["700 state C active"],
    );
    // An answer that leaves the reference out is about the fleet that was asked for.
    says(
        &[],
        &connections([connection(json!({ "fleet_ref": null }))]),
        &["100000 linked C"],
    );
}

#[test]
fn a_connection_is_asked_for_by_its_id_only_under_an_agreement_that_holds_now() {
    let known = record(&["300 agreement A active", "400 linked C", "500 linked D"]);
    let missing = |agreements: Option<Vec<Value>>, fleets: Option<Vec<Value>>| {
        let answers = Answers {
            agreements: agreements.and_then(listed),
            fleet: fleets.and_then(listed),
            ..connections([connection(json!({ "id": "D" }))])
        };
        answers.missing_connections(&known)
    };
    let active = || Some(vec![agreement(json!({}))]);
    assert_eq!(missing(active(), None), ["C"]);
    assert_eq!(missing(None, Some(vec![itself(json!({}))])), ["C"]);
    let paused = Some(vec![agreement(json!({ "status": "paused" }))]);
    let over = json!({ "expiration_date": instant(OBSERVED) });
    let ahead = json!({ "effective_date": instant(OBSERVED + 1) });
    for halted in [
        // Nobody asked: the record may be wrong.
        None,
        Some(vec![]),
        paused,
        Some(vec![agreement(over)]),
        Some(vec![agreement(ahead)]),
    ] {
        assert_eq!(missing(halted.clone(), None), [""; 0], "{halted:?}");
    }
    assert_eq!(missing(None, Some(vec![])), [""; 0]);
    // Not asked for connections.
    let unasked = agreements([agreement(json!({}))]);
    assert_eq!(unasked.missing_connections(&known), [""; 0]);
}

#[test]
fn what_is_over_or_was_never_linked_is_not_missing() {
    let known = record(&["400 linked C", "450 state C deleted", "450 state D stale"]);
    let answers = Answers {
        agreements: listed([agreement(json!({}))]),
        ..connections([])
    };
    assert_eq!(answers.missing_connections(&known), [""; 0]);
    let linked_again = record(&["460 linked C", "450 state C deleted"]);
    assert_eq!(answers.missing_connections(&linked_again), ["C"]);
}

#[test]
fn what_is_gone_is_deleted_since_it_was_asked_for() {
    let gone = |id: &str| Answers {
        gone: BTreeMap::from([(id.to_owned(), instant(OBSERVED))]),
        ..Answers::default()
    };
    let known = [
        "300 agreement A active",
        "400 linked C",
        "450 state C active",
    ];
    says(&known, &gone("C"), &["100000 state C deleted"]);
    says(&known, &gone("A"), &["100000 agreement A deleted made 300"]);
    says(&known, &gone("B"), &[]);
    let said_before = ["400 linked C", "99000 state C deleted"];
    says(&said_before, &gone("C"), &[]);
    // Linked while it was asked for.
    says(&["100001 linked C"], &gone("C"), &[]);
    // Nothing is gone because it isn't listed.
    says(&known, &connections([]), &[]);
    says(&known, &agreements([]), &[]);
}

#[test]
fn an_agreement_is_as_it_is_answered() {
    let known = ["300 agreement A active", "300 catena F"];
    let expires = json!({ "expiration_date": instant(800_000) });
    let widened = json!({ "scopes": { "vehicle": "read_write" } });
    for (extra, expected) in [
        (json!({}), None),
        (json!({ "fleet_ref": null }), None),
        (json!({ "fleet_ref": "FLEET-2", "status": "paused" }), None),
        (
            json!({ "status": "paused" }),
            Some("100000 agreement A paused"),
        ),
        (
            json!({ "status": "cancelled" }),
            Some("100000 agreement A cancelled"),
        ),
        (
            json!({ "status": "dormant" }),
            Some("100000 agreement A dormant"),
        ),
        (widened, Some("100000 agreement A active writing")),
        (expires, Some("100000 agreement A active until 800000")),
        (json!({ "fleet_id": "G" }), Some("100000 catena G")),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        says(&known, &agreements([agreement(extra)]), &expected);
    }
    // Heard of after the answer was given.
    let later = ["100001 agreement A cancelled", "300 catena F"];
    says(&later, &agreements([agreement(json!({}))]), &[]);
}

#[test]
fn an_agreement_that_replaced_another_is_told_with_its_fleet_at_catena() {
    let old = || agreement(json!({ "status": "cancelled", "fleet_id": "F" }));
    let new = || agreement(json!({ "id": "B", "fleet_id": "G" }));
    let known = ["300 agreement A active", "300 catena F"];
    let expected = [
        "100000 agreement A cancelled",
        "100000 agreement B active",
        "100000 catena G",
    ];
    says(&known, &agreements([old(), new()]), &expected);
    let known_since = [
        "300 agreement A cancelled",
        "400 agreement B active",
        "400 catena G",
    ];
    says(&known_since, &agreements([old(), new()]), &[]);
    says(&known_since, &agreements([new(), old()]), &[]);
}

#[test]
fn agreements_that_are_not_over_and_not_listed_are_asked_for() {
    let known = record(&[
        "300 agreement A active",
        "300 agreement B paused",
        "300 agreement C cancelled",
        "300 agreement D deleted",
        "300 agreement E dormant",
    ]);
    let answers = agreements([agreement(json!({}))]);
    assert_eq!(answers.missing_agreements(&known), ["B", "E"]);
    assert_eq!(Answers::default().missing_agreements(&known), [""; 0]);
}

#[test]
fn what_became_of_an_invitation_is_told_at_its_own_time() {
    let known = ["100 created I", "100 open I", "100 ends I 360100"];
    assert_eq!(ENDS, 360_100);
    for (extra, expected) in [
        (json!({}), vec![]),
        (
            json!({ "status": "accepted", "accepted_at": instant(250) }),
            vec!["250 accepted I"],
        ),
        (json!({ "status": "accepted" }), vec!["100000 accepted I"]),
        (
            json!({ "status": "declined", "declined_at": instant(250) }),
            vec!["250 declined I"],
        ),
        (json!({ "status": "deleted" }), vec!["100000 deleted I"]),
        (
            json!({ "status": "expired", "expires_at": instant(1000), "expires_in_hours": null }),
            vec!["1000 expired I", "100 ends I 1000"],
        ),
        (
            json!({ "status": "accepted", "accepted_at": instant(250), "fleet_id": "F", "fleet_name": "Acme" }),
            vec!["250 accepted I", "100 name Acme", "100 catena F"],
        ),
        (
            json!({ "status": "accepted", "fleet_ref": "FLEET-2" }),
            vec![],
        ),
        (json!({ "status": "pondering" }), vec![]),
    ] {
        says(&known, &invitations([invitation(extra)]), &expected);
    }
}

#[test]
fn an_invitation_that_nobody_told_of_is_known_from_when_it_was_made() {
    let accepted = json!({ "status": "accepted", "accepted_at": instant(5000) });
    let declined = json!({
        "invitation_hash": "J", "created_at": instant(3000),
        "status": "declined", "declined_at": instant(4000),
    });
    let answers = invitations([invitation(accepted), invitation(declined)]);
    let news = answers.differences(&crate::written::fleet(), &record(&[]));
    let learned = news
        .iter()
        .fold(record(&[]), |record, news| record.fold(news));
    let newest = learned.facts.newest_invitation_by_hash();
    assert_eq!(newest.map(|(hash, _)| hash), Some("J"));
}

#[test]
fn an_invitation_known_too_late_is_moved_to_when_it_was_made() {
    let accepted = || invitation(json!({ "status": "accepted", "accepted_at": instant(250) }));
    let known = ["250 accepted I", "100 ends I 360100"];
    let late: Vec<_> = known[..1].to_vec();
    says(
        &late,
        &invitations([accepted()]),
        &["100 created I", "100 ends I 360100"],
    );
    says(&known, &invitations([accepted()]), &[]);
}

#[test]
fn a_list_that_lags_does_not_undo_what_the_fleet_accepted() {
    let known = ["100 created I", "250 accepted I", "100 ends I 360100"];
    says(&known, &invitations([invitation(json!({}))]), &[]);
    // What was declined may be open again, and Catena needn't say since when.
    let declined = ["100 created I", "250 declined I", "100 ends I 360100"];
    says(
        &declined,
        &invitations([invitation(json!({}))]),
        &["100000 open I"],
    );
}

#[test]
fn an_open_invitation_that_is_not_listed_was_taken_back_unless_lists_may_lag() {
    let hour = 3600;
    let long_ago = ["100 open I", "100 ends I 360100"];
    says(&long_ago, &invitations([]), &["100000 deleted I"]);
    let fresh = format!("{} open I", OBSERVED - hour + 1);
    says(&[&fresh], &invitations([]), &[]);
    let settled = format!("{} open I", OBSERVED - hour - 1);
    says(&[&settled], &invitations([]), &["100000 deleted I"]);
    for other in [
        ["100 open I", "100 ends I 99999"],
        ["100 open I", "250 accepted I"],
        ["100 open I", "250 declined I"],
    ] {
        says(&other, &invitations([]), &[]);
    }
    let some = Answers {
        all_invitations: false,
        ..invitations([])
    };
    says(&long_ago, &some, &[]);
    // And is there again.
    says(
        &["100 created I", "100 ends I 360100", "99000 deleted I"],
        &invitations([invitation(json!({}))]),
        &["100000 open I"],
    );
}

#[test]
fn a_fleet_is_named_by_itself_and_by_its_newest_invitation() {
    let told = || Answers {
        invitations: listed([
            invitation(json!({ "fleet_name": "Older" })),
            invitation(
                json!({ "invitation_hash": "J", "fleet_name": "Newer", "created_at": instant(200) }),
            ),
        ]),
        fleet: listed([itself(json!({ "name": "Its own" }))]),
        ..Answers::default()
    };
    let mut known = record(&["100 open I", "100 created I", "100 ends I 360100"]);
    let once = told().differences(&crate::written::fleet(), &known);
    known = once.iter().fold(known, |record, news| record.fold(news));
    let name = known.facts.name.as_ref().map(|name| name.value().as_str());
    assert_eq!(name, Some("Its own"));
    // Another look, later: nobody takes turns.
    let later = Answers {
        invitations: listed_at(
            OBSERVED + 60,
            [
                invitation(json!({ "fleet_name": "Older" })),
                invitation(
                    json!({ "invitation_hash": "J", "fleet_name": "Newer", "created_at": instant(200) }),
                ),
            ],
        ),
        fleet: listed_at(OBSERVED + 60, [itself(json!({ "name": "Its own" }))]),
        ..Answers::default()
    };
    assert_eq!(later.differences(&crate::written::fleet(), &known), []);
}

#[test]
fn the_fleet_itself_tells_its_number_and_is_believed_only_under_its_reference() {
    let numbered = json!({ "regulatory_id": "77", "regulatory_id_type": "DOT" });
    let answers = |extra| Answers {
        fleet: listed([itself(extra)]),
        ..Answers::default()
    };
    let known = ["200 catena F"];
    says(&known, &answers(numbered.clone()), &["200 number DOT 77"]);
    says(
        &["200 catena F", "300 number DOT 66"],
        &answers(numbered),
        &["100000 number DOT 77"],
    );
    for fleet_ref in [json!(null), json!("FLEET-2")] {
        let other = json!({ "fleet_ref": fleet_ref, "regulatory_id": "77" });
        says(&known, &answers(other), &[]);
    }
    // Without a number none is forgotten.
    says(
        &["200 catena F", "300 number DOT 66"],
        &answers(json!({})),
        &[],
    );
    let two = Answers {
        fleet: listed([itself(json!({})), itself(json!({ "id": "G" }))]),
        ..Answers::default()
    };
    says(&known, &two, &[]);
    says(&["200 catena G"], &two, &[]);
}

#[test]
fn only_requests_of_our_own_invitations_to_this_fleet_count() {
    let known = ["100 open I", "250 accepted I"];
    let live = json!({ "integrated_tsp_ids": ["P"], "updated_at": instant(700) });
    for (extra, expected) in [
        (json!({}), Some("500 request R I")),
        (json!({ "fleet_ref": null }), Some("500 request R I")),
        (json!({ "updated_at": null }), Some("100000 request R I")),
        (live, Some("700 request R I P")),
        (json!({ "invitation_hash": "J" }), None),
        (json!({ "invitation_hash": null }), None),
        (json!({ "fleet_ref": "FLEET-2" }), None),
        (json!({ "created_at": null }), None),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        says(&known, &requests([request(extra)]), &expected);
    }
}

#[test]
fn a_request_of_another_partner_is_refused_where_we_know_who_we_are() {
    let known = [
        "100 created I",
        "250 accepted I",
        "100 ends I 360100",
        "300 agreement A active",
        "300 catena F",
    ];
    let accepted = || invitation(json!({ "status": "accepted", "accepted_at": instant(250) }));
    let theirs = || requests([request(json!({ "partner_id": "them" }))]);
    let by_invitation = Answers {
        invitations: listed([accepted()]),
        ..theirs()
    };
    let by_agreement = Answers {
        agreements: listed([agreement(json!({}))]),
        ..theirs()
    };
    says(&known, &by_invitation, &[]);
    says(&known, &by_agreement, &[]);
    let ours = Answers {
        requests: listed([request(json!({}))]),
        ..by_invitation
    };
    says(&known, &ours, &["500 request R I"]);
}

#[test]
fn a_request_of_an_invitation_that_the_same_look_finds_counts() {
    let answers = Answers {
        invitations: listed([invitation(
            json!({ "status": "accepted", "accepted_at": instant(250) }),
        )]),
        ..requests([request(json!({}))])
    };
    let expected = [
        "250 accepted I",
        "100 created I",
        "100 ends I 360100",
        "500 request R I",
    ];
    says(&[], &answers, &expected);
}

#[test]
fn a_request_that_goes_live_says_so_and_stays_so() {
    let known = ["250 accepted I", "500 request R I"];
    let live = |updated: Value| {
        requests([request(
            json!({ "integrated_tsp_ids": ["P"], "updated_at": updated }),
        )])
    };
    // Whatever it says of when it changed: nobody knew before.
    for updated in [700, 500, 400] {
        let told = ["100000 request R I P"];
        says(&known, &live(json!(instant(updated))), &told);
    }
    let known = ["250 accepted I", "700 request R I P"];
    says(&known, &live(json!(instant(700))), &[]);
    // Not listed any more: what went live stays live.
    says(&known, &requests([]), &[]);
}

#[test]
fn a_hidden_endpoint_is_refused_until_it_is_served() {
    let refused = Answers {
        requests_refused: Some(instant(OBSERVED)),
        ..Answers::default()
    };
    says(&[], &refused, &["100000 refused"]);
    says(&["99000 refused"], &refused, &[]);
    says(&["99000 served"], &refused, &["100000 refused"]);
    says(&["99000 refused"], &requests([]), &["100000 served"]);
    says(&["99000 served"], &requests([]), &[]);
    // Nobody remembers what was never in doubt.
    says(&[], &requests([]), &[]);
}

#[test]
fn schedules_stop_and_run_again() {
    let answers = |status: &str| Answers {
        schedules: BTreeMap::from([("C".to_owned(), listed([schedule(status)]).unwrap())]),
        ..Answers::default()
    };
    let stopped = ["400 linked C", "450 schedule C S stopped"];
    says(&stopped, &answers("active"), &["100000 schedule C S runs"]);
    says(&stopped, &answers("inactive"), &[]);
    let runs = ["400 linked C", "450 schedule C S runs"];
    says(
        &runs,
        &answers("inactive"),
        &["100000 schedule C S stopped"],
    );
    says(&runs, &answers("active"), &[]);
    says(&["400 linked C"], &answers("active"), &[]);
    // Stopped before it was linked again: only now it is known that it didn't start.
    let linked_since = ["500 linked C", "450 schedule C S stopped"];
    says(
        &linked_since,
        &answers("inactive"),
        &["100000 schedule C S stopped"],
    );
    says(&linked_since, &answers("active"), &[]);
}

#[test]
fn what_was_not_answered_says_nothing() {
    let known = [
        "100 open I",
        "300 agreement A active",
        "400 linked C",
        "450 state C stale",
        "460 schedule C S stopped",
        "500 request R I",
        "600 refused",
    ];
    says(&known, &Answers::default(), &[]);
}
