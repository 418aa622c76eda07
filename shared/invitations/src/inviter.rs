//! Asks Catena, and writes down what it answers.

use std::{collections::BTreeSet, time::Duration};

use api::{Invitation, InvitationRequest, InvitationSummary, Moment, Outcome, Scopes};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use catena::InvitationHash;
use catena_client::{
    Answer, Calls, CatenaError, Client, Created, InvitationRead, InvitationSecret, NewInvitation,
    Observed,
};
use fleet::{
    At, Decision, Fact, Facts, FleetRef, InvitationFact, Observation, Policy, RegulatoryId, Stage,
    Timestamp,
};
use return_token::{Return, ReturnKeys};
use secrets::Cached;
use serde_json::{Value, json};
use startup::describe;
use store::{
    Commit, HistoryDays, Key, KeyChange, Lease, Link, OpenPart, Records, Returning, Sealed, Share,
    StoreError, StoredInvitation, StoredRecord, Table,
};
use time::OffsetDateTime;
use tracing::{info, warn};
use translation::translate_answer;

use crate::step::{Stands, Step, TAKING_BACK, Wish, lasts_beyond, newest_hash, step};

/// What an inviter is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What is granted.
    pub(crate) policy: Policy,
    /// How long a history is kept.
    pub(crate) history_days: HistoryDays,
    /// Where the fleets' pages are, without a slash at the end.
    pub(crate) public_base_url: String,
    /// Fleets may have been invited without this stack: then Catena is looked at before the first invitation of each, too.
    pub(crate) look_always: bool,
    /// The time.
    pub(crate) now: fn() -> OffsetDateTime,
}

/// Invites fleets.
#[derive(Debug)]
pub struct Inviter {
    pub(crate) table: Table,
    catena: Client,
    return_keys: Cached<ReturnKeys>,
    pub(crate) settings: Settings,
}

/// Why a fleet isn't invited, or its invitation isn't taken back.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// It was never invited.
    #[error("the fleet was never invited")]
    NeverInvited,
    /// It declined, perhaps with a reason.
    #[error("the fleet declined")]
    Declined(Option<String>),
    /// It accepted: what it shares is governed by its agreement now (contract 3.1).
    #[error("the fleet accepted")]
    Accepted,
    /// Somebody else asks Catena for the fleet, for longer than a caller can wait.
    #[error("another call for the fleet is under way")]
    Busy,
    /// Catena answered about another fleet.
    #[error("Catena answered about another fleet")]
    OtherFleet,
    /// Catena didn't do it.
    #[error(transparent)]
    Catena(#[from] CatenaError),
    /// The table couldn't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys of the URLs that the fleet comes back to can't be read.
    #[error("the keys of return tokens are out of reach")]
    NoReturnKeys,
    /// The system has no random numbers to make a link of.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A right to ask Catena for a fleet.
pub(crate) struct Held<'a> {
    fleet: FleetRef,
    /// What was kept before.
    before: StoredInvitation,
    /// The version of what is kept now.
    version: u64,
    /// What the fleet's invitation is named by in the URLs that it comes back to.
    returning: Option<Returning>,
    /// Calls to Catena, as long as the right lasts.
    catena: Calls<'a>,
}

/// A call that came to nothing.
pub(crate) struct Failed {
    error: InviteError,
    /// What was asked for, if it isn't known whether Catena did it.
    unsure_of: Option<Value>,
    /// What was unsure before is known by now.
    settled: bool,
}

impl<E: Into<InviteError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            unsure_of: None,
            settled: false,
        }
    }
}

impl Failed {
    fn unsure(asked: &Value) -> impl Fn(InviteError) -> Self {
        |error| Self {
            error,
            unsure_of: Some(asked.clone()),
            settled: false,
        }
    }
}

impl Inviter {
    pub(crate) fn new(
        table: Table,
        catena: Client,
        return_keys: Cached<ReturnKeys>,
        settings: Settings,
    ) -> Self {
        Self {
            table,
            catena,
            return_keys,
            settings,
        }
    }

    /// Catena's API, with the token and the pauses that inviting shares.
    pub fn catena(&self) -> &Client {
        &self.catena
    }

    /// Sees to it that a fleet is invited with what is asked for. A fleet that declined is asked again only with `reopen`; so is
    /// one whose agreement or connections are over, which otherwise keeps the link that it has.
    pub async fn invite(
        &self,
        fleet: &FleetRef,
        request: &InvitationRequest,
        reopen: bool,
    ) -> Result<Invitation, InviteError> {
        let asked = json!(request);
        let mut turn = Turn::new();
        loop {
            let now = self.now();
            let (stored, mut kept) = self.table.invited(fleet).await?;
            let standing = stored.record.standing(&self.settings.policy, now);
            let lately = |at: Timestamp| now < at.plus(LATELY.as_millis() as i64);
            let over = standing.stage == Stage::Disconnected;
            let wish = Wish {
                asked: &asked,
                returns_to: &self.settings.public_base_url,
                reopen,
                anew: reopen && over && !kept.open.asked_at.is_some_and(lately),
                until: now,
                opened: None,
                look_always: self.settings.look_always,
            };
            let known = stored.version > 0;
            match step(&stored.record, known, &kept.open, wish, now) {
                Step::Unchanged => {
                    self.extend_link(fleet, &mut kept).await?;
                    return Ok(self.told(&stored, &kept, Outcome::Unchanged));
                }
                Step::Declined(reason) => return Err(InviteError::Declined(reason)),
                Step::Wait => {}
                Step::Ask { look } => {
                    let returning = returning(&kept.open, &stored.record.facts, now)?;
                    let new = self.new_invitation(fleet, request, &returning).await?;
                    let held = self.hold(fleet, kept, asked.clone(), Some(returning));
                    if let Some(held) = held.await? {
                        let done = self.ask(&held, &new, wish, look).await;
                        let outcome = self.end(&held, done).await?;
                        let (stored, kept) = self.table.invited(fleet).await?;
                        return Ok(self.told(&stored, &kept, outcome));
                    }
                }
            }
            turn.wait().await?;
        }
    }

    /// Takes a fleet's invitation back, and its link. That this was done before is fine.
    pub async fn withdraw(&self, fleet: &FleetRef) -> Result<(), InviteError> {
        let mut turn = Turn::new();
        loop {
            let now = self.now();
            let (stored, kept) = self.table.invited(fleet).await?;
            let unsure = kept.open.asking.clone();
            let held = kept.open.is_held(now);
            let linked = kept.open.link.is_some();
            match Stands::of(&stored.record.facts, now) {
                _ if held => {}
                Stands::Accepted => return Err(InviteError::Accepted),
                Stands::Never if unsure.is_none() && !self.settings.look_always => {
                    return Err(InviteError::NeverInvited);
                }
                Stands::Deleted if unsure.is_none() && !linked => return Ok(()),
                _ => {
                    let asking = unsure.unwrap_or_else(|| json!(TAKING_BACK));
                    let returning = kept.open.returning.clone();
                    if let Some(held) = self.hold(fleet, kept, asking, returning).await? {
                        let done = self.take_back(&held).await;
                        return self.end(&held, done.map(|kept| (kept, ()))).await;
                    }
                }
            }
            turn.wait().await?;
        }
    }

    /// Gives a fleet another link instead of the one that it has, which leads nowhere from then on. Catena isn't asked.
    pub async fn rotate_link(&self, fleet: &FleetRef) -> Result<api::Link, InviteError> {
        let mut turn = Turn::new();
        loop {
            let now = self.now();
            let (_, mut kept) = self.table.invited(fleet).await?;
            // Without one it was never invited, or its invitation was taken back.
            if kept.open.link.is_none() {
                return Err(InviteError::NeverInvited);
            }
            if !kept.open.is_held(now) {
                let link = Link {
                    id: random_name()?,
                    ends: now.plus(LINK_LASTS.as_millis() as i64),
                };
                self.table.keep_link(fleet, &link).await?;
                kept.open.link = Some(link.clone());
                if let Commit::Written(_) = self.table.keep_invitation(fleet, &kept).await? {
                    info!(fleet.ref = %fleet, "fleet {fleet}: its link was replaced");
                    return Ok(self.shown(&link));
                }
            }
            turn.wait().await?;
        }
    }

    /// A link as the partner is told it.
    fn shown(&self, link: &Link) -> api::Link {
        api::Link {
            url: format!("{}/connect/{}", self.settings.public_base_url, link.id),
            ends: Moment(link.ends),
        }
    }

    /// How a fleet's newest invitation stands; `None` if it was never invited.
    pub fn summary(
        &self,
        stored: &StoredRecord,
        kept: &StoredInvitation,
    ) -> Option<InvitationSummary> {
        let now = self.now();
        let facts = &stored.record.facts;
        let newest = facts.newest_invitation()?;
        let open = &kept.open;
        // Of an invitation that was made without Kingpin nothing else is known.
        let ours = open.hash == newest_hash(facts);
        let asked = open.asked.clone().filter(|_| ours);
        let granted = open.granted.clone().filter(|_| ours);
        let link = open.live_link(now);
        Some(InvitationSummary {
            status: Stands::of(facts, now).as_str().to_owned(),
            ends: newest.ends().map(Moment),
            link: link.map(|link| self.shown(link)),
            asked: asked.and_then(|it| serde_json::from_value(it).ok()),
            granted: granted.and_then(|it| serde_json::from_value(it).ok()),
        })
    }

    fn told(&self, stored: &StoredRecord, kept: &StoredInvitation, outcome: Outcome) -> Invitation {
        let summary = self.summary(stored, kept);
        Invitation {
            fleet_ref: stored.fleet.as_str().to_owned(),
            outcome,
            // Who was just invited has an invitation, unless its record was removed by hand meanwhile.
            summary: summary.unwrap_or_else(|| InvitationSummary {
                status: Stands::Never.as_str().to_owned(),
                ends: None,
                link: None,
                asked: None,
                granted: None,
            }),
        }
    }

    /// Lets a link that is still used live on: its fleet keeps it for as long as it is invited again and again.
    async fn extend_link(
        &self,
        fleet: &FleetRef,
        kept: &mut StoredInvitation,
    ) -> Result<(), StoreError> {
        let ends = self.now().plus(LINK_LASTS.as_millis() as i64);
        let half = self.now().plus(LINK_LASTS.as_millis() as i64 / 2);
        let Some(link) = kept.open.link.as_mut().filter(|link| link.ends < half) else {
            return Ok(());
        };
        link.ends = ends;
        self.table.keep_link(fleet, link).await?;
        // A conflict: somebody asks for the fleet, and will extend it.
        self.table.keep_invitation(fleet, kept).await.map(drop)
    }

    /// Takes the right to ask Catena for a fleet. `None` if somebody else was faster.
    pub(crate) async fn hold(
        &self,
        fleet: &FleetRef,
        before: StoredInvitation,
        asking: Value,
        returning: Option<Returning>,
    ) -> Result<Option<Held<'_>>, StoreError> {
        // Counted from before the write, so that no call outlasts the right.
        let catena = self.catena.within(CALLS);
        let mut held = before.clone();
        held.open.asking = Some(asking);
        // Written before Catena is told of it: the fleet may come back before the answer is written down.
        held.open.returning.clone_from(&returning);
        held.open.lease = Some(Lease {
            ends: self.now().plus(LEASE.as_millis() as i64),
        });
        Ok(match self.table.keep_invitation(fleet, &held).await? {
            Commit::Conflict => None,
            Commit::Written(version) => Some(Held {
                fleet: fleet.clone(),
                before,
                version,
                returning,
                catena,
            }),
        })
    }

    /// Gives the right to ask back, with what came of it.
    pub(crate) async fn end<T>(
        &self,
        held: &Held<'_>,
        done: Result<(OpenAndSealed, T), Failed>,
    ) -> Result<T, InviteError> {
        let fleet = &held.fleet;
        match done {
            Ok(((open, secret), value)) => {
                let kept = StoredInvitation {
                    version: held.version,
                    secret,
                    open,
                };
                match self.table.keep_invitation(fleet, &kept).await? {
                    Commit::Written(_) => Ok(value),
                    // It took so long that somebody else asks by now, who finds what is there.
                    Commit::Conflict => Err(InviteError::Busy),
                }
            }
            Err(Failed {
                error,
                unsure_of,
                settled,
            }) => {
                let mut kept = held.before.clone();
                kept.version = held.version;
                kept.open.lease = None;
                if unsure_of.is_some() {
                    kept.open.returning.clone_from(&held.returning);
                }
                let before = kept.open.asking.filter(|_| !settled);
                kept.open.asking = unsure_of.or(before);
                if let Err(error) = self.table.keep_invitation(fleet, &kept).await {
                    warn!(fleet.ref = %fleet, cause = describe(&error), "fleet {fleet}: the right to ask Catena ends by time alone");
                }
                Err(error)
            }
        }
    }

    /// Asks Catena to invite a fleet, unless it turns out that it has what is asked for.
    pub(crate) async fn ask(
        &self,
        held: &Held<'_>,
        new: &NewInvitation,
        wish: Wish<'_>,
        look: bool,
    ) -> Result<(OpenAndSealed, Outcome), Failed> {
        let fleet = &held.fleet;
        if look && let Some(read) = self.found(held, new, wish).await? {
            let invited_as = invited_as(new, &read, self.now());
            self.take_in(fleet, invited_as.into_iter().collect())
                .await?;
            let kept = self.keep(held, &read, wish).await?;
            return Ok((kept, Outcome::Adopted));
        }
        let unsure = Failed::unsure(wish.asked);
        let created = held.catena.create_invitation(new).await;
        let created = created.map_err(|error| match error.is_ambiguous() {
            true => unsure(error.into()),
            false => error.into(),
        })?;
        let outcome = match created.value.new {
            true => Outcome::Created,
            false => Outcome::Refreshed,
        };
        let (read, observed) = &self.read_again(held, created).await;
        if read.invitation.fleet_ref.as_deref() != Some(fleet.as_str()) {
            return Err(unsure(InviteError::OtherFleet));
        }
        if !read.returns_as(new) {
            // Whether a refresh changes them is unknown (contract 3.1).
            warn!(fleet.ref = %fleet, outcome = "return-urls-kept", "fleet {fleet}: Catena keeps the URLs that it was given before, so its browser may come back to where nobody knows it");
        }
        let mut observations = observations(read, observed);
        observations.extend(invited_as(new, read, self.now()));
        let written = async {
            self.take_in(fleet, observations).await?;
            self.keep(held, read, wish).await
        };
        let kept = written.await.map_err(unsure)?;
        info!(fleet.ref = %fleet, outcome = ?outcome, "fleet {fleet}: invited");
        Ok((kept, outcome))
    }

    /// What Catena has, if that is what is asked for. What it has is taken in, whatever it is.
    async fn found(
        &self,
        held: &Held<'_>,
        new: &NewInvitation,
        wish: Wish<'_>,
    ) -> Result<Option<InvitationRead>, Failed> {
        let (found, facts) = self.look(held).await?;
        let stands = Stands::of(&facts, self.now());
        match stands {
            Stands::Declined(reason) if !wish.reopen => {
                return Err(Failed {
                    settled: true,
                    ..InviteError::Declined(reason).into()
                });
            }
            _ if !stands.leads_in() || wish.anew => return Ok(None),
            Stands::Open if !lasts_beyond(&facts, wish.until) => return Ok(None),
            _ => {}
        }
        let newest = newest_hash(&facts);
        let is_newest = |it: &InvitationRead| newest.as_deref() == Some(hash(it));
        let found = found.into_iter().filter(is_newest);
        Ok(found.into_iter().find(|it| it.has_all_of(new)))
    }

    /// Takes in all invitations of a fleet that Catena has.
    async fn look(&self, held: &Held<'_>) -> Result<(Vec<InvitationRead>, Facts), InviteError> {
        let fleet = &held.fleet;
        let listed = held.catena.invitations(Some(fleet.as_str()));
        let Answer { value, observed } = listed.collect(MOST).await?;
        if value.more {
            warn!(fleet.ref = %fleet, "fleet {fleet}: it has more than {MOST} invitations at Catena; those are looked at");
        }
        let mut found = value.items;
        found.retain(|it| it.invitation.fleet_ref.as_deref() == Some(fleet.as_str()));
        let facts = self.table.record(fleet).await?.record.facts;
        let told = found.iter().flat_map(|it| observations(it, &observed));
        let told: Vec<_> = told.filter(|it| !is_known(it, &facts)).collect();
        if told.is_empty() {
            return Ok((found, facts));
        }
        self.take_in(fleet, told).await?;
        let facts = self.table.record(fleet).await?.record.facts;
        Ok((found, facts))
    }

    /// A refreshed invitation is read again: what a refresh does to one that was accepted is unknown (contract 7, row 20).
    async fn read_again(
        &self,
        held: &Held<'_>,
        created: Answer<Created>,
    ) -> (InvitationRead, Observed) {
        let Created { new, invitation } = created.value;
        if new {
            return (invitation, created.observed);
        }
        match held.catena.invitation(&invitation.secret.id).await {
            Ok(again) => (again.value, again.observed),
            Err(error) => {
                let fleet = &held.fleet;
                warn!(fleet.ref = %fleet, cause = describe(&error), "fleet {fleet}: a refreshed invitation could not be read again");
                (invitation, created.observed)
            }
        }
    }

    /// Takes an invitation back at Catena, and ends the fleet's link.
    async fn take_back(&self, held: &Held<'_>) -> Result<OpenAndSealed, Failed> {
        let fleet = &held.fleet;
        if let Some(secret) = self.to_take_back(held).await? {
            let done = held.catena.delete_invitation(&secret.id).await;
            let taking_back = json!(TAKING_BACK);
            let unsure = Failed::unsure(&taking_back);
            let at = match done {
                Ok(answer) => Some(answer.observed.latest().millis()),
                Err(error) if error.is_ambiguous() => return Err(unsure(error.into())),
                Err(error) => {
                    // Catena takes none back that was accepted (contract 3.1), nor one that is gone.
                    let (found, facts) = self.look(held).await?;
                    let ours = InvitationHash::of(&secret.id);
                    let listed = found.iter().any(|it| hash(it) == ours.as_str());
                    match (Stands::of(&facts, self.now()), error) {
                        (Stands::Accepted, _) => return Err(InviteError::Accepted.into()),
                        (Stands::Deleted | Stands::Expired | Stands::Declined(_), _) => None,
                        // Gone, and Catena doesn't list what is gone.
                        (_, CatenaError::NotFound) if !listed => Some(self.now().0),
                        (_, error) => return Err(error.into()),
                    }
                }
            };
            if let Some(at) = at {
                let fact = Fact::Invitation {
                    invitation: InvitationHash::of(&secret.id).as_str().to_owned(),
                    was: InvitationFact::Decision(Decision::Deleted),
                };
                let at = At(Timestamp(at), 0);
                let told = self.take_in(fleet, vec![Observation { at, fact }]).await;
                told.map_err(|error| unsure(error.into()))?;
            }
        }
        // Without its link: what it leads to says so from now on.
        let before = &held.before.open;
        let open = OpenPart {
            hash: before.hash.clone(),
            asked_at: before.asked_at,
            returning: before.returning.clone(),
            ..OpenPart::default()
        };
        info!(fleet.ref = %fleet, "fleet {fleet}: invitation taken back");
        Ok((open, None))
    }

    /// What opens the invitation that is to be taken back; `None` if there is nothing to take back: it is gone, or the fleet declined,
    /// which stays known.
    async fn to_take_back(&self, held: &Held<'_>) -> Result<Option<InvitationSecret>, Failed> {
        let before = &held.before;
        let facts = self.table.record(&held.fleet).await?.record.facts;
        let kept = before.secret.as_ref();
        let kept = kept.and_then(|it| serde_json::from_str(it.open()).ok());
        if before.open.asking.is_none() && kept.is_some() && newest_hash(&facts) == before.open.hash
        {
            return Ok(match Stands::of(&facts, self.now()) {
                Stands::Deleted | Stands::Declined(_) => None,
                _ => kept,
            });
        }
        // Invited without Kingpin, or by a call that was cut off.
        let (found, facts) = self.look(held).await?;
        match Stands::of(&facts, self.now()) {
            Stands::Accepted => return Err(InviteError::Accepted.into()),
            Stands::Never => return Err(InviteError::NeverInvited.into()),
            Stands::Deleted | Stands::Declined(_) => return Ok(None),
            Stands::Open | Stands::Expired => {}
        }
        let newest = newest_hash(&facts);
        let listed = found
            .into_iter()
            .find(|it| newest.as_deref() == Some(hash(it)));
        let kept = kept.filter(|_| newest == before.open.hash);
        match listed.map(|it| it.secret).or(kept) {
            Some(secret) => Ok(Some(secret)),
            None => Err(InviteError::Catena(CatenaError::NotFound).into()),
        }
    }

    /// Folds what Catena answered into the fleet's record.
    async fn take_in(
        &self,
        fleet: &FleetRef,
        observations: Vec<Observation>,
    ) -> Result<(), StoreError> {
        let now = (self.settings.now)();
        let records = Records {
            table: &self.table,
            policy: &self.settings.policy,
            history_days: self.settings.history_days,
            now,
        };
        let share = Share {
            event: TOLD_BY.to_owned(),
            id: None,
            received: self.now(),
            observations,
            hint: false,
            answered: true,
        };
        records.take_in_one(fleet, share).await.map(drop)
    }

    /// Links an invitation to its fleet, and the fleet's link to both. Returns what is to be kept.
    async fn keep(
        &self,
        held: &Held<'_>,
        read: &InvitationRead,
        wish: Wish<'_>,
    ) -> Result<OpenAndSealed, InviteError> {
        let fleet = &held.fleet;
        let catena_fleet = read.invitation.fleet_id.clone();
        let keys = [
            Some(Key::Invitation(hash(read).to_owned())),
            catena_fleet.map(Key::CatenaFleet),
        ];
        for key in keys.iter().flatten() {
            let change = KeyChange {
                link: BTreeSet::from([fleet.clone()]),
                ..KeyChange::default()
            };
            // What waits under it is found by the next event, or by whoever looks at what waits too long.
            self.table.change(key, &change).await?;
        }
        let now = self.now();
        // The fleet's own, also if it ended meanwhile; one that was taken back isn't there any more.
        let id = match &held.before.open.link {
            Some(link) => link.id.clone(),
            None => random_name()?,
        };
        let link = Link {
            id,
            ends: now.plus(LINK_LASTS.as_millis() as i64),
        };
        self.table.keep_link(fleet, &link).await?;
        let open = OpenPart {
            hash: Some(hash(read).to_owned()),
            asked: Some(wish.asked.clone()),
            asked_at: Some(now),
            returns_to: Some(wish.returns_to.to_owned()),
            granted: Some(json!(granted(read))),
            link: Some(link),
            returning: held.returning.clone(),
            opened_at: wish.opened.or(held.before.open.opened_at),
            ..OpenPart::default()
        };
        let secret = json!(read.secret).to_string();
        Ok((open, Some(Sealed::new(secret))))
    }

    pub(crate) async fn new_invitation(
        &self,
        fleet: &FleetRef,
        request: &InvitationRequest,
        returning: &Returning,
    ) -> Result<NewInvitation, InviteError> {
        let keys = self.return_keys.current((self.settings.now)()).await;
        let keys = keys.ok_or(InviteError::NoReturnKeys)?;
        let token = keys.token(&Return {
            fleet: fleet.clone(),
            name: returning.name.clone(),
            ends: returning.ends,
        });
        let base = &self.settings.public_base_url;
        let level = |level: &api::Level| catena::Level::from(level.as_str().to_owned());
        let permissions = request.permissions.iter().flatten();
        Ok(NewInvitation {
            fleet_ref: fleet.as_str().to_owned(),
            fleet_name: request.fleet_name.as_deref().and_then(presentable),
            fleet_email: request.fleet_email.clone(),
            fleet_regulatory_id: request.fleet_regulatory_id.clone(),
            fleet_regulatory_id_type: request.fleet_regulatory_id_type.clone(),
            fleet_phone: request.fleet_phone.clone(),
            fleet_website: request.fleet_website.clone(),
            fleet_country_code: request.fleet_country_code.clone(),
            success_redirect_url: Some(format!("{base}/return/{token}/success")),
            failure_redirect_url: Some(format!("{base}/return/{token}/failure")),
            limit_tsps: request.limit_tsps.clone(),
            permissions: permissions
                .map(|(it, granted)| (it.clone(), level(granted)))
                .collect(),
            expires_in_hours: HOURS,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        Moment::from((self.settings.now)()).0
    }
}

/// What is to be kept of an invitation.
pub(crate) type OpenAndSealed = (OpenPart, Option<Sealed>);

/// Waiting for one's turn.
pub(crate) struct Turn {
    until: tokio::time::Instant,
    pause: Duration,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self {
            until: tokio::time::Instant::now() + PATIENCE,
            pause: Duration::from_millis(25),
        }
    }

    pub(crate) async fn wait(&mut self) -> Result<(), InviteError> {
        let pause = self.pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        if tokio::time::Instant::now() + pause > self.until {
            return Err(InviteError::Busy);
        }
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(400));
        Ok(())
    }
}

/// Whether an invitation is known to be deleted. When it was isn't told, so each answer would be news.
fn is_known(told: &Observation, facts: &Facts) -> bool {
    let Fact::Invitation {
        invitation,
        was: InvitationFact::Decision(Decision::Deleted),
    } = &told.fact
    else {
        return false;
    };
    let known = facts.invitations.get(invitation);
    let known = known.and_then(|known| known.decision.as_ref());
    known.is_some_and(|known| *known.value() == Decision::Deleted)
}

fn hash(read: &InvitationRead) -> &str {
    read.invitation.invitation_hash.as_str()
}

fn granted(read: &InvitationRead) -> Scopes {
    let permissions = read.permissions.iter().flatten();
    permissions
        .map(|(resource, level)| (resource.clone(), level.as_str().to_owned()))
        .collect()
}

fn observations(read: &InvitationRead, observed: &Observed) -> Vec<Observation> {
    translate_answer(&read.invitation, observed.at(), observed.latest()).observations
}

/// The number that a fleet is invited under: ours, because the fleet may change what Catena has.
fn invited_as(new: &NewInvitation, read: &InvitationRead, now: Timestamp) -> Option<Observation> {
    let number = RegulatoryId {
        kind: new.fleet_regulatory_id_type.clone(),
        id: new.fleet_regulatory_id.clone()?,
    };
    Some(Observation {
        at: At(now, 0),
        fact: Fact::Invitation {
            invitation: hash(read).to_owned(),
            was: InvitationFact::InvitedAs(number),
        },
    })
}

/// Letters, digits and single spaces: all that Catena takes of a name (contract 3.1).
fn presentable(name: &str) -> Option<String> {
    let kept = |it: char| if it.is_alphanumeric() { it } else { ' ' };
    let spaced: String = name.chars().map(kept).collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What the URLs that a fleet comes back to name its invitation by. One that Catena refreshes keeps its name, because it may keep
/// its URLs too (contract 3.1); so does one that was asked for without learning the answer.
pub(crate) fn returning(
    kept: &OpenPart,
    facts: &Facts,
    now: Timestamp,
) -> Result<Returning, InviteError> {
    let goes_on = match Stands::of(facts, now) {
        Stands::Open | Stands::Accepted | Stands::Declined(_) => true,
        Stands::Never | Stands::Expired | Stands::Deleted => kept.asking.is_some(),
    };
    let known = kept.returning.as_ref().filter(|_| goes_on);
    let ends = now.plus(LINK_LASTS.as_millis() as i64);
    let half = now.plus(LINK_LASTS.as_millis() as i64 / 2);
    Ok(match known {
        Some(known) if known.ends > half => known.clone(),
        Some(known) => Returning {
            name: known.name.clone(),
            ends,
        },
        None => Returning {
            name: random_name()?,
            ends,
        },
    })
}

/// 128 random bits: nobody guesses one.
fn random_name() -> Result<String, InviteError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(InviteError::Random)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// What a history calls an answer about an invitation.
const TOLD_BY: &str = "api.invitation";
/// The longest that Catena lets an invitation live (contract 3.1).
const HOURS: u16 = 672;
/// Invitations of one fleet that are looked at. A fleet has one at a time, so there are as many as ended before.
const MOST: usize = 200;
/// How long a link, and the URLs that a fleet comes back to, live after Catena was last asked for the fleet; half of that at least
/// after somebody asked.
const LINK_LASTS: Duration = Duration::from_hours(180 * 24);
/// A fleet whose agreement or connections are over is asked again at most so often.
pub(crate) const LATELY: Duration = Duration::from_mins(10);
/// For all calls to Catena for a fleet at once, with their repetitions.
const CALLS: Duration = Duration::from_secs(8);
/// How long a right to ask lasts: the calls, and writing down what they came to.
const LEASE: Duration = Duration::from_secs(10);
/// How long somebody waits for the right to ask: longer than a lease, so that one which a crash left behind ends meanwhile. Both
/// together are less than API Gateway waits (30 s).
const PATIENCE: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_what_catena_takes() {
        assert_eq!(
            presentable("  Acme & Söhne (Tx) "),
            Some("Acme Söhne Tx".to_owned())
        );
        assert_eq!(presentable("!?"), None);
    }

    #[test]
    fn links_are_long_and_differ() {
        let links = [random_name().unwrap(), random_name().unwrap()];
        assert_eq!(links[0].len(), 22);
        assert_ne!(links[0], links[1]);
    }
}
