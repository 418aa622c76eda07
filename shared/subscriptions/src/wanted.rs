//! Which events Kingpin subscribes.

/// An event name to subscribe, or a catch-all, which becomes one subscription per action at Catena (contract 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As it is sent: `invitation.*`, `execution.failed`.
    pub event_name: &'static str,
    /// Catena may refuse it, and nothing is lost by that.
    pub may_be_refused: bool,
}

impl Wanted {
    const fn new(event_name: &'static str) -> Self {
        Self {
            event_name,
            may_be_refused: false,
        }
    }
}

/// What Kingpin needs, without filters (contract 8). The names that aren't catch-alls aren't accepted as such by Catena.
pub const WANTED: [Wanted; 11] = [
    Wanted::new("invitation.*"),
    Wanted::new("share_agreement.*"),
    Wanted::new("connection.*"),
    Wanted::new("fleet_connection.*"),
    Wanted::new("resource_operation.*"),
    Wanted::new("webhook.*"),
    Wanted::new("execution.failed"),
    Wanted::new("execution.staled"),
    Wanted::new("schedule.deactivated"),
    Wanted::new("tsp.created"),
    // No payload is documented (contract 6.11); the daily comparison finds what it would tell.
    Wanted {
        event_name: "tsp.requested",
        may_be_refused: true,
    },
];

/// The actions of the catch-alls in [`WANTED`] whose payload is documented (contract 6.10). Catena knows others, and perhaps not each of
/// these.
pub const ACTIONS: [&str; 20] = [
    "invitation.created",
    "invitation.viewed",
    "invitation.sent",
    "invitation.accepted",
    "invitation.declined",
    "invitation.expired",
    "invitation.deleted",
    "share_agreement.created",
    "share_agreement.updated",
    "share_agreement.deleted",
    "connection.created",
    "connection.staled",
    "fleet_connection.created",
    "resource_operation.created",
    "resource_operation.succeeded",
    "resource_operation.failed",
    "webhook.created",
    "webhook.updated",
    "webhook.deleted",
    "webhook.staled",
];

/// Whether a name, or a catch-all, means an event.
pub fn covers(name: &str, event_name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(family) => event_name.len() > family.len() && event_name.starts_with(family),
        None => name == event_name,
    }
}

/// Whether a URL, as Catena shows it, may be this one. It masks a part of it (contract 6.1).
pub fn shows(shown: Option<&str>, url: &str) -> bool {
    match shown.map(|shown| shown.split_once('*').ok_or(shown)) {
        Some(Ok((visible, _))) => url.starts_with(visible),
        Some(Err(whole)) => whole == url,
        None => true,
    }
}

/// The same, if so much of it can be seen that it is of the same host.
pub fn shows_host(shown: Option<&str>, url: &str) -> bool {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let host = url[after_scheme..]
        .find('/')
        .map_or(url.len(), |at| after_scheme + at);
    let visible = shown.map_or(0, |it| it.find('*').unwrap_or(it.len()));
    shows(shown, url) && visible >= host
}

/// Whether Kingpin subscribes an event.
pub fn is_wanted(event_name: &str) -> bool {
    WANTED.iter().any(|it| covers(it.event_name, event_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catch_all_covers_its_actions_and_no_other_family() {
        assert!(covers("connection.*", "connection.staled"));
        assert!(!covers("connection.*", "fleet_connection.created"));
        assert!(!covers("connection.*", "connection."));
        assert!(covers("tsp.created", "tsp.created"));
        assert!(!covers("tsp.created", "tsp.created.late"));
    }

    #[test]
    fn a_host_is_the_same_if_it_can_be_seen() {
        let url = "https://hooks.example.com/webhooks/catena";
        for (shown, expected) in [
            (Some("https://hooks.example.com/*****"), true),
            (Some("https://hooks.example.com*****"), true),
            (Some(url), true),
            (Some("https://hooks.*****"), false),
            (Some("https://other.example.com/*****"), false),
            (Some("*****"), false),
            (None, false),
        ] {
            assert_eq!(shows_host(shown, url), expected, "{shown:?}");
        }
    }

    #[test]
    fn every_known_action_is_of_a_wanted_catch_all() {
        for action in ACTIONS {
            let wanted = WANTED.iter().find(|it| covers(it.event_name, action));
            assert!(wanted.unwrap().event_name.ends_with(".*"), "{action}");
        }
        assert!(!is_wanted("vehicle.added"));
    }
}
