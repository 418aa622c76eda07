//! Texts of others that may be shown.

/// Text of Catena's or a provider's, cut to 300 characters, without control characters and without whatever could be an id, a token or
/// a link: those are long words, or begin like JSON in base64, or have a scheme.
pub fn bearable(text: &str) -> String {
    let plain = text.replace(|letter: char| letter.is_control(), " ");
    let words = plain.split_whitespace().map(|word| {
        let suspect = word.len() > LONGEST_WORD || word.contains("://") || word.contains("eyJ");
        if suspect { "(…)" } else { word }
    });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().take(LONGEST_TEXT).collect()
}

/// A UUID has 36 letters, 32 without its hyphens.
const LONGEST_WORD: usize = 26;
const LONGEST_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tokens_and_links_are_left_out_and_the_rest_is_cut() {
        let text = "Client error '401 Unauthorized' for url 'https://api.example.com/?token=x'\n019df22f-093f-7949-908d-d5564941fdbe eyJh";
        assert_eq!(
            bearable(text),
            "Client error '401 Unauthorized' for url (…) (…) (…)"
        );
        assert_eq!(bearable(&"long ".repeat(1_000)).len(), LONGEST_TEXT);
    }
}
