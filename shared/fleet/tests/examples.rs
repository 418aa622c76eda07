//! Where a fleet stands, what it may do, and when to look again: by example.
//!
//! News is written as the day that it is of and what was so, one after the other: `0 open I; 2 accepted I; 2 linked C`. It is
//! taken in as it comes, under a policy of 14 days provisional (30 in all), 7 to connect, 3 to mend. A row is news, the day to
//! look at, and what is expected.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{
    Agreement, AgreementStatus, At, Claim, Code, Confirmation, ConnectionFact, ConnectionState,
    Days, Decision, Due, Fact, IntegrationRequest, InvitationFact, Level, Observation, Override,
    OverrideKind, Policy, Reason, Record, RegulatoryId, RegulatoryMismatch, Schedule, Stage,
    Standing, Timestamp,
};

#[test]
fn an_invitation_is_open_until_the_fleet_decides_or_its_time_is_up() {
    let rows = [
        " | 0 | invited",
        "0 open I | 1 | invited",
        "0 sent I | 1 | invited",
        "0 viewed I | 1 | viewed",
        "0 open I; 1 viewed I | 1 | viewed",
        "0 open I; 1 viewed I; 2 open I | 2 | invited",
        "0 open I; 0 ends I 30 | 29 | invited",
        "0 open I; 0 ends I 30 | 30 | expired",
        "0 open I; 0 ends I 30; 20 ends I 50 | 30 | invited",
        "0 open I; 0 ends I 30; 30 expired I | 30 | expired",
        "0 open I; 0 ends I 30; 30 expired I; 31 open I; 31 ends I 60 | 31 | invited",
        "0 open I; 1 deleted I | 1 | expired",
        "0 open I; 1 declined I | 1 | declined",
        "0 open I; 1 accepted I | 1 | accepted",
        "0 open I; 1 accepted I; 0 ends I 30 | 31 | accepted",
        // The newest one counts, even when an older one is heard of later.
        "0 open I; 1 accepted I; 5 open J | 5 | invited",
        "0 open I; 5 open J; 6 accepted J; 9 expired I | 9 | accepted",
        "0 open I; 5 created J; 6 accepted I | 6 | invited",
        // There is no fleet at Catena that didn't accept, and no agreement with one.
        "0 open I; 5 agreement A active | 5 | accepted",
        "0 open I; 5 agreement A active; 6 open I | 6 | invited",
        "0 fleet F | 0 | accepted",
        "0 agreement A active | 0 | accepted",
        "0 named N | 0 | invited",
    ];
    agree("", &rows, |stood| stood.stage.to_string());
}

#[test]
fn a_requested_integration_leads_to_the_provider_that_went_live() {
    let accepted = "0 open I; 1 accepted I";
    let rows = [
        "2 request R of I | 10 | requested",
        "2 request R | 10 | requested",
        "2 claimed I requested | 10 | requested",
        "2 claimed I requested; 3 claimed I failed | 10 | requested",
        "2 claimed I connected | 10 | accepted",
        "2 claimed I failed | 10 | accepted",
        "2 request R of I; 9 request R of I live | 10 | reconnect_ready",
        "9 request R of I live; 2 request R of I | 10 | reconnect_ready",
        // Once live it stays so: an answer without it is one that left it out.
        "3 request R of I live; 9 request R of I | 10 | reconnect_ready",
        "2 request R of I; 3 request S of I live | 10 | reconnect_ready",
        "2 request R of I; 9 declined I | 10 | declined",
        "2 request R of I; 9 agreement A cancelled | 10 | disconnected",
        "2 request R of I; 9 open J | 10 | invited",
        "2 request R of I; 9 agreement A active; 9 linked C | 10 | connected",
        // What was asked for before what it had was over is asked for no more.
        "2 request R of I live; 3 agreement A active; 4 agreement A cancelled; 5 open J; 6 accepted J | 10 | accepted",
        "2 agreement A cancelled; 5 open J; 6 accepted J; 7 request R of J | 10 | requested",
    ];
    agree(accepted, &rows, |stood| stood.stage.to_string());
}

#[test]
fn data_flows_through_any_live_connection_while_the_agreement_holds() {
    let agreed = "0 open I; 1 accepted I; 1 agreement A active vehicle=read";
    let rows = [
        "2 connection C active | 10 | accepted",
        "2 linked C | 10 | connected",
        "2 linked C; 3 connection C stale | 10 | degraded",
        "2 linked C; 3 connection C paused | 10 | degraded",
        "2 linked C; 3 connection C failed | 10 | degraded",
        "2 linked C; 3 connection C limbo | 10 | degraded",
        "2 linked C; 3 connection C cancelled | 10 | disconnected",
        "2 linked C; 3 connection C deleted | 10 | disconnected",
        "2 connection C stale; 3 linked C | 10 | connected",
        "2 linked C; 2 connection C stale | 10 | degraded",
        "2 linked C; 3 connection C stale; 4 connection C active | 10 | connected",
        "2 linked C; 3 connection C stale; 4 linked C | 10 | connected",
        "2 linked C; 2 linked D; 3 connection C stale | 10 | connected",
        "2 linked C; 2 linked D; 3 connection C stale; 3 connection D deleted | 10 | degraded",
        "2 linked C; 2 linked D; 3 connection C deleted; 3 connection D deleted | 10 | disconnected",
        "2 linked C; 3 schedule S of C stopped | 10 | connected",
        "2 linked C; 3 agreement A paused | 10 | degraded",
        "2 linked C; 3 agreement A paused; 4 agreement A active | 10 | connected",
        "2 linked C; 3 agreement A active from=20 | 10 | degraded",
        "2 linked C; 3 agreement A cancelled | 10 | disconnected",
        "2 linked C; 3 agreement A deleted | 10 | disconnected",
        "2 linked C; 3 agreement A expired | 10 | disconnected",
        "2 linked C; 3 agreement A suspended | 10 | degraded",
        "2 linked C; 3 agreement A active until=10 | 10 | disconnected",
        "2 linked C; 3 agreement A active until=11 | 10 | connected",
        "2 linked C; 3 declined I | 10 | connected",
        // The newest agreement counts, whatever becomes of an older one.
        "2 linked C; 3 agreement B active; 4 agreement A cancelled | 10 | connected",
        "2 linked C; 3 agreement B cancelled; 4 agreement A active | 10 | disconnected",
        // Invited again after all was over.
        "2 linked C; 3 connection C deleted; 4 open J | 10 | invited",
        "2 linked C; 3 agreement A cancelled; 4 open J; 5 viewed J | 10 | viewed",
        "2 linked C; 3 agreement A cancelled; 4 open J; 5 accepted J | 10 | accepted",
        "2 linked C; 3 connection C stale; 4 open J | 10 | degraded",
        "2 linked C; 3 agreement A cancelled; 4 accepted I | 10 | accepted",
        "2 linked C; 4 connection C deleted; 3 open J | 10 | disconnected",
    ];
    agree(agreed, &rows, |stood| stood.stage.to_string());
    let without = ["0 open I; 1 accepted I; 2 linked C | 10 | degraded"];
    agree("", &without, |stood| stood.stage.to_string());
}

#[test]
fn admission_is_full_while_data_can_flow_and_temporary_where_policy_says() {
    let accepted = "0 open I; 1 accepted I";
    let rows = [
        " | 1 | none",
        "2 agreement A active; 2 linked C | 2 | full",
        "2 linked C | 2 | none",
        "2 agreement A active; 2 linked C; 3 agreement A active until=9 | 8 | full",
        "2 agreement A active; 2 linked C; 3 agreement A active until=9 | 9 | none",
        "2 agreement A active from=5; 2 linked C | 4 | none",
        "2 agreement A active from=5; 2 linked C | 5 | full",
        "2 agreement A active; 2 linked C; 3 agreement A paused | 3 | none",
        // To mend what broke.
        "2 agreement A active; 2 linked C; 5 connection C stale | 5 | grace until 8",
        "2 agreement A active; 2 linked C; 5 connection C stale | 8 | none",
        "2 agreement A active; 2 linked C; 5 connection C deleted | 5 | none",
        "2 agreement A active; 2 linked C; 5 connection C stale; 6 agreement A paused | 6 | none",
        "2 agreement A active; 2 linked C; 5 connection C stale; 6 connection C failed | 7 | grace until 8",
        "2 agreement A active; 2 linked C; 5 connection C stale; 6 connection C failed | 8 | none",
        "2 agreement A active; 2 linked C; 5 connection C stale; 6 linked C; 7 connection C stale | 9 | grace until 10",
        // While the provider isn't supported yet.
        "2 request R of I | 2 | provisional until 16",
        "2 request R of I | 15 | provisional until 16",
        "2 request R of I | 16 | none",
        "5 request R of I created=2 | 5 | provisional until 16",
        "2 request R of another | 2 | none",
        "2 open J; 3 request R of J | 3 | none",
        "2 open J; 3 request R of J; 4 accepted J | 4 | provisional until 17",
        "2 request R | 2 | provisional until 16",
        "2 claimed I requested | 2 | none",
        "2 request R of I; 3 declined I | 3 | none",
        "2 request R of I; 3 deleted I | 3 | none",
        "2 request R of I; 3 expired I | 3 | provisional until 16",
        "2 request R of I; 3 open J | 3 | provisional until 16",
        "2 request R of I; 3 agreement A active | 3 | provisional until 16",
        "2 request R of I; 3 agreement A paused | 3 | none",
        "2 request R of I; 3 agreement A cancelled | 3 | none",
        "2 request R of I; 3 agreement A active; 3 linked C | 3 | full",
        // A connection replaces it for good.
        "2 request R of I; 3 linked C | 3 | none",
        "2 request R of I; 3 agreement A active; 3 linked C; 4 connection C deleted | 4 | none",
        "2 agreement A active; 2 linked C; 4 connection C deleted; 5 request R of I | 5 | provisional until 19",
        // What is over before it is heard of isn't granted, and costs nothing.
        "40 request R of I created=2; 41 request S of I | 41 | provisional until 55",
        // A second request takes what the cap leaves, a third one nothing.
        "2 request R of I; 10 request S of I | 16 | provisional until 24",
        "2 request R of I; 10 request S of I; 20 request T of I | 20 | provisional until 24",
        "2 request R of I; 10 request S of I; 20 request T of I | 22 | provisional until 24",
        "2 request R of I; 10 request S of I; 23 request T of I | 24 | provisional until 25",
        // To connect what went live.
        "2 request R of I; 9 request R of I live | 9 | provisional until 16",
        "2 request R of I; 14 request R of I live | 16 | grace until 21",
        "2 request R of I; 14 request R of I live | 21 | none",
        "2 request R of I; 14 request R of I live; 15 request R of I live | 16 | grace until 21",
        "2 request R of another; 14 request R of another live | 16 | none",
        // What an operator says.
        "3 grant until=9 | 8 | full",
        "3 grant until=9 | 9 | none",
        "3 grant until=9; 4 lift grant | 4 | none",
        "3 block; 3 grant until=9 | 3 | blocked",
        "3 block until=9; 2 agreement A active; 2 linked C | 8 | blocked",
        "3 block until=9; 2 agreement A active; 2 linked C | 9 | full",
        "3 block; 4 lift block; 2 agreement A active; 2 linked C | 4 | full",
        "4 lift block; 3 block; 2 agreement A active; 2 linked C | 4 | full",
    ];
    agree(accepted, &rows, admission);
}

#[test]
fn a_claim_opens_only_where_policy_says_and_catena_refuses_to_confirm() {
    let accepted = "0 open I; 1 accepted I";
    for row in [
        "link | 2 refused; 3 claimed I requested | provisional until 17",
        "link | 3 claimed I requested; 4 refused | provisional until 17",
        "link | 3 claimed I requested | none",
        "link | 3 claimed I requested; 4 listed | none",
        "link | 2 refused; 3 claimed I failed | none",
        "link | 2 refused; 3 claimed I requested; 4 claimed I requested | provisional until 17",
        "link | 2 refused; 3 claimed J requested | none",
        "link | 2 refused; 3 claimed I requested; 4 request R of I created=2 | provisional until 17",
        "link | 2 request R of I | provisional until 16",
        "confirmed | 2 refused; 3 claimed I requested | none",
        "off | 2 refused; 3 claimed I requested | none",
        "off | 2 request R of I | none",
    ] {
        let [confirmation, news, expected] = columns(row);
        let policy = Policy {
            confirmation: match confirmation {
                "confirmed" => Confirmation::Confirmed,
                "link" => Confirmation::Link,
                _ => Confirmation::Off,
            },
            ..policy()
        };
        let record = taken_in(&format!("{accepted}; {news}"), &policy);
        let stood = record.standing(&policy, day(5));
        assert_eq!(admission(&stood), expected, "{row}");
    }
}

#[test]
fn a_grant_keeps_its_end_whatever_policy_comes() {
    let news = "0 open I; 1 accepted I; 2 request R of I";
    let mut record = taken_in(news, &policy());
    let generous = Policy {
        provisional_days: Days::new(100),
        provisional_days_in_all: Days::new(1000),
        ..policy()
    };
    let off = Policy {
        confirmation: Confirmation::Off,
        ..policy()
    };
    for policy in [generous, off] {
        assert!(!record.settle(&policy, day(3)), "nothing new is granted");
        let stood = record.standing(&policy, day(3));
        assert_eq!(admission(&stood), "provisional until 16");
    }
}

#[test]
fn a_fleet_under_another_number_than_invited_is_held_back_by_policy() {
    let connected = "0 open I; 1 accepted I; 2 agreement A active vehicle=read; 3 linked C";
    for row in [
        "hold | 0 as DOT-12 I; 4 registered DOT-12 | full |",
        "hold | 0 as DOT-12 I; 4 registered DOT-012 | full |",
        "hold | 0 as DOT-12 I | full |",
        "hold | 4 registered DOT-12 | full |",
        "hold | 0 as DOT-12 I; 4 registered DOT-13 | none | DOT 13, invited as DOT 12",
        "hold | 0 as DOT-12 I; 4 registered MC-12 | none | MC 12, invited as DOT 12",
        "hold | 0 as DOT-12 I; 4 registered DOT-13; 4 grant until=9 | full | DOT 13, invited as DOT 12",
        "admit | 0 as DOT-12 I; 4 registered DOT-13 | full | DOT 13, invited as DOT 12",
    ] {
        let [mismatch, news, expected, why] = columns(row);
        let policy = Policy {
            regulatory_mismatch: match mismatch {
                "hold" => RegulatoryMismatch::Hold,
                _ => RegulatoryMismatch::Admit,
            },
            ..policy()
        };
        let record = taken_in(&format!("{connected}; {news}"), &policy);
        let stood = record.standing(&policy, day(5));
        assert_eq!(
            (admission(&stood).as_str(), stood.stage),
            (expected, Stage::Connected),
            "{row}"
        );
        let differs = |it: &&Reason| it.code == Code::RegulatoryIdDiffers;
        let told = stood.reasons.iter().find(differs);
        let told = told.and_then(|it| it.detail.as_deref()).unwrap_or_default();
        assert_eq!(told, why, "{row}");
    }
}

#[test]
fn dates_that_passed_are_told_in_their_order() {
    let record = taken_in(
        "0 open I ends=9; 1 accepted I; 2 request R of I; 3 agreement A active until=30; 4 block until=40",
        &policy(),
    );
    let passed = |since, until| {
        let passed = record.passed(&policy(), day(since), day(until));
        let told = passed
            .iter()
            .map(|due| format!("{} {}", due.at.0 / DAY, due.why.as_str()));
        told.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(passed(4, 29), "");
    assert_eq!(passed(4, 30), "30 agreement_ends");
    assert_eq!(passed(4, 100), "30 agreement_ends, 40 override_ends");
    assert_eq!(passed(30, 100), "40 override_ends");
    assert_eq!(passed(40, 100), "");
}

#[test]
fn data_scopes_are_those_of_the_newest_agreement_in_force() {
    let rows = [
        " | 0 | ",
        "0 agreement A active | 0 | ",
        "0 agreement A active vehicle=read,driver=read_write | 0 | driver=read_write,vehicle=read",
        "0 agreement A active vehicle=read,driver=write | 0 | vehicle=read",
        "0 agreement A active vehicle=read; 5 agreement A active driver=read | 5 | driver=read",
        "5 agreement A active vehicle=read; 0 agreement A active driver=read | 5 | vehicle=read",
        "0 agreement A active vehicle=read; 5 agreement A paused vehicle=read | 5 | ",
        "0 agreement A active vehicle=read; 5 agreement A suspended vehicle=read | 5 | ",
        "0 agreement A active vehicle=read from=3 | 2 | ",
        "0 agreement A active vehicle=read from=3 | 3 | vehicle=read",
        "0 agreement A active vehicle=read until=9 | 8 | vehicle=read",
        "0 agreement A active vehicle=read until=9 | 9 | ",
        "0 agreement A active vehicle=read; 1 agreement B active driver=read | 1 | driver=read",
        "0 agreement A active vehicle=read; 1 agreement B paused | 1 | ",
        "0 agreement A active vehicle=read; 1 agreement B active driver=read; 2 agreement A active trailer=read | 2 | driver=read",
        "5 agreement A active vehicle=read made=1; 4 agreement B active driver=read made=3 | 5 | driver=read",
        // Until the newest begins, no more than it and the one before it allow.
        "0 agreement A active vehicle=read_write,driver=read; 5 agreement B active vehicle=read from=9 | 6 | vehicle=read",
        "0 agreement A active vehicle=read; 5 agreement B active vehicle=read_write from=9 | 6 | vehicle=read",
        "0 agreement A active vehicle=read; 5 agreement B active vehicle=read_write from=9 | 9 | vehicle=read_write",
        "0 agreement A active vehicle=read; 5 agreement B active from=9 | 6 |",
        "0 agreement A paused vehicle=read; 5 agreement B active vehicle=read from=9 | 6 |",
        // Of one moment, what allows less stays.
        "0 agreement A active vehicle=read; 0 agreement A active vehicle=read_write | 0 | vehicle=read",
        "0 agreement A active vehicle=read; 0 agreement A cancelled vehicle=read | 0 | ",
        // A block or a broken connection is no reason to forget what the fleet agreed to.
        "0 agreement A active vehicle=read; 1 block | 1 | vehicle=read",
    ];
    agree("", &rows, data_scopes);
}

/// Of agreements that have begun the newest counts, whether or not a newer one is to come.
#[test]
fn an_agreement_that_ended_gives_no_way_to_an_older_one() {
    let before = "0 agreement A active vehicle=read; 1 agreement B cancelled vehicle=read";
    let rows = [
        "2 named N | 2 |",
        "2 agreement C active vehicle=read from=9 | 2 |",
        "2 agreement C active vehicle=read from=9 | 9 | vehicle=read",
    ];
    agree(before, &rows, data_scopes);
}

/// The fleet has to accept first: an invitation is the partner's doing.
#[test]
fn inviting_again_brings_no_provisional_access_back_that_a_cancellation_ended() {
    let before = "0 open I; 1 accepted I; 2 request R of I; 3 agreement A active";
    let rows = [
        "4 named N | 4 | provisional until 16",
        "4 agreement A cancelled | 4 | none",
        "4 agreement A cancelled; 5 open J | 5 | none",
    ];
    agree(before, &rows, admission);
}

#[test]
fn reasons_name_what_counts_the_weightiest_first() {
    let rows = [
        " | 0 | invitation_unknown",
        "0 open I; 0 ends I 30 | 1 | invitation_open since 0 until 30",
        "0 open I; 0 ends I 30 | 31 | invitation_expired since 30",
        "0 open I; 4 expired I | 5 | invitation_expired since 4",
        "0 open I; 4 deleted I | 5 | invitation_deleted since 4",
        "0 open I; 4 declined I too dear | 5 | invitation_declined (too dear) since 4",
        "0 open I; 4 accepted I | 5 | connection_missing since 4",
        "0 open I; 4 accepted I; 5 claimed I requested | 5 | request_unconfirmed since 5; invitation_accepted since 4",
        "0 open I; 4 accepted I; 6 request R of I created=5 | 6 | request_pending R (Rare) since 5; provisional_granted until 19; invitation_accepted since 4",
        "0 open I; 4 accepted I; 6 request R of I created=5; 18 request R of I created=5 live | 19 | provider_live R (Rare) since 18; provisional_ended until 19; grace_running until 25; invitation_accepted since 4",
        "1 agreement A active until=99; 2 linked C; 2 source C samsara | 9 | agreement_in_force A since 1 until 99; connection_live C (samsara) since 2",
        "1 agreement A active from=5; 2 linked C | 4 | agreement_not_yet_effective A since 1 until 5; connection_live C since 2",
        "1 agreement A active from=5; 2 linked C | 5 | agreement_in_force A since 5; connection_live C since 2",
        "1 agreement A active; 2 linked C; 3 agreement A paused until=50 | 4 | agreement_paused A since 3 until 50; connection_live C since 2",
        "1 agreement A active; 2 linked C; 3 agreement A cancelled until=50 | 4 | agreement_ended A (cancelled) since 3; connection_live C since 2",
        "1 agreement A active until=3; 2 linked C | 4 | agreement_ended A (expired) since 3; connection_live C since 2",
        "1 agreement A suspended; 2 linked C | 4 | agreement_not_understood A (suspended) since 1; connection_live C since 2",
        "2 linked C | 4 | agreement_unknown since 2; connection_live C since 2",
        "1 agreement A active; 2 linked C; 2 source C samsara; 3 connection C stale; 3 schedule S of C stopped vehicle | 4 | agreement_in_force A since 1; connection_broken C (samsara, stale) since 3; schedule_stopped S (vehicle) since 3; grace_running until 6",
        "1 agreement A active; 2 linked C; 3 connection C stale | 7 | agreement_in_force A since 1; connection_broken C (stale) since 3; grace_ended until 6",
        "1 agreement A active; 2 linked C; 3 connection C deleted | 4 | agreement_in_force A since 1; connection_over C (deleted) since 3",
        "0 block until=9; 0 grant until=8; 1 open I | 4 | blocked_by_operator ann (because) until 9; granted_by_operator ann (because) until 8; invitation_open since 1",
    ];
    agree("", &rows, reasons);
}

#[test]
fn what_is_waited_for_and_what_ends_is_due() {
    let rows = [
        " | 0 | ",
        "0 open I; 0 ends I 30 | 1 | 30 invitation_ends",
        "0 open I; 0 ends I 30 | 30 | ",
        "0 open I; 0 ends I 30; 1 declined I | 1 | ",
        "0 open I; 1 accepted I | 1 | 1 connection_missing",
        "0 open I; 1 accepted I | 50 | 1 connection_missing",
        "0 open I; 1 accepted I; 2 claimed I requested | 2 | 2 request_unconfirmed",
        "0 open I; 1 accepted I; 3 request R of I created=2 | 3 | 3 request_pending, 16 admission_ends",
        "0 open I; 1 accepted I; 3 request R of I created=2; 5 request R of I created=2 live | 6 | 5 provider_live, 16 admission_ends",
        "2 linked C | 4 | 2 agreement_unknown",
        "2 linked C; 1 agreement A active | 4 | ",
        "2 linked C; 1 agreement A active until=9 | 4 | 9 agreement_ends",
        "2 linked C; 1 agreement A active from=6 until=9 | 4 | 6 agreement_starts, 9 agreement_ends",
        "2 linked C; 1 agreement A paused until=9 | 4 | 1 agreement_halted, 9 agreement_ends",
        "2 linked C; 1 agreement A suspended | 4 | 1 agreement_halted",
        "2 linked C; 1 agreement A active until=9; 3 agreement B active from=6 | 4 | 6 agreement_starts, 9 agreement_ends",
        "2 linked C; 1 agreement A cancelled until=9 | 4 | ",
        "2 linked C; 1 agreement A active; 3 connection C stale | 4 | 3 connection_broken, 6 admission_ends",
        "2 linked C; 1 agreement A active; 3 connection C stale | 7 | 3 connection_broken",
        "2 linked C; 1 agreement A active; 3 connection C deleted | 7 | 3 connection_missing",
        "2 linked C; 1 agreement A active; 3 schedule S of C stopped | 7 | 3 schedule_stopped",
        "2 linked C; 1 agreement A active; 3 schedule S of C stopped; 4 linked C | 7 | ",
        "2 linked C; 1 agreement A cancelled; 3 connection C stale | 7 | ",
        "0 block until=9; 0 grant until=8 | 4 | 8 override_ends, 9 override_ends",
        "0 block until=9; 0 grant until=8 | 8 | 9 override_ends",
        "0 block | 8 | ",
    ];
    agree("", &rows, due);
}

/// Ties go to the more restrictive value, whichever comes first.
#[test]
fn of_two_things_said_of_one_moment_the_more_restrictive_one_stays() {
    for ordered in [
        &[
            "open I",
            "accepted I",
            "expired I",
            "declined I",
            "deleted I",
        ] as &[_],
        &["ends I 30", "ends I 20"],
        &[
            "agreement A active vehicle=read_write",
            "agreement A active vehicle=read",
            "agreement A active vehicle=read until=9",
            "agreement A active vehicle=read until=8",
            "agreement A active vehicle=write",
            "agreement A active from=3",
            "agreement A active from=4",
            "agreement A paused vehicle=read_write",
            "agreement A expired",
            "agreement A cancelled",
            "agreement A deleted",
            "agreement A suspended",
        ],
        &[
            "connection C active",
            "connection C paused",
            "connection C stale",
            "connection C failed",
            "connection C cancelled",
            "connection C deleted",
            "connection C limbo",
        ],
        &["schedule S of C running", "schedule S of C stopped"],
        &["claimed I connected", "claimed I failed"],
        &["request R", "request R of I"],
        &["grant until=9", "grant until=8", "lift grant"],
        &["lift block", "block until=8", "block until=9"],
    ] {
        for pair in ordered.windows(2) {
            stays(pair[1], pair[0]);
        }
    }
}

/// A refusal to list requests lets a claim open the platform.
#[test]
fn of_a_refusal_to_list_requests_and_a_list_of_one_moment_the_list_stays() {
    stays("listed", "refused");
}

fn stays(stays: &str, goes: &str) {
    let taken = |news: &str| without_firsts(taken_in(news, &policy()));
    let alone = taken(&format!("1 {stays}"));
    for news in [
        format!("1 {stays}; 1 {goes}"),
        format!("1 {goes}; 1 {stays}"),
    ] {
        assert_eq!(taken(&news), alone, "{news}");
    }
}

/// First moments are kept of whatever was said first; here only the newest count.
fn without_firsts(mut record: Record) -> Record {
    for known in record.facts.invitations.values_mut() {
        known.claimed_request = None;
    }
    record
}

/// Rows of news, a day, and what is said of how the fleet stands then.
fn agree(before: &str, rows: &[&str], said: impl Fn(&Standing) -> String) {
    let mut wrong = String::new();
    for row in rows {
        let [news, on, expected] = columns(row);
        let record = taken_in(&format!("{before}; {news}"), &policy());
        let is = said(&record.standing(&policy(), day(number(on))));
        if is != expected {
            wrong += &format!("  {row}\n    is {is}\n");
        }
    }
    assert!(wrong.is_empty(), "after {before}\n{wrong}");
}

fn columns<const COUNT: usize>(row: &str) -> [&str; COUNT] {
    let columns: Vec<_> = row.split('|').map(str::trim).collect();
    columns.try_into().expect("as many columns as the others")
}

fn policy() -> Policy {
    Policy {
        confirmation: Confirmation::Confirmed,
        provisional_days: Days::new(14),
        provisional_days_in_all: Days::new(30),
        reconnect_days: Days::new(7),
        broken_days: Days::new(3),
        ..Policy::default()
    }
}

fn admission(stood: &Standing) -> String {
    let kind = stood.admission.as_str();
    match stood.admission.until() {
        Some(until) => format!("{kind} until {}", until.0 / DAY),
        None => kind.to_owned(),
    }
}

fn data_scopes(stood: &Standing) -> String {
    let level = |level: &Level| match level {
        Level::Read => "read",
        Level::ReadWrite => "read_write",
        Level::Unknown(_) => "unknown",
    };
    let scopes = stood.data_scopes.iter();
    let scopes: Vec<_> = scopes
        .map(|(resource, allowed)| format!("{resource}={}", level(allowed)))
        .collect();
    scopes.join(",")
}

fn reasons(stood: &Standing) -> String {
    let reasons: Vec<_> = stood.reasons.iter().map(reason).collect();
    reasons.join("; ")
}

fn due(stood: &Standing) -> String {
    let look = |due: &Due| format!("{} {}", due.at.0 / DAY, due.why.as_str());
    let due: Vec<_> = stood.due.iter().map(look).collect();
    due.join(", ")
}

fn reason(reason: &Reason) -> String {
    let mut said = reason.code.as_str().to_owned();
    if let Some(about) = &reason.about {
        said += &format!(" {about}");
    }
    if let Some(detail) = &reason.detail {
        said += &format!(" ({detail})");
    }
    if let Some(since) = reason.since {
        said += &format!(" since {}", since.0 / DAY);
    }
    if let Some(until) = reason.until {
        said += &format!(" until {}", until.0 / DAY);
    }
    said
}

/// A record that took in all news, and settled after each, no earlier than what it heard is of.
fn taken_in(news: &str, policy: &Policy) -> Record {
    let mut record = Record::default();
    let mut now = 0;
    let news = news.split(';').map(str::trim);
    for piece in news.filter(|piece| !piece.is_empty()) {
        record = one_more(record, piece);
        now = now.max(number(piece.split_whitespace().next().unwrap_or("0")));
        record.settle(policy, day(now));
    }
    record
}

fn one_more(mut record: Record, piece: &str) -> Record {
    let words: Vec<&str> = piece.split_whitespace().collect();
    let at = At(day(number(words[0])), 0);
    let named = |name: &str| {
        let mut named = words.iter().filter_map(|word| word.split_once('='));
        named.find_map(|(key, value)| (key == name).then_some(value))
    };
    let moment = |name: &str| named(name).map(|it| day(number(it)));
    let id = || words[2].to_owned();
    let invitation = |was| Fact::Invitation {
        invitation: id(),
        was,
    };
    let decided = |decision| invitation(InvitationFact::Decision(decision));
    let connection = |id: &str, was| Fact::Connection {
        connection: id.to_owned(),
        was,
    };
    let fact = match words[1] {
        "open" => decided(Decision::Open),
        "accepted" => decided(Decision::Accepted),
        "expired" => decided(Decision::Expired),
        "deleted" => decided(Decision::Deleted),
        "declined" => {
            let why = words[3..].join(" ");
            decided(Decision::Declined((!why.is_empty()).then_some(why)))
        }
        "created" => invitation(InvitationFact::Created),
        "viewed" => invitation(InvitationFact::Viewed),
        "sent" => invitation(InvitationFact::Sent),
        "ends" => invitation(InvitationFact::Ends(day(number(words[3])))),
        "claimed" => invitation(InvitationFact::Claim(match words[3] {
            "connected" => Claim::Connected,
            "requested" => Claim::Requested(None),
            "failed" => Claim::Failed,
            other => panic!("unknown claim: {other}"),
        })),
        "agreement" => Fact::Agreement {
            id: id(),
            made: moment("made"),
            agreement: Agreement {
                status: status(words[3]),
                scopes: words.get(4).and_then(|scopes| scopes_in(scopes)),
                effective: moment("from"),
                ends: moment("until"),
            },
        },
        "linked" => Fact::Linked { connection: id() },
        "connection" => connection(words[2], ConnectionFact::State(state(words[3]))),
        "source" => connection(words[2], ConnectionFact::Source(words[3].to_owned())),
        "schedule" => connection(
            words[4],
            ConnectionFact::Schedule {
                id: id(),
                schedule: Schedule {
                    stopped: words[5] == "stopped",
                    resource: words.get(6).map(|it| (*it).to_owned()),
                },
            },
        ),
        "request" => {
            let of = words.iter().skip_while(|word| **word != "of").nth(1);
            let live = words.contains(&"live");
            Fact::Request {
                id: id(),
                request: IntegrationRequest {
                    created: moment("created").unwrap_or(match live {
                        // What went live was asked for earlier.
                        true => record
                            .facts
                            .requests
                            .get(words[2])
                            .map_or(at.time(), |known| known.current.value().created),
                        false => at.time(),
                    }),
                    provider: "Rare".to_owned(),
                    provider_id: "rare".to_owned(),
                    invitation: of.map(|it| (*it).to_owned()),
                    live_as: live
                        .then(|| "rare-live".to_owned())
                        .into_iter()
                        .collect::<BTreeSet<_>>(),
                },
            }
        }
        "refused" => Fact::RequestsRefused(true),
        "listed" => Fact::RequestsRefused(false),
        "named" => Fact::Name(id()),
        "fleet" => Fact::CatenaFleet(id()),
        "registered" => Fact::Regulatory(regulatory(&id())),
        "as" => Fact::Invitation {
            invitation: words[3].to_owned(),
            was: InvitationFact::InvitedAs(regulatory(&id())),
        },
        "block" | "grant" => {
            let kind = kind(words[1]);
            let decided = Override::new(kind, "ann", "because", moment("until"));
            record.decide(at, kind, Some(decided.expect("well-formed")));
            return record;
        }
        "lift" => {
            record.decide(at, kind(words[2]), None);
            return record;
        }
        other => panic!("unknown news: {other}"),
    };
    record.fold(&Observation { at, fact })
}

/// `DOT-123`, or `123` of no known kind.
fn regulatory(word: &str) -> RegulatoryId {
    let (kind, id) = match word.split_once('-') {
        Some((kind, id)) => (Some(kind.to_owned()), id),
        None => (None, word),
    };
    let id = id.to_owned();
    RegulatoryId { kind, id }
}

fn status(word: &str) -> AgreementStatus {
    match word {
        "active" => AgreementStatus::Active,
        "paused" => AgreementStatus::Paused,
        "expired" => AgreementStatus::Expired,
        "cancelled" => AgreementStatus::Cancelled,
        "deleted" => AgreementStatus::Deleted,
        other => AgreementStatus::Unknown(other.to_owned()),
    }
}

fn state(word: &str) -> ConnectionState {
    match word {
        "active" => ConnectionState::Active,
        "paused" => ConnectionState::Paused,
        "stale" => ConnectionState::Stale,
        "failed" => ConnectionState::Failed,
        "cancelled" => ConnectionState::Cancelled,
        "deleted" => ConnectionState::Deleted,
        other => ConnectionState::Unknown(other.to_owned()),
    }
}

/// `vehicle=read,driver=read_write`; a date isn't scopes.
fn scopes_in(word: &str) -> Option<BTreeMap<String, Level>> {
    let scope = |(resource, level): (&str, &str)| {
        let level = match level {
            "read" => Level::Read,
            "read_write" => Level::ReadWrite,
            other => Level::Unknown(other.to_owned()),
        };
        (resource.to_owned(), level)
    };
    let scopes = word.split(',').filter_map(|scope| scope.split_once('='));
    let dated = word.starts_with("from=") || word.starts_with("until=");
    (!dated).then(|| scopes.map(scope).collect())
}

fn kind(word: &str) -> OverrideKind {
    match word {
        "block" => OverrideKind::Block,
        "grant" => OverrideKind::Grant,
        other => panic!("unknown kind: {other}"),
    }
}

fn number(word: &str) -> i64 {
    word.parse().expect("a number")
}

fn day(day: i64) -> Timestamp {
    Timestamp(day * DAY)
}

const DAY: i64 = 24 * 60 * 60 * 1000;
