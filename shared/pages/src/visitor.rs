//! Who looks at a page.

/// A language that pages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Spanish.
    Es,
    /// French.
    Fr,
}

/// What is known of who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The language of pages.
    pub lang: Lang,
    /// Whether its browser takes gzip.
    pub gzip: bool,
}

impl Visitor {
    /// Reads what a browser sent. `lang` is `?lang=` and wins over `remembered`, a cookie's; both are one of `en`, `es`, `fr`, or
    /// ignored. Then comes `Accept-Language`, then English. `accept_encoding` is `Accept-Encoding`.
    pub fn new(
        lang: Option<&str>,
        remembered: Option<&str>,
        accept_language: Option<&str>,
        accept_encoding: Option<&str>,
    ) -> Self {
        let chosen = [lang, remembered]
            .into_iter()
            .flatten()
            .find_map(Lang::parse);
        Self {
            lang: chosen
                .or_else(|| Lang::accepted(accept_language?))
                .unwrap_or(Lang::En),
            gzip: accept_encoding.is_some_and(takes_gzip),
        }
    }
}

impl Lang {
    /// In the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::En, Self::Es, Self::Fr];

    /// Its tag, as in `?lang=` and `lang="…"`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
            Self::Fr => "fr",
        }
    }

    /// The language with that tag.
    pub fn parse(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.as_str() == tag)
    }

    /// Its name in itself.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Es => "Español",
            Self::Fr => "Français",
        }
    }

    /// The one that an `Accept-Language` likes best; of equals the first that it names.
    fn accepted(header: &str) -> Option<Self> {
        let ranges: Vec<(&str, f32)> = weighted(header).collect();
        let wish = |lang: Self| {
            let named = ranges.iter().enumerate().filter(|(_, (range, _))| {
                let primary = range.split('-').next().unwrap_or(range);
                primary.eq_ignore_ascii_case(lang.as_str())
            });
            let best = named.map(|(place, (_, weight))| (*weight, std::cmp::Reverse(place)));
            let any = || {
                let place = ranges.iter().position(|(range, _)| *range == "*")?;
                Some((ranges[place].1, std::cmp::Reverse(place)))
            };
            best.max_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal))
                .or_else(any)
        };
        let wishes = Self::ALL.into_iter().rev();
        let wishes = wishes.filter_map(|lang| wish(lang).map(|wish| (lang, wish)));
        wishes
            .filter(|(_, (weight, _))| *weight > 0.0)
            .max_by(|(_, one), (_, other)| {
                one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal)
            })
            .map(|(lang, _)| lang)
    }
}

/// Whether an `Accept-Encoding` takes gzip.
fn takes_gzip(header: &str) -> bool {
    let weight = |name: &str| {
        weighted(header)
            .find(|(coding, _)| coding.eq_ignore_ascii_case(name))
            .map(|(_, weight)| weight)
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(0.0) > 0.0
}

/// The items of a list with their q-values (RFC 9110, 12.4.2), without those that can't be read.
fn weighted(header: &str) -> impl Iterator<Item = (&str, f32)> {
    header.split(',').filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight =
            match parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q="))) {
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|weight| (0.0..=1.0).contains(weight))?,
                None => 1.0,
            };
        Some((name, weight))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_language_chooses_by_weight_then_place() {
        for (header, expected) in [
            ("es", Lang::Es),
            ("es-MX", Lang::Es),
            ("FR-ca", Lang::Fr),
            ("de-DE,de;q=0.9", Lang::En),
            ("de, fr;q=0.5, es;q=0.6", Lang::Es),
            ("fr, es", Lang::Fr),
            ("es, fr", Lang::Es),
            ("es;q=0.8,fr;q=0.8", Lang::Es),
            ("es-MX,es;q=0.9,en-US;q=0.8,en;q=0.7", Lang::Es),
            ("en;q=0.1, es;q=0", Lang::En),
            ("es;q=0", Lang::En),
            ("*", Lang::En),
            ("de, *;q=0.5", Lang::En),
            ("en;q=0, *", Lang::Es),
            ("fr;q=0.3, *;q=0.5", Lang::En),
            ("*;q=0.1, fr;q=0.3", Lang::Fr),
            ("fr ; q=0.7 , en ; q=0.5", Lang::Fr),
            ("es;q=2, fr;q=0.1", Lang::Fr),
            ("es;q=NaN, fr;q=0.1", Lang::Fr),
            ("esperanto", Lang::En),
            (",;,;q=1", Lang::En),
            ("", Lang::En),
        ] {
            let visitor = Visitor::new(None, None, Some(header), None);
            assert_eq!(visitor.lang, expected, "{header:?}");
        }
    }

    #[test]
    fn a_choice_wins_over_the_memory_and_that_over_the_browser() {
        let lang = |lang, remembered, browser| Visitor::new(lang, remembered, browser, None).lang;
        assert_eq!(lang(Some("fr"), Some("es"), Some("en")), Lang::Fr);
        assert_eq!(lang(None, Some("es"), Some("fr")), Lang::Es);
        assert_eq!(lang(Some("de"), Some("es"), Some("fr")), Lang::Es);
        assert_eq!(lang(Some("<b>"), Some("ES"), Some("fr")), Lang::Fr);
        assert_eq!(lang(None, None, None), Lang::En);
    }

    #[test]
    fn gzip_only_for_those_who_take_it() {
        for (header, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("*", true),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*;q=0", false),
            ("gzipped", false),
            ("", false),
        ] {
            let visitor = Visitor::new(None, None, None, Some(header));
            assert_eq!(visitor.gzip, expected, "{header:?}");
        }
        assert!(!Visitor::new(None, None, None, None).gzip);
    }
}
