//! The client of Catena's API against the simulator: two implementations of the contract meet on the wire.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use catena::{Level, Status};
use catena_client::{CatenaError, Client, Credentials, Endpoints, NewInvitation, Patience};
use futures_util::{StreamExt, stream};
use simulator::{ApiFault, ApiFaultKind, Simulator};
use time::OffsetDateTime;

const INVITATIONS: &str = "/v2/orgs/invitations";
pub(crate) const TIME: Duration = Duration::from_secs(10);

struct Catena {
    simulator: Simulator,
    client: Client,
}

impl Catena {
    async fn start() -> Self {
        let simulator = silent().await;
        let client = client(&simulator);
        Self { simulator, client }
    }

    fn wish(fleet: &str) -> NewInvitation {
        let permissions = BTreeMap::from([("vehicle".to_owned(), Level::Read)]);
        NewInvitation::new(fleet, permissions, 672)
    }

    async fn create(&self, fleet: &str) -> Result<(bool, catena::Invitation), CatenaError> {
        let created = self
            .client
            .within(TIME)
            .create_invitation(&Self::wish(fleet))
            .await?;
        Ok((created.value.new, created.value.invitation.invitation))
    }

    fn fault(&self, kind: ApiFaultKind) {
        let fault = ApiFault::new(kind).on("POST", INVITATIONS);
        self.simulator.add_api_fault(fault);
    }

    fn count(&self, path: &str) -> usize {
        let calls = self.simulator.api_calls();
        calls.iter().filter(|call| call.path == path).count()
    }

    /// Many calls at the same time.
    async fn many(&self, calls: usize) {
        let list = || async {
            let listed = self
                .client
                .within(Duration::from_secs(60))
                .invitations(None);
            listed.collect(1).await.map(drop)
        };
        let calls: Vec<_> = (0..calls).map(|_| list()).collect();
        let answers: Vec<_> = stream::iter(calls)
            .buffer_unordered(usize::MAX)
            .collect()
            .await;
        for answer in answers {
            answer.unwrap();
        }
    }
}

/// Catena, which tells nothing by webhooks.
pub(crate) async fn silent() -> Simulator {
    let config = simulator::Config {
        listen: None,
        webhook_url: "http://127.0.0.1:9/".to_owned(),
        signing_key: "nobody-listens-to-the-webhooks-here".to_owned(),
    };
    let simulator = Simulator::start(config).await.unwrap();
    simulator.set_events(false);
    simulator
}

pub(crate) fn client(simulator: &Simulator) -> Client {
    let endpoints = Endpoints {
        api: simulator.url().parse().unwrap(),
        token: format!("{}{}", simulator.url(), simulator::TOKEN_PATH)
            .parse()
            .unwrap(),
    };
    let credentials = async || {
        let (id, secret) = (simulator::CLIENT_ID, simulator::CLIENT_SECRET);
        let json = format!(r#"{{"client_id":"{id}","client_secret":"{secret}"}}"#);
        Ok(Credentials::parse(&json)?)
    };
    let patience = Patience {
        attempt: Duration::from_secs(2),
        ..Patience::default()
    };
    Client::new(endpoints, patience, credentials, OffsetDateTime::now_utc)
}

/// The ids of all invitations of a fleet at Catena.
pub(crate) async fn invitations_at(simulator: &Simulator, fleet: &str) -> Vec<String> {
    let client = client(simulator);
    let listed = client.within(TIME).invitations(Some(fleet));
    let listed = listed.collect(100).await.unwrap().value.items;
    listed.into_iter().map(|it| it.secret.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_cause_one_token_request_and_so_does_a_refused_token() {
    let catena = Catena::start().await;
    catena.many(1000).await;
    assert_eq!(catena.count(simulator::TOKEN_PATH), 1);
    assert_eq!(catena.count(INVITATIONS), 1000);
    assert!(catena.simulator.most_api_calls_in_flight() > 1);

    // Refused for everybody at once: one renewal, and each call is made again once.
    catena.simulator.revoke_tokens();
    catena.simulator.clear_api_calls();
    catena.many(1000).await;
    assert_eq!(catena.count(simulator::TOKEN_PATH), 1);
    let refused = catena.simulator.api_calls();
    let refused = refused.iter().filter(|it| it.status == Some(401)).count();
    assert!((1..=1000).contains(&refused), "{refused}");
    assert_eq!(catena.count(INVITATIONS), 1000 + refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_its_end() {
    let catena = Catena::start().await;
    catena.simulator.set_token_lifetime(Duration::from_secs(2));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        catena.many(5).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = catena.simulator.api_calls();
    let refused = refused.iter().filter(|it| it.status == Some(401)).count();
    assert_eq!(refused, 0, "calls went out with a token that was over");
    let tokens = catena.count(simulator::TOKEN_PATH);
    assert!((3..=5).contains(&tokens), "{tokens}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_and_what_is_asked_to_wait_waits() {
    let catena = Catena::start().await;
    for kind in [
        ApiFaultKind::Status { status: 500 },
        ApiFaultKind::Status { status: 502 },
        ApiFaultKind::CutBefore,
        ApiFaultKind::CutAfter,
        ApiFaultKind::Stall,
        ApiFaultKind::Truncated,
        ApiFaultKind::Unauthorized,
    ] {
        catena.fault(kind.clone());
        let fleet = format!("FLEET-{}", catena.count(INVITATIONS));
        let created = catena.create(&fleet).await;
        assert!(created.is_ok(), "{kind:?}: {created:?}");
        assert_eq!(
            invitations_at(&catena.simulator, &fleet).await.len(),
            1,
            "{kind:?}"
        );
    }
    let limited = |seconds| ApiFaultKind::TooManyRequests {
        retry_after_seconds: Some(seconds),
        retry_after: None,
    };
    catena.fault(limited(2));
    let start = Instant::now();
    catena.create("FLEET-LIMITED").await.unwrap();
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );

    // Longer than the caller has time: told at once.
    catena.fault(limited(3600));
    let start = Instant::now();
    let limited = catena.create("FLEET-LATER").await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2));
    let CatenaError::RateLimited { retry_after } = limited else {
        panic!("{limited:?}");
    };
    assert!(
        retry_after > Some(Duration::from_secs(3590)),
        "{retry_after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_said_to_and_in_time() {
    for kind in [
        ApiFaultKind::Html,
        ApiFaultKind::Empty,
        ApiFaultKind::Truncated,
        ApiFaultKind::Oversized { mebibytes: 20 },
    ] {
        let catena = Catena::start().await;
        let fault = ApiFault::new(kind.clone())
            .on("POST", INVITATIONS)
            .until_cleared();
        catena.simulator.add_api_fault(fault);
        let error = catena.create("FLEET-1").await.unwrap_err();
        assert!(
            matches!(error, CatenaError::Unreadable { .. }),
            "{kind:?}: {error:?}"
        );
        assert!(error.is_ambiguous());
        let told = format!("{error} {error:?}");
        assert!(
            !told.contains(simulator::TOKEN_PREFIX) && !told.contains("?invite="),
            "{told}"
        );
    }
    for kind in [
        ApiFaultKind::Stall,
        ApiFaultKind::Slow {
            by: Duration::from_secs(60),
        },
    ] {
        let catena = Catena::start().await;
        let fault = ApiFault::new(kind.clone())
            .on("POST", INVITATIONS)
            .until_cleared();
        catena.simulator.add_api_fault(fault);
        let start = Instant::now();
        let error = catena.create("FLEET-1").await.unwrap_err();
        assert!(
            matches!(error, CatenaError::Unavailable { sent: true, .. }),
            "{kind:?}: {error:?}"
        );
        assert!(
            start.elapsed() < TIME + Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_do_what_the_contract_says() {
    let catena = Catena::start().await;
    let (new, first) = catena.create("FLEET-1").await.unwrap();
    assert!(new);
    let hash = first.invitation_hash;
    let (new, again) = catena.create("FLEET-1").await.unwrap();
    assert_eq!((new, &again.invitation_hash), (false, &hash));
    assert!(again.expires_at >= first.expires_at);

    catena
        .simulator
        .decline_invitation("FLEET-1", Some("no"))
        .unwrap();
    let (new, reopened) = catena.create("FLEET-1").await.unwrap();
    assert_eq!((new, &reopened.invitation_hash), (false, &hash));
    assert_eq!(
        (reopened.status, reopened.declined_at),
        (Some(Status::Active), None)
    );

    catena.simulator.accept_invitation("FLEET-1").unwrap();
    let (new, accepted) = catena.create("FLEET-1").await.unwrap();
    assert_eq!((new, &accepted.invitation_hash), (false, &hash));
    assert_eq!(accepted.status, Some(Status::Accepted));
    assert!(accepted.fleet_id.is_some());

    catena.create("FLEET-2").await.unwrap();
    catena.simulator.expire_invitation("FLEET-2").unwrap();
    let (new, _) = catena.create("FLEET-2").await.unwrap();
    assert!(new);
    assert_eq!(invitations_at(&catena.simulator, "FLEET-2").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_of_the_organisation_is_read_too() {
    let catena = Catena::start().await;
    for number in 0..25 {
        catena.create(&format!("FLEET-{number:02}")).await.unwrap();
    }
    catena.simulator.accept_invitation("FLEET-07").unwrap();
    let calls = || catena.client.within(TIME);
    let all = calls().invitations(None).collect(1000).await.unwrap().value;
    assert_eq!((all.items.len(), all.more), (25, false));
    let one = calls()
        .invitations(Some("FLEET-07"))
        .collect(10)
        .await
        .unwrap()
        .value
        .items;
    let [one] = &one[..] else { panic!("{one:?}") };
    assert_eq!(one.invitation.fleet_ref.as_deref(), Some("FLEET-07"));
    let read = calls().invitation(&one.secret.id).await.unwrap();
    assert_eq!(
        read.value.invitation.invitation_hash,
        one.invitation.invitation_hash
    );
    // Catena's clock is this machine's here.
    let now = catena::Instant::from(OffsetDateTime::now_utc());
    assert!(read.observed.at() < now && now.millis() - read.observed.at().millis() < 5_000);

    let fleets = calls()
        .fleets_of(["FLEET-07", "FLEET-08"])
        .collect(10)
        .await
        .unwrap()
        .value
        .items;
    assert_eq!(fleets.len(), 1);
    let filter = catena_client::AgreementFilter {
        fleet_ref: Some("FLEET-07".to_owned()),
        ..catena_client::AgreementFilter::default()
    };
    let agreements = calls()
        .share_agreements(&filter)
        .collect(10)
        .await
        .unwrap()
        .value
        .items;
    let [agreement] = &agreements[..] else {
        panic!("{agreements:?}")
    };
    assert_eq!(agreement.status, Some(Status::Active));
    let paused = calls()
        .pause_share_agreement(&agreement.id)
        .await
        .unwrap()
        .value;
    assert_eq!(paused.status, Some(Status::Paused));
    let active = calls()
        .activate_share_agreement(&agreement.id)
        .await
        .unwrap()
        .value;
    assert_eq!(active.status, Some(Status::Active));
    calls().delete_share_agreement(&agreement.id).await.unwrap();
    let gone = calls()
        .delete_invitation("019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3")
        .await;
    assert!(matches!(gone, Err(CatenaError::NotFound)), "{gone:?}");
    assert!(
        !calls()
            .providers(None, None)
            .await
            .unwrap()
            .value
            .is_empty()
    );
    assert_eq!(
        calls()
            .integration_requests(None, None)
            .await
            .unwrap()
            .value
            .len(),
        0
    );

    // Credentials that may do less are told so, and not tried again.
    catena.simulator.set_token_permissions(&["invitation:read"]);
    catena.simulator.revoke_tokens();
    catena.simulator.clear_api_calls();
    let refused = catena.create("FLEET-X").await.unwrap_err();
    assert!(matches!(refused, CatenaError::Forbidden(_)), "{refused:?}");
    assert!(!refused.is_ambiguous());
    let statuses: Vec<_> = catena.simulator.api_calls();
    let forbidden = statuses.iter().filter(|it| it.status == Some(403)).count();
    assert_eq!(forbidden, 1);
}
