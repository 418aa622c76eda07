//! Where a fleet is sent in the end, and what the URL says (contract 4.2).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::super::invitations::Invitation;

/// What a redirect's query holds. The documentation contradicts itself (contract 4.2), and everybody can write a URL: so
/// there is a switch for each form that a partner should be able to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectParameters {
    /// `status`, and `integration_request_id` after a request: as one page documents it.
    Status,
    /// `invitation_id` and `fleet_ref`: as the others document it.
    Ids,
    /// All of these.
    #[default]
    Union,
    /// `status` and `fleet_ref`, without ids that Catena made.
    StatusAndFleetRef,
    /// Nothing.
    None,
    /// `status` alone, after a request, too.
    RequestWithoutId,
    /// `status` twice, first as it should be, then another one.
    DuplicateStatus,
    /// A `status` that isn't documented: `partially-connected`.
    UnknownStatus,
    /// `status`, and after a request an `integration_request_id` that isn't a UUID.
    MalformedRequestId,
    /// `failure` on the success URL; otherwise as [`RedirectParameters::Status`].
    FailureStatusOnSuccess,
    /// `success` on the failure URL; otherwise as [`RedirectParameters::Status`].
    SuccessStatusOnFailure,
}

/// Which status wins if a fleet connected one provider and requested another: unknown of Catena (contract 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mixed {
    /// `success`.
    #[default]
    Success,
    /// `integration-requested`.
    IntegrationRequested,
}

/// What the fleet has done.
pub(super) enum Ending<'a> {
    Success,
    /// It requested an integration, by this id.
    Requested(&'a str),
    Failure,
}

/// Where the fleet is sent, unless the partner gave no URL for this ending.
pub(super) fn location(
    invitation: &Invitation,
    parameters: RedirectParameters,
    ending: &Ending<'_>,
) -> Option<String> {
    let url = match ending {
        Ending::Success | Ending::Requested(_) => "success_redirect_url",
        Ending::Failure => "failure_redirect_url",
    };
    let url = invitation.redirect_url(url)?;
    let query: Vec<_> = pairs(invitation, parameters, ending)
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)))
        .collect();
    if query.is_empty() {
        return Some(url.to_owned());
    }
    // How Catena extends a URL that has a query already is unknown (contract 4.2).
    Some(format!("{url}?{}", query.join("&")))
}

fn pairs(
    invitation: &Invitation,
    parameters: RedirectParameters,
    ending: &Ending<'_>,
) -> Vec<(&'static str, String)> {
    let (status, another) = match ending {
        Ending::Success => (SUCCESS, FAILURE),
        Ending::Requested(_) => (REQUESTED, FAILURE),
        Ending::Failure => (FAILURE, SUCCESS),
    };
    let with_status = |status: &str| ("status", status.to_owned());
    let request_id = match ending {
        Ending::Requested(id) => Some((REQUEST_ID, (*id).to_owned())),
        Ending::Success | Ending::Failure => None,
    };
    let fleet = &invitation.fleet;
    let invitation_id = ("invitation_id", fleet.invitation_id.to_string());
    let fleet_ref = ("fleet_ref", fleet.fleet_ref.clone());

    let mut pairs = vec![with_status(status)];
    match parameters {
        RedirectParameters::Status => pairs.extend(request_id),
        RedirectParameters::Ids => pairs = vec![invitation_id, fleet_ref],
        RedirectParameters::Union => {
            pairs.extend(request_id);
            pairs.extend([invitation_id, fleet_ref]);
        }
        RedirectParameters::StatusAndFleetRef => pairs.push(fleet_ref),
        RedirectParameters::None => pairs.clear(),
        RedirectParameters::RequestWithoutId => {}
        RedirectParameters::DuplicateStatus => pairs.push(with_status(another)),
        RedirectParameters::UnknownStatus => pairs = vec![with_status("partially-connected")],
        RedirectParameters::MalformedRequestId => {
            pairs.extend(request_id.map(|(name, _)| (name, "not-a-uuid".to_owned())));
        }
        RedirectParameters::FailureStatusOnSuccess => match ending {
            Ending::Success | Ending::Requested(_) => pairs = vec![with_status(FAILURE)],
            Ending::Failure => {}
        },
        RedirectParameters::SuccessStatusOnFailure => match ending {
            Ending::Success | Ending::Requested(_) => pairs.extend(request_id),
            Ending::Failure => pairs = vec![with_status(SUCCESS)],
        },
    }
    pairs
}

const SUCCESS: &str = "success";
const REQUESTED: &str = "integration-requested";
const FAILURE: &str = "failure";
const REQUEST_ID: &str = "integration_request_id";
/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
