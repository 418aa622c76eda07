//! Cursor pages (contract 2).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{errors::Refusal, query::Query};

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    size: usize,
    from: From,
}

/// Places are counted in the whole list, whatever the filter: what is added in between moves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Forwards from this place on.
    Place(usize),
    /// Backwards from the place before this one.
    Before(usize),
}

impl Part {
    /// # Errors
    ///
    /// 422 for a size out of 1 to 1000, and for a cursor that isn't one of ours.
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let size = match query.one("size") {
            None => DEFAULT_SIZE,
            Some(text) => size(text)?,
        };
        let from = match query.one("cursor") {
            None | Some("") => From::Place(0),
            Some(text) => From::decode(text).ok_or_else(|| {
                Refusal::invalid("query.cursor", text, "Invalid cursor value", "value_error")
            })?,
        };
        Ok(Self { size, from })
    }

    /// The page of a list outside the organisation API, which counts nothing (contract 2).
    pub(super) fn page_without_total<T>(
        self,
        items: &[(usize, T)],
        read: impl Fn(&T) -> Value,
    ) -> Value {
        let mut page = self.page(items, read);
        if let Some(fields) = page.as_object_mut() {
            fields.remove("total");
        }
        page
    }

    /// The page: `items` are those that pass the filter, each with its place in the whole list, in order. Only those of the
    /// page are read.
    pub(super) fn page<T>(self, items: &[(usize, T)], read: impl Fn(&T) -> Value) -> Value {
        let Self { size, from } = self;
        let (start, end) = match from {
            From::Place(place) => {
                let start = items.partition_point(|&(other, _)| other < place);
                (start, items.len().min(start.saturating_add(size)))
            }
            From::Before(place) => {
                let end = items.partition_point(|&(other, _)| other < place);
                (end.saturating_sub(size), end)
            }
        };
        let place = |at: usize| items.get(at).map(|&(place, _)| place);
        let first = place(start).unwrap_or_default();
        let next = place(end).filter(|_| end > start);
        let previous = (start > 0).then_some(first);
        let here = if start == 0 { None } else { Some(first) };
        json!({
            "items": items[start..end].iter().map(|(_, item)| read(item)).collect::<Vec<_>>(),
            "total": items.len(),
            "current_page": encode('>', here),
            "current_page_backwards": encode('<', place(end)),
            "previous_page": previous.map(|place| encode('<', Some(place))),
            "next_page": next.map(|place| encode('>', Some(place))),
        })
    }
}

impl From {
    fn decode(cursor: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64_STANDARD.decode(cursor).ok()?).ok()?;
        if let Some(place) = text.strip_prefix('>') {
            let place = if place.is_empty() { "0" } else { place };
            return place.parse().ok().map(Self::Place);
        }
        let place = text.strip_prefix('<')?;
        if place.is_empty() {
            return Some(Self::Before(usize::MAX));
        }
        place.parse().ok().map(Self::Before)
    }
}

/// Without a place: the first page, or the last one (contract's sample: `Pg==`, `PA==`).
fn encode(direction: char, place: Option<usize>) -> String {
    let place = place.map(|place| place.to_string()).unwrap_or_default();
    BASE64_STANDARD.encode(format!("{direction}{place}"))
}

fn size(text: &str) -> Result<usize, Refusal> {
    let refuse = |message, error_type| Refusal::invalid("query.size", text, message, error_type);
    match text.parse::<i64>() {
        Err(_) => Err(refuse("Input should be a valid integer", "int_parsing")),
        Ok(..=0) => Err(refuse(
            "Input should be greater than or equal to 1",
            "greater_than_equal",
        )),
        Ok(1001..) => Err(refuse(
            "Input should be less than or equal to 1000",
            "less_than_equal",
        )),
        Ok(size) => Ok(usize::try_from(size).unwrap_or(DEFAULT_SIZE)),
    }
}

const DEFAULT_SIZE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every second of seven places, as a filter leaves them.
    fn items() -> Vec<(usize, Value)> {
        [0, 2, 4, 6].map(|place| (place, place.into())).into()
    }

    fn page(query: &str) -> Value {
        Part::of(&Query::parse(query))
            .unwrap()
            .page(&items(), Value::clone)
    }

    fn followed(page: &Value, link: &str) -> Option<Value> {
        let cursor = page[link].as_str()?.replace('=', "%3D").replace('+', "%2B");
        Some(self::page(&format!("size=3&cursor={cursor}")))
    }

    #[test]
    fn pages_lead_to_the_end_and_back() {
        let first = page("size=3");
        assert_eq!(first["items"], json!([0, 2, 4]));
        assert_eq!(first["total"], 4);
        assert_eq!(first["previous_page"], Value::Null);
        assert_eq!(first["current_page"], "Pg==");
        let last = followed(&first, "next_page").unwrap();
        assert_eq!(last["items"], json!([6]));
        assert_eq!(last["next_page"], Value::Null);
        assert_eq!(last["current_page_backwards"], "PA==");
        let back = followed(&last, "previous_page").unwrap();
        assert_eq!(back["items"], json!([0, 2, 4]));
        assert_eq!(followed(&last, "current_page").unwrap(), last);
        let counted = Part::of(&Query::parse("size=3")).unwrap();
        let uncounted = counted.page_without_total(&items(), Value::clone);
        assert_eq!(uncounted["next_page"], first["next_page"]);
        assert_eq!(uncounted.get("total"), None);
    }

    #[test]
    fn whole_list_is_one_page() {
        let page = page("");
        assert_eq!(page["items"], json!([0, 2, 4, 6]));
        assert_eq!(
            (&page["next_page"], &page["previous_page"]),
            (&Value::Null, &Value::Null)
        );
        let nothing = Part::of(&Query::parse("")).unwrap().page(&[], Value::clone);
        assert_eq!(
            (&nothing["items"], &nothing["total"]),
            (&json!([]), &json!(0))
        );
        assert_eq!(nothing["next_page"], Value::Null);
    }

    #[test]
    fn sizes_and_cursors_have_limits() {
        for query in [
            "size=0",
            "size=-1",
            "size=1001",
            "size=x",
            "cursor=x",
            "cursor=Zm9v",
            "cursor=Png=",
        ] {
            let Err(Refusal::Invalid(complaints)) = Part::of(&Query::parse(query)) else {
                panic!("{query} is accepted")
            };
            assert_eq!(complaints.len(), 1);
        }
        assert!(Part::of(&Query::parse("size=1000")).is_ok());
        assert!(Part::of(&Query::parse("size=1")).is_ok());
    }
}
