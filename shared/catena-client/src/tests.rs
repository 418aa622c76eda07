//! The client against a server that misbehaves on request, over real connections.

mod server;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use catena::{InvitationHash, Level, Status};
use fetch::http::Method;
use futures_util::{FutureExt, future::join_all};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};

use self::server::{Catena, Says, Seen, says};
use crate::{
    AgreementDates, AgreementFilter, CatenaError, Client, Credentials, Endpoints, NewInvitation,
    Outage, Patience, call::Call,
};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/samples/api/", $name))
    };
}

const START: OffsetDateTime = datetime!(2026-05-04 08:00 UTC);
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(10),
    attempts: 4,
    pause: Duration::from_millis(2),
    longest_wait: Duration::MAX,
};
const LONG: Duration = Duration::from_secs(30);
const INVITATION: &str = "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3";
const AGREEMENT: &str = "019df1a6-91c4-7d02-a1b8-7f3e5c2d9a64";
const CONNECTION: &str = "019ddd87-eedd-710f-967c-1c6cc72ac985";
const FLEET: &str = "3f0c2a7e-6a3b-4c55-9d0e-5b1f7a2c4d10";

/// A client, and its clock.
struct Us {
    client: Client,
    clock: Arc<Mutex<OffsetDateTime>>,
    secret: Arc<Mutex<&'static str>>,
    reads: Arc<AtomicUsize>,
}

impl Us {
    fn of(catena: &Catena) -> Self {
        Self::at(&catena.address)
    }

    fn at(address: &str) -> Self {
        let endpoints = Endpoints {
            api: address.parse().unwrap(),
            token: format!("{address}/token").parse().unwrap(),
        };
        let clock = Arc::new(Mutex::new(START));
        let secret = Arc::new(Mutex::new("hush & hush"));
        let reads = Arc::new(AtomicUsize::new(0));
        let (now, current, count) = (clock.clone(), secret.clone(), reads.clone());
        let source = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let secret = *current.lock().unwrap();
            async move {
                let json = json!({"client_id": "us", "client_secret": secret});
                Ok(Credentials::parse(&json.to_string())?)
            }
        };
        let client = Client::new(endpoints, PATIENCE, source, move || *now.lock().unwrap());
        Self {
            client,
            clock,
            secret,
            reads,
        }
    }

    fn passes(&self, seconds: f64) {
        *self.clock.lock().unwrap() += time::Duration::seconds_f64(seconds);
    }

    async fn agreement(&self) -> Result<(), CatenaError> {
        let answer = self.client.within(LONG).share_agreement(AGREEMENT).await;
        answer.map(|answer| assert_eq!(answer.value.id, AGREEMENT))
    }
}

/// `t0`, `t1`, … for an hour each.
fn tokens(number: usize, _: &Seen) -> Says {
    token(number, 3_600)
}

fn token(number: usize, expires_in: u64) -> Says {
    says(
        200,
        json!({"access_token": format!("t{number}"), "expires_in": expires_in}).to_string(),
    )
}

fn agreement() -> String {
    let list: Value =
        serde_json::from_str(sample!("share-agreements.list.response.200.json")).unwrap();
    list["items"][0].to_string()
}

fn good(_: usize, _: &Seen) -> Says {
    says(200, agreement())
}

#[tokio::test]
async fn a_thousand_callers_cause_one_token() {
    let catena = Catena::start(tokens, good).await;
    let us = Us::of(&catena);
    let all = join_all((0..1_000).map(|_| us.agreement())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((catena.tokens_asked(), catena.seen().len()), (1, 1_000));
    assert_eq!(us.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_thousand_callers_share_a_refusal() {
    let refuse = |_, _: &Seen| says(401, r#"{"error":"invalid_client"}"#);
    let catena = Catena::start(refuse, good).await;
    let us = Us::of(&catena);
    for outcome in join_all((0..1_000).map(|_| us.agreement())).await {
        let Err(error @ CatenaError::Unauthorised { .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(error.to_string().contains("invalid_client"), "{error}");
        assert!(!error.is_ambiguous());
    }
    assert_eq!((catena.tokens_asked(), catena.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_thousand_refused_tokens_cause_one_renewal() {
    let api = |number, seen: &Seen| match seen.header("authorization") {
        Some("Bearer t1") => good(number, seen),
        _ => says(401, sample!("error.401.json")),
    };
    let catena = Catena::start(tokens, api).await;
    let us = Us::of(&catena);
    let all = join_all((0..1_000).map(|_| us.agreement())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(catena.tokens_asked(), 2);
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_the_end() {
    let catena = Catena::start(tokens, |_, _: &Seen| says(401, "")).await;
    let outcome = Us::of(&catena).agreement().await;
    assert!(matches!(outcome, Err(CatenaError::Unauthorised { .. })));
    assert_eq!((catena.tokens_asked(), catena.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_late_refusal_of_an_old_token_doesnt_cost_the_new_one() {
    let catena = Catena::start(tokens, good).await;
    let us = &Us::of(&catena).client.0;
    let old = us.token().await.unwrap();
    us.refused(&old);
    let new = us.token().await.unwrap();
    us.refused(&old);
    assert!(Arc::ptr_eq(&new, &us.token().await.unwrap()));
    assert_eq!(catena.tokens_asked(), 2);
}

#[tokio::test]
async fn a_renewal_that_is_over_serves_only_those_who_waited() {
    let catena = Catena::start(tokens, good).await;
    let us = &Us::of(&catena).client.0;
    let mut waiting = Box::pin(us.token());
    assert!((&mut waiting).now_or_never().is_none());
    let old = us.token().await.unwrap();
    us.refused(&old);
    // The one who still waits keeps the renewal alive.
    let new = us.token().await.unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    assert!(Arc::ptr_eq(&old, &waiting.await.unwrap()));
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    for (expires_in, good_for, old_after) in [(3_600, 3_569.0, 2.0), (10, 8.9, 0.2)] {
        let catena = Catena::start(move |number, _| token(number, expires_in), good).await;
        let us = Us::of(&catena);
        us.agreement().await.unwrap();
        us.passes(good_for);
        us.agreement().await.unwrap();
        assert_eq!(catena.tokens_asked(), 1, "{expires_in}");
        us.passes(old_after);
        us.agreement().await.unwrap();
        assert_eq!(catena.tokens_asked(), 2, "{expires_in}");
        let last = catena.seen().pop().unwrap();
        assert_eq!(last.header("authorization"), Some("Bearer t1"));
    }
}

#[tokio::test]
async fn a_token_serves_to_its_end_if_there_is_no_other() {
    let once = |number, seen: &Seen| match number {
        0 => tokens(number, seen),
        _ => says(500, ""),
    };
    let catena = Catena::start(once, good).await;
    let us = Us::of(&catena);
    us.agreement().await.unwrap();
    us.passes(3_580.0);
    us.agreement().await.unwrap();
    let asked = catena.tokens_asked();
    assert_eq!(asked, 1 + 4);
    us.agreement().await.unwrap();
    assert_eq!(catena.tokens_asked(), asked, "not tried for each call");
    us.passes(21.0);
    let outcome = us.agreement().await;
    let Err(CatenaError::Unavailable {
        sent: false,
        source,
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert!(matches!(source, Outage::Token { status: 500, .. }));
}

#[tokio::test]
async fn a_replaced_secret_is_read_again() {
    let only_new = |number, seen: &Seen| match seen.body.contains("client_secret=new") {
        true => tokens(number, seen),
        false => says(400, r#"{"error":"unauthorized_client"}"#),
    };
    let catena = Catena::start(only_new, good).await;
    let us = Us::of(&catena);
    let refused = |outcome| matches!(outcome, Err(CatenaError::Unauthorised { .. }));
    assert!(refused(us.agreement().await));
    *us.secret.lock().unwrap() = "new";
    us.passes(4.0);
    assert!(refused(us.agreement().await), "too early");
    assert_eq!(
        (catena.tokens_asked(), us.reads.load(Ordering::SeqCst)),
        (1, 1)
    );
    us.passes(1.5);
    us.agreement().await.unwrap();
    assert_eq!(
        (catena.tokens_asked(), us.reads.load(Ordering::SeqCst)),
        (2, 2)
    );
}

#[tokio::test]
async fn a_secret_that_is_replaced_while_it_is_in_use_costs_no_call() {
    let current = Arc::new(Mutex::new("hush"));
    let known = Arc::clone(&current);
    let token = move |number, seen: &Seen| {
        let expected = format!("client_secret={}", known.lock().unwrap());
        if seen.body.contains(&expected) {
            tokens(number, seen)
        } else {
            says(401, "")
        }
    };
    let catena = Catena::start(token, good).await;
    let us = Us::of(&catena);
    us.agreement().await.unwrap();
    (*current.lock().unwrap(), *us.secret.lock().unwrap()) = ("new", "new");
    us.passes(3_600.0);
    us.agreement().await.unwrap();
    assert_eq!(
        (catena.tokens_asked(), us.reads.load(Ordering::SeqCst)),
        (3, 2)
    );
}

#[tokio::test]
async fn a_token_request_is_as_the_contract_says() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = Arc::clone(&seen);
    let token = move |number, seen: &Seen| {
        *noted.lock().unwrap() = seen.clone();
        tokens(number, seen)
    };
    let catena = Catena::start(token, good).await;
    Us::of(&catena).agreement().await.unwrap();
    let seen = seen.lock().unwrap().clone();
    let form = "grant_type=client_credentials&scope=organization&client_id=us\
                &client_secret=hush%20%26%20hush";
    assert_eq!((&*seen.method, &*seen.body), ("POST", form));
    let form_type = Some("application/x-www-form-urlencoded");
    assert_eq!(seen.header("content-type"), form_type);
}

#[tokio::test]
async fn a_broken_token_endpoint_is_nobodys_missing_resource() {
    for status in [200, 302, 404, 418, 503] {
        let catena = Catena::start(move |_, _| says(status, "{}"), good).await;
        let outcome = Us::of(&catena).agreement().await;
        let Err(error @ CatenaError::Unavailable { sent: false, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(!error.is_ambiguous());
        assert_eq!(catena.seen().len(), 0);
    }
}

#[tokio::test]
async fn a_source_that_fails_is_named() {
    let endpoints = Endpoints::default();
    let source = async || Err("the vault is closed".into());
    let client = Client::new(endpoints, PATIENCE, source, move || START);
    let outcome = client.within(LONG).fleet(FLEET).await;
    let Err(CatenaError::Credentials(cause)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(cause.to_string(), "the vault is closed");
}

#[tokio::test]
async fn forbidden_and_refused_are_final() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => says(403, sample!("error.403.json")),
        1 => says(422, sample!("error.422.json")),
        _ => says(404, sample!("error.404.json")),
    })
    .await;
    let us = Us::of(&catena);
    let forbidden = us.agreement().await.unwrap_err();
    assert_eq!(forbidden.to_string(), "forbidden by Catena: 403 Forbidden");
    let Err(CatenaError::Refused(refusal)) = us.agreement().await else {
        panic!("not refused");
    };
    assert_eq!(refusal.fields[0].path, "body.expires_in_hours");
    assert!(matches!(us.agreement().await, Err(CatenaError::NotFound)));
    assert_eq!((catena.seen().len(), catena.tokens_asked()), (3, 1));
}

#[tokio::test]
async fn what_is_unavailable_is_tried_again() {
    let catena = Catena::start(tokens, |number, seen| match number {
        0 => says(503, "<html>"),
        1 => says(500, sample!("error.500.json")),
        2 => Says::Bytes(String::new()),
        _ => good(number, seen),
    })
    .await;
    Us::of(&catena).agreement().await.unwrap();
    assert_eq!(catena.seen().len(), 4);
}

#[tokio::test]
async fn attempts_end() {
    let catena = Catena::start(tokens, |_, _| says(504, sample!("error.504.json"))).await;
    let error = Us::of(&catena).agreement().await.unwrap_err();
    let CatenaError::Unavailable {
        sent: true,
        source: Outage::Status(504),
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(catena.seen().len(), 4);
}

#[tokio::test]
async fn nothing_is_sent_to_nobody() {
    let catena = Catena::start(tokens, good).await;
    let us = Us::of(&catena);
    us.agreement().await.unwrap();
    // Nobody listens there: the port was free a moment ago.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let error = Us::at(&address)
        .client
        .within(LONG)
        .invitation(INVITATION)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        CatenaError::Unavailable {
            sent: false,
            source: Outage::Fetch(_)
        }
    ));
    assert!(!error.is_ambiguous());
}

#[tokio::test]
async fn a_call_that_is_not_idempotent_is_not_repeated() {
    let catena = Catena::start(tokens, |number, seen| match number {
        0 => says(500, ""),
        1 => Says::Answer(429, "retry-after: 0\r\n".to_owned(), String::new()),
        _ => good(number, seen),
    })
    .await;
    let us = Us::of(&catena);
    let mut call = Call::new("once", Method::POST, "/v2/once".to_owned());
    call.idempotent = false;
    let error = us.client.within(LONG).send(&call).await.err().unwrap();
    assert!(error.is_ambiguous());
    assert_eq!(catena.seen().len(), 1);
    us.client.within(LONG).send(&call).await.ok().unwrap();
    assert_eq!(catena.seen().len(), 3, "a 429 did nothing");
}

#[tokio::test]
async fn a_short_wait_is_waited() {
    let catena = Catena::start(tokens, |number, seen| match number {
        0 => says(429, r#"{"detail":{"retry_after_seconds":0.2}}"#),
        _ => good(number, seen),
    })
    .await;
    let us = Us::of(&catena);
    let started = Instant::now();
    us.agreement().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(catena.seen().len(), 2);
}

#[tokio::test]
async fn a_long_wait_is_reported_at_once_and_kept_by_all() {
    let catena = Catena::start(tokens, |number, seen| match number {
        0 => says(429, sample!("error.429.json")),
        _ => good(number, seen),
    })
    .await;
    let us = Us::of(&catena);
    let soon = || {
        us.client
            .within(Duration::from_secs(5))
            .share_agreement(AGREEMENT)
    };
    let wait = |outcome| match outcome {
        Err(CatenaError::RateLimited { retry_after }) => retry_after,
        _ => None,
    };
    assert_eq!(wait(soon().await), Some(Duration::from_secs(7)));
    us.passes(1.0);
    assert_eq!(wait(soon().await), Some(Duration::from_secs(6)));
    assert_eq!(catena.seen().len(), 1, "nothing is sent meanwhile");
    us.passes(6.5);
    soon().await.unwrap();
}

#[tokio::test]
async fn callers_in_line_heed_a_wait_that_begins_before_their_turn() {
    let catena = Catena::start(tokens, |_, _| says(429, sample!("error.429.json"))).await;
    let us = Us::of(&catena);
    let soon = || {
        let calls = us.client.within(Duration::from_secs(5));
        calls.share_agreement(AGREEMENT)
    };
    for outcome in join_all((0..500).map(|_| soon())).await {
        assert!(matches!(outcome, Err(CatenaError::RateLimited { .. })));
    }
    let sent = catena.seen().len();
    assert!(sent < 50, "{sent} of 500");
}

#[tokio::test]
async fn a_clock_put_back_ends_a_pause() {
    let catena = Catena::start(tokens, |number, seen| match number {
        0 => says(429, sample!("error.429.json")),
        _ => good(number, seen),
    })
    .await;
    let us = Us::of(&catena);
    let soon = || {
        us.client
            .within(Duration::from_secs(5))
            .share_agreement(AGREEMENT)
    };
    soon().await.unwrap_err();
    us.passes(-86_400.0);
    soon().await.unwrap();
}

#[tokio::test]
async fn a_slow_answer_is_given_up() {
    let catena = Catena::start(tokens, |_, _| Says::Nothing).await;
    let us = Us::of(&catena);
    let started = Instant::now();
    let soon = us.client.within(Duration::from_millis(300));
    let error = soon.share_agreement(AGREEMENT).await.unwrap_err();
    assert!(
        matches!(error, CatenaError::Unavailable { sent: true, .. }),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_slow_token_is_given_up_unsent() {
    let catena = Catena::start(|_, _| Says::Nothing, good).await;
    let us = Us::of(&catena);
    let soon = us.client.within(Duration::from_millis(300));
    let error = soon.share_agreement(AGREEMENT).await.unwrap_err();
    let CatenaError::Unavailable {
        sent: false,
        source: Outage::OutOfTime,
    } = error
    else {
        panic!("{error:?}");
    };
}

#[tokio::test]
async fn no_renewal_is_left_half_done_by_callers_who_gave_up() {
    let catena = Catena::start(
        |number, seen| {
            if number == 0 {
                Says::Nothing
            } else {
                tokens(number, seen)
            }
        },
        good,
    )
    .await;
    let us = Us::of(&catena);
    let soon = us.client.within(Duration::from_millis(200));
    soon.share_agreement(AGREEMENT).await.unwrap_err();
    us.agreement().await.unwrap();
    assert_eq!(catena.tokens_asked(), 2);
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_promised_is_unreadable() {
    let cases: [(Says, &str, usize); 6] = [
        (
            Says::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned()),
            "truncated",
            4,
        ),
        (says(200, " ".repeat(1024 * 1024 + 1)), "too large", 1),
        (says(200, "<html>maintenance</html>"), "not JSON", 1),
        (says(200, "[]"), "not an object", 1),
        (says(200, r#"{"fleet_id":"x"}"#), "field id is missing", 1),
        (
            says(200, r#"{"id":"x","fleet_id":["secret"]}"#),
            "field fleet_id has another form than documented",
            1,
        ),
    ];
    for (answer, expected, attempts) in cases {
        let bytes = match answer {
            Says::Answer(_, _, body) => format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
            Says::Bytes(bytes) => bytes,
            Says::Nothing => String::new(),
        };
        let catena = Catena::start(tokens, move |_, _| Says::Bytes(bytes.clone())).await;
        let outcome = Us::of(&catena).agreement().await;
        let Err(error @ CatenaError::Unreadable { status: 200, .. }) = outcome else {
            panic!("{expected}: {outcome:?}");
        };
        assert_eq!(
            error.to_string(),
            format!("unreadable answer with status 200: {expected}")
        );
        assert!(error.is_ambiguous());
        assert_eq!(catena.seen().len(), attempts, "{expected}");
    }
}

#[tokio::test]
async fn a_large_page_is_read() {
    let filler = "x".repeat(2 * 1024 * 1024);
    let body = json!({"items": [], "filler": filler, "next_page": null}).to_string();
    let catena = Catena::start(tokens, move |_, _| says(200, body.clone())).await;
    let us = Us::of(&catena);
    let fleets = us.client.within(LONG).fleets().collect(10).await.unwrap();
    assert!(fleets.value.items.is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Catena::start(tokens, good).await;
    let elsewhere = format!("location: {}/v2/x\r\n", other.address);
    let catena = Catena::start(tokens, move |_, _| {
        Says::Answer(307, elsewhere.clone(), String::new())
    })
    .await;
    let error = Us::of(&catena).agreement().await.unwrap_err();
    assert!(
        matches!(error, CatenaError::Unreadable { status: 307, .. }),
        "{error:?}"
    );
    assert_eq!((catena.seen().len(), other.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_write_that_may_have_happened_says_so() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => says(500, ""),
        _ => says(409, sample!("error.409.json")),
    })
    .await;
    let us = Us::of(&catena);
    let error = us
        .client
        .within(LONG)
        .cancel_share_agreement(AGREEMENT)
        .await
        .unwrap_err();
    let CatenaError::Unclear(last) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(**last, CatenaError::Refused(_)));
    assert!(error.is_ambiguous());
    // The same without the first attempt is certain.
    let error = us
        .client
        .within(LONG)
        .cancel_share_agreement(AGREEMENT)
        .await
        .unwrap_err();
    assert!(matches!(error, CatenaError::Refused(_)) && !error.is_ambiguous());
}

#[tokio::test]
async fn an_early_attempt_keeps_a_write_unclear_when_the_last_never_left() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => says(500, ""),
        _ => Says::Answer(429, "retry-after: 60\r\n".to_owned(), String::new()),
    })
    .await;
    let us = Us::of(&catena);
    let error = us
        .client
        .within(LONG)
        .delete_invitation(INVITATION)
        .await
        .unwrap_err();
    let CatenaError::Unclear(last) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(
        **last,
        CatenaError::RateLimited {
            retry_after: Some(_)
        }
    ));
}

#[tokio::test]
async fn what_an_earlier_attempt_deleted_is_deleted() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => says(502, ""),
        _ => says(404, sample!("error.404.json")),
    })
    .await;
    let us = Us::of(&catena);
    us.client
        .within(LONG)
        .delete_invitation(INVITATION)
        .await
        .unwrap();
    let second = us.client.within(LONG).delete_invitation(INVITATION).await;
    assert!(matches!(second, Err(CatenaError::NotFound)));
}

#[tokio::test]
async fn what_is_not_there_to_be_read_is_not_found_at_any_attempt() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => says(502, ""),
        _ => says(404, agreement()),
    })
    .await;
    let outcome = Us::of(&catena).agreement().await;
    assert!(matches!(outcome, Err(CatenaError::NotFound)));
}

fn page(number: usize, next: Option<&str>) -> Says {
    let item = json!({"id": format!("f{number}"), "fleet_ref": "r"});
    says(
        200,
        json!({"items": [item], "next_page": next, "total": 3}).to_string(),
    )
}

#[tokio::test]
async fn pages_are_followed_to_the_last() {
    let catena = Catena::start(tokens, |number, _| {
        page(number, [Some("a+b=="), Some("c&size=1"), None][number])
    })
    .await;
    let us = Us::of(&catena);
    let mut pages = us.client.within(LONG).fleets();
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await {
        ids.extend(page.unwrap().value.into_iter().map(|fleet| fleet.id));
    }
    assert_eq!(ids, ["f0", "f1", "f2"]);
    let targets: Vec<_> = catena.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(
        targets,
        [
            "/v2/orgs/fleets?size=300",
            "/v2/orgs/fleets?size=300&cursor=a%2Bb%3D%3D",
            "/v2/orgs/fleets?size=300&cursor=c%26size%3D1",
        ]
    );
    assert!(pages.next().await.is_none());
}

#[tokio::test]
async fn collecting_stops_at_a_limit() {
    let catena = Catena::start(tokens, |number, _| page(number, Some(&number.to_string()))).await;
    let us = Us::of(&catena);
    let collected = us
        .client
        .within(LONG)
        .fleets()
        .collect(2)
        .await
        .unwrap()
        .value;
    assert_eq!((collected.items.len(), collected.more), (2, true));
    assert_eq!(catena.seen().len(), 3);

    let catena = Catena::start(tokens, |number, _| page(number, [Some("a"), None][number])).await;
    let us = Us::of(&catena);
    let collected = us
        .client
        .within(LONG)
        .fleets()
        .collect(2)
        .await
        .unwrap()
        .value;
    assert_eq!((collected.items.len(), collected.more), (2, false));
}

#[tokio::test]
async fn a_cursor_that_repeats_is_the_end() {
    let catena = Catena::start(tokens, |number, _| {
        page(number, Some(["a", "b", "a"][number]))
    })
    .await;
    let us = Us::of(&catena);
    let mut pages = us.client.within(LONG).fleets();
    for _ in 0..2 {
        pages.next().await.unwrap().unwrap();
    }
    let error = pages.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cursor"), "{error}");
    assert!(pages.next().await.is_none());
}

#[tokio::test]
async fn pages_without_end_end() {
    let catena = Catena::start(tokens, |number, _| page(number, Some(&number.to_string()))).await;
    let us = Us::of(&catena);
    let error = us
        .client
        .within(LONG)
        .fleets()
        .collect(usize::MAX)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("1000 pages"), "{error}");
    assert_eq!(catena.seen().len(), 1_000);
}

#[tokio::test]
async fn a_page_that_is_no_page_is_unreadable() {
    for body in ["[]", "7", "{}", r#"{"items":{}}"#, r#"{"items":[{}]}"#] {
        let catena = Catena::start(tokens, move |_, _| says(200, body)).await;
        let us = Us::of(&catena);
        let mut pages = us.client.within(LONG).fleets();
        let error = pages.next().await.unwrap().unwrap_err();
        assert!(
            matches!(error, CatenaError::Unreadable { .. }),
            "{body}: {error:?}"
        );
    }
}

#[tokio::test]
async fn many_references_are_asked_for_in_portions() {
    let catena = Catena::start(tokens, |number, _| page(number, None)).await;
    let us = Us::of(&catena);
    let refs: Vec<String> = (0..150).map(|n| format!("FLEET-{n}")).collect();
    let fleets = us
        .client
        .within(LONG)
        .fleets_of(refs.iter().map(String::as_str));
    assert_eq!(fleets.collect(10).await.unwrap().value.items.len(), 2);
    let seen = catena.seen();
    assert!(
        seen[0]
            .target
            .starts_with("/v2/orgs/fleets?fleet_refs=FLEET-0&fleet_refs=FLEET-1&")
    );
    assert!(seen[0].target.ends_with("&size=300"));
    assert_eq!(seen[1].target.matches("fleet_refs=").count(), 50);

    let none = us
        .client
        .within(LONG)
        .fleets_of([])
        .collect(10)
        .await
        .unwrap();
    assert!(none.value.items.is_empty() && catena.seen().len() == 2);
}

fn permissions() -> BTreeMap<String, Level> {
    BTreeMap::from([
        ("user".to_owned(), Level::Read),
        ("message".to_owned(), Level::ReadWrite),
    ])
}

#[tokio::test]
async fn an_invitation_is_created_or_refreshed() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => says(201, sample!("invitation.create.response.201.json")),
        _ => says(
            200,
            sample!("invitation.create.response.200-refreshed.json"),
        ),
    })
    .await;
    let us = Us::of(&catena);
    let mut new = NewInvitation::new("FLEET-42", permissions(), 168);
    new.success_redirect_url = Some("https://us.example/return/token".to_owned());
    for is_new in [true, false] {
        let created = us
            .client
            .within(LONG)
            .create_invitation(&new)
            .await
            .unwrap()
            .value;
        assert_eq!(created.new, is_new);
        let read = created.invitation;
        assert_eq!(read.secret.id, INVITATION);
        let link = format!("https://connect.catenatelematics.com/?invite={INVITATION}");
        assert_eq!(read.secret.magic_link, Some(link));
        assert_eq!(
            read.invitation.invitation_hash,
            InvitationHash::of(INVITATION)
        );
        assert_eq!(read.invitation.fleet_ref.as_deref(), Some("FLEET-42"));
        assert_eq!(
            read.permissions.unwrap().get("message"),
            Some(&Level::ReadWrite)
        );
        assert_eq!(read.fleet_email.as_deref(), Some("ops@acme.example"));
    }
    let sent = catena.seen().remove(0);
    assert_eq!(
        (&*sent.method, &*sent.target),
        ("POST", "/v2/orgs/invitations")
    );
    assert_eq!(sent.header("content-type"), Some("application/json"));
    let expected = json!({
        "fleet_ref": "FLEET-42",
        "success_redirect_url": "https://us.example/return/token",
        "permissions": {"user": "read", "message": "read_write"},
        "expires_in_hours": 168,
    });
    assert_eq!(serde_json::from_str::<Value>(&sent.body).unwrap(), expected);
    assert!(!format!("{new:?}").contains("token"));
}

#[tokio::test]
async fn an_invitation_is_read_without_a_token_and_shows_no_secret() {
    let catena = Catena::start(tokens, |_, _| {
        says(200, sample!("invitation.get.response.accepted.json"))
    })
    .await;
    let us = Us::of(&catena);
    let answer = us.client.within(LONG).invitation(INVITATION).await.unwrap();
    assert_eq!(answer.value.invitation.status, Some(Status::Accepted));
    assert_eq!(answer.value.invitation.fleet_id.as_deref(), Some(FLEET));
    let invitation = &answer.value.invitation;
    assert_eq!(
        invitation.partner_id.as_deref(),
        Some("9df92c50-d8a7-460e-aab2-a93f1de9280a")
    );
    assert_eq!(invitation.fleet_regulatory_id.as_deref(), Some("1234567"));
    assert_eq!(invitation.fleet_regulatory_id_type.as_deref(), Some("DOT"));
    let seen = catena.seen().remove(0);
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(catena.tokens_asked(), 0);

    let shown = format!("{answer:?}");
    for secret in [
        INVITATION,
        "connect.catena",
        "SAMPLE-NOT-A-REAL",
        "app.example.com",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let kept = serde_json::to_string(&answer.value.secret).unwrap();
    let back: crate::InvitationSecret = serde_json::from_str(&kept).unwrap();
    assert_eq!(back, answer.value.secret);
    assert!(!kept.contains("SAMPLE-NOT-A-REAL"));
}

#[tokio::test]
async fn a_fleets_placeholder_name_is_not_shown() {
    let catena = Catena::start(tokens, |number, _| {
        let sample: Value = serde_json::from_str(sample!("fleets.list.response.200.json")).unwrap();
        let mut fleet = sample["items"][0].clone();
        match number {
            0 => {}
            1 => fleet["name"] = json!(format!("Fleet {INVITATION}")),
            _ => {
                fleet["name"] = json!(format!("Fleet {INVITATION}"));
                fleet["invitation_id"] = Value::Null;
            }
        }
        says(200, fleet.to_string())
    })
    .await;
    let us = Us::of(&catena);
    for expected in [Some("Acme Trucking"), None, None] {
        let fleet = us.client.within(LONG).fleet(FLEET).await.unwrap().value;
        assert_eq!(fleet.shown_name(), expected);
    }
    let fleet = us.client.within(LONG).fleet(FLEET).await.unwrap().value;
    assert_eq!(fleet.id, FLEET);
}

#[tokio::test]
async fn integration_requests_and_providers_are_read() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => says(
            200,
            sample!("integration-requests.list.response.pending.json"),
        ),
        1 => says(200, sample!("integration-requests.list.response.live.json")),
        2 => says(200, sample!("tsps.list.response.200.json")),
        3 => says(200, sample!("tsp.get.response.integration-live.json")),
        _ => says(
            200,
            format!(r#"[{{"name":"x","invitation_id":"{INVITATION}"}}]"#),
        ),
    })
    .await;
    let us = Us::of(&catena);
    for live in [false, true] {
        let calls = us.client.within(LONG);
        let requests = calls
            .integration_requests(None, Some("FLEET-42"))
            .await
            .unwrap()
            .value;
        assert_eq!(requests[0].is_live(), live);
        assert_eq!(
            requests[0].invitation_hash,
            Some(InvitationHash::of(INVITATION))
        );
        let shown = format!("{requests:?}");
        assert!(!shown.contains(INVITATION), "{shown}");
    }
    let providers = us
        .client
        .within(LONG)
        .providers(Some("samsara"), None)
        .await
        .unwrap()
        .value;
    assert_eq!(providers[0].source_name.as_deref(), Some("samsara"));
    let provider = us
        .client
        .within(LONG)
        .provider(&providers[0].id)
        .await
        .unwrap()
        .value;
    assert_eq!(
        provider.ext_tsp_id.as_deref(),
        Some("019d6a63-e072-7bcf-a03b-e51a72a4c855")
    );
    let found = us
        .client
        .within(LONG)
        .external_providers("Nomad & co")
        .await
        .unwrap()
        .value;
    assert!(found[0].get("invitation_id").is_none() && found[0]["name"] == "x");
    let targets: Vec<_> = catena.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(
        targets[1..],
        [
            "/v2/orgs/external-tsps/integration-requests?fleet_ref=FLEET-42",
            "/v2/orgs/tsps?slug=samsara",
            "/v2/orgs/tsps/0d5df06e-3f7e-4f36-89b3-5e537c3d514a",
            "/v2/orgs/external-tsps?q=Nomad%20%26%20co",
        ]
    );
}

#[tokio::test]
async fn agreements_are_asked_for_and_changed_where_they_are() {
    let catena = Catena::start(tokens, |_, seen| match &*seen.method {
        "DELETE" => says(204, ""),
        _ if seen.target.contains('?') => {
            says(200, sample!("share-agreements.list.response.200.json"))
        }
        _ => says(200, agreement()),
    })
    .await;
    let us = Us::of(&catena);
    let calls = || us.client.within(LONG);
    let filter = AgreementFilter {
        fleet_id: Some(FLEET.to_owned()),
        fleet_ref: Some("ä b".to_owned()),
        status: Some(Status::Active),
    };
    let listed = calls()
        .share_agreements(&filter)
        .collect(5)
        .await
        .unwrap()
        .value;
    assert_eq!(listed.items[0].fleet_id, FLEET);
    calls()
        .update_share_agreement(AGREEMENT, &AgreementDates::default())
        .await
        .unwrap();
    calls().pause_share_agreement(AGREEMENT).await.unwrap();
    calls().activate_share_agreement(AGREEMENT).await.unwrap();
    calls().cancel_share_agreement(AGREEMENT).await.unwrap();
    calls().delete_share_agreement(AGREEMENT).await.unwrap();
    calls().delete_invitation(INVITATION).await.unwrap();
    let seen: Vec<_> = catena
        .seen()
        .into_iter()
        .map(|seen| format!("{} {} {}", seen.method, seen.target, seen.body))
        .collect();
    let agreement = format!("/v2/orgs/share-agreements/{AGREEMENT}");
    assert_eq!(
        seen,
        [
            format!(
                "GET /v2/orgs/share-agreements?fleet_id={FLEET}&fleet_ref=%C3%A4%20b&share_agreement_status=active&size=300 "
            ),
            format!("PATCH {agreement} {{}}"),
            format!("POST {agreement}/pause "),
            format!("POST {agreement}/activate "),
            format!("POST {agreement}/cancel "),
            format!("DELETE {agreement} "),
            format!("DELETE /v2/orgs/invitations/{INVITATION} "),
        ]
    );
}

#[tokio::test]
async fn connections_and_schedules_are_read() {
    let catena = Catena::start(tokens, |_, seen| {
        let list = sample!("connections.list.response.200.json");
        match &seen.target {
            target if target.contains("/schedules") => {
                says(200, sample!("schedules.list.response.200.json"))
            }
            target if target.contains(CONNECTION) => {
                let list: Value = serde_json::from_str(list).unwrap();
                says(200, list["items"][0].to_string())
            }
            _ => says(200, list),
        }
    })
    .await;
    let us = Us::of(&catena);
    let calls = || us.client.within(LONG);
    let all = calls().connections().collect(5).await.unwrap().value;
    let some = calls().connections_of(["FLEET-42", "ä b"]);
    let some = some.collect(5).await.unwrap().value;
    assert_eq!(some, all);
    let one = calls().connection(CONNECTION).await.unwrap().value;
    assert_eq!(all.items, std::slice::from_ref(&one));
    assert_eq!(one.id, CONNECTION);
    assert_eq!(one.fleet_id.as_deref(), Some(FLEET));
    assert_eq!(one.fleet_ref.as_deref(), Some("FLEET-42"));
    assert_eq!(one.status, Some(Status::Active));
    assert_eq!(one.source_name.as_deref(), Some("samsara"));
    assert!(one.tsp_id.is_some());
    let made = catena::Instant::parse_rfc3339("2026-05-04T08:09:40Z");
    assert_eq!((one.created_at, one.updated_at), (made, made));

    let schedules = calls().schedules(CONNECTION).unwrap();
    let schedules = schedules.collect(5).await.unwrap().value.items;
    assert_eq!(schedules[0].connection_id, CONNECTION);
    assert_eq!(schedules[0].status, Some(Status::Active));
    assert_eq!(schedules[0].resource.as_deref(), Some("vehicle_location"));

    let targets: Vec<_> = catena.seen().into_iter().map(|seen| seen.target).collect();
    let path = "/v2/integrations/connections";
    assert_eq!(
        targets,
        [
            format!("{path}?size=300"),
            format!("{path}?fleet_refs=FLEET-42&fleet_refs=%C3%A4%20b&size=300"),
            format!("{path}/{CONNECTION}"),
            format!("{path}/{CONNECTION}/schedules?size=300"),
        ]
    );
}

#[tokio::test]
async fn connections_of_many_references_are_asked_for_in_portions() {
    let catena = Catena::start(tokens, |number, _| page(number, None)).await;
    let us = Us::of(&catena);
    let refs: Vec<String> = (0..150).map(|n| format!("FLEET-{n}")).collect();
    let connections = us
        .client
        .within(LONG)
        .connections_of(refs.iter().map(String::as_str));
    assert_eq!(connections.collect(10).await.unwrap().value.items.len(), 2);
    let targets: Vec<_> = catena.seen().into_iter().map(|seen| seen.target).collect();
    let counts = targets
        .iter()
        .map(|target| target.matches("fleet_refs=").count());
    assert_eq!(counts.collect::<Vec<_>>(), [100, 50]);

    let none = us.client.within(LONG).connections_of([]).collect(10).await;
    assert!(none.unwrap().value.items.is_empty() && catena.seen().len() == 2);
}

#[tokio::test]
async fn what_cannot_be_a_connection_is_not_asked_for() {
    let catena = Catena::start(tokens, good).await;
    let us = Us::of(&catena);
    let calls = || us.client.within(LONG);
    for bad in ["", "..", "a/b"] {
        let read = calls().connection(bad).await.map(|_| ());
        let listed = calls().schedules(bad).map(|_| ());
        for outcome in [read, listed] {
            assert!(matches!(outcome, Err(CatenaError::NotFound)), "{bad:?}");
        }
    }
    assert!(catena.seen().is_empty());
}

#[tokio::test]
async fn requests_say_who_they_are_from() {
    let catena = Catena::start(tokens, good).await;
    Us::of(&catena).agreement().await.unwrap();
    let seen = catena.seen().remove(0);
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.header("authorization"), Some("Bearer t0"));
    assert!(seen.header("user-agent").unwrap().starts_with("kingpin/"));
    assert_eq!(seen.header("accept-encoding"), None);
}

#[tokio::test]
async fn an_answer_is_timed_by_its_own_exchange() {
    let catena = Catena::start(tokens, |number, _| match number {
        0 => Says::Answer(
            500,
            "date: Mon, 04 May 2026 06:00:00 GMT\r\n".to_owned(),
            String::new(),
        ),
        _ => Says::Answer(
            200,
            "date: Mon, 04 May 2026 07:00:00 GMT\r\n".to_owned(),
            agreement(),
        ),
    })
    .await;
    let us = Us::of(&catena);
    let answer = us
        .client
        .within(LONG)
        .share_agreement(AGREEMENT)
        .await
        .unwrap();
    let date = catena::Instant::parse_rfc3339("2026-05-04T07:00:00Z").unwrap();
    let observed = answer.observed;
    assert_eq!((observed.date, observed.asked), (Some(date), START.into()));
    let before = date.millis() - observed.at().millis();
    assert_eq!(before, 1_000 + observed.elapsed.as_millis() as i64);
}

#[tokio::test]
async fn no_error_shows_an_id_a_token_or_a_secret() {
    let words = format!(
        r#"{{"message":"invitation {INVITATION} of https://x/?invite={INVITATION}","detail":"Bearer t0hushhushhushhushhushhushhush"}}"#
    );
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned(),
        format!("HTTP/1.1 200 OK\r\n\r\n[\"{INVITATION}\"]"),
        format!(
            "HTTP/1.1 200 OK\r\n\r\n{{\"id\":\"{INVITATION}\",\"created_at\":\"{INVITATION}\"}}"
        ),
        format!("HTTP/1.1 302 X\r\nlocation: /{INVITATION}\r\n\r\n"),
        format!("HTTP/1.1 400 X\r\n\r\n{words}"),
        format!("HTTP/1.1 403 X\r\n\r\n{words}"),
        format!("HTTP/1.1 401 X\r\n\r\n{words}"),
        format!("HTTP/1.1 500 X\r\n\r\n{words}"),
        format!("{INVITATION}\r\n\r\n"),
        String::new(),
    ];
    for answer in answers {
        let said = answer.clone();
        let catena = Catena::start(tokens, move |_, _| Says::Bytes(answer.clone())).await;
        let us = Us::of(&catena);
        let read = us
            .client
            .within(LONG)
            .invitation(INVITATION)
            .await
            .unwrap_err();
        let deleted = us.client.within(LONG).delete_invitation(INVITATION).await;
        let shown = format!("{read:?} {read} {deleted:?} {:?}", us.client);
        for secret in [INVITATION, "hush", "t0"] {
            assert!(!shown.contains(secret), "{said}: {shown}");
        }
    }
}
