//! What Catena announces by itself: events that are delivered in the background.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use crate::envelope::Envelope;

/// Which events go out now, and what is underway.
pub(crate) struct Announcer {
    state: Mutex<State>,
    underway: watch::Sender<usize>,
    runtime: Handle,
}

struct State {
    /// Whether changes emit their events.
    emits: bool,
    /// What waits for [`Announcer::release`], while events are held.
    held: Option<Vec<Envelope>>,
    tasks: JoinSet<()>,
}

impl Announcer {
    /// Needs a Tokio runtime.
    pub(crate) fn new() -> Self {
        let state = State {
            emits: true,
            held: None,
            tasks: JoinSet::new(),
        };
        Self {
            state: Mutex::new(state),
            underway: watch::Sender::new(0),
            runtime: Handle::current(),
        }
    }

    pub(crate) fn set_emits(&self, emits: bool) {
        self.state().emits = emits;
    }

    /// Those of the events that go out now: all or none.
    pub(crate) fn admit(&self, events: Vec<Envelope>) -> Vec<Envelope> {
        let mut state = self.state();
        if !state.emits {
            return Vec::new();
        }
        match &mut state.held {
            Some(held) => {
                held.extend(events);
                Vec::new()
            }
            None => events,
        }
    }

    pub(crate) fn hold(&self) {
        self.state().held.get_or_insert_default();
    }

    /// What was held, in its order.
    pub(crate) fn release(&self) -> Vec<Envelope> {
        self.state().held.take().unwrap_or_default()
    }

    /// Does this in the background.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let done = self.begin();
        let mut state = self.state();
        while state.tasks.try_join_next().is_some() {}
        let work = async move {
            let _done = done;
            work.await;
        };
        state.tasks.spawn_on(work, &self.runtime);
    }

    /// Something is underway until this is dropped.
    pub(crate) fn begin(&self) -> Underway {
        self.underway.send_modify(|count| *count += 1);
        Underway(self.underway.clone())
    }

    /// Waits until nothing is underway.
    pub(crate) async fn idle(&self) {
        let mut underway = self.underway.subscribe();
        // The sender lives as long as `self`.
        let _ = underway.wait_for(|&count| count == 0).await;
    }

    /// Gives up what is underway.
    pub(crate) fn stop(&self) {
        self.state().tasks.abort_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one piece of work down when it ends, aborted or not.
pub(crate) struct Underway(watch::Sender<usize>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
