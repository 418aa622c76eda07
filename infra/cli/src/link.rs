//! `link rotate`: the link that a fleet has from now on.

use api::FleetLink;
use fleet::Timestamp;
use serde_json::Value;

use crate::{
    readable::{Page, columns, plain, read_or_shown, row},
    when::clock_and_distance,
};

/// That a fleet's link was replaced, and by which.
pub(crate) fn rotated(answer: Value, now: Timestamp) -> Page {
    read_or_shown(answer, |link| text(link, now))
}

fn text(FleetLink { fleet_ref, link }: &FleetLink, now: Timestamp) -> String {
    let ends = clock_and_distance(link.ends.0, now);
    let rows = [
        row(["link", &plain(&link.url)]),
        row(["", &format!("for this fleet alone; works until {ends}")]),
    ];
    format!(
        "{} has a new link: give it to the fleet. The old one leads nowhere now. All times are UTC.\n\n{}",
        plain(fleet_ref),
        columns(&rows)
    )
}
