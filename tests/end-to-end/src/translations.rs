//! What every recorded event says about a fleet: one table, `snapshots/translations.txt`.

use std::{fmt::Write as _, fs, path::Path};

use axum::http::HeaderMap;
use catena::{Content, Delivery, Instant, Keyring, SigningKey};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use translation::translate;

#[test]
fn every_recorded_event_is_translated_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/samples");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let mut table = String::new();
    let mut events = 0;
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let is_delivery = file.extension().is_some_and(|it| it == "json");
        if is_delivery && !["http-request-headers", "redirects"].contains(&name.as_str()) {
            events += 1;
            writeln!(table, "{name}").unwrap();
            describe(&mut table, &fs::read(&file).unwrap());
        }
    }
    assert_eq!(events, 38);
    insta::assert_snapshot!("translations", table);
}

fn describe(table: &mut String, body: &[u8]) {
    let now = OffsetDateTime::now_utc();
    let key = "a-key-of-this-test-alone";
    let timestamp = simulator::timestamp_text(now);
    let mut headers = HeaderMap::new();
    let signature = simulator::sign(key, &timestamp, body);
    headers.insert("x-catena-timestamp", timestamp.parse().unwrap());
    headers.insert("x-catena-signature", signature.parse().unwrap());
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let delivery = Delivery::parse(headers, body).unwrap();
    let keyring = Keyring::shared(SigningKey::new(key));
    let scrubbed = delivery
        .verify(&keyring, Instant::from(now))
        .unwrap()
        .scrub();
    let Content::Envelope(envelope) = scrubbed.content else {
        panic!("not an envelope");
    };
    for (index, event) in envelope.events() {
        let it = translate(&event.unwrap(), &envelope, index);
        let mut named = Vec::new();
        for (what, id) in [
            ("fleet", it.fleet.as_ref().map(|fleet| fleet.as_str())),
            ("Catena's fleet", it.catena_fleet.as_deref()),
            ("connection", it.connection.as_deref()),
            ("invitation", it.invitation.as_deref()),
        ] {
            named.extend(id.map(|id| format!("{what} {}", id.get(..8).unwrap_or(id))));
        }
        let said = match (it.observations.is_empty(), named.is_empty()) {
            (true, true) => "nothing about a fleet",
            (true, false) => " (a hint)",
            (false, _) => "",
        };
        writeln!(table, "  {index}: {}{said}", named.join(", ")).unwrap();
        for observation in it.observations {
            let at = i128::from(observation.at.0.0) * 1_000_000;
            let at = OffsetDateTime::from_unix_timestamp_nanos(at).unwrap();
            let at = at.format(&Rfc3339).unwrap();
            let fact = serde_json::to_string(&observation.fact).unwrap();
            writeln!(table, "    {at} #{} {fact}", observation.at.1).unwrap();
        }
    }
}
