//! What came of a command.

use crate::readable::Page;

/// What a command prints, and whether it did all that it was to do.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) page: Page,
    /// Otherwise something is left, and the page says what.
    pub(crate) is_complete: bool,
}

impl From<Page> for Done {
    fn from(page: Page) -> Self {
        Self {
            page,
            is_complete: true,
        }
    }
}
