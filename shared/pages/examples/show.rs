//! Writes every page in every language into a folder, to be looked at: `cargo run -p pages --example show -- FOLDER`.

use std::{env, fs, io, path::PathBuf};

use fleet::Timestamp;
use pages::{Brand, Lang, Page, Pages, Share, State, Visitor};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(
        env::args()
            .nth(1)
            .unwrap_or_else(|| "target/pages".to_owned()),
    );
    let brand = Brand::new(
        "Lanewise Freight",
        Some("fleets@lanewise.example"),
        "#0f5e9c",
        "#ffffff",
        Some("https://app.lanewise.example/fleets"),
    )
    .map_err(io::Error::other)?;
    let origins = ["https://connect.catenatelematics.com".to_owned()];
    let pages = Pages::new(brand, "https://fleets.example.com", &origins);

    // Next to the pages, so that they find it when they are opened as files.
    let html = pages.render(&Page::NotFound, &visitor(Lang::En)).body;
    let html = String::from_utf8_lossy(&html).into_owned();
    let logo = html
        .split('"')
        .find_map(|text| text.strip_prefix("/assets/"));
    fs::create_dir_all(folder.join("assets"))?;
    if let Some((logo, document)) = logo.and_then(|logo| Some((logo, pages.asset(logo)?))) {
        fs::write(folder.join("assets").join(logo), document.body)?;
    }
    for lang in Lang::ALL {
        for (name, page) in all(&states(), &shares()) {
            let html = pages.render(&page, &visitor(lang)).body;
            let html = String::from_utf8_lossy(&html).replace("\"/assets/", "\"assets/");
            fs::write(folder.join(format!("{name}.{}.html", lang.as_str())), html)?;
        }
    }
    Ok(())
}

fn visitor(lang: Lang) -> Visitor {
    Visitor { lang, gzip: false }
}

fn all<'a>(states: &'a [(&'a str, State)], shares: &'a [Share]) -> Vec<(String, Page<'a>)> {
    let (link, token, fleet) = ("L1nk", "T0ken", Some("North Star Haulage"));
    let mut all = Vec::new();
    for (name, state) in states {
        let link_page = Page::Link {
            link,
            fleet,
            shares,
            state,
        };
        all.push((format!("link-{name}"), link_page));
        for (kind, link) in [("return", None), ("return-with-link", Some(link))] {
            let page = Page::Return {
                token,
                fleet,
                state,
                link,
            };
            all.push((format!("{kind}-{name}"), page));
        }
    }
    let too_soon = Page::TooSoon {
        link,
        until: Timestamp(1_795_284_420_000),
        now: Timestamp(1_795_284_000_000),
    };
    all.extend([
        ("link-ended".to_owned(), Page::LinkEnded),
        ("not-found".to_owned(), Page::NotFound),
        (
            "unavailable".to_owned(),
            Page::Unavailable { link: Some(link) },
        ),
        (
            "unavailable-alone".to_owned(),
            Page::Unavailable { link: None },
        ),
        ("too-soon".to_owned(), too_soon),
        ("refused".to_owned(), Page::Refused),
    ]);
    all
}

fn states() -> Vec<(&'static str, State)> {
    let provider = Some("TruckTrack 3000".to_owned());
    let admitted_until = Some(Timestamp(1_795_284_000_000));
    vec![
        ("invited", State::Invited),
        ("started", State::Started),
        ("connecting", State::Connecting),
        ("connected", State::Connected { requested: None }),
        (
            "mixed",
            State::Connected {
                requested: provider.clone(),
            },
        ),
        (
            "request-unconfirmed",
            State::Requested {
                provider: None,
                admitted_until: None,
            },
        ),
        (
            "requested",
            State::Requested {
                provider: provider.clone(),
                admitted_until,
            },
        ),
        (
            "provider-live",
            State::ProviderLive {
                provider,
                admitted_until: None,
            },
        ),
        ("broken", State::Broken),
        ("paused", State::Paused),
        ("ended", State::Ended),
        ("declined", State::Declined),
        ("expired", State::Expired),
        ("withdrawn", State::Withdrawn),
        ("failed", State::Failed),
    ]
}

fn shares() -> Vec<Share> {
    let read = [
        "vehicle",
        "vehicle_location",
        "trailer_location",
        "hos_availability",
        "hos_violation",
        "user",
    ];
    let read = read.map(|resource| (resource, "read"));
    let write = [
        ("message", "read_write"),
        ("fuel_transaction", "read_write"),
    ];
    let all = read.into_iter().chain(write);
    all.map(|(resource, level)| Share {
        resource: resource.to_owned(),
        level: level.to_owned(),
    })
    .collect()
}
