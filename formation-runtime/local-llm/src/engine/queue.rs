//! The queue before the threads of an engine: bounded, first come first served.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) struct JobQueue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    concurrent_max: usize,
    waiting_max: usize,
}

pub(super) enum Admission {
    Admitted,
    Full { retry_after_s: u64 },
}

/// A job whose requester may have lost interest while it waited.
pub(super) trait Abandonable {
    fn is_abandoned(&self) -> bool;
}

struct State<J> {
    waiting: VecDeque<J>,
    running: usize,
    closed: bool,
    /// How long jobs take of late, for an honest Retry-After.
    usual_duration: Duration,
}

// === impl JobQueue ===

impl<J: Abandonable> JobQueue<J> {
    pub(super) fn new(concurrent_max: usize, waiting_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                running: 0,
                closed: false,
                usual_duration: Duration::from_secs(4),
            }),
            changed: Condvar::new(),
            concurrent_max,
            waiting_max,
        }
    }

    pub(super) fn push(&self, job: J) -> Admission {
        let mut state = self.lock();
        if self.is_full(&state) {
            // Requesters that have gone must not keep others out.
            state.waiting.retain(|waiting| !waiting.is_abandoned());
        }
        if self.is_full(&state) {
            let jobs = u64::try_from(self.concurrent_max.max(1)).unwrap_or(u64::MAX);
            return Admission::Full {
                retry_after_s: (state.usual_duration.as_secs() / jobs).max(1),
            };
        }
        state.waiting.push_back(job);
        self.changed.notify_one();
        Admission::Admitted
    }

    /// Waits for a job; `None` when the queue is closed and empty. Each job taken must be followed
    /// by [`Self::done`].
    pub(super) fn take(&self) -> Option<J> {
        let mut state = self
            .changed
            .wait_while(self.lock(), |state| state.waiting.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let job = state.waiting.pop_front()?;
        state.running += 1;
        Some(job)
    }

    pub(super) fn done(&self, took: Duration) {
        let mut state = self.lock();
        state.running -= 1;
        state.usual_duration = (state.usual_duration * 3 + took) / 4;
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.running == 0 && state.waiting.is_empty()
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn is_full(&self, state: &State<J>) -> bool {
        state.running + state.waiting.len() >= self.concurrent_max + self.waiting_max
    }

    /// No code that can panic runs under the lock, so its content is sound even when poisoned.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Numbered(u32, bool);

    impl Abandonable for Numbered {
        fn is_abandoned(&self) -> bool {
            self.1
        }
    }

    fn push(queue: &JobQueue<Numbered>, number: u32, abandoned: bool) -> bool {
        matches!(queue.push(Numbered(number, abandoned)), Admission::Admitted)
    }

    #[test]
    fn jobs_leave_in_the_order_in_which_they_came() {
        let queue = JobQueue::new(1, 2);
        assert!((1..=3).all(|number| push(&queue, number, false)));
        queue.close();
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).map(|job| job.0).collect();
        assert_eq!(taken, [1, 2, 3]);
    }

    #[test]
    fn a_full_queue_refuses_until_a_job_is_done() {
        let queue = JobQueue::new(1, 1);
        assert!(push(&queue, 1, false));
        queue.take().unwrap();
        assert!(push(&queue, 2, false));
        let Admission::Full { retry_after_s } = queue.push(Numbered(3, false)) else {
            panic!("admitted beyond the bound");
        };
        assert_eq!(retry_after_s, 4);
        queue.done(Duration::from_millis(10));
        assert!(push(&queue, 4, false));
    }

    #[test]
    fn abandoned_jobs_make_room() {
        let queue = JobQueue::new(1, 1);
        assert!(push(&queue, 1, true) && push(&queue, 2, false));
        assert!(push(&queue, 3, false));
        assert_eq!(queue.take(), Some(Numbered(2, false)));
    }

    #[test]
    fn idle_means_neither_waiting_nor_running() {
        let queue = JobQueue::new(1, 1);
        assert!(queue.is_idle());
        assert!(push(&queue, 1, false));
        assert!(!queue.is_idle());
        queue.take().unwrap();
        assert!(!queue.is_idle());
        queue.done(Duration::ZERO);
        assert!(queue.is_idle());
    }
}
