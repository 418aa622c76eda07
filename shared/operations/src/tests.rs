//! Laws over random inputs of fixed seeds, examples, and the form that operations are kept in.

mod form;
mod heard;
mod histories;
mod looks;
mod questions;
mod search;
mod some;
