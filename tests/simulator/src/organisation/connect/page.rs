//! The pages' HTML. It is well-formed XML, too, so that a test without a browser can read it.

use super::{
    super::{
        integration_requests::Contact,
        invitations::{Invitation, PARTNER_SLUG},
        tsps::{Supported, Unsupported},
    },
    PATH,
};

/// Whether the fleet is asked for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Asked,
    Refused,
}

/// The path of a step, with the query that every step has.
pub(super) fn step(invitation: &Invitation, steps: &[&str]) -> String {
    let steps: Vec<_> = std::iter::once(&PATH).chain(steps).copied().collect();
    let (path, id) = (steps.join("/"), invitation.fleet.invitation_id);
    format!("{path}?invite={id}")
}

pub(super) fn invitation(invitation: &Invitation) -> String {
    let name = escaped(&invitation.fleet.name);
    let shared: String = invitation
        .permissions
        .iter()
        .map(|(resource, level)| {
            let level = level.replace('_', " and ");
            format!("<li>{}: {}</li>\n", escaped(resource), escaped(&level))
        })
        .collect();
    let accept = form(invitation, &["accept"], "", ("accept", "Accept"));
    let reason = "<label for=\"reason\">Why not? (optional)</label>\n\
        <input type=\"text\" id=\"reason\" name=\"reason\" />";
    let decline = form(invitation, &["decline"], reason, ("decline", "Decline"));
    page(
        "Connect your fleet",
        &format!(
            "<p><strong>{PARTNER_SLUG}</strong> invites <strong id=\"fleet\">{name}</strong> to share its data:</p>\n\
            <ul id=\"permissions\">\n{shared}</ul>\n{accept}{decline}"
        ),
    )
}

pub(super) fn providers(
    invitation: &Invitation,
    wanted: &str,
    supported: &[&Supported],
    unsupported: &[Unsupported],
) -> String {
    let supported = supported.iter().map(|tsp| (tsp.slug.as_str(), tsp.name));
    let unsupported = unsupported.iter().map(|tsp| (tsp.slug.as_str(), tsp.name));
    let (id, wanted) = (invitation.fleet.invitation_id, escaped(wanted));
    let supported = list(invitation, "supported", supported);
    let unsupported = list(invitation, "unsupported", unsupported);
    let finish = finish(invitation);
    page(
        "Choose your provider",
        &format!(
            "<form method=\"get\" action=\"{PATH}/providers\">\n\
            <input type=\"hidden\" name=\"invite\" value=\"{id}\" />\n\
            <label for=\"q\">Provider</label>\n\
            <input type=\"search\" id=\"q\" name=\"q\" value=\"{wanted}\" />\n\
            <button id=\"search\">Search</button>\n</form>\n\
            <h2>Connect now</h2>\n{supported}\
            <h2>Not supported yet: request an integration</h2>\n{unsupported}{finish}"
        ),
    )
}

fn list<'a>(
    invitation: &Invitation,
    id: &str,
    providers: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let items: String = providers
        .map(|(slug, name)| {
            let path = step(invitation, &["providers", slug]);
            let (slug, name) = (escaped(slug), escaped(name));
            format!("<li><a id=\"provider-{slug}\" href=\"{path}\">{name}</a></li>\n")
        })
        .collect();
    if items.is_empty() {
        return format!("<p id=\"{id}\">None found.</p>\n");
    }
    format!("<ul id=\"{id}\">\n{items}</ul>\n")
}

pub(super) fn credentials(
    invitation: &Invitation,
    tsp: &Supported,
    credentials: Credentials,
) -> String {
    let refused = match credentials {
        Credentials::Asked => String::new(),
        Credentials::Refused => format!(
            "<p id=\"problem\" role=\"alert\">{} refused the user name or the password. Please try again.</p>\n",
            escaped(tsp.name)
        ),
    };
    let fields = "<label for=\"user\">User name</label>\n\
        <input type=\"text\" id=\"user\" name=\"user\" autocomplete=\"off\" required=\"required\" />\n\
        <label for=\"password\">Password</label>\n\
        <input type=\"password\" id=\"password\" name=\"password\" autocomplete=\"off\" required=\"required\" />";
    let steps = ["providers", &tsp.slug, "connect"];
    let form = form(invitation, &steps, fields, ("connect", "Connect"));
    let others = others(invitation, "Choose another provider");
    page(
        &format!("Connect {}", tsp.name),
        &format!("{refused}{form}{others}"),
    )
}

pub(super) fn connected(invitation: &Invitation, tsp: &Supported) -> String {
    let (others, finish) = (
        others(invitation, "Add another provider"),
        finish(invitation),
    );
    page(
        &format!("{} is connected", tsp.name),
        &format!("{finish}{others}"),
    )
}

pub(super) fn request(invitation: &Invitation, tsp: &Unsupported) -> String {
    let fields = "<label for=\"contact-name\">Your name (optional)</label>\n\
        <input type=\"text\" id=\"contact-name\" name=\"name\" />\n\
        <label for=\"contact-notes\">Notes (optional)</label>\n\
        <textarea id=\"contact-notes\" name=\"notes\" rows=\"4\"></textarea>";
    let button = ("request-integration", "Request an integration");
    let steps = ["providers", &tsp.slug, "request"];
    let form = form(invitation, &steps, fields, button);
    let others = others(invitation, "Choose another provider");
    page(
        &format!("Request {}", tsp.name),
        &format!("<p>This provider isn't supported yet.</p>\n{form}{others}"),
    )
}

pub(super) fn confirmation(
    invitation: &Invitation,
    tsp: &Unsupported,
    contact: Contact<'_>,
) -> String {
    let name = escaped(contact.name.unwrap_or_default());
    let notes = escaped(contact.notes.unwrap_or_default());
    let fields = format!(
        "<input type=\"hidden\" name=\"name\" value=\"{name}\" />\n\
        <input type=\"hidden\" name=\"notes\" value=\"{notes}\" />"
    );
    let button = ("confirm-request", "Confirm the request");
    let steps = ["providers", &tsp.slug, "confirm-request"];
    let form = form(invitation, &steps, &fields, button);
    let others = others(invitation, "Choose another provider");
    page(
        &format!("Request {}: is this right?", tsp.name),
        &format!(
            "<dl>\n<dt>Provider</dt><dd>{}</dd>\n<dt>Your name</dt><dd>{name}</dd>\n<dt>Notes</dt><dd>{notes}</dd>\n</dl>\n\
            {form}{others}",
            escaped(tsp.name)
        ),
    )
}

pub(super) fn requested(invitation: &Invitation, tsp: &Unsupported) -> String {
    let button = ("return", "Return to the platform");
    let back = form(invitation, &["finish"], "", button);
    let others = others(invitation, "Add another provider");
    page(
        &format!("{} is requested", tsp.name),
        &format!("<p>You will hear when it is supported.</p>\n{back}{others}"),
    )
}

pub(super) fn expired(invitation: &Invitation) -> String {
    over(invitation, "This invitation has expired")
}

pub(super) fn declined(invitation: &Invitation) -> String {
    over(invitation, "This invitation was declined")
}

pub(super) fn unknown() -> String {
    page(
        "This invitation doesn't exist",
        "<p>Please ask for a new link.</p>",
    )
}

pub(super) fn no_such_step() -> String {
    page(
        "This page doesn't exist",
        "<p>Please open the link of your invitation.</p>",
    )
}

/// The partner gave no URL to return to.
pub(super) fn nowhere() -> String {
    page("That's all", "<p>You can close this window.</p>")
}

fn over(invitation: &Invitation, title: &str) -> String {
    let button = ("return", "Return to the platform");
    let back = form(invitation, &["finish"], "", button);
    page(title, &format!("<p>Please ask for a new link.</p>\n{back}"))
}

fn others(invitation: &Invitation, label: &str) -> String {
    let path = step(invitation, &["providers"]);
    format!("<p><a id=\"add-another\" href=\"{path}\">{label}</a></p>\n")
}

fn finish(invitation: &Invitation) -> String {
    let button = match invitation.session.is_empty() {
        false => ("finish", "Finish"),
        true => ("finish", "Leave without a provider"),
    };
    form(invitation, &["finish"], "", button)
}

fn form(
    invitation: &Invitation,
    steps: &[&str],
    fields: &str,
    (id, label): (&str, &str),
) -> String {
    let (steps, invite) = (steps.join("/"), invitation.fleet.invitation_id);
    format!(
        "<form method=\"post\" action=\"{PATH}/{steps}\">\n\
        <input type=\"hidden\" name=\"invite\" value=\"{invite}\" />\n{fields}\n\
        <button id=\"{id}\">{label}</button>\n</form>\n"
    )
}

fn page(title: &str, content: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
        <title>{title} - Connect (simulated)</title>\n<style>{STYLE}</style>\n</head>\n\
        <body>\n<main>\n<h1>{title}</h1>\n{content}\n</main>\n</body>\n</html>\n"
    )
}

/// Text that can't become markup, in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no other control characters; these also survive in attributes.
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(c))),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

const STYLE: &str = "body { font-family: sans-serif; line-height: 1.5; margin: 0 auto; max-width: 40rem; padding: 1rem } \
    label, input, textarea, button { display: block; font: inherit; margin-top: 0.5rem }";

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::{
        super::super::{Settings, request::Request},
        *,
    };

    /// The rule for names lets none of this in; the page doesn't rely on it.
    #[test]
    fn a_fleets_name_is_text() {
        let name = "<b>Acme</b> & 'Sons'";
        let request = Request {
            texts: [("fleet_name", name.to_owned())].into(),
            ..Request::default()
        };
        let now = OffsetDateTime::now_utc();
        let page = invitation(&Invitation::new(request, &Settings::default(), now));
        assert!(!page.contains("<b>"));
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..roxmltree::ParsingOptions::default()
        };
        let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
        let mut nodes = document.descendants();
        let fleet = nodes.find(|node| node.attribute("id") == Some("fleet"));
        assert_eq!(fleet.unwrap().text(), Some(name));
    }
}
