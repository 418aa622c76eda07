//! Faults of writes.

use std::time::{Duration, Instant};

use reqwest::Method;
use simulator::{ApiFault, ApiFaultKind, OperationRule, OperationStep};

use super::{MESSAGES, connected, message};
use crate::partner::{Answer, Partner};

impl Partner {
    /// The status of the answer, if one came whole.
    async fn try_to_write(&self, connection_id: uuid::Uuid, text: &str) -> Option<u16> {
        let body = Some(message(connection_id, text));
        let request = self.request(Method::POST, MESSAGES, body);
        let request = request.timeout(Duration::from_secs(2));
        Answer::of(request).await.ok().map(|answer| answer.status)
    }
}

#[tokio::test]
async fn faults_hit_writes_with_a_text_in_their_bodies() {
    let (partner, connection_id) = connected().await;
    let fault = ApiFault::new(ApiFaultKind::Status { status: 503 });
    let fault = fault.on("POST", "/v2/telematics").containing("Yard");
    partner.catena.add_api_fault(fault.times(2));
    for (text, expected) in [
        ("Hello", 202),
        ("Yard closes", 503),
        ("yard", 202),
        ("The Yard", 503),
        ("The Yard", 202),
    ] {
        let status = partner.try_to_write(connection_id, text).await;
        assert_eq!(status, Some(expected), "{text}");
    }
    assert!(partner.catena.api_faults().is_empty());
    let read = r#"{"kind": "answer_late", "by": 0.5, "containing": "Yard"}"#;
    let by = Duration::from_millis(500);
    let expected = ApiFault::new(ApiFaultKind::AnswerLate { by }).containing("Yard");
    assert_eq!(serde_json::from_str::<ApiFault>(read).unwrap(), expected);
}

#[tokio::test]
async fn what_happens_to_an_answer_does_not_undo_the_write() {
    let (partner, connection_id) = connected().await;
    let (by, status) = (Duration::from_millis(10), 504);
    for (kind, answer, processed, accepted) in [
        (ApiFaultKind::CutBefore, None, false, false),
        (ApiFaultKind::CutAfter, None, true, false),
        (ApiFaultKind::Truncated, None, true, false),
        (ApiFaultKind::Empty, Some(200), true, false),
        (ApiFaultKind::Html, Some(200), false, false),
        (ApiFaultKind::Unauthorized, Some(401), false, false),
        (ApiFaultKind::Status { status }, Some(504), false, false),
        (ApiFaultKind::StatusAfter { status }, Some(504), true, false),
        (
            ApiFaultKind::StatusAfter { status: 502 },
            Some(502),
            true,
            false,
        ),
        (ApiFaultKind::Slow { by }, Some(202), true, true),
        (ApiFaultKind::AnswerLate { by }, Some(202), true, true),
        (ApiFaultKind::WrongContentType, Some(202), true, true),
    ] {
        let fault = ApiFault::new(kind.clone()).on("POST", MESSAGES);
        partner.catena.add_api_fault(fault);
        partner.catena.clear_writes();
        let status = partner.try_to_write(connection_id, "Hello").await;
        assert_eq!(status, answer, "{kind:?}");
        let writes = partner.catena.writes();
        assert_eq!(!writes.is_empty(), processed, "{kind:?}");
        assert_eq!(writes.iter().any(|it| it.accepted), accepted, "{kind:?}");
        partner.catena.idle().await;
        assert!(partner.catena.api_faults().is_empty());
    }
}

#[tokio::test]
async fn webhooks_overtake_a_late_answer() {
    let (partner, connection_id) = connected().await;
    let soon = OperationStep::success(Duration::from_millis(50));
    partner
        .catena
        .add_operation_rule(OperationRule::new([soon]));
    let by = Duration::from_millis(500);
    partner
        .catena
        .add_api_fault(ApiFault::new(ApiFaultKind::AnswerLate { by }));
    let started = Instant::now();
    let late = partner.message(connection_id, "Late").await;
    assert!(started.elapsed() >= by);
    let delivered = partner.catena.deliveries();
    let names = delivered.iter().map(|it| it.event_name.as_str());
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("resource_operation"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["resource_operation.created", "resource_operation.succeeded"]
    );
    assert_eq!(
        late["status"], "pending",
        "the answer is as old as the call"
    );
    let read = partner.operation(connection_id, &late["id"]).await.json();
    assert_eq!(read["status"], "success");
}
