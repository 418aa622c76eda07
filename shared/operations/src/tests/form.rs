//! The form that operations are kept in: what is written here is in tables, and stays readable. Never edit a text; add one.

use fleet::Timestamp;

use crate::{Course, Operation, Status, Word};

const CALLING: &str = r#"{"id":"5f0c","asked":{"fleet":"FLEET-42","key":"order-7","by":"arn:aws:iam::1:user/ada","resource":"message",
    "kind":"create","connection":"C","digest":"d1"},"submitted_at":1000,"called_at":1000,"calls":1,
    "course":{"calling":{"since":1000,"until":41000}},"payload":{"text":"Call home"},"heard":{}}"#;
const UNCLEAR: &str = r#"{"id":"5f0c","asked":{"fleet":"FLEET-42","key":"order-7","by":"arn:aws:iam::1:user/ada","resource":"vehicle",
    "kind":"update","target":"V","connection":"C","digest":"d1"},"submitted_at":1000,"called_at":2000,"calls":2,
    "course":{"unclear":{"since":2000,"until":3000,"searched_at":13000,"why":"no answer in time"}},"payload":{"name":"Truck"},"heard":{}}"#;
const ACCEPTED: &str = r#"{"id":"5f0c","asked":{"fleet":"FLEET-42","key":"order-7","by":"arn:aws:iam::1:user/ada","resource":"message",
    "kind":"create","connection":"C","digest":"d1"},"submitted_at":1000,"called_at":1000,"calls":1,
    "course":{"accepted":{"at":2000,"looked_at":32000}},"catena_id":"K","created_at":1500,
    "heard":{"pending":{"at":1500,"word":"pending"},
      "success":{"at":9000,"word":"success","resource_id":"R","source_id":"S"},
      "failed":{"at":8000,"word":"failed","attempts":[{"at":7000,"status":"failed","error_type":"tsp","details":"Oops","http_status":502,
        "headers":{"x-request-id":"r-1"}}]}}}"#;
const REFUSED: &str = r#"{"id":"5f0c","asked":{"fleet":"FLEET-42","key":"order-7","by":"arn:aws:iam::1:user/ada","resource":"message",
    "kind":"create","connection":"C","digest":"d1"},"submitted_at":1000,"called_at":1000,"calls":1,
    "course":{"refused":{"at":2000,"why":"422 text is missing","by_catena":true}},"heard":{}}"#;
const LOST: &str = r#"{"id":"5f0c","asked":{"fleet":"FLEET-42","key":"order-7","by":"arn:aws:iam::1:user/ada","resource":"message",
    "kind":"create","connection":"C","digest":"d1"},"submitted_at":1000,"called_at":1000,"calls":1,
    "course":{"lost":{"at":602000,"why":"no answer in time; Catena lists none that can only be this one"}},
    "heard":{"pending":{"at":1500,"word":{"other":"queued"}}}}"#;

#[test]
fn each_course_is_read_and_written_as_it_was() {
    for (text, status) in [
        (CALLING, Status::Unclear),
        (UNCLEAR, Status::Unclear),
        (ACCEPTED, Status::Success),
        (REFUSED, Status::Refused),
        (LOST, Status::Unknown),
    ] {
        let read: Operation = serde_json::from_str(text).unwrap();
        assert_eq!(read.status(Timestamp(700_000)), status);
        let written: serde_json::Value = serde_json::to_value(&read).unwrap();
        let as_it_was: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(written, as_it_was);
    }
}

#[test]
fn what_was_kept_means_what_it_meant() {
    let read = |text: &str| serde_json::from_str::<Operation>(text).unwrap();
    let accepted = read(ACCEPTED);
    assert!(accepted.heard.is_contradictory());
    assert_eq!(accepted.settled_at(), Some(Timestamp(9000)));
    let failed = accepted.heard.failed.unwrap();
    let attempt = failed.error().unwrap();
    assert_eq!(attempt.headers["x-request-id"], "r-1");
    match read(UNCLEAR).course {
        Course::Unclear { searched_at, .. } => assert_eq!(searched_at, Some(Timestamp(13_000))),
        other => panic!("{other:?}"),
    }
    let said = read(LOST).heard.pending.unwrap();
    assert_eq!(said.word, Word::Other("queued".to_owned()));
    assert_eq!(read(REFUSED).why(), Some("422 text is missing"));
}
