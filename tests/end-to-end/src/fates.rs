//! Fleets, and what happens to them at Catena: with webhooks, without, and with webhooks that get lost.

use std::{collections::BTreeMap, time::Duration};

use axum::http::Method;
use catena::Level;
use catena_client::NewInvitation;
use futures_util::{StreamExt, stream};
use local::signed::Signed;
use serde_json::json;
use simulator::{
    AgreementChange, AgreementStatus, Browser, ConnectionStatus, ScheduleStatus, Simulator,
    Telling,
    Telling::{Announced, Silent},
};
use time::OffsetDateTime;

use crate::catena::client;

/// One thing that happens to a fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    View,
    Accept,
    Decline,
    Expire,
    /// The invitation is deleted at Catena, by somebody else than Kingpin.
    TakenBack,
    /// At Catena, by somebody else than Kingpin.
    InvitedAgain,
    /// This provider, in Connect; again if it is connected already.
    Connect(&'static str),
    /// The integration of this provider, in Connect.
    Request(&'static str),
    /// This provider is supported from now on.
    GoesLive(&'static str),
    /// The first connection.
    Becomes(ConnectionStatus, Telling),
    /// The first connection.
    Vanishes,
    Agreement(AgreementStatus, Telling),
    /// Less is shared from now on.
    LessShared(Telling),
    /// The agreement ends in a month.
    WillEnd(Telling),
    /// The agreement ends in a moment.
    Ends(Telling),
    /// Of the first connection.
    Schedules(ScheduleStatus, Telling),
}

use Act::*;

const ONBOARDED: [Act; 3] = [View, Accept, Connect("samsara")];

/// What happens to a fleet after its invitation.
pub(crate) struct Fate {
    onboards: bool,
    then: &'static [Act],
}

const fn connected(then: &'static [Act]) -> Fate {
    Fate {
        onboards: true,
        then,
    }
}

const fn invited(then: &'static [Act]) -> Fate {
    Fate {
        onboards: false,
        then,
    }
}

impl Fate {
    fn acts(&self) -> impl Iterator<Item = &'static Act> {
        let first: &'static [Act] = if self.onboards { &ONBOARDED } else { &[] };
        first.iter().chain(self.then)
    }
}

use AgreementStatus as Deal;
use ConnectionStatus as Line;

/// All that is told of in contract 3 to 6, and what nobody tells of.
pub(crate) const FATES: [Fate; 35] = [
    connected(&[]),
    connected(&[Becomes(Line::Stale, Announced)]),
    connected(&[
        Becomes(Line::Stale, Announced),
        Becomes(Line::Active, Silent),
    ]),
    connected(&[Becomes(Line::Stale, Silent)]),
    connected(&[Becomes(Line::Stale, Announced), Connect("samsara")]),
    connected(&[Becomes(Line::Failed, Silent)]),
    connected(&[Becomes(Line::Failed, Silent), Becomes(Line::Active, Silent)]),
    connected(&[Becomes(Line::Deleted, Silent)]),
    connected(&[Becomes(Line::Cancelled, Silent)]),
    connected(&[Becomes(Line::Paused, Silent)]),
    connected(&[Vanishes]),
    connected(&[Vanishes, Connect("samsara")]),
    connected(&[Connect("geotab")]),
    connected(&[Connect("geotab"), Becomes(Line::Stale, Announced)]),
    connected(&[Connect("geotab"), Vanishes]),
    connected(&[Agreement(Deal::Paused, Announced)]),
    connected(&[Agreement(Deal::Paused, Silent)]),
    connected(&[
        Agreement(Deal::Paused, Announced),
        Agreement(Deal::Active, Announced),
    ]),
    connected(&[
        Agreement(Deal::Paused, Announced),
        Agreement(Deal::Active, Silent),
    ]),
    connected(&[Agreement(Deal::Cancelled, Announced)]),
    connected(&[Agreement(Deal::Cancelled, Silent)]),
    connected(&[Agreement(Deal::Deleted, Announced)]),
    connected(&[LessShared(Announced)]),
    connected(&[LessShared(Silent), WillEnd(Announced)]),
    connected(&[Ends(Silent)]),
    connected(&[Schedules(ScheduleStatus::Inactive, Announced)]),
    connected(&[
        Schedules(ScheduleStatus::Inactive, Announced),
        Schedules(ScheduleStatus::Active, Silent),
    ]),
    invited(&[View, Decline]),
    invited(&[View, Decline, InvitedAgain, Accept, Connect("samsara")]),
    invited(&[View, Accept]),
    invited(&[View, Accept, Request("Old Road ELD")]),
    invited(&[
        View,
        Accept,
        Request("Prairie Logs"),
        GoesLive("prairie-logs"),
    ]),
    invited(&[
        View,
        Accept,
        Request("Prairie Logs"),
        GoesLive("prairie-logs"),
        Connect("prairie-logs"),
    ]),
    invited(&[View, Expire]),
    invited(&[TakenBack]),
];

/// Invites so many fleets, three of four through the partner API if there is one and the others at Catena alone, and lets each go
/// its way, round by round. Returns how many are at Catena alone.
pub(crate) async fn befall(simulator: &Simulator, partner: Option<&Signed>, count: usize) -> usize {
    let fleets: Vec<String> = (1..=count).map(|n| format!("FLEET-{n:03}")).collect();
    let fourth = |index: usize| (index + index / FATES.len()).is_multiple_of(4);
    let at_catena = |index: usize| partner.is_none() || fourth(index);
    let invite = async |index: usize| {
        let Some(partner) = partner.filter(|_| !fourth(index)) else {
            return invite_at_catena(simulator, &fleets[index]).await;
        };
        let path = format!("/fleets/{}/invitation", fleets[index]);
        let answer = partner.send(Method::PUT, &path, Some(json!({})));
        assert_eq!(answer.await.unwrap().status, 201, "{path}");
    };
    at_once((0..count).map(invite)).await;
    let longest = FATES.iter().map(|fate| fate.acts().count()).max();
    for round in 0..longest.unwrap_or_default() {
        simulator.idle().await;
        let fates = FATES.iter().cycle().zip(&fleets);
        let acts = fates.filter_map(|(fate, fleet)| Some((fate.acts().nth(round)?, fleet)));
        at_once(acts.map(|(act, fleet)| happen(simulator, fleet, *act))).await;
    }
    simulator.idle().await;
    (0..count).filter(|index| at_catena(*index)).count()
}

async fn at_once(works: impl Iterator<Item = impl Future<Output = ()>>) {
    // Collected first, so that the closures' borrows end.
    let works: Vec<_> = works.collect();
    stream::iter(works)
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
}

async fn invite_at_catena(simulator: &Simulator, fleet: &str) {
    let permissions = [
        ("vehicle", Level::Read),
        ("vehicle_location", Level::Read),
        ("message", Level::ReadWrite),
    ];
    let permissions = permissions.map(|(resource, level)| (resource.to_owned(), level));
    let new = NewInvitation::new(fleet, permissions.into(), 672);
    let client = client(simulator);
    let created = client.within(TIME).create_invitation(&new).await;
    created.unwrap();
}

/// Lets it happen to a fleet.
pub(crate) async fn happen(simulator: &Simulator, fleet: &str, act: Act) {
    let first = || simulator.truth(fleet).unwrap().connections[0].id;
    let invitation = || simulator.invitation(fleet).unwrap();
    let agreement = |change, telling| simulator.agreement_changes(fleet, change, telling).unwrap();
    match act {
        View => simulator.view_invitation(fleet).unwrap(),
        Accept => simulator.accept_invitation(fleet).unwrap(),
        Decline => simulator
            .decline_invitation(fleet, Some("too early"))
            .unwrap(),
        Expire => simulator.expire_invitation(fleet).unwrap(),
        TakenBack => {
            let id = invitation().id.to_string();
            let client = client(simulator);
            client.within(TIME).delete_invitation(&id).await.unwrap();
        }
        InvitedAgain => invite_at_catena(simulator, fleet).await,
        Connect(provider) => {
            let mut browser = Browser::open(&invitation().fleet.magic_link())
                .await
                .unwrap();
            browser.connect(provider).await.unwrap();
        }
        Request(provider) => {
            let mut browser = Browser::open(&invitation().fleet.magic_link())
                .await
                .unwrap();
            browser.request(provider).await.unwrap();
        }
        GoesLive(provider) => {
            simulator.provider_goes_live(provider, Silent).unwrap();
        }
        Becomes(status, telling) => {
            simulator
                .connection_becomes(first(), status, telling)
                .unwrap();
        }
        Vanishes => simulator.connection_vanishes(first()).unwrap(),
        Agreement(status, telling) => agreement(AgreementChange::to(status), telling),
        LessShared(telling) => {
            let scopes = BTreeMap::from([("vehicle".to_owned(), "read".to_owned())]);
            let change = AgreementChange {
                scopes: Some(scopes),
                ..AgreementChange::default()
            };
            agreement(change, telling);
        }
        WillEnd(telling) | Ends(telling) => {
            let month = Duration::from_secs(30 * 24 * 60 * 60);
            let moment = Duration::from_secs(3);
            let after = if matches!(act, Ends(_)) {
                moment
            } else {
                month
            };
            let change = AgreementChange {
                expiration_date: Some(Some(OffsetDateTime::now_utc() + after)),
                ..AgreementChange::default()
            };
            agreement(change, telling);
        }
        Schedules(status, telling) => {
            let schedules = simulator.schedules_become(first(), None, status, telling);
            schedules.unwrap();
        }
    }
}

const TIME: Duration = Duration::from_secs(10);
