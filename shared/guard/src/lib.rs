//! Panics as values, so that one poisoned record harms no other.
//!
//! Needs `panic = "unwind"` in the profile.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::FutureExt;

/// Something panicked. Its message went to the log by the panic hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program panicked on it")]
pub struct Panicked;

/// Calls it. What is captured must not be used after a panic unless it can't be half-changed.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(panicked)
}

/// The same for a future.
pub async fn guarded_async<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(panicked)
}

fn panicked(_: Box<dyn Any + Send>) -> Panicked {
    Panicked
}
