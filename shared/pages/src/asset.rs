//! What pages are made of besides words: a style, a script, a logo.

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::Brand;

/// Text that stands inside of a page, and how its content security policy names it.
#[derive(Clone, Debug)]
pub(crate) struct Inline {
    pub(crate) text: String,
    /// `'sha256-…'`.
    pub(crate) source: String,
}

impl Inline {
    /// The style, in the partner's colours.
    pub(crate) fn style(brand: &Brand) -> Self {
        let Brand {
            colour,
            text_colour,
            ..
        } = brand;
        let colours = format!(":root{{--brand:{colour};--on-brand:{text_colour}}}\n");
        Self::new(colours + &packed(STYLE))
    }

    /// The script that asks whether there is news.
    pub(crate) fn script() -> Self {
        Self::new(packed(SCRIPT))
    }

    fn new(text: String) -> Self {
        let hash = BASE64_STANDARD.encode(Sha256::digest(&text));
        Self {
            text,
            source: format!("'sha256-{hash}'"),
        }
    }
}

/// The file's name of the logo, which changes with its content.
pub(crate) fn logo_name() -> String {
    format!("logo-{}.svg", short_hash(LOGO))
}

/// 12 hexadecimal digits that stand for some bytes.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Without indentation, empty lines and lines that are comments.
fn packed(source: &str) -> String {
    let lines = source.lines().map(str::trim);
    let lines =
        lines.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("/*"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A partner replaces this file by its own mark before it builds.
pub(crate) const LOGO: &[u8] = include_bytes!("../assets/logo.svg");

const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = include_str!("../assets/waiting.js");
