//! Catena's credentials and what they allow.

use std::{collections::BTreeSet, time::Duration};

use catena_client::{CatenaError, Client, Credentials};

use super::{Check, bounded, clock, skipped};
use crate::{
    catena::{catena, catena_secret},
    source::Found,
    trouble::{Trouble, causes},
};

/// The secret, a token, what it allows, the hidden endpoint and the clock.
pub(crate) async fn checks(found: &Found) -> Vec<Check> {
    let mut checks = bounded("credentials", async { vec![credentials(found).await] }).await;
    if checks.iter().any(|it| it.verdict != super::Verdict::Ok) {
        checks.extend(skipped(&["token"], "there are no credentials"));
        checks.extend(skipped(&BEHIND, "there is no token"));
        return checks;
    }
    let client = match catena(found) {
        Ok(client) => client,
        Err(error) => {
            checks.push(Check::error("token", &error));
            checks.extend(skipped(&BEHIND, "there is no token"));
            return checks;
        }
    };
    match client.within(PATIENCE).permissions().await {
        Ok(permissions) => {
            checks.push(Check::ok("token", "Catena gives one"));
            checks.push(permitted(permissions.as_deref()));
        }
        Err(error) => {
            checks.push(Check::trouble("token", &Trouble::of(&error)));
            checks.extend(skipped(&BEHIND, "there is no token"));
            return checks;
        }
    }
    let (requests, api) = tokio::join!(
        bounded("integration_requests", async {
            vec![requests(&client).await]
        }),
        bounded("api", api(&client)),
    );
    checks.extend(requests.into_iter().chain(api));
    checks
}

/// Whether the secret can be read and holds what it should.
async fn credentials(found: &Found) -> Check {
    let name = "credentials";
    let secret = match catena_secret(found) {
        Ok(secret) => secret,
        Err(error) => return Check::error(name, &error),
    };
    match secret.read().await {
        Ok(text) => match Credentials::parse(&text) {
            Ok(_) => Check::ok(name, format!("secret {} holds them", secret.id())),
            Err(error) => Check::fail(name, format!("secret {} is {error}", secret.id()), PUT),
        },
        Err(error @ (secrets::SecretError::Missing(_) | secrets::SecretError::NoText(_))) => {
            Check::fail(name, error.to_string(), PUT)
        }
        Err(error) => Check::fail(name, causes(&error), READ),
    }
}

/// What the token says that it allows, against what is called.
fn permitted(permissions: Option<&[String]>) -> Check {
    let name = "permissions";
    let said: BTreeSet<&str> = permissions
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    // A scope may hold other words, such as `organization`.
    if !said.iter().any(|word| word.contains(':')) {
        return Check::skipped(
            name,
            "the token doesn't say what it allows: calls will tell",
        );
    }
    let missing = |needed: &[&'static str]| -> Vec<&'static str> {
        needed
            .iter()
            .copied()
            .filter(|it| !said.contains(it))
            .collect()
    };
    let needed = missing(&NEEDED);
    let [subscriptions, operations] = [missing(&FOR_SUBSCRIPTIONS), missing(&FOR_OPERATIONS)];
    let later = [&subscriptions[..], &operations[..]].concat();
    let list = |missing: &[&str]| format!("the token doesn't allow {}", missing.join(", "));
    if !needed.is_empty() {
        return Check::fail(
            name,
            list(&[needed, later].concat()),
            "Ask Catena's support for them: the README lists under “Catena's credentials” what each is for.",
        );
    }
    let without = match (&subscriptions[..], &operations[..]) {
        ([], []) => {
            let count = NEEDED.len() + FOR_SUBSCRIPTIONS.len() + FOR_OPERATIONS.len();
            return Check::ok(
                name,
                format!("the token allows all {count} that are needed"),
            );
        }
        (_, []) => "webhook subscriptions can't be made, looked at and mended",
        ([], _) => {
            "write operations whose answer or webhook gets lost can't be looked for, and become unknown"
        }
        (_, _) => {
            "webhook subscriptions can't be made, looked at and mended, and write operations can't be looked for"
        }
    };
    let remedy = format!("Ask Catena's support for them: without, {without}.");
    Check::warn(name, list(&later), &remedy)
}

/// Whether the hidden endpoint answers (contract 3.6).
async fn requests(client: &Client) -> Check {
    let name = "integration_requests";
    match client
        .within(PATIENCE)
        .integration_requests(None, None)
        .await
    {
        Ok(answer) => Check::ok(name, format!("served: {} at Catena", answer.value.len())),
        Err(error @ (CatenaError::NotFound | CatenaError::Forbidden(_))) => Check::warn(
            name,
            causes(&error),
            "Without them no requested integration is ever confirmed. Ask Catena's support whether your client may call \
             GET /v2/orgs/external-tsps/integration-requests; the README says under “A requested integration” what you can do without.",
        ),
        Err(error) => Check::trouble(name, &Trouble::of(&error)),
    }
}

/// Whether the API takes the token, and what time it is there. Listing providers needs no permission (contract 3.5).
async fn api(client: &Client) -> Vec<Check> {
    match client.within(PATIENCE).providers(None, None).await {
        Ok(answer) => {
            let (providers, millis) = (answer.value.len(), answer.observed.elapsed.as_millis());
            let found = format!("{providers} providers listed in {millis} ms");
            vec![Check::ok("api", found), clock::of_catena(&answer.observed)]
        }
        Err(error) => vec![
            Check::trouble("api", &Trouble::of(&error)),
            Check::skipped("clock", "Catena's API gives no answer"),
        ],
    }
}

/// What needs a token.
const BEHIND: [&str; 4] = ["permissions", "integration_requests", "api", "clock"];
/// README, "Catena's credentials".
const NEEDED: [&str; 7] = [
    "invitation:create",
    "invitation:read",
    "invitation:delete",
    "share-agreement:read",
    "fleet:read",
    "connection:read",
    "schedule:read",
];
/// Contract 6.1.
const FOR_SUBSCRIPTIONS: [&str; 4] = [
    "webhook:create",
    "webhook:read",
    "webhook:update",
    "webhook:delete",
];
/// Contract 5.4.
const FOR_OPERATIONS: [&str; 1] = ["resource_operation:read"];
/// Less than a check may take, so that the error is Catena's own.
const PATIENCE: Duration = Duration::from_secs(8);
const PUT: &str = "`kingpin setup --credentials FILE` puts the client id and secret that Catena's support issued into it: README, “Catena's \
                   credentials”.";
const READ: &str = "See that the credentials of AWS may secretsmanager:GetSecretValue on it.";

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn said(words: &[&str]) -> Check {
        let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
        permitted(Some(&words))
    }

    #[test]
    fn what_the_token_lacks_is_named() {
        let all = [&NEEDED[..], &FOR_SUBSCRIPTIONS[..], &FOR_OPERATIONS[..]].concat();
        assert_eq!(said(&all).verdict, Verdict::Ok);
        let without = said(&all[1..]);
        assert_eq!(without.verdict, Verdict::Fail);
        assert_eq!(without.found, "the token doesn't allow invitation:create");
        let later = said(&NEEDED);
        assert_eq!(later.verdict, Verdict::Warn);
        assert!(
            later
                .found
                .ends_with("webhook:delete, resource_operation:read")
        );
        let unread = said(&[&NEEDED[..], &FOR_SUBSCRIPTIONS[..]].concat());
        assert_eq!(unread.verdict, Verdict::Warn);
        assert_eq!(
            unread.found,
            "the token doesn't allow resource_operation:read"
        );
    }

    #[test]
    fn a_token_that_does_not_say_is_not_blamed() {
        assert_eq!(permitted(None).verdict, Verdict::Skipped);
        assert_eq!(said(&["organization", "profile"]).verdict, Verdict::Skipped);
    }
}
