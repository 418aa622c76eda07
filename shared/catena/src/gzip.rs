//! Inflation with a limit that is judged while inflating.

use std::{borrow::Cow, io::Read};

use flate2::bufread::GzDecoder;

/// The largest body after inflation, in bytes: what Catena's own receiver accepts (contract 6.2).
pub const INFLATED_LIMIT: usize = 10 * 1024 * 1024;

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a body can't be inflated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The inflated body is over [`INFLATED_LIMIT`].
    #[error("the inflated body is over {INFLATED_LIMIT} bytes")]
    Oversize,
    /// The body begins like gzip, but isn't.
    #[error("the body begins as gzip but can't be inflated")]
    Broken,
}

/// Returns the plain body. Gzip is recognised by its magic bytes, whatever a header says.
///
/// Several gzip members in a row are one body (RFC 1952, 2.2). Bytes after the last member that don't begin another are
/// ignored: the MAC covers the inflated text, so they can't change what is proved, and refusing them could only lose a
/// genuine event.
pub(crate) fn inflate(body: &[u8]) -> Result<Cow<'_, [u8]>, InflateError> {
    if !body.starts_with(&MAGIC) {
        return if body.len() > INFLATED_LIMIT {
            Err(InflateError::Oversize)
        } else {
            Ok(Cow::Borrowed(body))
        };
    }
    let mut inflated = Vec::with_capacity(guess(body));
    let mut rest = body;
    while rest.starts_with(&MAGIC) {
        let mut member = GzDecoder::new(rest);
        let room = INFLATED_LIMIT + 1 - inflated.len();
        member
            .by_ref()
            .take(room as u64)
            .read_to_end(&mut inflated)
            .map_err(|_| InflateError::Broken)?;
        if inflated.len() > INFLATED_LIMIT {
            return Err(InflateError::Oversize);
        }
        rest = member.into_inner();
    }
    Ok(Cow::Owned(inflated))
}

/// The size that gzip's last four bytes promise, bounded: it is unproved, so it may only save reallocations.
fn guess(body: &[u8]) -> usize {
    let promised = body
        .last_chunk::<4>()
        .map_or(0, |size| u32::from_le_bytes(*size) as usize);
    promised.min(body.len().saturating_mul(16)).min(64 * 1024)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_plain_body_stays_as_it_is() {
        assert_eq!(inflate(b"{}"), Ok(Cow::Borrowed(b"{}".as_slice())));
        assert_eq!(inflate(b""), Ok(Cow::Borrowed(b"".as_slice())));
    }

    #[test]
    fn members_in_a_row_are_one_body() {
        let body = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(inflate(&body).unwrap().as_ref(), b"one two");
    }

    #[test]
    fn bytes_after_the_last_member_are_ignored() {
        for garbage in [b"\0\0\0\0".as_slice(), b"garbage", &[0x1f]] {
            let body = [gzip(b"plain").as_slice(), garbage].concat();
            assert_eq!(inflate(&body).unwrap().as_ref(), b"plain");
        }
    }

    #[test]
    fn a_broken_member_is_broken_wherever_it_stands() {
        let whole = gzip(b"plain text that is long enough");
        for cut in 2..whole.len() {
            assert_eq!(inflate(&whole[..cut]), Err(InflateError::Broken), "{cut}");
        }
        let second_broken = [gzip(b"one").as_slice(), &whole[..12]].concat();
        assert_eq!(inflate(&second_broken), Err(InflateError::Broken));
    }

    #[test]
    fn the_limit_holds_to_the_byte() {
        let full = vec![b' '; INFLATED_LIMIT];
        assert_eq!(inflate(&gzip(&full)).unwrap().len(), INFLATED_LIMIT);
        assert_eq!(inflate(&full).unwrap().len(), INFLATED_LIMIT);
        let over = vec![b' '; INFLATED_LIMIT + 1];
        assert_eq!(inflate(&gzip(&over)), Err(InflateError::Oversize));
        assert_eq!(inflate(&over), Err(InflateError::Oversize));
        let two_members = [gzip(&full), gzip(b"x")].concat();
        assert_eq!(inflate(&two_members), Err(InflateError::Oversize));
    }
}
