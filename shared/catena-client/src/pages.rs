//! Lists that come in pages (contract 2).

use std::{
    collections::{HashSet, VecDeque},
    fmt,
};

use serde_json::Value;

use crate::{
    Answer, Calls, CatenaError,
    call::{Call, Reader, Reply, target},
};

/// Pages that are fetched one after the other, each when it is asked for. After an error there is no more.
pub struct Pages<'a, T> {
    calls: Calls<'a>,
    operation: &'static str,
    reader: Reader<T>,
    /// The queries still to be sent, without size and cursor: one, or several where a list of values had to be split.
    queries: VecDeque<String>,
    cursor: Option<String>,
    seen: HashSet<String>,
    fetched: usize,
}

/// Items of several pages.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected<T> {
    /// At most as many as asked for.
    pub items: Vec<T>,
    /// Whether there are others.
    pub more: bool,
}

impl<'a, T> Pages<'a, T> {
    pub(crate) fn new(
        calls: Calls<'a>,
        operation: &'static str,
        queries: impl IntoIterator<Item = String>,
        reader: Reader<T>,
    ) -> Self {
        Self {
            calls,
            operation,
            reader,
            queries: queries.into_iter().collect(),
            cursor: None,
            seen: HashSet::new(),
            fetched: 0,
        }
    }

    /// The next page; it may be empty. `None` after the last, and after an error.
    pub async fn next(&mut self) -> Option<Result<Answer<Vec<T>>, CatenaError>> {
        let query = self.queries.front()?.clone();
        let page = self.page(query).await;
        if page.is_err() {
            self.queries.clear();
        }
        Some(page)
    }

    /// The same from a page on: that which [`Pages::cursor`] told of pages of the same question.
    #[must_use]
    pub fn from_cursor(self, cursor: Option<String>) -> Self {
        Self { cursor, ..self }
    }

    /// Where the next page begins; `None` before the first, and if there is none.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The first `limit` items. They are timed from the first page to the last: what changed meanwhile may be missing, or there
    /// twice.
    pub async fn collect(mut self, limit: usize) -> Result<Answer<Collected<T>>, CatenaError> {
        let mut items = Vec::new();
        let mut observed = None;
        while let Some(page) = self.next().await {
            let page = page?;
            observed = match observed {
                None => Some(page.observed),
                Some(first) => Some(crate::Observed::until(first, page.observed)),
            };
            items.extend(page.value);
            if items.len() > limit {
                break;
            }
        }
        let more = items.len() > limit || !self.queries.is_empty();
        items.truncate(limit);
        let observed = observed.unwrap_or_else(|| self.calls.observed_nothing());
        let value = Collected { items, more };
        Ok(Answer { value, observed })
    }

    async fn page(&mut self, query: String) -> Result<Answer<Vec<T>>, CatenaError> {
        let paging = match &self.cursor {
            Some(cursor) => target("", &[("size", PAGE_SIZE), ("cursor", cursor)]),
            None => target("", &[("size", PAGE_SIZE)]),
        };
        let separator = if query.contains('?') { "&" } else { "?" };
        let target = format!("{query}{separator}{}", paging.trim_start_matches('?'));
        let call = Call::get(self.operation, target).of_many();
        let reply = self.calls.send(&call).await?;
        self.fetched += 1;
        let mut body = reply.json()?;
        let items = body.get_mut("items").map(Value::take).unwrap_or_default();
        let items = reply.list(items, self.reader)?;
        self.turn(&reply, body["next_page"].as_str())?;
        Ok(reply.answer(items))
    }

    /// Finds out what comes after a page.
    fn turn(&mut self, reply: &Reply, next: Option<&str>) -> Result<(), CatenaError> {
        self.cursor = next.filter(|next| !next.is_empty()).map(str::to_owned);
        let Some(cursor) = &self.cursor else {
            self.queries.pop_front();
            self.seen.clear();
            return Ok(());
        };
        if !self.seen.insert(cursor.clone()) {
            return Err(reply.unreadable("a cursor that repeats"));
        }
        if self.fetched >= MOST_PAGES {
            return Err(reply.unreadable(format!("more than {MOST_PAGES} pages")));
        }
        Ok(())
    }
}

impl<T> fmt::Debug for Pages<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("operation", &self.operation)
            .field("fetched", &self.fetched)
            .finish_non_exhaustive()
    }
}

/// Catena's default; it is sent all the same (contract 2).
const PAGE_SIZE: &str = "300";
const MOST_PAGES: usize = 1_000;
