//! What a fleet's browser claims when it comes back: by the URL that it lands on and its query, which nobody signed. Pure.
//!
//! Catena's pages disagree on the parameters (contract 4.2), so any subset in any order is read, and the status counts for more
//! than the URL, but never towards more access.

use catena::InvitationHash;
use fleet::Claim;
use uuid::Uuid;

/// Which of the invitation's two URLs the browser came back by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    Success,
    Failure,
}

/// What the query says: all values of each parameter that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query<'a> {
    pub(crate) status: Vec<&'a str>,
    pub(crate) integration_request_id: Vec<&'a str>,
    pub(crate) invitation_id: Vec<&'a str>,
    pub(crate) fleet_ref: Vec<&'a str>,
}

/// The claim. `fleet` and `invitation` (a hash) are what the URL's token stands for.
pub(crate) fn claim(landing: Landing, query: &Query<'_>, fleet: &str, invitation: &str) -> Claim {
    let other_fleet = query.fleet_ref.iter().any(|it| *it != fleet);
    let mut invitations = query.invitation_id.iter().map(|it| InvitationHash::of(it));
    let other_invitation = invitations.any(|it| it.as_str() != invitation);
    if other_fleet || other_invitation {
        return Claim::Unclear;
    }
    match (&query.status[..], landing) {
        ([] | ["success"], Landing::Success) => Claim::Connected,
        (["integration-requested"], _) => Claim::Requested(request(query)),
        ([], Landing::Failure) | (["failure"], _) => Claim::Failed,
        // Unknown, repeated, or success on the failure URL.
        _ => Claim::Unclear,
    }
}

/// The request's id, if there is exactly one and it can be one.
fn request(query: &Query<'_>) -> Option<String> {
    let [id] = query.integration_request_id[..] else {
        return None;
    };
    // As Catena writes it; the library reads other spellings, too.
    let hyphenated = id.len() == 36;
    let id = Uuid::try_parse(id).ok().filter(|_| hyphenated)?;
    Some(id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5c06372b-5b5a-4477-88ee-6cd8d3b55efb";
    const INVITATION: &str = "019df1a0-3c5e-7b21-8f44-2a6c9e10d7b3";

    fn claimed(landing: Landing, parameters: &[(&str, &'static str)]) -> Claim {
        let all = |name: &str| {
            let values = parameters.iter().filter(|(it, _)| *it == name);
            values.map(|(_, value)| *value).collect()
        };
        let query = Query {
            status: all("status"),
            integration_request_id: all("integration_request_id"),
            invitation_id: all("invitation_id"),
            fleet_ref: all("fleet_ref"),
        };
        let hash = InvitationHash::of(INVITATION);
        claim(landing, &query, "FLEET-42", hash.as_str())
    }

    #[test]
    fn status_and_url_make_the_claim() {
        use Landing::{Failure, Success};
        let requested = || Claim::Requested(None);
        for (landing, status, expected) in [
            (Success, None, Claim::Connected),
            (Success, Some("success"), Claim::Connected),
            (Success, Some("integration-requested"), requested()),
            (Success, Some("failure"), Claim::Failed),
            (Success, Some("Success"), Claim::Unclear),
            (Success, Some(""), Claim::Unclear),
            (Failure, None, Claim::Failed),
            (Failure, Some("failure"), Claim::Failed),
            (Failure, Some("integration-requested"), requested()),
            (Failure, Some("success"), Claim::Unclear),
            (Failure, Some("partially-connected"), Claim::Unclear),
        ] {
            let parameters: Vec<_> = status.map(|it| ("status", it)).into_iter().collect();
            assert_eq!(
                claimed(landing, &parameters),
                expected,
                "{landing:?} {status:?}"
            );
            let twice = [parameters.clone(), parameters].concat();
            if !twice.is_empty() {
                assert_eq!(claimed(landing, &twice), Claim::Unclear, "{twice:?}");
            }
        }
    }

    #[test]
    fn a_request_has_an_id_only_if_it_can_be_one() {
        let with = |ids: &[&'static str]| {
            let ids = ids.iter().map(|id| ("integration_request_id", *id));
            let status = std::iter::once(("status", "integration-requested"));
            claimed(Landing::Success, &status.chain(ids).collect::<Vec<_>>())
        };
        let known = Claim::Requested(Some(ID.to_owned()));
        assert_eq!(with(&[ID]), known);
        assert_eq!(with(&["5C06372B-5B5A-4477-88EE-6CD8D3B55EFB"]), known);
        for bad in [
            &[][..],
            &[""],
            &["not-a-uuid"],
            &["5c06372b5b5a447788ee6cd8d3b55efb"],
            &["{5c06372b-5b5a-4477-88ee-6cd8d3b55efb}"],
            &["urn:uuid:5c06372b-5b5a-4477-88ee-6cd8d3b55efb"],
            &[ID, ID],
        ] {
            assert_eq!(with(bad), Claim::Requested(None), "{bad:?}");
        }
        let ignored = [("status", "success"), ("integration_request_id", ID)];
        assert_eq!(claimed(Landing::Success, &ignored), Claim::Connected);
    }

    #[test]
    fn who_contradicts_the_token_claims_nothing_clear() {
        let good = [
            ("status", "success"),
            ("invitation_id", INVITATION),
            ("fleet_ref", "FLEET-42"),
        ];
        assert_eq!(claimed(Landing::Success, &good), Claim::Connected);
        for bad in [
            ("fleet_ref", "FLEET-43"),
            ("fleet_ref", ""),
            ("invitation_id", ID),
            ("invitation_id", ""),
        ] {
            assert_eq!(claimed(Landing::Success, &[bad]), Claim::Unclear, "{bad:?}");
            let both = [&good[..], &[bad]].concat();
            assert_eq!(claimed(Landing::Success, &both), Claim::Unclear, "{bad:?}");
        }
    }
}
