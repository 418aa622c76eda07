//! What the partner API, or what stands before it, says when it doesn't do what was asked.

use anyhow::anyhow;
use api::Problem;
use fetch::http::StatusCode;
use serde_json::Value;

use crate::readable::plain;

/// An answer that is no success, for the one who typed the command. `place` is the stack.
pub(crate) fn refused(status: StatusCode, body: &[u8], place: &str) -> anyhow::Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => anyhow!(told(&problem)),
        Err(_) => anyhow!(stopped(status, body, place)),
    }
}

/// The function's own words, the fields by the names of their options.
fn told(problem: &Problem) -> String {
    let mut text = format!("{}: {}", plain(&problem.title), plain(&problem.detail));
    for wrong in &problem.errors {
        text += &format!("\n  {}: {}", option(&wrong.field), plain(&wrong.detail));
    }
    if problem.kind == DECLINED {
        text += "\nGive --reopen to ask it again nevertheless.";
    }
    text
}

/// API Gateway's word, which is short, and what to do about it.
fn stopped(status: StatusCode, body: &[u8], place: &str) -> String {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = said["message"].as_str().or(said["Message"].as_str());
    let said = said.map_or(String::new(), |said| format!(" ({})", plain(said)));
    let remedy = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "The credentials may not do this, or the signature isn't accepted: they need execute-api:Invoke on the route (see \
             the permissions in `kingpin --help`), must be of the stack's account, and this machine's clock must be right."
        }
        StatusCode::NOT_FOUND => {
            "Either the stack's partner API has no such route, then use the `kingpin` that belongs to its template; or the fleet's \
             reference has characters that can't be in a path, such as a slash."
        }
        StatusCode::TOO_MANY_REQUESTS => "Too many calls at once: try again in a moment.",
        status if status.is_server_error() => {
            "Try again; the log of partner-api tells why. The same command again does no harm."
        }
        _ => "Is the stack's output PartnerApiUrl the URL of its partner API?",
    };
    format!(
        "the partner API of {place} answered {}{said}\n{remedy}",
        status.as_u16()
    )
}

/// The option by which a field of the API is given.
fn option(field: &str) -> String {
    let (name, rest) = field.split_at(field.find(['.', '[']).unwrap_or(field.len()));
    let option = match name {
        "fleet_ref" => "REF",
        "fleet_name" => "--name",
        "fleet_email" => "--email",
        "fleet_regulatory_id" => "--regulatory-id",
        "fleet_regulatory_id_type" => "--regulatory-id-type",
        "fleet_phone" => "--phone",
        "fleet_website" => "--website",
        "fleet_country_code" => "--country",
        "limit_tsps" => "--provider",
        "permissions" => "--permission",
        "reopen" => "--reopen",
        "reason" => "--reason",
        "ends" => "--until",
        _ => return plain(field),
    };
    let about = rest.trim_matches(['.', '[', ']']);
    match about.is_empty() {
        true => option.to_owned(),
        false => format!("{option} {}", plain(about)),
    }
}

/// How the API calls it that a fleet declined.
const DECLINED: &str = "urn:kingpin:problem:fleet-declined";

#[cfg(test)]
mod tests {
    use api::FieldProblem;
    use serde_json::json;

    use super::*;

    const PLACE: &str = "stack kingpin in eu-central-1";

    fn problem(kind: &str, title: &str, status: u16, detail: &str) -> Problem {
        Problem {
            kind: format!("urn:kingpin:problem:{kind}"),
            title: title.to_owned(),
            status,
            detail: detail.to_owned(),
            errors: Vec::new(),
            retry_after_seconds: None,
        }
    }

    #[test]
    fn problems_in_words() {
        let mut fields = problem(
            "invalid-fields",
            "Some fields are not as they should be",
            422,
            "fleet_name: write 1 to 200 characters; and others",
        );
        fields.errors = [
            "fleet_name",
            "fleet_regulatory_id_type",
            "permissions.Vehicle",
            "limit_tsps[0]",
            "ends",
            "something_new",
        ]
        .map(|field| FieldProblem::new(field, "write\u{1b}[2J something else"))
        .into();
        let declined = problem(
            "fleet-declined",
            "The fleet declined",
            409,
            "The fleet declined, and isn't asked again unless you say so with ?reopen=true. Its reason: too dear",
        );
        let unknown = problem(
            "unknown-fleet",
            "The fleet was never heard of",
            404,
            "Nothing is known of fleet FLEET-99. Check its reference, capitals included, or invite it.",
        );
        let mut text = String::new();
        for problem in [fields, declined, unknown] {
            let status = StatusCode::from_u16(problem.status).unwrap();
            let body = json!(problem).to_string();
            let told = refused(status, body.as_bytes(), PLACE);
            text += &format!("error: {told:#}\n\n");
        }
        for (status, body) in [
            (403, r#"{"message":"Forbidden"}"#),
            (404, r#"{"message":"Not Found"}"#),
            (429, r#"{"message":"Too Many Requests"}"#),
            (503, r#"{"message":"Service Unavailable"}"#),
            (502, "<html>"),
            (301, ""),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let told = refused(status, body.as_bytes(), PLACE);
            text += &format!("error: {told:#}\n\n");
        }
        insta::assert_snapshot!(text);
    }
}
