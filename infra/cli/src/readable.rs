//! Text that may be shown: no long hash, nothing that a terminal would obey, in lines and columns.

use api::short_hash;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a command prints: as text, or with `--json` as JSON.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) json: Value,
    /// It was found that something is wrong: the exit code says so.
    pub(crate) failed: bool,
}

impl Page {
    /// A page of a command that did what it was asked.
    pub(crate) fn new(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            failed: false,
        }
    }

    /// The same of a command that left something undone, unless it is complete.
    pub(crate) fn failed_unless(self, complete: bool) -> Self {
        Self {
            failed: !complete,
            ..self
        }
    }
}

/// What the partner API answered, put into words by `text`. An answer of another form than this version's isn't lost: it is
/// shown as it came, because what was asked is done.
pub(crate) fn read_or_shown<T: DeserializeOwned>(
    answer: Value,
    text: impl FnOnce(&T) -> String,
) -> Page {
    let text = match T::deserialize(&answer) {
        Ok(read) => text(&read),
        Err(_) => format!(
            "Done. The partner API answers in another form than this version of `kingpin` knows:\n{answer:#}\n"
        ),
    };
    Page::new(text, answer)
}

/// What provisional access was granted for: a request's id, or a claim under an invitation's hash.
pub(crate) fn granted_id(id: &str) -> String {
    match id.strip_prefix(CLAIM) {
        Some(hash) => format!("{CLAIM}{}", short_hash(hash)),
        None => id.to_owned(),
    }
}

/// The end of an id. Its beginning would be a time (UUIDv7), which ids that were made together share.
pub(crate) fn short_id(id: &str) -> String {
    let length = id.chars().count();
    if length <= SHORT {
        return plain(id);
    }
    let end: String = id.chars().skip(length - SHORT).collect();
    format!("…{}", plain(&end))
}

/// A text from outside, on one line and without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    let commands =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(commands, " ")
}

/// The same, in quotation marks.
pub(crate) fn quoted(text: &str) -> String {
    format!("“{}”", plain(text))
}

/// Breaks a paragraph into lines of at most [`WIDTH`] characters, all after the first indented.
pub(crate) fn wrapped(first: &str, indent: usize, text: &str) -> String {
    let mut lines = String::from(first);
    let mut column = first.chars().count();
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if index > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines.push('\n');
    lines
}

/// `a, b and c`; `nothing` if there is none.
pub(crate) fn enumerated(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| plain(word)).collect();
    match &words[..] {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The cells of a row.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Rows in columns, indented; `none` if there are none.
pub(crate) fn indented(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let indent = |mut row: Vec<String>| {
        row[0].insert_str(0, "  ");
        row
    };
    let rows: Vec<_> = rows.into_iter().map(indent).collect();
    if rows.is_empty() {
        return "  none\n".to_owned();
    }
    columns(&rows)
}

/// Rows in columns as wide as their widest cell; the last one as it comes.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// How the fleet record calls a grant for what a fleet's browser claimed.
pub(crate) const CLAIM: &str = "claim:";
const SHORT: usize = 8;
const WIDTH: usize = 110;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_can_neither_command_the_terminal_nor_break_a_line() {
        assert_eq!(quoted("no\u{1b}[2J\nthanks\u{202e}"), "“no [2J thanks ”");
        assert_eq!(
            short_id("0190c7a2-7b1c-7c40-8e55-1c2d3e\u{7}f"),
            "…1c2d3e f"
        );
    }

    #[test]
    fn ids_that_were_made_together_stay_apart() {
        let [one, other] = [
            "0190c7a2-7b1c-7c40-8e55-1c2d3e4f0001",
            "0190c7a2-7b1c-7c40-8e55-1c2d3e4f0002",
        ];
        assert_ne!(short_id(one), short_id(other));
        assert_eq!(short_id("C-1"), "C-1");
    }

    #[test]
    fn long_paragraphs_are_broken_and_indented() {
        let text = wrapped("- ", 2, &"word ".repeat(60));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(
            text.lines().skip(1).all(|line| line.starts_with("  word")),
            "{text}"
        );
    }
}
