//! What the partner is answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::Duration,
};

use api::{
    Access, AccessBatch, AccessBatchRequest, Connection, FleetDetail, FleetLink, FleetPage,
    FleetSummary, HistoryEntry, HistoryPage, InvitationRequest, Level, Moment, News, OperationPage,
    Outcome, OverrideRequest, Passed, Problem,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fleet::{FleetRef, Override, OverrideKind, Policy, Stage, Timestamp};
use invitations::{InviteError, Inviter};
use lambda_http::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode},
};
use operations::{Status, Write};
use queue::TasksQueue;
use serde::Serialize;
use serde_json::{Value, json};
use startup::describe;
use store::{
    Decided, HistoryCursor, HistoryDays, OperationCursor, Records, StoreError, StoredRecord, Table,
};
use time::OffsetDateTime;
use tracing::{error, info, warn};

use crate::{
    call::{Call, READABLE_REF},
    listing::Listed,
    operation::Operation,
    refusal::{Kind, Refusal},
    submission::{Submitted, Submitter, Writes},
    wanted::Wanted,
};

/// What the API is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is granted.
    pub policy: Policy,
    /// How long a history is kept.
    pub history_days: HistoryDays,
    /// What every fleet is asked for, unless an invitation says otherwise.
    pub permissions: Permissions,
    /// The time.
    pub now: fn() -> OffsetDateTime,
}

/// Resource to level; in a setting `vehicle=read,message=read_write`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions(BTreeMap<String, Level>);

impl Permissions {
    /// What a setting of them should be.
    pub const EXPECTED: &str =
        "a list of resource=read or resource=read_write, separated by commas";
}

impl FromStr for Permissions {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let one = |part: &str| {
            let (resource, level) = part.trim().split_once('=').ok_or(())?;
            let level = [Level::Read, Level::ReadWrite]
                .into_iter()
                .find(|it| it.as_str() == level);
            Ok((resource.to_owned(), level.ok_or(())?))
        };
        let permissions: BTreeMap<_, _> = text.split(',').map(one).collect::<Result<_, ()>>()?;
        let request = InvitationRequest {
            permissions: Some(permissions.clone()),
            ..InvitationRequest::default()
        };
        match request.problems()[..] {
            [] => Ok(Self(permissions)),
            _ => Err(()),
        }
    }
}

/// Answers the partner.
#[derive(Debug)]
pub struct PartnerApi {
    table: Table,
    inviter: Inviter,
    writes: Writes,
    settings: Settings,
}

/// What is answered: a status and a JSON document, or none.
struct Answer {
    status: StatusCode,
    body: Option<Value>,
}

impl Answer {
    fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            status,
            body: Some(json!(body)),
        }
    }
}

impl PartnerApi {
    /// An API.
    pub fn new(table: Table, inviter: Inviter, tasks: TasksQueue, settings: Settings) -> Self {
        let writes = Writes {
            table: table.clone(),
            catena: inviter.catena().clone(),
            tasks,
            policy: settings.policy.clone(),
            history_days: settings.history_days,
            now: settings.now,
        };
        Self {
            table,
            inviter,
            writes,
            settings,
        }
    }

    /// Answers a request, within 28 s.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let answered = match Call::of(&request) {
            Ok(call) => {
                let answered = tokio::time::timeout(DEADLINE, self.answer(&call)).await;
                let answered = answered.unwrap_or_else(|_elapsed| Err(out_of_time(call.operation)));
                log(&call, &answered);
                answered
            }
            Err(refusal) => {
                let Problem { status, detail, .. } = &*refusal.problem;
                error!(status, "refused: {detail}");
                Err(refusal)
            }
        };
        match answered {
            Ok(Answer { status, body }) => {
                let body = body.map(|body| ("application/json", body));
                response(status, body)
            }
            Err(refusal) => {
                let problem = ("application/problem+json", json!(refusal.problem));
                let mut response = response(refusal.status(), Some(problem));
                if let Some(seconds) = refusal.problem.retry_after_seconds {
                    let headers = response.headers_mut();
                    headers.insert("retry-after", HeaderValue::from(seconds));
                }
                response
            }
        }
    }

    async fn answer(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        match call.operation {
            Operation::PutInvitation => self.put_invitation(call).await,
            Operation::DeleteInvitation => self.delete_invitation(call).await,
            Operation::RotateLink => self.rotate_link(call).await,
            Operation::GetFleet => self.fleet(call).await,
            Operation::GetAccess => self.access(call).await,
            Operation::GetAccessBatch => self.access_batch(call).await,
            Operation::GetHistory => self.history(call).await,
            Operation::ListFleets => self.fleets(call).await,
            Operation::PutOverride => self.put_override(call).await,
            Operation::DeleteOverride => self.delete_override(call).await,
            Operation::SubmitOperation => self.submit_operation(call).await,
            Operation::ListOperations => self.list_operations(call).await,
            Operation::GetOperation => self.operation(call).await,
        }
    }

    async fn put_invitation(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&["reopen"])?;
        let fleet = call.new_fleet()?;
        let reopen = call.parameter_as("reopen", "true or false", |text| text.parse().ok())?;
        let mut request: InvitationRequest = call.body()?;
        let problems = request.problems();
        if !problems.is_empty() {
            return Err(Refusal::fields(problems));
        }
        let permissions = request.permissions.take();
        request.permissions = permissions.or_else(|| Some(self.settings.permissions.0.clone()));
        let reopen = reopen.unwrap_or(false);
        let invitation = self.inviter.invite(&fleet, &request, reopen).await?;
        let status = match invitation.outcome {
            Outcome::Created => StatusCode::CREATED,
            _ => StatusCode::OK,
        };
        Ok(Answer::json(status, &invitation))
    }

    async fn delete_invitation(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        self.inviter.withdraw(&call.fleet()?).await?;
        Ok(Answer {
            status: StatusCode::NO_CONTENT,
            body: None,
        })
    }

    async fn rotate_link(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        call.no_body()?;
        let fleet = call.fleet()?;
        let rotated = self.inviter.rotate_link(&fleet).await;
        let link = rotated.map_err(|error| match error {
            InviteError::NeverInvited => Refusal::no_link(fleet.as_str()),
            error => error.into(),
        })?;
        let link = FleetLink {
            fleet_ref: fleet.as_str().to_owned(),
            link,
        };
        Ok(Answer::json(StatusCode::CREATED, &link))
    }

    async fn fleet(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        let fleet = call.fleet()?;
        let (stored, kept) = self.table.invited(&fleet).await?;
        let stored = known(stored)?;
        let now = self.now();
        let standing = stored.record.standing(&self.settings.policy, now);
        let due = stored.all_due(&standing);
        let detail = FleetDetail {
            fleet: api::Fleet::new(&fleet, &stored.record, stored.version, &standing, &due, now),
            invitation: self.inviter.summary(&stored, &kept),
            connections: Connection::all(&stored.record),
        };
        Ok(Answer::json(StatusCode::OK, &detail))
    }

    async fn access(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        let stored = known(self.table.record(&call.fleet()?).await?)?;
        Ok(Answer::json(StatusCode::OK, &self.access_of(&stored)))
    }

    fn access_of(&self, stored: &StoredRecord) -> Access {
        Access::new(
            &stored.fleet,
            &stored.record,
            &self.settings.policy,
            self.now(),
        )
    }

    async fn access_batch(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        let request: AccessBatchRequest = call.body()?;
        let count = request.fleet_refs.len();
        if !(1..=MOST).contains(&count) {
            return Err(Refusal::field(
                "fleet_refs",
                format!("write 1 to {MOST} references, not {count}"),
            ));
        }
        let mut fleets = BTreeSet::new();
        for (index, text) in request.fleet_refs.iter().enumerate() {
            let field = format!("fleet_refs[{index}]");
            let fleet =
                FleetRef::parse(text).ok_or_else(|| Refusal::field(&field, READABLE_REF))?;
            if !fleets.insert(fleet) {
                return Err(Refusal::field(&field, "write each reference once"));
            }
        }
        let now = self.now();
        let mut batch = AccessBatch {
            as_of: Moment(now),
            fleets: Vec::new(),
            unknown: Vec::new(),
            unreadable: Vec::new(),
        };
        let found = self.table.look_up(&BTreeSet::new(), &fleets).await?;
        for (fleet, stored) in found.records {
            let name = || fleet.as_str().to_owned();
            match stored {
                Ok(stored) if stored.version == 0 => batch.unknown.push(name()),
                Ok(stored) => {
                    let access = Access::new(&fleet, &stored.record, &self.settings.policy, now);
                    batch.fleets.push(access);
                }
                Err(error) => {
                    unreadable(&fleet, &error);
                    batch.unreadable.push(name());
                }
            }
        }
        Ok(Answer::json(StatusCode::OK, &batch))
    }

    async fn history(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&["cursor", "size"])?;
        let fleet = call.fleet()?;
        let size = size(call)?;
        let after = call.parameter_as("cursor", NEXT_CURSOR, |text| {
            HistoryCursor::parse(&decoded(text)?)
        })?;
        known(self.table.record(&fleet).await?)?;
        let size = i32::try_from(size).unwrap_or(1);
        let page = self
            .table
            .history_page(&fleet, after.as_ref(), size)
            .await?;
        let page = HistoryPage {
            entries: page.entries.into_iter().map(entry).collect(),
            next_cursor: page
                .next
                .map(|it| BASE64_URL_SAFE_NO_PAD.encode(it.as_str())),
        };
        Ok(Answer::json(StatusCode::OK, &page))
    }

    async fn fleets(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&["stage", "cursor", "size"])?;
        let stages = Stage::ALL.map(Stage::as_str).join(", ");
        let expected = format!("one of {stages}");
        let stage = call.parameter_as("stage", &expected, read_stage)?;
        let size = size(call)?;
        let cursor = call.parameter_as("cursor", NEXT_CURSOR, FleetsCursor::parse)?;
        let cursor = match (cursor, stage) {
            (Some(cursor), Some(stage)) if cursor.stage != stage => {
                return Err(Refusal::field(
                    "cursor",
                    "it belongs to a list of another stage",
                ));
            }
            (cursor, _) => cursor,
        };
        let (found, next) = self.some_fleets(stage, cursor, size).await?;
        let now = self.now();
        let mut fleets = Vec::new();
        let mut records = self
            .table
            .look_up(&BTreeSet::new(), &found.iter().cloned().collect())
            .await?
            .records;
        for fleet in found {
            let Some(stored) = records.remove(&fleet) else {
                continue;
            };
            match stored {
                Ok(stored) if stored.version == 0 => {}
                Ok(stored) => {
                    let standing = stored.record.standing(&self.settings.policy, now);
                    fleets.push(FleetSummary::new(&fleet, &stored.record, &standing));
                }
                Err(error) => unreadable(&fleet, &error),
            }
        }
        let page = FleetPage {
            as_of: Moment(now),
            fleets,
            next_cursor: next.map(|it| it.text()),
        };
        Ok(Answer::json(StatusCode::OK, &page))
    }

    /// At most `size` fleets of a stage, or of all stages one after the other, and where the next page begins.
    async fn some_fleets(
        &self,
        stage: Option<Stage>,
        cursor: Option<FleetsCursor>,
        size: usize,
    ) -> Result<(Vec<FleetRef>, Option<FleetsCursor>), Refusal> {
        let from = cursor.as_ref().map(|it| it.stage).or(stage);
        let until = stage.unwrap_or(Stage::ALL[Stage::ALL.len() - 1]);
        let stages = Stage::ALL
            .into_iter()
            .filter(|it| Some(*it) >= from && *it <= until);
        let mut after = cursor.and_then(|it| it.after);
        let mut found = Vec::new();
        for stage in stages {
            let left = size - found.len();
            let some = self
                .table
                .fleets_in(stage, after.take().as_ref(), left)
                .await?;
            let full = some.len() == left;
            found.extend(some);
            if full {
                let after = found.last().cloned();
                return Ok((found, Some(FleetsCursor { stage, after })));
            }
        }
        Ok((found, None))
    }

    async fn put_override(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        let fleet = call.fleet()?;
        let request: OverrideRequest = call.body()?;
        let kind = OverrideKind::from(request.kind);
        let ends = request.ends.map(|it| it.0);
        if ends.is_some_and(|ends| ends <= self.now()) {
            return Err(Refusal::field("ends", "write a time that lies ahead"));
        }
        let decided =
            Override::new(kind, &call.caller, &request.reason, ends).map_err(|wrong| {
                let field = match wrong {
                    fleet::InvalidOverride::NoEnd => "ends",
                    _ => "reason",
                };
                Refusal::field(field, wrong.to_string())
            })?;
        self.decide(call, &fleet, &[(kind, Some(decided))]).await
    }

    async fn delete_override(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&["kind"])?;
        let fleet = call.fleet()?;
        let kind = call.parameter_as("kind", "block or grant", |text| match text {
            "block" => Some(OverrideKind::Block),
            "grant" => Some(OverrideKind::Grant),
            _ => None,
        })?;
        let kinds = kind.map_or(vec![OverrideKind::Block, OverrideKind::Grant], |kind| {
            vec![kind]
        });
        let lifted: Vec<_> = kinds.into_iter().map(|kind| (kind, None)).collect();
        self.decide(call, &fleet, &lifted).await
    }

    async fn decide(
        &self,
        call: &Call<'_>,
        fleet: &FleetRef,
        decided: &[(OverrideKind, Option<Override>)],
    ) -> Result<Answer, Refusal> {
        let decided = decided.iter().map(|(kind, decided)| Decided {
            kind: *kind,
            by: call.caller.clone(),
            decided: decided.clone(),
        });
        let records = Records {
            table: &self.table,
            policy: &self.settings.policy,
            history_days: self.settings.history_days,
            now: (self.settings.now)(),
        };
        let stored = records.decide(fleet, &decided.collect::<Vec<_>>()).await?;
        let stored = stored.ok_or_else(|| Refusal::unknown(fleet.as_str()))?;
        Ok(Answer::json(StatusCode::OK, &self.access_of(&stored)))
    }

    async fn submit_operation(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        let fleet = call.fleet()?;
        let submitter = Submitter {
            fleet: &fleet,
            key: call.idempotency_key()?,
            by: &call.caller,
        };
        let wanted = Wanted::of(call.body()?)?;
        let Submitted { stored, sent } = self.writes.submit(submitter, &wanted).await?;
        let status = match sent {
            true => StatusCode::ACCEPTED,
            false => StatusCode::OK,
        };
        Ok(Answer::json(status, &self.writes.told(&stored)))
    }

    async fn list_operations(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[
            "fleet_ref",
            "status",
            "resource",
            "from",
            "to",
            "cursor",
            "size",
        ])?;
        let resources = Write::resources();
        let statuses = Status::ALL.map(Status::as_str).join(", ");
        let moment = |name| {
            let expected = "a time like 2026-05-04T08:00:00Z (RFC 3339)";
            let moment = call.parameter_as(name, expected, Moment::parse)?;
            Ok::<_, Refusal>(moment.map(|it| it.0))
        };
        let listed = Listed {
            fleet: call.parameter_as("fleet_ref", "1 to 256 bytes", FleetRef::parse)?,
            status: call.parameter_as("status", &format!("one of {statuses}"), Status::of)?,
            resource: call.parameter_as("resource", &format!("one of {resources}"), writable)?,
            from: moment("from")?,
            to: moment("to")?,
        };
        let size = size(call)?;
        let cursor = call.parameter_as("cursor", NEXT_CURSOR, |text| {
            OperationCursor::parse(&decoded(text)?)
        })?;
        let (operations, next) = self.writes.list(&listed, cursor, size).await?;
        let page = OperationPage {
            as_of: Moment(self.now()),
            operations,
            next_cursor: next.map(|it| BASE64_URL_SAFE_NO_PAD.encode(it.text())),
        };
        Ok(Answer::json(StatusCode::OK, &page))
    }

    async fn operation(&self, call: &Call<'_>) -> Result<Answer, Refusal> {
        call.only(&[])?;
        let id = call.operation_id().ok_or_else(Refusal::unknown_operation)?;
        let stored = self.table.operation(id).await?;
        let stored = stored.ok_or_else(Refusal::unknown_operation)?;
        Ok(Answer::json(StatusCode::OK, &self.writes.told(&stored)))
    }

    fn now(&self) -> Timestamp {
        Moment::from((self.settings.now)()).0
    }
}

/// Where a page of fleets ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FleetsCursor {
    stage: Stage,
    after: Option<FleetRef>,
}

impl FleetsCursor {
    fn parse(text: &str) -> Option<Self> {
        let text = decoded(text)?;
        let (stage, after) = text.split_once(' ')?;
        Some(Self {
            stage: read_stage(stage)?,
            after: Some(FleetRef::parse(after)?),
        })
    }

    fn text(&self) -> String {
        let after = self.after.as_ref().map_or("", FleetRef::as_str);
        BASE64_URL_SAFE_NO_PAD.encode(format!("{} {after}", self.stage.as_str()))
    }
}

fn read_stage(text: &str) -> Option<Stage> {
    Stage::ALL.into_iter().find(|it| it.as_str() == text)
}

fn writable(text: &str) -> Option<String> {
    let mut writes = Write::ALL.iter();
    let known = writes.any(|it| it.resource == text);
    known.then(|| text.to_owned())
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn size(call: &Call<'_>) -> Result<usize, Refusal> {
    let expected = format!("a whole number from 1 to {MOST}");
    let size = call.parameter_as("size", &expected, |text| {
        text.parse().ok().filter(|size| (1..=MOST).contains(size))
    })?;
    Ok(size.unwrap_or(USUAL_SIZE))
}

fn known(stored: StoredRecord) -> Result<StoredRecord, Refusal> {
    if stored.version == 0 {
        return Err(Refusal::unknown(stored.fleet.as_str()));
    }
    Ok(stored)
}

/// One record that can't be read harms no other.
fn unreadable(fleet: &FleetRef, error: &StoreError) {
    error!(fleet.ref = %fleet, cause = describe(error), "fleet {fleet}: its record can't be read");
}

fn entry(entry: store::HistoryEntry) -> HistoryEntry {
    let news = entry.news.iter().map(|news| News {
        at: Moment(news.at.time()),
        fact: api::fact(&news.fact),
    });
    HistoryEntry {
        at: Moment(entry.at().time()),
        received: Moment(entry.received),
        news: news.collect(),
        decided: entry.decided.map(decided),
        passed: entry.passed.iter().map(Passed::from).collect(),
        event: entry.event,
        id: entry.id,
    }
}

fn decided(decided: Decided) -> api::Decided {
    let over = decided.decided.as_ref();
    api::Decided {
        kind: decided.kind.into(),
        by: decided.by,
        reason: over.map(|it| it.reason().to_owned()),
        ends: over.and_then(Override::ends).map(Moment),
        lifted: over.is_none(),
    }
}

fn response(status: StatusCode, body: Option<(&'static str, Value)>) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Rights change at any moment.
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    if let Some((kind, body)) = body {
        headers.insert("content-type", HeaderValue::from_static(kind));
        *response.body_mut() = Body::from(body.to_string());
    }
    response
}

fn out_of_time(operation: Operation) -> Refusal {
    let detail = match operation {
        Operation::SubmitOperation => {
            "The function's time was over before it was known what became of the write, which may have been sent. The same key tells, and \
             sends nothing again that may have got through."
        }
        _ => "The function's time was over before the answer was there. Try again.",
    };
    Refusal::new(Kind::OutOfTime, detail)
}

/// The write operation that a call is about.
fn operation_of(call: &Call<'_>) -> Option<String> {
    if call.operation == Operation::SubmitOperation {
        let (fleet, key) = (call.fleet().ok()?, call.idempotency_key().ok()?);
        return Some(operations::operation_id(fleet.as_str(), key));
    }
    call.operation_id().map(str::to_owned)
}

/// One line per call.
fn log(call: &Call<'_>, answered: &Result<Answer, Refusal>) {
    let written = operation_of(call);
    let operation = call.operation.id();
    let caller = &call.caller;
    let fleet = call.fleet().ok();
    let fleet = fleet.as_ref().map(FleetRef::as_str);
    match answered {
        Ok(answer) => {
            let status = answer.status.as_u16();
            info!(operation, caller, fleet.ref = fleet, operation.id = written, status, "{operation}: {status}");
        }
        Err(Refusal { problem, cause }) => {
            let (status, kind) = (problem.status, &problem.kind);
            let cause = cause.as_deref();
            if status >= 500 && status != 503 {
                error!(operation, caller, fleet.ref = fleet, operation.id = written, status, problem = kind, cause, "{operation}: {kind}");
            } else {
                warn!(operation, caller, fleet.ref = fleet, operation.id = written, status, problem = kind, cause, "{operation}: {kind}");
            }
        }
    }
}

/// API Gateway waits 30 s, and Lambda 29 s for this function.
const DEADLINE: Duration = Duration::from_secs(28);
/// The most that one call asks for: as many items as one request to DynamoDB reads.
pub(crate) const MOST: usize = 100;
/// Unless told.
pub(crate) const USUAL_SIZE: usize = 50;
const NEXT_CURSOR: &str = "what an answer gave as next_cursor";

#[cfg(test)]
mod tests {
    use fleet::{Due, Why};

    use super::*;

    #[test]
    fn a_history_tells_dates_that_passed_and_nothing_of_them_where_there_are_none() {
        let received = Timestamp(1_777_881_600_900);
        let passed = store::HistoryEntry {
            event: "date.passed".to_owned(),
            id: None,
            received,
            news: Vec::new(),
            decided: None,
            passed: vec![Due {
                at: Timestamp(1_777_881_600_000),
                why: Why::AgreementEnds,
            }],
        };
        let told = json!(entry(passed.clone()));
        assert_eq!(told["at"], "2026-05-04T08:00:00Z");
        let dates = json!([{ "why": "agreement_ends", "at": "2026-05-04T08:00:00Z" }]);
        assert_eq!(told["passed"], dates);
        let none = store::HistoryEntry {
            passed: Vec::new(),
            ..passed
        };
        assert!(json!(entry(none)).get("passed").is_none());
    }
}
