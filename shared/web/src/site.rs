//! Where the pages are, what they look like, and where they may lead.

use std::str::FromStr;

use lambda_http::http::Uri;
use pages::{Brand, BrandError, Pages};
use startup::{Env, SettingError};

/// The fleets' pages, as the settings have them.
#[derive(Debug)]
pub struct Site {
    /// Makes the pages.
    pub pages: Pages,
    /// Where they are, without a slash at the end.
    pub base_url: String,
    /// Where Catena's links may lead.
    pub connect_origins: Vec<Origin>,
}

/// Why there can be no pages.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A setting is absent or can't be read.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The partner can't be shown so.
    #[error(transparent)]
    Brand(#[from] BrandError),
}

impl Site {
    /// Reads `PUBLIC_BASE_URL`, `CONNECT_ORIGINS`, `PARTNER_NAME`, `PARTNER_CONTACT`, `PARTNER_COLOUR`, `PARTNER_TEXT_COLOUR` and
    /// `PARTNER_RETURN_URL`.
    pub fn read(env: &Env) -> Result<Self, SiteError> {
        let text = |key| env.or(key, String::new(), "a text");
        let or_none = |text: String| Some(text).filter(|text| !text.is_empty());
        let contact = or_none(text("PARTNER_CONTACT")?);
        let return_url = or_none(text("PARTNER_RETURN_URL")?);
        let colour = env.or("PARTNER_COLOUR", "#0b4f9e".to_owned(), "a colour")?;
        let text_colour = env.or("PARTNER_TEXT_COLOUR", "#ffffff".to_owned(), "a colour")?;
        let brand = Brand::new(
            &env.required("PARTNER_NAME")?,
            contact.as_deref(),
            &colour,
            &text_colour,
            return_url.as_deref(),
        )?;
        let Origins(connect_origins) = env.parsed(
            "CONNECT_ORIGINS",
            "a list of origins like https://connect.example.com, separated by commas",
        )?;
        let base_url = env.required("PUBLIC_BASE_URL")?;
        let origins: Vec<String> = connect_origins.iter().map(|it| it.0.clone()).collect();
        Ok(Self {
            pages: Pages::new(brand, &base_url, &origins),
            base_url,
            connect_origins,
        })
    }

    /// The path of the pages' own URLs, before `/connect` and `/return`.
    pub fn path(&self) -> &str {
        let rest = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').map_or("", |slash| &rest[slash..])
    }

    /// Whether the pages are on HTTPS, as everywhere but on a developer's machine.
    pub fn is_https(&self) -> bool {
        self.base_url.starts_with("https://")
    }
}

/// A scheme, a host and perhaps a port: `https://connect.example.com`. Plain HTTP to this machine alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The origin of a URL. `None` if it isn't one that a browser may be sent to.
    pub fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        // Whoever is named before an @ isn't where it leads.
        if authority.as_str().contains('@') {
            return None;
        }
        // Nor is what stands in a port's place but isn't one.
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return None;
        }
        let here = matches!(uri.host(), Some("127.0.0.1" | "localhost"));
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if here => {}
            _ => return None,
        }
        let origin = format!("{}://{authority}", uri.scheme_str()?);
        let origin = origin.to_ascii_lowercase();
        Some(Self(
            origin
                .strip_suffix(":443")
                .map_or(origin.clone(), str::to_owned),
        ))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let origin = Self::of(text).ok_or(())?;
        // Nothing but an origin.
        let plain = text.trim_end_matches('/').to_ascii_lowercase();
        let same = plain.strip_suffix(":443").unwrap_or(&plain) == origin.0;
        same.then_some(origin).ok_or(())
    }
}

struct Origins(Vec<Origin>);

impl FromStr for Origins {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let origins = text.split(',').map(|it| it.trim().parse());
        origins.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Option<String> {
        Origin::of(url).map(|it| it.0)
    }

    #[test]
    fn an_origin_is_where_a_browser_really_goes() {
        let some = |text: &str| Some(text.to_owned());
        let here = "https://connect.example.com";
        assert_eq!(origin("https://connect.example.com/?invite=1"), some(here));
        assert_eq!(origin("https://CONNECT.example.com:443/a"), some(here));
        assert_eq!(
            origin("http://127.0.0.1:8080/connect"),
            some("http://127.0.0.1:8080")
        );
        for elsewhere in [
            "https://connect.example.com@evil.example/",
            "https://connect.example.com:pass@evil.example/",
            "https://connect.example.com\\@evil.example/",
            "https://connect.example.com:443.evil.example/",
            "https://connect.example.com:/",
            "https://connect.example.com:65536/",
            "http://127.0.0.1:8080.evil.example/",
            "http://connect.example.com/",
            "javascript:alert(1)",
            "//connect.example.com/",
            "/connect",
            "",
            "https://",
            "https://connect.example.com/\r\nSet-Cookie: a=b",
        ] {
            assert_eq!(origin(elsewhere), None, "{elsewhere}");
        }
        assert_ne!(
            origin("https://connect.example.com.evil.example/"),
            some(here)
        );
        assert_ne!(origin("https://connect.example.com:8443/"), some(here));
    }

    #[test]
    fn settings_name_what_is_wrong_with_them() {
        let read = |changed: (&str, &str)| {
            let mut vars = vec![
                ("PUBLIC_BASE_URL", "https://fleets.example.com/kingpin"),
                ("PARTNER_NAME", "Example Freight"),
                (
                    "CONNECT_ORIGINS",
                    "https://connect.example.com:443, https://b.example:8443",
                ),
            ];
            vars.retain(|(key, _)| *key != changed.0);
            vars.push(changed);
            let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            Site::read(&Env::from_vars(vars.into_iter().map(owned)))
        };
        let site = read(("LOG_LEVEL", "info")).unwrap();
        assert_eq!(site.path(), "/kingpin");
        assert!(site.is_https());
        let first = site.connect_origins[0].as_str();
        assert_eq!(first, "https://connect.example.com");
        assert_eq!(site.connect_origins[1].as_str(), "https://b.example:8443");
        for changed in [
            ("PARTNER_NAME", ""),
            ("PARTNER_COLOUR", "blue"),
            ("PARTNER_COLOUR", "#ffee00"),
            ("PARTNER_RETURN_URL", "javascript:alert(1)"),
            ("CONNECT_ORIGINS", ""),
            ("CONNECT_ORIGINS", "connect.example.com"),
            ("CONNECT_ORIGINS", "https://connect.example.com/path"),
            ("CONNECT_ORIGINS", "https://a.example,"),
        ] {
            let error = read(changed).unwrap_err().to_string();
            assert!(error.contains(changed.0), "{changed:?}: {error}");
        }
    }
}
