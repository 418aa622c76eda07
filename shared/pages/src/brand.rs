//! The partner, as its fleets see it.

/// The partner as pages show it.
#[derive(Clone, Debug)]
pub struct Brand {
    pub(crate) name: String,
    pub(crate) contact: Option<Contact>,
    pub(crate) colour: Colour,
    pub(crate) text_colour: Colour,
    pub(crate) return_url: Option<String>,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contact {
    Email(String),
    Phone(String),
    Url(String),
    Text(String),
}

/// Why the partner's settings can't be used. Each message names the setting.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BrandError {
    /// The name is empty, too long, or has control characters.
    #[error(
        "PARTNER_NAME: {0} characters, or some that can't be printed; give a name of 1 to {LONGEST_NAME} characters"
    )]
    Name(usize),
    /// The contact is too long, has control characters, or is a URL other than HTTPS.
    #[error(
        "PARTNER_CONTACT {0:?}: give an e-mail address, a phone number, an https:// URL, or up to {LONGEST_CONTACT} characters of text"
    )]
    Contact(String),
    /// A colour isn't `#rrggbb`.
    #[error("{setting} {value:?}: give a colour as #rrggbb, for example #1d4ed8")]
    Colour {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// Text on the partner's colour can't be read by everybody.
    #[error(
        "PARTNER_COLOUR {colour}: text in {text_colour} on it has a contrast of {}:1; {TEXT_CONTRAST}:1 is needed (WCAG AA): \
         choose a darker colour or another PARTNER_TEXT_COLOUR",
        tenths(*.contrast)
    )]
    Text {
        /// The partner's colour.
        colour: String,
        /// That of text on it.
        text_colour: String,
        /// Their contrast, 1 to 21.
        contrast: f64,
    },
    /// The partner's colour is too pale for borders and focus rings on a white page.
    #[error(
        "PARTNER_COLOUR {colour}: on the page's white it has a contrast of {}:1; {SHAPE_CONTRAST}:1 is needed (WCAG AA): \
         choose a darker colour",
        tenths(*.contrast)
    )]
    Pale {
        /// The partner's colour.
        colour: String,
        /// Its contrast to white, 1 to 21.
        contrast: f64,
    },
    /// The return URL isn't an absolute HTTPS URL.
    #[error(
        "PARTNER_RETURN_URL {0:?}: give an absolute https:// URL (http:// only with 127.0.0.1 or localhost)"
    )]
    ReturnUrl(String),
}

impl Brand {
    /// Checks the partner's settings.
    ///
    /// - `name`: 1 to 80 characters.
    /// - `contact`: whom a fleet may ask, as an e-mail address, a phone number, an HTTPS URL, or up to 200 characters of text.
    /// - `colour`, `text_colour`: `#rrggbb`, that of buttons and that of text on it, 4.5:1 at least (WCAG 1.4.3). `colour` has to have
    ///   3:1 to white as well (1.4.11): it draws focus rings. Links are drawn in ink, so it needn't be dark enough for text.
    /// - `return_url`: where a fleet goes when it is done, HTTPS. Empty is as `None`, also for `contact`.
    pub fn new(
        name: &str,
        contact: Option<&str>,
        colour: &str,
        text_colour: &str,
        return_url: Option<&str>,
    ) -> Result<Self, BrandError> {
        let name = name.trim();
        let length = name.chars().count();
        if !(1..=LONGEST_NAME).contains(&length) || name.chars().any(char::is_control) {
            return Err(BrandError::Name(length));
        }
        let colour = Colour::parse("PARTNER_COLOUR", colour)?;
        let text_colour = Colour::parse("PARTNER_TEXT_COLOUR", text_colour)?;
        let contrast = colour.contrast(text_colour);
        if contrast < TEXT_CONTRAST {
            return Err(BrandError::Text {
                colour: colour.to_string(),
                text_colour: text_colour.to_string(),
                contrast,
            });
        }
        let contrast = colour.contrast(Colour::WHITE);
        if contrast < SHAPE_CONTRAST {
            return Err(BrandError::Pale {
                colour: colour.to_string(),
                contrast,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            contact: given(contact).map(Contact::parse).transpose()?,
            colour,
            text_colour,
            return_url: given(return_url).map(return_address).transpose()?,
        })
    }
}

impl Contact {
    fn parse(text: &str) -> Result<Self, BrandError> {
        let refused = || BrandError::Contact(text.to_owned());
        if text.chars().count() > LONGEST_CONTACT || text.chars().any(char::is_control) {
            return Err(refused());
        }
        if !text.contains(char::is_whitespace) && text.contains("://") {
            let host = host(text, "https://").ok_or_else(refused)?;
            return (!host.is_empty())
                .then(|| Self::Url(text.to_owned()))
                .ok_or_else(refused);
        }
        Ok(match text.split_once('@') {
            Some((user, host)) if email(user) && email(host) && host.contains('.') => {
                Self::Email(text.to_owned())
            }
            _ if phone(text) => Self::Phone(text.to_owned()),
            _ => Self::Text(text.to_owned()),
        })
    }
}

/// A colour of the screen, in sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour([u8; 3]);

impl Colour {
    pub(crate) const WHITE: Self = Self([255; 3]);

    pub(crate) fn parse(setting: &'static str, text: &str) -> Result<Self, BrandError> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let hex = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = hex.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let Some([_, red, green, blue]) = number.map(u32::to_be_bytes) else {
            return Err(BrandError::Colour {
                setting,
                value: text.to_owned(),
            });
        };
        Ok(Self([red, green, blue]))
    }

    /// The contrast ratio of WCAG 2: 1 (none) to 21 (black and white).
    pub(crate) fn contrast(self, other: Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The relative luminance of WCAG 2.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// A contrast with one digit, cut and not rounded: 4.48 isn't 4.5.
fn tenths(contrast: f64) -> String {
    format!("{:.1}", (contrast * 10.0).floor() / 10.0)
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn return_address(url: &str) -> Result<String, BrandError> {
    let local = |host: &str| {
        let (name, port) = host.split_once(':').unwrap_or((host, "0"));
        matches!(name, "127.0.0.1" | "localhost") && port.bytes().all(|c| c.is_ascii_digit())
    };
    let https = host(url, "https://").is_some_and(|host| !host.is_empty());
    if https || host(url, "http://").is_some_and(local) {
        Ok(url.to_owned())
    } else {
        Err(BrandError::ReturnUrl(url.to_owned()))
    }
}

/// The host of a URL with that scheme, its port included. `None` if it has another scheme, a user, or what no URL has.
fn host<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let rest = url.strip_prefix(scheme)?;
    let plain = |c: u8| c.is_ascii_graphic() && !br#""'<>\^`{|}"#.contains(&c);
    let host = rest.split(['/', '?', '#']).next()?;
    (rest.bytes().all(plain) && !host.contains('@')).then_some(host)
}

/// Whether one side of an e-mail address looks like one.
fn email(side: &str) -> bool {
    let usual = |c: char| c.is_alphanumeric() || ".-_+".contains(c);
    !side.is_empty() && side.chars().all(usual)
}

/// Whether it looks like a phone number.
fn phone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let rest = text.strip_prefix('+').unwrap_or(text);
    digits >= 5
        && rest
            .bytes()
            .all(|c| c.is_ascii_digit() || b" ()./-".contains(&c))
}

const LONGEST_NAME: usize = 80;
const LONGEST_CONTACT: usize = 200;

/// WCAG 1.4.3, for text.
const TEXT_CONTRAST: f64 = 4.5;

/// WCAG 1.4.11, for what isn't text.
const SHAPE_CONTRAST: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(text: &str) -> Colour {
        Colour::parse("PARTNER_COLOUR", text).unwrap()
    }

    fn refusal(
        name: &str,
        contact: Option<&str>,
        colours: [&str; 2],
        url: Option<&str>,
    ) -> Option<String> {
        let brand = Brand::new(name, contact, colours[0], colours[1], url);
        brand.err().map(|error| error.to_string())
    }

    const BLUE: [&str; 2] = ["#1d4ed8", "#ffffff"];

    #[test]
    fn contrasts_are_those_of_wcag() {
        for (one, other, expected) in [
            ("#777777", "#ffffff", 4.48),
            ("#767676", "#FFFFFF", 4.54),
            ("#000000", "#ffffff", 21.0),
            ("#ffffff", "#ffffff", 1.0),
            ("#0000ff", "#ffffff", 8.59),
            ("#ff0000", "#ffffff", 4.0),
            ("#949494", "#ffffff", 3.03),
        ] {
            let contrast = colour(one).contrast(colour(other));
            assert!(
                (contrast - expected).abs() < 0.005,
                "{one} {other}: {contrast}"
            );
            assert_eq!(contrast, colour(other).contrast(colour(one)));
        }
    }

    #[test]
    fn refusals_name_the_setting_and_what_to_do() {
        for (got, expected) in [
            (
                refusal("Acme", None, ["#ffee00", "#ffffff"], None),
                "PARTNER_COLOUR #ffee00: text in #ffffff on it has a contrast of 1.2:1; 4.5:1 is needed (WCAG AA): choose a darker \
                 colour or another PARTNER_TEXT_COLOUR",
            ),
            (
                refusal("Acme", None, ["#777777", "#ffffff"], None),
                "PARTNER_COLOUR #777777: text in #ffffff on it has a contrast of 4.4:1; 4.5:1 is needed (WCAG AA): choose a darker \
                 colour or another PARTNER_TEXT_COLOUR",
            ),
            (
                refusal("Acme", None, ["#ffee00", "#000000"], None),
                "PARTNER_COLOUR #ffee00: on the page's white it has a contrast of 1.2:1; 3:1 is needed (WCAG AA): choose a darker \
                 colour",
            ),
            (
                refusal("Acme", None, ["blue", "#ffffff"], None),
                "PARTNER_COLOUR \"blue\": give a colour as #rrggbb, for example #1d4ed8",
            ),
            (
                refusal("Acme", None, ["#1d4ed8", "#ffffé"], None),
                "PARTNER_TEXT_COLOUR \"#ffffé\": give a colour as #rrggbb, for example #1d4ed8",
            ),
            (
                refusal(" ", None, BLUE, None),
                "PARTNER_NAME: 0 characters, or some that can't be printed; give a name of 1 to 80 characters",
            ),
            (
                refusal("Acme", Some("http://acme.example"), BLUE, None),
                "PARTNER_CONTACT \"http://acme.example\": give an e-mail address, a phone number, an https:// URL, or up to 200 characters of text",
            ),
            (
                refusal("Acme", None, BLUE, Some("http://acme.example/")),
                "PARTNER_RETURN_URL \"http://acme.example/\": give an absolute https:// URL (http:// only with 127.0.0.1 or localhost)",
            ),
        ] {
            assert_eq!(got.as_deref(), Some(expected));
        }
        assert_eq!(
            refusal(&"é".repeat(80), Some(""), BLUE, Some(" ")),
            None,
            "80 characters, though 160 bytes"
        );
        assert!(refusal(&"é".repeat(81), None, BLUE, None).is_some());
        assert!(refusal("Acme\n", None, BLUE, None).is_none(), "trimmed");
        assert!(refusal("Ac\nme", None, BLUE, None).is_some());
    }

    #[test]
    fn a_return_url_is_https_or_local() {
        for (url, fine) in [
            ("https://app.acme.example/fleets?x=1#y", true),
            ("https://app.acme.example", true),
            ("http://127.0.0.1:9000/", true),
            ("http://localhost/", true),
            ("http://localhost:3000", true),
            ("http://localhost.evil.example/", false),
            ("http://localhost@evil.example/", false),
            ("https://", false),
            ("https:///path", false),
            ("https://a b", false),
            ("https://a\"b", false),
            ("javascript:alert(1)", false),
            ("//acme.example", false),
            ("/fleets", false),
        ] {
            let refused = refusal("Acme", None, BLUE, Some(url));
            assert_eq!(refused.is_none(), fine, "{url}");
        }
    }

    #[test]
    fn a_contact_is_an_address_a_page_or_text() {
        let contact = |text: &str| Contact::parse(text).ok();
        let text = |text: &str| text.to_owned();
        for (given, expected) in [
            (
                "help@acme.example",
                Some(Contact::Email(text("help@acme.example"))),
            ),
            (
                "https://acme.example/help",
                Some(Contact::Url(text("https://acme.example/help"))),
            ),
            (
                "Jo Smith, +1 555 0100",
                Some(Contact::Text(text("Jo Smith, +1 555 0100"))),
            ),
            (
                "+1 (555) 010-0100",
                Some(Contact::Phone(text("+1 (555) 010-0100"))),
            ),
            ("1-2", Some(Contact::Text(text("1-2")))),
            ("jo@acme", Some(Contact::Text(text("jo@acme")))),
            (
                "a?b@acme.example",
                Some(Contact::Text(text("a?b@acme.example"))),
            ),
            (
                "javascript:alert(1)",
                Some(Contact::Text(text("javascript:alert(1)"))),
            ),
            ("javascript://x", None),
            ("line\nline", None),
        ] {
            assert_eq!(contact(given), expected, "{given}");
        }
    }
}
