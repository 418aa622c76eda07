//! Query strings and forms: pairs of names and values.

/// The pairs, decoded, in their order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        // The parser of forms is inside `Url`.
        let mut url = reqwest::Url::parse("http://localhost/").expect("a URL");
        url.set_query(Some(text));
        Self(url.query_pairs().into_owned().collect())
    }

    /// The last value wins.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// Every value of a repeated name (contract 2).
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_repeat_and_values_are_decoded() {
        let query = Query::parse("a=1&b=x%2By+z%23&a=2&c");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.one("a"), Some("2"));
        assert_eq!(query.one("b"), Some("x+y z#"));
        assert_eq!(query.one("c"), Some(""));
        assert_eq!(query.one("d"), None);
    }
}
