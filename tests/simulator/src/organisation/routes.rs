//! Which endpoints there are, and what they demand of a token.

use uuid::Uuid;

use super::{
    notifications::Notification,
    writes::{Resource, Write},
};

/// One endpoint.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// The path, with `{id}` for a part that varies.
    pub(super) template: &'static str,
    pub(super) access: Access,
    pub(super) operation: Operation,
}

impl Route {
    /// Left out of the public reference: whether a partner is served is unknown (contract 2, 3.6).
    pub(super) fn is_hidden(&self) -> bool {
        let hidden = [
            Operation::ListExternalTsps,
            Operation::ListIntegrationRequests,
        ];
        hidden.contains(&self.operation)
    }
}

/// What a request must show (the column `perm` of contract 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing.
    Open,
    /// Any valid token (contract 1: "empty perm").
    Token,
    /// A valid token with this permission.
    Permission(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Token,
    CreateInvitation,
    ListInvitations,
    GetInvitation,
    DeleteInvitation,
    AcceptInvitation,
    DeclineInvitation,
    ListFleets,
    GetFleet,
    ListAgreements,
    GetAgreement,
    UpdateAgreement,
    PauseAgreement,
    ActivateAgreement,
    CancelAgreement,
    DeleteAgreement,
    ListTsps,
    GetTsp,
    ListExternalTsps,
    ListIntegrationRequests,
    ListConnections,
    GetConnection,
    ReadFreshness,
    ListSchedules,
    GetSchedule,
    ListWrites,
    GetWrite,
    Write(Write),
    Notification(Notification),
}

/// What lies at a path.
pub(super) enum Found<'a> {
    /// An endpoint, and the identifiers in the path.
    Here(&'static Route, Vec<&'a str>),
    /// The path exists, for other methods.
    OtherMethods(&'static str),
    Nothing,
}

pub(super) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut other_methods = None;
    for route in ROUTES {
        let Some(ids) = matches(route.template, path) else {
            continue;
        };
        if route.method == method {
            return Found::Here(route, ids);
        }
        other_methods = Some(route.template);
    }
    other_methods.map_or(Found::Nothing, Found::OtherMethods)
}

/// The path's identifiers if it has the template's form.
fn matches<'a>(template: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut parts, mut ids) = (path.split('/'), Vec::new());
    for expected in template.split('/') {
        match parts.next()? {
            id if expected.starts_with('{') && !id.is_empty() => ids.push(id),
            part if part == expected => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(ids)
}

/// An identifier in a path or query.
pub(super) fn uuid(path: &str, text: &str) -> Result<Uuid, super::errors::Refusal> {
    let complaint = |_| {
        super::errors::Refusal::invalid(path, text, "Input should be a valid UUID", "uuid_parsing")
    };
    Uuid::try_parse(text).map_err(complaint)
}

/// Every permission that an endpoint here asks for.
pub(super) fn permissions() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> = ROUTES
        .iter()
        .filter_map(|route| match route.access {
            Access::Permission(name) => Some(name),
            Access::Open | Access::Token => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

const fn route(
    method: &'static str,
    template: &'static str,
    access: Access,
    operation: Operation,
) -> Route {
    Route {
        method,
        template,
        access,
        operation,
    }
}

const INVITATIONS: &str = "/v2/orgs/invitations";
const INVITATION: &str = "/v2/orgs/invitations/{id}";
const AGREEMENTS: &str = "/v2/orgs/share-agreements";
const AGREEMENT: &str = "/v2/orgs/share-agreements/{id}";
const READ_AGREEMENTS: Access = Access::Permission("share-agreement:read");
const READ_CONNECTIONS: Access = Access::Permission("connection:read");
const READ_SCHEDULES: Access = Access::Permission("schedule:read");
const READ_OPERATIONS: Access = Access::Permission("resource_operation:read");
const WEBHOOKS: &str = "/v2/notifications/webhooks";
const WEBHOOK: &str = "/v2/notifications/webhooks/{id}";
const CREATE_WEBHOOKS: Access = Access::Permission("webhook:create");
const READ_WEBHOOKS: Access = Access::Permission("webhook:read");
const CHANGE_WEBHOOKS: Access = Access::Permission("webhook:update");
const CHANGE_AGREEMENTS: Access = Access::Permission("share-agreement:update");

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    route("POST", super::token::PATH, Access::Open, Operation::Token),
    route("POST", INVITATIONS, Access::Permission("invitation:create"), Operation::CreateInvitation),
    route("GET", INVITATIONS, Access::Permission("invitation:read"), Operation::ListInvitations),
    route("GET", INVITATION, Access::Open, Operation::GetInvitation),
    route("DELETE", INVITATION, Access::Permission("invitation:delete"), Operation::DeleteInvitation),
    route("POST", "/v2/orgs/invitations/{id}/accept", Access::Token, Operation::AcceptInvitation),
    route("POST", "/v2/orgs/invitations/{id}/decline", Access::Token, Operation::DeclineInvitation),
    route("GET", "/v2/orgs/fleets", Access::Permission("fleet:read"), Operation::ListFleets),
    route("GET", "/v2/orgs/fleets/{id}", Access::Permission("fleet:read"), Operation::GetFleet),
    route("GET", AGREEMENTS, READ_AGREEMENTS, Operation::ListAgreements),
    route("GET", AGREEMENT, READ_AGREEMENTS, Operation::GetAgreement),
    route("PATCH", AGREEMENT, CHANGE_AGREEMENTS, Operation::UpdateAgreement),
    route("POST", "/v2/orgs/share-agreements/{id}/pause", CHANGE_AGREEMENTS, Operation::PauseAgreement),
    route("POST", "/v2/orgs/share-agreements/{id}/activate", CHANGE_AGREEMENTS, Operation::ActivateAgreement),
    route("POST", "/v2/orgs/share-agreements/{id}/cancel", CHANGE_AGREEMENTS, Operation::CancelAgreement),
    route("DELETE", AGREEMENT, Access::Permission("share-agreement:delete"), Operation::DeleteAgreement),
    route("GET", "/v2/orgs/tsps", Access::Token, Operation::ListTsps),
    route("GET", "/v2/orgs/tsps/{id}", Access::Token, Operation::GetTsp),
    route("GET", "/v2/orgs/external-tsps", Access::Token, Operation::ListExternalTsps),
    route("GET", "/v2/orgs/external-tsps/integration-requests", Access::Token, Operation::ListIntegrationRequests),
    route("GET", "/v2/integrations/connections", READ_CONNECTIONS, Operation::ListConnections),
    // Before `{id}`, whose form it has as well.
    route("GET", "/v2/integrations/connections/data-freshness", READ_CONNECTIONS, Operation::ReadFreshness),
    route("GET", "/v2/integrations/connections/resource-operations", READ_OPERATIONS, Operation::ListWrites),
    route("GET", "/v2/integrations/connections/{connection_id}/resource-operations/{id}", READ_OPERATIONS, Operation::GetWrite),
    route("GET", "/v2/integrations/connections/{id}", READ_CONNECTIONS, Operation::GetConnection),
    route("GET", "/v2/integrations/connections/{id}/schedules", READ_SCHEDULES, Operation::ListSchedules),
    route("GET", "/v2/integrations/connections/{id}/schedules/{schedule_id}", READ_SCHEDULES, Operation::GetSchedule),
    // No permission is documented for writes (contract 5.3).
    route("POST", "/v2/telematics/vehicles", Access::Token, Operation::Write(Write::Create(Resource::Vehicle))),
    route("PATCH", "/v2/telematics/vehicles/{id}", Access::Token, Operation::Write(Write::Update(Resource::Vehicle))),
    route("POST", "/v2/telematics/trailers", Access::Token, Operation::Write(Write::Create(Resource::Trailer))),
    route("PATCH", "/v2/telematics/trailers/{id}", Access::Token, Operation::Write(Write::Update(Resource::Trailer))),
    route("POST", "/v2/telematics/users", Access::Token, Operation::Write(Write::Create(Resource::User))),
    route("PATCH", "/v2/telematics/users/{id}", Access::Token, Operation::Write(Write::Update(Resource::User))),
    route("POST", "/v2/telematics/messages", Access::Token, Operation::Write(Write::Create(Resource::Message))),
    route("POST", "/v2/telematics/group-messages", Access::Token, Operation::Write(Write::Create(Resource::GroupMessage))),
    route("POST", "/v2/telematics/fuel-transactions", Access::Token, Operation::Write(Write::Create(Resource::FuelTransaction))),
    route("POST", "/v2/telematics/dvir-logs", Access::Token, Operation::Write(Write::Create(Resource::DvirLog))),
    route("POST", WEBHOOKS, CREATE_WEBHOOKS, Operation::Notification(Notification::Create)),
    route("GET", WEBHOOKS, READ_WEBHOOKS, Operation::Notification(Notification::List)),
    route("GET", WEBHOOK, READ_WEBHOOKS, Operation::Notification(Notification::Get)),
    route("PATCH", WEBHOOK, CHANGE_WEBHOOKS, Operation::Notification(Notification::Update)),
    route("DELETE", WEBHOOK, Access::Permission("webhook:delete"), Operation::Notification(Notification::Delete)),
    route("POST", "/v2/notifications/webhooks/{id}/activate", CHANGE_WEBHOOKS, Operation::Notification(Notification::Activate)),
    route("POST", "/v2/notifications/webhooks/{id}/pause", CHANGE_WEBHOOKS, Operation::Notification(Notification::Pause)),
    route("POST", "/v2/notifications/webhooks/{id}/replay", CREATE_WEBHOOKS, Operation::Notification(Notification::Replay)),
    route("GET", "/v2/notifications/webhooks/{id}/metrics", READ_WEBHOOKS, Operation::Notification(Notification::Metrics)),
    route("GET", "/v2/notifications/webhooks/{id}/logs", READ_WEBHOOKS, Operation::Notification(Notification::Logs)),
    route("GET", "/v2/notifications/schemas/{event_name}", Access::Token, Operation::Notification(Notification::Schema)),
    route("GET", "/v2/notifications/schemas/{event_name}/versions/{version}", Access::Token, Operation::Notification(Notification::SchemaVersion)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_form_of_their_templates() {
        let template = "/a/{id}/b/{other_id}";
        assert_eq!(matches(template, "/a/1/b/2"), Some(vec!["1", "2"]));
        assert_eq!(matches("/a", "/a"), Some(Vec::new()));
        for path in [
            "/a/1/b",
            "/a/1/b/",
            "/a//b/2",
            "/a/1/c/2",
            "/a/1/b/2/3",
            "/a/1/b/2/",
        ] {
            assert_eq!(matches(template, path), None, "{path}");
        }
    }
}
