//! An answer to a browser.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

/// An answer: what an HTTP server needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The HTTP status.
    pub status: u16,
    /// The headers, their names in lower case, each once.
    pub headers: Vec<(&'static str, String)>,
    /// The body, compressed if a `content-encoding` says so.
    pub body: Vec<u8>,
}

impl Document {
    /// An answer with the headers that all have. `secure`: whether it is served over HTTPS.
    pub(crate) fn new(status: u16, secure: bool) -> Self {
        let mut headers = vec![
            ("referrer-policy", "no-referrer".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("x-robots-tag", "noindex".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
        ];
        if secure {
            headers.push(("strict-transport-security", HSTS.to_owned()));
        }
        Self {
            status,
            headers,
            body: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn body(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.with("content-type", content_type)
    }

    /// Compresses the body if that makes it smaller.
    #[must_use]
    pub(crate) fn gzip(mut self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let packed = encoder
            .write_all(&self.body)
            .and_then(|()| encoder.finish());
        match packed {
            Ok(packed) if packed.len() < self.body.len() => {
                self.body = packed;
                self.with("content-encoding", "gzip")
            }
            Ok(_) | Err(_) => self,
        }
    }
}

/// A year. Subdomains are the partner's own business.
const HSTS: &str = "max-age=31536000";
