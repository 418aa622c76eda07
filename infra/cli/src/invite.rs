//! `invite` and `uninvite`: what is asked for, and what it came to.

use std::collections::BTreeSet;

use api::{Invitation, InvitationRequest, Level, Outcome, Scopes};
use fleet::{FleetRef, Timestamp};
use serde_json::Value;

use crate::{
    args::Invite,
    readable::{Page, columns, indented, plain, read_or_shown, row},
    when::clock_and_distance,
};

/// What the options ask for.
pub(crate) fn request(invite: &Invite) -> InvitationRequest {
    let permissions = invite.permissions.iter().cloned().collect();
    let providers = invite.providers.clone();
    InvitationRequest {
        fleet_name: invite.name.clone(),
        fleet_email: invite.email.clone(),
        fleet_regulatory_id: invite.regulatory_id.clone(),
        fleet_regulatory_id_type: invite.regulatory_id_type.clone(),
        fleet_phone: invite.phone.clone(),
        fleet_website: invite.website.clone(),
        fleet_country_code: invite.country.clone(),
        limit_tsps: (!providers.is_empty()).then_some(providers),
        permissions: (!invite.permissions.is_empty()).then_some(permissions),
    }
}

/// What inviting came to.
pub(crate) fn page(answer: Value, now: Timestamp) -> Page {
    read_or_shown(answer, |invitation| text(invitation, now))
}

/// That an invitation was taken back, of which the API says no more.
pub(crate) fn withdrawn(fleet: &FleetRef, answer: Value) -> Page {
    let fleet = plain(fleet.as_str());
    let text = format!("The invitation of {fleet} is taken back, and its link leads nowhere.\n");
    Page::new(text, answer)
}

fn text(invitation: &Invitation, now: Timestamp) -> String {
    let summary = &invitation.summary;
    let ends = summary.ends.map_or("not known".to_owned(), |ends| {
        clock_and_distance(ends.0, now)
    });
    let mut rows = vec![
        row(["status", &plain(&summary.status)]),
        row(["ends", &ends]),
    ];
    match &summary.link {
        Some(link) => {
            let ends = clock_and_distance(link.ends.0, now);
            rows.push(row(["link", &plain(&link.url)]));
            rows.push(row([
                "",
                &format!("for this fleet alone; works until {ends}"),
            ]));
        }
        None => rows.push(row(["link", "none"])),
    }
    let asked = summary.asked.as_ref();
    rows.extend(asked.into_iter().flat_map(told));
    let fleet = plain(&invitation.fleet_ref);
    let mut text = format!(
        "{} All times are UTC.\n\n{}",
        outcome(&fleet, invitation.outcome),
        columns(&rows)
    );
    if let Some(asked) = asked {
        text += &format!(
            "\npermissions\n{}",
            permissions(asked, summary.granted.as_ref())
        );
    }
    text
}

fn outcome(fleet: &str, outcome: Outcome) -> String {
    match outcome {
        Outcome::Created => format!("{fleet} is invited: Catena made an invitation."),
        Outcome::Refreshed => {
            format!("{fleet} is invited: Catena refreshed the invitation that it had.")
        }
        Outcome::Adopted => format!(
            "{fleet} is invited: Catena had the invitation already, from a call that was cut off."
        ),
        Outcome::Unchanged => {
            format!("{fleet} is invited as asked already: nothing was changed.")
        }
    }
}

/// What the fleet was invited with, besides permissions.
fn told(asked: &InvitationRequest) -> Vec<Vec<String>> {
    let regulatory = asked.fleet_regulatory_id.as_ref().map(|id| {
        let kind = asked.fleet_regulatory_id_type.as_deref();
        format!("{} {id}", kind.unwrap_or_default())
    });
    let rows = [
        ("name", asked.fleet_name.clone()),
        ("e-mail", asked.fleet_email.clone()),
        ("regulator's id", regulatory),
        ("phone", asked.fleet_phone.clone()),
        ("website", asked.fleet_website.clone()),
        ("country", asked.fleet_country_code.clone()),
        (
            "providers",
            asked.limit_tsps.as_ref().map(|it| it.join(", ")),
        ),
    ];
    let rows = rows.into_iter();
    rows.filter_map(|(name, said)| Some(row([name, &plain(&said?)])))
        .collect()
}

/// What was asked beside what was granted, marked where that isn't the same.
fn permissions(asked: &InvitationRequest, granted: Option<&Scopes>) -> String {
    let asked = asked.permissions.clone().unwrap_or_default();
    let names = asked
        .keys()
        .chain(granted.into_iter().flat_map(Scopes::keys));
    let names: BTreeSet<&String> = names.collect();
    let mut rows = vec![row(["", "asked", "granted"])];
    for name in names {
        let wanted = asked.get(name).copied().map_or("-", Level::as_str);
        let got = match granted {
            Some(granted) => granted.get(name).map_or("-", String::as_str),
            None => "not known",
        };
        let mark = match granted.is_some() && got != wanted {
            true => "<- differs",
            false => "",
        };
        rows.push(row([&plain(name), wanted, &plain(got), mark]));
    }
    if rows.len() == 1 {
        return "  none\n".to_owned();
    }
    indented(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::args::{Arguments, Command};

    fn asked(options: &[&str]) -> Value {
        let line = ["kingpin", "invite", "FLEET-42"].iter().chain(options);
        match Arguments::read(line).unwrap().command {
            Command::Invite(invite) => json!(request(&invite)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_option_is_its_field() {
        assert_eq!(asked(&[]), json!({}));
        assert_eq!(asked(&["--reopen"]), json!({}));
        let all = [
            "--name",
            "Acme Trucking",
            "--email",
            "ops@acme.example",
            "--regulatory-id",
            "1234567",
            "--regulatory-id-type",
            "DOT",
            "--phone",
            "+15125550100",
            "--website",
            "https://acme.example",
            "--country",
            "USA",
            "--permission",
            "vehicle=read",
            "--permission",
            "message=read_write",
            "--provider",
            "samsara",
            "--provider",
            "geotab",
        ];
        let expected = json!({
            "fleet_name": "Acme Trucking",
            "fleet_email": "ops@acme.example",
            "fleet_regulatory_id": "1234567",
            "fleet_regulatory_id_type": "DOT",
            "fleet_phone": "+15125550100",
            "fleet_website": "https://acme.example",
            "fleet_country_code": "USA",
            "limit_tsps": ["samsara", "geotab"],
            "permissions": { "message": "read_write", "vehicle": "read" },
        });
        assert_eq!(asked(&all), expected);
        let request: InvitationRequest = serde_json::from_value(expected).unwrap();
        assert_eq!(request.problems(), []);
    }
}
