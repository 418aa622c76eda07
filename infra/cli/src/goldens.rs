//! What the commands print, as a whole: read it as an operator would.

use std::collections::BTreeMap;

use api::{Access, FleetLink, Invitation, InvitationRequest, InvitationSummary, Link, Outcome};
use fleet::{
    Agreement, AgreementStatus, At, Claim, Code, ConnectionFact, ConnectionState, Decision, Due,
    Fact, FleetRef, IntegrationRequest, InvitationFact, Level, Observation, Override, OverrideKind,
    Policy, Reason, Record, RegulatoryId, Schedule, Stage, Timestamp, Why,
};
use reconciliation::{Comparison, Step};
use serde_json::{Value, json};
use store::{Decided, HistoryEntry, Key, Parked, StoredRecord};

use crate::{
    access,
    comparison::Seen,
    explain::{self, Question},
    history, invite, link,
    list::{self, Filter, Listing, Row},
    readable::Page,
    recheck::{self, Soon},
    reconcile::{self, Begun, DueFleet, DueKey, Plan},
    show,
    status::{self, Depth, OpenOperations, Queues, Status, Waiting},
    unknown,
    when::{DAY, Moment, Span, parse_moment},
    words::Words,
};

/// A fleet, and what came of it event by event.
#[derive(Clone)]
struct Story {
    stored: StoredRecord,
    history: Vec<HistoryEntry>,
}

impl Story {
    fn new(fleet: &str) -> Self {
        let stored = StoredRecord::new(FleetRef::parse(fleet).unwrap());
        let history = Vec::new();
        Self { stored, history }
    }

    /// An event that came a second after its newest observation.
    fn event(self, name: &str, observed: impl IntoIterator<Item = (&'static str, Fact)>) -> Self {
        self.late_event(name, 1000, observed)
    }

    fn late_event(
        mut self,
        name: &str,
        late: i64,
        observed: impl IntoIterator<Item = (&'static str, Fact)>,
    ) -> Self {
        let mut news = Vec::new();
        for (time, fact) in observed {
            let observation = Observation {
                at: At(at(time), 0),
                fact,
            };
            let before = self.stored.record.clone();
            self.stored.record = before.clone().fold(&observation);
            if self.stored.record != before {
                news.push(observation);
            }
        }
        let newest = news.iter().map(|news| news.at.time()).max().unwrap();
        self.stored
            .record
            .settle(&Policy::default(), newest.plus(late));
        self.stored.version += 1;
        self.history.push(HistoryEntry {
            event: name.to_owned(),
            id: Some(format!(
                "019df200-5000-7a01-8001-abcdef0000{:02x}",
                self.history.len()
            )),
            received: newest.plus(late),
            news,
            decided: None,
            passed: Vec::new(),
        });
        // As the table reads it back.
        let newest = |entry: &HistoryEntry| entry.news.iter().map(|news| news.at).max();
        self.history.sort_by_key(newest);
        self
    }

    fn decide(mut self, time: &str, kind: OverrideKind, reason: &str, ends: Option<&str>) -> Self {
        let decided = Override::new(kind, "dana@broker.example", reason, ends.map(at));
        self.stored
            .record
            .decide(At(at(time), 0), kind, Some(decided.unwrap()));
        self.stored.version += 1;
        self
    }

    /// What the history keeps of an operator's decision, or of its end.
    fn kept(
        mut self,
        time: &str,
        kind: OverrideKind,
        decided: Option<(&str, Option<&str>)>,
    ) -> Self {
        let by = "arn:aws:iam::111122223333:user/dana";
        let decided =
            decided.map(|(reason, ends)| Override::new(kind, by, reason, ends.map(at)).unwrap());
        self.history.push(HistoryEntry {
            event: "override".to_owned(),
            id: None,
            received: at(time),
            news: Vec::new(),
            decided: Some(Decided {
                kind,
                by: by.to_owned(),
                decided,
            }),
            passed: Vec::new(),
        });
        self.history.sort_by_key(HistoryEntry::at);
        self
    }

    /// Catena was asked whenever it was time to, and said nothing new.
    fn looked(mut self, until: &str) -> Self {
        let (policy, until) = (Policy::default(), at(until));
        loop {
            let standing = self.stored.record.standing(&policy, until);
            let due = self.stored.all_due(&standing);
            let looks = &self.stored.looks;
            match looks.asks(&due, &policy).first() {
                Some(next) if next.at <= until => {
                    self.stored.looks = looks.clone().answered(&due, &[next.why], next.at);
                }
                _ => return self,
            }
        }
    }

    /// Dates that passed, told as the event processor does.
    fn passed(mut self, received: &str, passed: &[(Why, &str)]) -> Self {
        let date = |(why, time): &(Why, &str)| Due {
            at: at(time),
            why: *why,
        };
        self.history.push(HistoryEntry {
            event: "date.passed".to_owned(),
            id: None,
            received: at(received),
            news: Vec::new(),
            decided: None,
            passed: passed.iter().map(date).collect(),
        });
        self
    }

    fn explained(&self, now: &str, asked: Option<&str>) -> Page {
        let now = at(now);
        explain::page(Question {
            stored: &self.stored,
            history: &self.history,
            policy: &Policy::default(),
            now,
            at: asked.map(|asked| parse_moment(asked).unwrap().from(now)),
        })
    }
}

fn at(time: &str) -> Timestamp {
    match parse_moment(time) {
        Ok(Moment::At(at)) => at,
        other => panic!("{time}: {other:?}"),
    }
}

const INVITATION: &str = "8d7e6f5a4b3c2d1e0f8d7e6f5a4b3c2d1e0f8d7e6f5a4b3c2d1e0f8d7e6f5a4b";
const CATENA_FLEET: &str = "0190c7a0-3c11-7d20-9a01-55aa66bb77cc";
const AGREEMENT: &str = "0190c7a1-0d00-7e30-8b02-a1b2c3d4e5f6";
const SAMSARA: &str = "0190c7a2-7b1c-7c40-8e55-1c2d3e4f5a6b";
const GEOTAB: &str = "0190d1f0-9e2d-7f50-9c66-7a8b9c0d1e2f";
const REQUEST: &str = "0190c7a3-1a2b-7d60-8d77-0a1b2c3d4e5f";

fn invitation(was: InvitationFact) -> Fact {
    Fact::Invitation {
        invitation: INVITATION.to_owned(),
        was,
    }
}

fn agreement(status: AgreementStatus) -> Fact {
    let scope = |(resource, level): (&str, Level)| (resource.to_owned(), level);
    let scopes = [
        ("message", Level::ReadWrite),
        ("vehicle", Level::Read),
        ("vehicle_location", Level::Read),
    ];
    Fact::Agreement {
        id: AGREEMENT.to_owned(),
        made: Some(at("2026-05-04T08:06:12Z")),
        agreement: Agreement {
            status,
            scopes: Some(scopes.map(scope).into()),
            effective: Some(at("2026-05-04T08:06:12Z")),
            ends: Some(at("2027-05-04")),
        },
    }
}

fn connection(id: &str, was: ConnectionFact) -> Fact {
    Fact::Connection {
        connection: id.to_owned(),
        was,
    }
}

fn state(id: &str, state: ConnectionState) -> Fact {
    connection(id, ConnectionFact::State(state))
}

fn source(id: &str, source: &str) -> Fact {
    connection(id, ConnectionFact::Source(source.to_owned()))
}

fn linked(id: &str) -> Fact {
    Fact::Linked {
        connection: id.to_owned(),
    }
}

fn invited(fleet: &str, name: &str) -> Story {
    let ends = InvitationFact::Ends(at("2026-05-11T08:00:00Z"));
    let time = "2026-05-04T08:00:00Z";
    Story::new(fleet).event(
        "invitation.created",
        [
            (time, invitation(InvitationFact::Decision(Decision::Open))),
            (time, invitation(ends)),
            (time, Fact::Name(name.to_owned())),
        ],
    )
}

fn accepted(fleet: &str, name: &str) -> Story {
    invited(fleet, name)
        .event(
            "invitation.viewed",
            [("2026-05-04T08:05:40Z", invitation(InvitationFact::Viewed))],
        )
        .event(
            "invitation.accepted",
            [
                (
                    "2026-05-04T08:06:11Z",
                    invitation(InvitationFact::Decision(Decision::Accepted)),
                ),
                (
                    "2026-05-04T08:00:00Z",
                    Fact::CatenaFleet(CATENA_FLEET.to_owned()),
                ),
            ],
        )
}

fn connected(fleet: &str, name: &str) -> Story {
    accepted(fleet, name)
        .event(
            "share_agreement.created",
            [("2026-05-04T08:06:12Z", agreement(AgreementStatus::Active))],
        )
        .event(
            "connection.created",
            [
                (
                    "2026-05-04T08:07:30Z",
                    state(SAMSARA, ConnectionState::Active),
                ),
                ("2026-05-04T08:07:30Z", source(SAMSARA, "samsara")),
            ],
        )
        .event(
            "fleet_connection.created",
            [("2026-05-04T08:07:31Z", linked(SAMSARA))],
        )
}

/// One stale and one live connection, and an agreement that is paused.
fn degraded() -> Story {
    connected("FLEET-42", "Acme Trucking")
        .event(
            "fleet_connection.created",
            [("2026-05-06T10:00:01Z", linked(GEOTAB))],
        )
        .late_event(
            "connection.created",
            2 * 60 * 60 * 1000,
            [
                (
                    "2026-05-06T10:00:00Z",
                    state(GEOTAB, ConnectionState::Active),
                ),
                ("2026-05-06T10:00:00Z", source(GEOTAB, "geotab")),
            ],
        )
        .event(
            "connection.staled",
            [(
                "2026-05-10T03:12:00Z",
                state(SAMSARA, ConnectionState::Stale),
            )],
        )
        .event(
            "share_agreement.updated",
            [("2026-05-11T16:20:00Z", agreement(AgreementStatus::Paused))],
        )
        .looked(NOW)
}

/// Accepted, and asked for a provider that isn't supported.
fn requested() -> Story {
    let request = IntegrationRequest {
        created: at("2026-05-04T08:09:00Z"),
        provider: "Nomad ELD".to_owned(),
        provider_id: "0190a000-0000-7000-8000-00000000000a".to_owned(),
        invitation: Some(INVITATION.to_owned()),
        live_as: [].into(),
    };
    let claim = InvitationFact::Claim(Claim::Requested(None));
    accepted("FLEET-43", "Blue Ridge Haulage")
        .event(
            "(return from Connect)",
            [("2026-05-04T08:09:02Z", invitation(claim))],
        )
        .event(
            "(asked Catena)",
            [(
                "2026-05-04T08:10:00Z",
                Fact::Request {
                    id: REQUEST.to_owned(),
                    request,
                },
            )],
        )
}

const NOW: &str = "2026-05-12T09:00:00Z";

#[test]
fn explain_a_stale_and_a_live_connection_under_a_paused_agreement() {
    insta::assert_snapshot!(degraded().explained(NOW, None).text);
}

/// The README shows what the command prints, to the letter.
#[test]
fn the_readme_shows_an_explanation_as_it_is() {
    let readme = include_str!("../../../README.md");
    let explained = degraded().explained(NOW, None).text;
    let block = format!("```\n$ kingpin fleet explain FLEET-42\n{explained}```\n");
    assert!(
        readme.contains(&block),
        "README.md must contain:\n\n{block}"
    );
}

#[test]
fn explain_a_pending_request() {
    insta::assert_snapshot!(requested().explained(NOW, None).text);
}

#[test]
fn explain_looks_that_fail_or_go_on() {
    let now = at(NOW);
    let mut story = requested();
    let policy = Policy::default();
    story.stored.looks = story.stored.looks.failed(None, &policy, now.plus(-10_000));
    let failed = story.explained(NOW, None);
    assert!(
        failed.text.ends_with(
            "  - Catena is asked next at 2026-05-12 09:00:20 (in 20 seconds): for integration requests.\n  \
             - The last look failed: the reconciler's log says why.\n"
        ),
        "{}",
        failed.text
    );
    assert_eq!(failed.json["failed_looks"], 1);
    assert_eq!(failed.json["next_look"]["why"], json!(["request_pending"]));
    story.stored.looks = story.stored.looks.failed(None, &policy, now);
    let text = story.explained(NOW, None).text;
    assert!(text.contains("The last 2 looks failed"), "{text}");
    story.stored.looks = story.stored.looks.leased(now.plus(60_000));
    let text = story.explained(NOW, None).text;
    assert!(text.contains("  - Catena is being asked now.\n"), "{text}");
    for asked in ["-1d", "+1d"] {
        let other = story.explained(NOW, Some(asked));
        assert_eq!(other.json["next_look"], Value::Null);
        assert!(!other.text.contains("looks failed"), "{}", other.text);
    }
}

#[test]
fn explain_an_operators_block() {
    let story = connected("FLEET-44", "Coastline Logistics").decide(
        "2026-05-10T12:00:00Z",
        OverrideKind::Block,
        "unpaid since March, see ticket 4711",
        Some("2026-06-01"),
    );
    insta::assert_snapshot!(story.explained(NOW, None).text);
}

#[test]
fn explain_a_grace_that_an_operator_extends_and_a_stopped_schedule() {
    let schedule = ConnectionFact::Schedule {
        id: "0190e000-0000-7000-8000-00000000beef".to_owned(),
        schedule: Schedule {
            stopped: true,
            resource: Some("vehicle_location".to_owned()),
        },
    };
    let story = connected("FLEET-45", "Delta Freight")
        .event(
            "connection.staled",
            [(
                "2026-05-11T22:00:00Z",
                state(SAMSARA, ConnectionState::Stale),
            )],
        )
        .event(
            "schedule.deactivated",
            [("2026-05-11T22:15:00Z", connection(SAMSARA, schedule))],
        )
        .decide(
            "2026-05-12T08:00:00Z",
            OverrideKind::Grant,
            "their IT is on it",
            Some("2026-05-20"),
        );
    insta::assert_snapshot!(story.explained(NOW, None).text);
}

#[test]
fn explain_an_invitation_that_was_declined() {
    let why = "We use\u{1b}[31m another\nservice".to_owned();
    let declined = InvitationFact::Decision(Decision::Declined(Some(why)));
    let story = invited("FLEET-46", "Evergreen Carriers").event(
        "invitation.declined",
        [("2026-05-05T09:30:00Z", invitation(declined))],
    );
    insta::assert_snapshot!(story.explained(NOW, None).text);
}

#[test]
fn explain_the_past_by_the_history() {
    insta::assert_snapshot!(degraded().explained(NOW, Some("2026-05-11")).text);
}

#[test]
fn explain_the_past_beyond_the_history() {
    let mut story = degraded();
    // What is older than the pause is gone.
    story.history.drain(..story.history.len() - 1);
    insta::assert_snapshot!(story.explained(NOW, Some("-2d")).text);
}

#[test]
fn explain_the_future() {
    insta::assert_snapshot!(requested().explained(NOW, Some("+7d")).text);
}

#[test]
fn explain_a_time_before_the_fleet() {
    insta::assert_snapshot!(degraded().explained(NOW, Some("2026-05-01")).text);
}

#[test]
fn the_past_by_a_whole_history_is_what_was_known_then() {
    let story = degraded();
    let mut facts = Record::default().facts;
    for entry in &story.history[..3] {
        facts = entry
            .news
            .iter()
            .fold(facts, |facts, news| facts.fold(news));
    }
    let then = at("2026-05-04T08:06:11Z");
    let (record, known) = crate::past::record_at(&story.stored.record, &story.history, then);
    assert!(known.complete && known.gaps.is_empty());
    assert_eq!(record.facts, facts);
}

#[test]
fn a_later_decision_is_not_of_the_past_and_said_to_hide_what_was() {
    let story = degraded().decide("2026-05-12T08:00:00Z", OverrideKind::Block, "test", None);
    let text = story.explained(NOW, Some("-1d")).text;
    assert!(
        text.contains("As far as is known, FLEET-42 (Acme Trucking) was connected"),
        "{text}"
    );
    assert!(
        text.contains("Not known any more: whether an operator blocked"),
        "{text}"
    );
}

#[test]
fn a_fleet_that_was_never_heard_of() {
    let fleet = FleetRef::parse("FLEET-99").unwrap();
    insta::assert_snapshot!(unknown(&fleet, "stack kingpin in eu-central-1").to_string());
}

#[test]
fn show_and_history() {
    let story = degraded();
    let show = show::page(&story.stored, &Policy::default(), at(NOW));
    insta::assert_snapshot!("show", show.text);
    insta::assert_json_snapshot!("show-json", show.json);
    let record = &story.stored.record;
    let history = history::page(&story.stored.fleet, record, &story.history, at(NOW));
    insta::assert_snapshot!("history", history.text);
    insta::assert_json_snapshot!("history-json", history.json);
    insta::assert_json_snapshot!("explain-json", requested().explained(NOW, None).json);
}

/// Every reason, due and fact in words, for those who can't be met in a story.
#[test]
fn sentences() {
    let story = requested();
    let facts = &degraded().stored.record.facts;
    let names = &story.stored.record.facts;
    let words = Words {
        facts,
        names: facts,
        now: at(NOW),
    };
    let reason = |(code, about, detail): (Code, &str, &str)| {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let reason = Reason {
            code,
            about: text(about),
            detail: text(detail),
            since: Some(at("2026-05-10T03:12:00Z")),
            until: Some(at("2026-06-01")),
        };
        format!("{:<28}{}\n", code.as_str(), words.reason(&reason))
    };
    let reasons = [
        (Code::BlockedByOperator, "dana", "unpaid"),
        (Code::GrantedByOperator, "dana", "a trial"),
        (Code::AgreementInForce, AGREEMENT, ""),
        (Code::AgreementNotYetEffective, AGREEMENT, ""),
        (Code::AgreementPaused, AGREEMENT, ""),
        (Code::AgreementEnded, AGREEMENT, "cancelled"),
        (Code::AgreementEnded, AGREEMENT, "expired"),
        (Code::AgreementNotUnderstood, AGREEMENT, "dormant"),
        (Code::AgreementUnknown, "", ""),
        (Code::RegulatoryIdDiffers, "", "DOT 13, invited as DOT 12"),
        (Code::ConnectionLive, GEOTAB, "geotab"),
        (Code::ConnectionBroken, SAMSARA, "samsara, stale"),
        (Code::ConnectionOver, "unheard-of", "deleted"),
        (Code::ScheduleStopped, "schedule", "vehicle_location"),
        (Code::ConnectionMissing, "", ""),
        (Code::RequestUnconfirmed, "", ""),
        (Code::RequestPending, REQUEST, "Nomad ELD"),
        (Code::ProviderLive, REQUEST, "Nomad ELD"),
        (Code::ProvisionalGranted, "", ""),
        (Code::ProvisionalEnded, "", ""),
        (Code::GraceRunning, "", ""),
        (Code::GraceEnded, "", ""),
        (Code::InvitationOpen, "", ""),
        (Code::InvitationAccepted, "", ""),
        (Code::InvitationDeclined, "", "too dear"),
        (Code::InvitationDeclined, "", ""),
        (Code::InvitationExpired, "", ""),
        (Code::InvitationDeleted, "", ""),
        (Code::InvitationUnknown, "", ""),
    ];
    let mut text = reasons.map(reason).concat();
    for why in [
        Why::InvitationEnds,
        Why::AgreementStarts,
        Why::AgreementEnds,
        Why::AdmissionEnds,
        Why::OverrideEnds,
        Why::AgreementUnknown,
        Why::AgreementHalted,
        Why::ConnectionMissing,
        Why::ConnectionBroken,
        Why::ScheduleStopped,
        Why::RequestUnconfirmed,
        Why::RequestPending,
        Why::ProviderLive,
        Why::Hint,
        Why::ReadBack,
    ] {
        let due = words.due(Due {
            at: at("2026-05-10T03:12:00Z"),
            why,
        });
        text += &format!("{:<28}{due}\n", why.as_str());
    }
    for why in [
        Why::InvitationEnds,
        Why::AgreementStarts,
        Why::AdmissionEnds,
    ] {
        let date = Due { at: at(NOW), why };
        let decisions = &story.stored.record.decisions;
        text += &format!("{:<28}{}\n", "passed", words.passed(date, decisions));
    }
    for stage in Stage::ALL {
        text += &format!("{:<28}{}\n", stage.as_str(), crate::words::stage(stage));
    }
    let no_end = AgreementStatus::Unknown("dormant".to_owned());
    let declined = Decision::Declined(Some("too dear".to_owned()));
    let schedule = |stopped| ConnectionFact::Schedule {
        id: "schedule".to_owned(),
        schedule: Schedule {
            stopped,
            resource: None,
        },
    };
    let request = names.requests[REQUEST].current.value().clone();
    let live_as = ["0190e100-0000-7000-8000-000000000001".to_owned()].into();
    for fact in [
        invitation(InvitationFact::Decision(Decision::Expired)),
        invitation(InvitationFact::Decision(declined)),
        invitation(InvitationFact::Decision(Decision::Deleted)),
        invitation(InvitationFact::Sent),
        invitation(InvitationFact::Claim(Claim::Requested(Some(
            REQUEST.to_owned(),
        )))),
        invitation(InvitationFact::Claim(Claim::Unclear)),
        agreement(no_end),
        connection(GEOTAB, schedule(true)),
        connection("unheard-of", schedule(false)),
        Fact::Request {
            id: REQUEST.to_owned(),
            request: IntegrationRequest { live_as, ..request },
        },
        invitation(InvitationFact::InvitedAs(RegulatoryId {
            kind: Some("DOT".to_owned()),
            id: "12".to_owned(),
        })),
        Fact::Regulatory(RegulatoryId {
            kind: None,
            id: "13".to_owned(),
        }),
        Fact::RequestsRefused(true),
        Fact::RequestsRefused(false),
    ] {
        text += &format!(
            "{}\n  {}\n",
            words.fact(&fact, None),
            Value::from(api::fact(&fact))
        );
    }
    insta::assert_snapshot!(text);
}

/// The same story with what operators decided, before the first event and between others.
fn overridden() -> Story {
    use OverrideKind::{Block, Grant};
    let reason = "unpaid since March,\u{1b}[2J see ticket 4711";
    degraded()
        .kept("2026-05-03T10:00:00Z", Block, None)
        .kept(
            "2026-05-10T12:00:00Z",
            Block,
            Some((reason, Some("2026-06-01"))),
        )
        .kept("2026-05-10T13:00:00Z", Block, None)
        .kept(
            "2026-05-11T10:00:00Z",
            Grant,
            Some(("a trial", Some("2026-05-20"))),
        )
        .kept("2026-05-12T08:00:00Z", Grant, None)
        .kept("2026-05-12T08:30:00Z", Block, Some(("fraud", None)))
}

#[test]
fn history_with_decisions() {
    let story = overridden();
    let record = &story.stored.record;
    let page = history::page(&story.stored.fleet, record, &story.history, at(NOW));
    insta::assert_snapshot!("history-decisions", page.text);
    let entries = page.json["entries"].as_array().unwrap();
    let decided = entries.iter().filter(|it| it.get("decided").is_some());
    insta::assert_json_snapshot!("history-decisions-json", decided.collect::<Vec<_>>());
}

/// The same, of whom provisional access ran out, and what else may.
fn ran_out() -> Story {
    requested()
        .passed(
            "2026-05-18T08:09:31Z",
            &[(Why::AdmissionEnds, "2026-05-18T08:09:00Z")],
        )
        .passed(
            "2027-05-05T02:00:00Z",
            &[
                (Why::AgreementEnds, "2027-05-04T00:00:00Z"),
                (Why::OverrideEnds, "2027-05-04T12:00:00Z"),
            ],
        )
}

#[test]
fn dates_that_passed() {
    let (story, now) = (ran_out(), "2027-05-06");
    let record = &story.stored.record;
    let page = history::page(&story.stored.fleet, record, &story.history, at(now));
    insta::assert_snapshot!("history-passed", page.text);
    let entries = page.json["entries"].as_array().unwrap();
    let passed = entries.iter().filter(|it| it.get("passed").is_some());
    insta::assert_json_snapshot!("history-passed-json", passed.collect::<Vec<_>>());

    let explained = story.explained(now, None);
    insta::assert_snapshot!("explain-passed", explained.text);
    let told = explained.json["observations"].as_array().unwrap();
    assert_eq!(told.last(), entries.last());

    let before = story.explained(now, Some("2026-06-01")).text;
    assert!(before.contains("provisional access ended\n"), "{before}");
    assert!(!before.contains("the share agreement ended\n"), "{before}");
}

/// They say nothing of what was observed; the record has what holds of them.
#[test]
fn decisions_of_the_history_change_no_explanation() {
    for asked in [None, Some("2026-05-11"), Some("2026-05-01"), Some("+7d")] {
        let (with, without) = (overridden(), degraded());
        let (with, without) = (with.explained(NOW, asked), without.explained(NOW, asked));
        assert_eq!(with.text, without.text);
        assert_eq!(with.json, without.json);
    }
}

fn answered(outcome: Outcome) -> Invitation {
    let levels = [
        ("driver", api::Level::Read),
        ("message", api::Level::ReadWrite),
        ("vehicle", api::Level::Read),
    ];
    let granted = [("message", "read"), ("trip", "read"), ("vehicle", "read")];
    let text = |text: &str| Some(text.to_owned());
    Invitation {
        fleet_ref: "FLEET-42".to_owned(),
        outcome,
        summary: InvitationSummary {
            status: "open".to_owned(),
            ends: Some(api::Moment(at("2026-06-09T09:00:00Z"))),
            link: Some(Link {
                url: "https://connect.broker.example/i/AbCdEfGhIjKlMnOpQrStUv".to_owned(),
                ends: api::Moment(at("2026-11-08T09:00:00Z")),
            }),
            asked: Some(InvitationRequest {
                fleet_name: text("Acme\u{1b}[2J Trucking"),
                fleet_email: text("ops@acme.example"),
                fleet_regulatory_id: text("1234567"),
                fleet_regulatory_id_type: text("DOT"),
                fleet_phone: text("+15125550100"),
                fleet_website: text("https://acme.example"),
                fleet_country_code: text("USA"),
                limit_tsps: Some(vec!["samsara".to_owned(), "geotab".to_owned()]),
                permissions: Some(levels.map(|(name, level)| (name.to_owned(), level)).into()),
            }),
            granted: Some(
                granted
                    .map(|(name, level)| (name.to_owned(), level.to_owned()))
                    .into(),
            ),
        },
    }
}

#[test]
fn invitations() {
    let full = answered(Outcome::Created);
    let mut bare = answered(Outcome::Unchanged);
    bare.summary.status = "accepted".to_owned();
    (bare.summary.ends, bare.summary.link) = (None, None);
    (bare.summary.asked, bare.summary.granted) = (Some(InvitationRequest::default()), None);
    let mut unsure = answered(Outcome::Adopted);
    let permissions = unsure
        .summary
        .asked
        .take()
        .and_then(|asked| asked.permissions);
    unsure.summary.asked = Some(InvitationRequest {
        permissions,
        ..InvitationRequest::default()
    });
    unsure.summary.granted = None;
    let mut refreshed = answered(Outcome::Refreshed);
    refreshed.summary.asked = None;
    let pages = [&full, &refreshed, &unsure, &bare].map(|it| invite::page(json!(it), at(NOW)));
    let texts = pages.each_ref().map(|page| page.text.as_str());
    insta::assert_snapshot!("invite", texts.join("---\n"));
    insta::assert_json_snapshot!("invite-json", pages[0].json);
    let fleet = FleetRef::parse("FLEET-42").unwrap();
    let gone = invite::withdrawn(&fleet, Value::Null);
    insta::assert_snapshot!("uninvite", gone.text);
    assert_eq!(gone.json, Value::Null);
}

#[test]
fn links() {
    let answer = json!(FleetLink {
        fleet_ref: "FLEET-42".to_owned(),
        link: answered(Outcome::Created).summary.link.unwrap(),
    });
    let page = link::rotated(answer.clone(), at(NOW));
    insta::assert_snapshot!("link-rotate", page.text);
    insta::assert_json_snapshot!("link-rotate-json", page.json);
    assert_eq!(page.json, answer);

    let newer = link::rotated(json!({ "link": null }), at(NOW));
    assert!(newer.text.contains("another form"), "{}", newer.text);
}

#[test]
fn accesses() {
    let blocked = connected("FLEET-44", "Coastline Logistics").decide(
        "2026-05-10T12:00:00Z",
        OverrideKind::Block,
        "unpaid since March, see ticket 4711",
        Some("2026-06-01"),
    );
    let stale = [(
        "2026-05-11T22:00:00Z",
        state(SAMSARA, ConnectionState::Stale),
    )];
    let stories = [
        connected("FLEET-45", "Delta Freight"),
        connected("FLEET-46", "Evergreen Carriers").event("connection.staled", stale),
        degraded(),
        requested(),
        blocked,
        invited("FLEET-47", "Foxtrot Lines"),
        Story::new("FLEET-48"),
    ];
    let page = |story: &Story| {
        let stored = &story.stored;
        let access = Access::new(&stored.fleet, &stored.record, &Policy::default(), at(NOW));
        access::page(json!(access))
    };
    let pages = stories.each_ref().map(page);
    let mut newer = pages[0].json.clone();
    newer["stage"] = json!("half_in");
    newer["admission"] = json!({ "kind": "trial", "until": "2026-06-01T00:00:00Z" });
    newer["data_scopes"]["message"] = json!("write");
    newer["reasons"][0]["code"] = json!("something_new");
    newer["valid_until"] = Value::Null;
    let mut texts: Vec<_> = pages.iter().map(|page| page.text.clone()).collect();
    texts.push(access::page(newer).text);
    insta::assert_snapshot!("access", texts.join("---\n"));
    insta::assert_json_snapshot!("access-json", pages[2].json);
}

#[test]
fn an_answer_in_an_unknown_form_is_shown_as_it_came() {
    let mut answer = json!(answered(Outcome::Created));
    answer["outcome"] = json!("queued");
    let page = invite::page(answer.clone(), at(NOW));
    assert_eq!(page.json, answer);
    assert!(page.text.contains("another form") && page.text.contains("\"queued\""));
}

#[test]
fn no_page_shows_a_whole_hash() {
    for story in [degraded(), requested()] {
        let now = at(NOW);
        let record = &story.stored.record;
        for page in [
            story.explained(NOW, None),
            show::page(&story.stored, &Policy::default(), now),
            history::page(&story.stored.fleet, record, &story.history, now),
        ] {
            let whole = page.text + &page.json.to_string();
            assert!(!whole.contains(&INVITATION[..9]), "{whole}");
        }
    }
}

fn listing() -> Listing {
    let stories = [
        requested(),
        degraded(),
        connected("FLEET-44", "Coastline Logistics and all its subsidiaries").decide(
            "2026-05-10T12:00:00Z",
            OverrideKind::Block,
            "unpaid",
            Some("2026-05-14"),
        ),
        invited("FLEET-47", "Foxtrot Lines"),
    ];
    let row = |story: &Story| Row::new(&story.stored, &Policy::default(), at(NOW));
    let newer = "record of FLEET-48 has schema 2, newer than this program's 1".to_owned();
    Listing {
        rows: stories.iter().map(row).collect(),
        unreadable: vec![(FleetRef::parse("FLEET-48").unwrap(), newer)],
    }
}

#[test]
fn lists() {
    let every = Filter {
        stage: None,
        stuck: None,
        ending_within: None,
        limit: 100,
    };
    let text = |listing: &Listing, filter| list::page(listing, &filter, at(NOW)).text;
    let filters = [
        ("all", every),
        (
            "expired by time alone",
            Filter {
                stage: Some(Stage::Expired),
                ..every
            },
        ),
        (
            "stuck for a day",
            Filter {
                stuck: Some(Span(DAY)),
                ..every
            },
        ),
        (
            "stuck for a month",
            Filter {
                stuck: Some(Span(30 * DAY)),
                ..every
            },
        ),
        (
            "ending within a week",
            Filter {
                ending_within: Some(Span(7 * DAY)),
                ..every
            },
        ),
        ("the first two", Filter { limit: 2, ..every }),
    ];
    let mut texts = String::new();
    for (name, filter) in filters {
        texts += &format!("--- {name}\n{}", text(&listing(), filter));
    }
    texts += &format!("--- empty\n{}", text(&Listing::default(), every));
    insta::assert_snapshot!(texts);
    insta::assert_json_snapshot!(
        "lists-json",
        list::page(&listing(), &filters[2].1, at(NOW)).json
    );
}

/// In the night.
fn compared() -> Option<Seen> {
    let started = at("2026-05-12T03:00:00Z");
    let text = json!({
        "started": started,
        "finished": started.plus(41_000),
        "step": "done",
        "listed": 1204,
        "healed": 3,
        "imported": 1,
    });
    Some(Seen::read(&text.to_string()))
}

fn comparing() -> Option<Seen> {
    let comparison = Comparison {
        step: Step::Fleets(Stage::ReconnectReady),
        cursor: Some("FLEET-42".to_owned()),
        listed: 800,
        healed: 1,
        ..Comparison::new(at("2026-05-12T08:58:00Z"))
    };
    Some(Seen::read(&comparison.text()))
}

#[test]
fn reconciling() {
    let place = "stack kingpin in eu-central-1";
    let page = |running, not_before| {
        let begun = Begun {
            running,
            not_before,
        };
        reconcile::page(&begun, place, at(NOW))
    };
    let pages = [
        page(None, None),
        page(comparing(), Some(at("2026-05-12T09:00:30Z"))),
    ];
    let texts = pages.each_ref().map(|page| page.text.as_str());
    insta::assert_snapshot!("reconcile", texts.join("---\n"));
    insta::assert_json_snapshot!("reconcile-json", pages[1].json);
}

#[test]
fn a_dry_run() {
    let now = at(NOW);
    let due = |since: &str, story: &Story| {
        DueFleet::new(at(since), &story.stored, &Policy::default(), now)
    };
    let mut ended = invited("FLEET-47", "Foxtrot Lines");
    ended.stored.written_at = Some(at("2026-05-04T08:00:01Z"));
    let stopped = ConnectionFact::Schedule {
        id: "schedule".to_owned(),
        schedule: Schedule {
            stopped: true,
            resource: None,
        },
    };
    let stopped = connected("FLEET-45", "Delta Freight").event(
        "schedule.deactivated",
        [("2026-05-11T22:15:00Z", connection(SAMSARA, stopped))],
    );
    let fleet = |text| FleetRef::parse(text).unwrap();
    let newer = "record of FLEET-48 has schema 3, newer than this program's 2".to_owned();
    let waits = |key: &Key, since: Option<&str>| Parked {
        key: key.clone(),
        digest: "digest".to_owned(),
        body: String::new(),
        since: since.map(at),
    };
    let geotab = Key::Connection(GEOTAB.to_owned());
    let waiting = [
        waits(&geotab, None),
        waits(&geotab, Some("2026-05-12T06:00:00Z")),
    ];
    let keys = [
        DueKey::new(geotab, &waiting),
        DueKey::new(Key::Invitation(INVITATION.to_owned()), &waiting[..1]),
        DueKey::new(Key::CatenaFleet(CATENA_FLEET.to_owned()), &waiting[1..]),
    ];
    let quiet = Plan {
        place: "stack kingpin in eu-central-1".to_owned(),
        ..Plan::default()
    };
    let comparison = compared();
    let plan = Plan {
        fleets: vec![
            due("2026-05-04T08:25:00Z", &requested()),
            due("2026-05-11T08:00:00Z", &ended),
            due("2026-05-11T22:30:00Z", &stopped),
            due("2026-05-12T08:59:00Z", &degraded()),
            DueFleet::unreadable(at("2026-05-12T08:59:30Z"), fleet("FLEET-48"), newer),
        ],
        all_fleets: 7,
        keys: keys.into(),
        all_keys: 3,
        not_before: Some(at("2026-05-12T09:00:30Z")),
        next_comparison: comparison
            .as_ref()
            .and_then(|it| it.next(&Policy::default())),
        comparison,
        ..quiet.clone()
    };
    let running = Plan {
        comparison: comparing(),
        ..quiet.clone()
    };
    let late = Plan {
        comparison: compared(),
        next_comparison: Some(now),
        ..quiet.clone()
    };
    let unreadable = Plan {
        comparison: Some(Seen::read("of a newer version")),
        ..quiet.clone()
    };
    let pages = [&plan, &quiet, &running, &late, &unreadable].map(|it| reconcile::dry_run(it, now));
    let texts = pages.each_ref().map(|page| page.text.as_str());
    insta::assert_snapshot!("dry-run", texts.join("---\n"));
    insta::assert_json_snapshot!("dry-run-json", pages[0].json);
    for page in pages {
        let whole = page.text + &page.json.to_string();
        assert!(!whole.contains(&INVITATION[..9]), "{whole}");
    }
}

#[test]
fn rechecks() {
    let failed =
        "could not put a task on tasks queue t of stack kingpin: timed out\nCheck the network.";
    let soon = Some(at("2026-05-12T09:00:30Z"));
    let page = |story: &Story, how, not_before| {
        recheck::page(&story.stored, &Policy::default(), &how, not_before, at(NOW))
    };
    let pages = [
        page(&degraded(), Soon::Queued, None),
        page(&requested(), Soon::Unqueued, None),
        page(&requested(), Soon::Failed(failed.to_owned()), None),
        page(&degraded(), Soon::Queued, soon),
    ];
    let texts = pages.each_ref().map(|page| page.text.as_str());
    insta::assert_snapshot!("recheck", texts.join("---\n"));
    insta::assert_json_snapshot!("recheck-json", pages[3].json);
}

#[test]
fn statuses() {
    let mut status = Status {
        place: "stack kingpin in eu-central-1".to_owned(),
        stages: BTreeMap::new(),
        unreadable: 0,
        parked: Waiting::default(),
        due: Waiting::default(),
        operations: OpenOperations::default(),
        quarantined_today: 0,
        quarantined: 0,
        queues: Queues::default(),
        not_before: None,
        comparison: None,
    };
    // Of an older template: it doesn't say where all queues are.
    let quiet = status::page(&status, at(NOW));
    let queues: Vec<_> = quiet.json["queues"].as_object().unwrap().keys().collect();
    assert_eq!(queues, ["dead_letters", "events"]);
    status.stages = [
        (Stage::Connected, 334),
        (Stage::Degraded, 2),
        (Stage::Invited, 12),
    ]
    .into();
    status.unreadable = 1;
    status.parked = Waiting::of([
        Some(at("2026-05-12T06:00:00Z")),
        None,
        Some(at("2026-05-12T08:00:00Z")),
    ]);
    status.due = Waiting::of([Some(at("2026-05-10T03:12:00Z"))]);
    status.operations = OpenOperations {
        open: 40,
        due: Waiting::of([Some(at("2026-05-12T08:59:20Z"))]),
    };
    (status.quarantined_today, status.quarantined) = (1, 4);
    let waiting = |waiting| Depth {
        waiting,
        ..Depth::default()
    };
    status.queues = Queues {
        events: Depth {
            waiting: 1200,
            in_work: 10,
            delayed: 3,
        },
        dead_letters: waiting(5),
        tasks: Some(Depth {
            delayed: 7,
            ..waiting(12)
        }),
        tasks_dead_letters: Some(waiting(2)),
        publisher_dead_letters: Some(waiting(1)),
    };
    status.not_before = Some(at("2026-05-12T09:00:30Z"));
    status.comparison = compared();
    let busy = status::page(&status, at(NOW));
    insta::assert_snapshot!(format!("{}---\n{}", quiet.text, busy.text));
    insta::assert_json_snapshot!("status-json", busy.json);
}

#[test]
fn the_fields_that_programs_rely_on_are_there() {
    let json = show::page(&degraded().stored, &Policy::default(), at(NOW)).json;
    for field in [
        "fleet_ref",
        "name",
        "catena_fleet",
        "stage",
        "admission",
        "data_scopes",
        "reasons",
        "due",
        "version",
        "schema",
        "as_of",
    ] {
        assert_ne!(json[field], Value::Null, "{field}");
    }
    assert_eq!(json["admission"]["kind"], "none");
    assert_eq!(json["reasons"][0]["since"], "2026-05-11T16:20:00Z");
}
