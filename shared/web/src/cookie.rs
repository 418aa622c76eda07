//! The one cookie: the link whose button this browser pressed, so that the page that it comes back to can offer it again. The
//! return token itself opens nothing, so without the cookie that page can only say to open the link again.

use store::Link;

use crate::Site;

/// A browser's own link, and the language that it was read in. Not for scripts, not for other sites, for the return pages alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCookie {
    /// The link's id.
    pub link: String,
    /// The language of the page with the button.
    pub lang: String,
}

impl LinkCookie {
    /// Reads it from a `Cookie` header's text. Whether the link leads anywhere, and is this fleet's, the table says.
    pub fn read(header: &str) -> Option<Self> {
        let pairs = header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='));
        let value = pairs
            .into_iter()
            .find_map(|(name, value)| (name == NAME).then_some(value))?;
        let (link, lang) = value.split_once('.')?;
        let short = lang.len() <= 8 && lang.bytes().all(|it| it.is_ascii_lowercase());
        (Link::is_id(link) && short).then(|| Self {
            link: link.to_owned(),
            lang: lang.to_owned(),
        })
    }

    /// As a `Set-Cookie` header's text.
    pub fn write(&self, site: &Site) -> String {
        let Self { link, lang } = self;
        let secure = if site.is_https() { "; Secure" } else { "" };
        format!(
            "{NAME}={link}.{lang}; Path={}/return; Max-Age={LASTS}; HttpOnly; SameSite=Lax{secure}",
            site.path()
        )
    }
}

const NAME: &str = "kingpin_link";
/// In seconds: 28 days, as long as an invitation lasts at most (contract 3.1).
const LASTS: u32 = 28 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_link_is_read() {
        let link = "abcdefghijklmnopqrst-_";
        let read = |text: &str| LinkCookie::read(text).map(|it| (it.link, it.lang));
        let good = Some((link.to_owned(), "es".to_owned()));
        assert_eq!(read(&format!("kingpin_link={link}.es")), good);
        assert_eq!(read(&format!("a=b; kingpin_link={link}.es; c=d")), good);
        for bad in [
            String::new(),
            "kingpin_link=".to_owned(),
            format!("kingpin_link={link}"),
            format!("kingpin_link={link}x.es"),
            format!("kingpin_link={}<.es", &link[1..]),
            format!("kingpin_link={link}.<script>"),
            format!("other_kingpin_link={link}.es"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }
}
