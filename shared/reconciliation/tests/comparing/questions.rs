//! What is asked, and why.

use fleet::{Record, Why};
use reconciliation::Questions;

use crate::written::record;

fn asked(record: &Record, why: &[Why]) -> String {
    Questions::of(record, why).words().join(", ")
}

#[test]
fn each_reason_asks_for_what_it_is_about() {
    let invited = record(&["1 open I"]);
    let connected = record(&[
        "1 accepted I",
        "2 agreement A active",
        "3 linked C",
        "4 schedule C S stopped",
        "5 linked D",
    ]);
    for (record, why, expected) in [
        (&invited, Why::RequestUnconfirmed, "integration requests"),
        (&connected, Why::RequestPending, "integration requests"),
        (
            &invited,
            Why::ConnectionMissing,
            "share agreements, connections, integration requests",
        ),
        (&connected, Why::ConnectionBroken, "connections"),
        (&invited, Why::ProviderLive, "connections"),
        (&connected, Why::AgreementUnknown, "share agreements"),
        (&connected, Why::AgreementHalted, "share agreements"),
        (
            &connected,
            Why::ScheduleStopped,
            "schedules of connection C",
        ),
        (
            &invited,
            Why::ReadBack,
            "invitations, share agreements, connections, integration requests",
        ),
        (
            &connected,
            Why::Hint,
            "share agreements, connections, schedules of connection C",
        ),
    ] {
        assert_eq!(asked(record, &[why]), expected, "{why:?}");
    }
}

#[test]
fn dates_ask_nothing() {
    for why in [
        Why::InvitationEnds,
        Why::AgreementStarts,
        Why::AgreementEnds,
        Why::AdmissionEnds,
        Why::OverrideEnds,
    ] {
        assert_eq!(
            Questions::of(&record(&["1 open I"]), &[why]),
            Questions::default()
        );
    }
}

#[test]
fn whose_a_request_is_tells_its_invitation() {
    let unknown = record(&["1 agreement A active"]);
    assert_eq!(
        asked(&unknown, &[Why::RequestUnconfirmed]),
        "invitations, integration requests"
    );
}

#[test]
fn schedules_are_asked_for_only_where_one_stopped_that_counts() {
    for (known, expected) in [
        (
            ["1 linked C", "2 schedule C S stopped"],
            "schedules of connection C",
        ),
        // Linked again since.
        (["3 linked C", "2 schedule C S stopped"], ""),
        (["1 linked C", "2 schedule C S runs"], ""),
        // Serves another fleet.
        (["1 linked D", "2 schedule C S stopped"], ""),
    ] {
        assert_eq!(
            asked(&record(&known), &[Why::ScheduleStopped]),
            expected,
            "{known:?}"
        );
    }
    let over = record(&["1 linked C", "2 schedule C S stopped", "3 state C deleted"]);
    assert_eq!(asked(&over, &[Why::ScheduleStopped]), "");
}
