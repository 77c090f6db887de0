//! The newest events, in the memory of this process, bounded in number. Readers keep their own places,
//! so none waits for another; one that is overtaken is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Event, EventKind};
use crate::logging::{Destination, Offered};

/// A handle to the log; clones share it.
#[derive(Debug, Clone)]
pub struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: Mutex<Newest>,
    /// The number of the last event.
    news: watch::Sender<u64>,
    kept_max: usize,
    /// Who is offered every event.
    destinations: Vec<Arc<Destination>>,
}

#[derive(Debug)]
struct Newest {
    events: VecDeque<(u64, Arc<Event>)>,
    /// What came before this number is not known here.
    known_from: u64,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Event(u64, Arc<Event>),
    /// Events before this number are gone, and the reader has not seen them.
    Lost(u64),
}

/// Somebody's place in the log.
#[derive(Debug)]
pub struct Reader {
    log: EventLog,
    news: watch::Receiver<u64>,
    next: u64,
}

// === impl EventLog ===

impl EventLog {
    pub fn new(kept_max: usize, now_ms: i64) -> Self {
        Self::feeding(Vec::new(), kept_max, now_ms)
    }

    /// One that also offers everything to these.
    pub fn feeding(destinations: Vec<Arc<Destination>>, kept_max: usize, now_ms: i64) -> Self {
        let known_from = number_at(now_ms);
        let newest = Newest { events: VecDeque::new(), known_from };
        let news = watch::Sender::new(known_from.saturating_sub(1));
        Self(Arc::new(Inner { events: Mutex::new(newest), news, kept_max, destinations }))
    }

    /// Waits for nobody.
    pub fn tell(&self, event: Event) {
        let at = event.at;
        let event = self.keep(event);
        for destination in &self.0.destinations {
            if destination.offer(&event) == Offered::FirstDropped {
                self.tell_dropping(destination, at);
            }
        }
    }

    /// To everyone but the one that has no room.
    fn tell_dropping(&self, full: &Arc<Destination>, at: Timestamp) {
        let name = full.shown.name.as_str();
        tracing::warn!(destination = name, "a destination of logs is full; events are dropped");
        let message = format!("the destination {name} takes no more events; some are dropped");
        let event = Event::new(EventKind::LoggingDropped, at, message)
            .with("destination", name)
            .with("dropped", full.state().dropped);
        let event = self.keep(event);
        for destination in self.0.destinations.iter().filter(|it| !Arc::ptr_eq(it, full)) {
            // One that is full, too, has said so or says so with the next event.
            let _counted = destination.offer(&event);
        }
    }

    /// Numbers rise with time, over restarts too.
    fn keep(&self, event: Event) -> Arc<Event> {
        let event = Arc::new(event);
        let mut newest = self.lock();
        let last = newest.events.back().map_or(newest.known_from.saturating_sub(1), |it| it.0);
        let number = number_at(event.at.as_millisecond()).max(last + 1);
        newest.events.push_back((number, Arc::clone(&event)));
        if newest.events.len() > self.0.kept_max
            && let Some((dropped, _)) = newest.events.pop_front()
        {
            newest.known_from = dropped + 1;
        }
        self.0.news.send_replace(number);
        event
    }

    /// Reads what comes, or what came after the event of the given number.
    pub fn read(&self, after: Option<u64>) -> Reader {
        let news = self.0.news.subscribe();
        let next = after.map_or_else(|| *news.borrow() + 1, |after| after.saturating_add(1));
        Reader { log: self.clone(), news, next }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reader ===

impl Reader {
    /// Cancel-safe: a place moves only when its event is handed out.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(next) = self.at_once() {
                return next;
            }
            if self.news.changed().await.is_err() {
                // The log is in this reader, so its sender is there.
                std::future::pending::<()>().await;
            }
        }
    }

    fn at_once(&mut self) -> Option<Next> {
        let newest = self.log.lock();
        if self.next < newest.known_from {
            self.next = newest.known_from;
            return Some(Next::Lost(newest.known_from));
        }
        let from = newest.events.partition_point(|(number, _)| *number < self.next);
        let (number, event) = newest.events.get(from)?;
        self.next = number + 1;
        Some(Next::Event(*number, Arc::clone(event)))
    }
}

/// Microseconds leave room for a thousand events in each millisecond.
fn number_at(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jiff::Timestamp;

    use super::*;

    fn event(text: &str) -> Event {
        Event::new(EventKind::ChatStarted, Timestamp::from_millisecond(5).unwrap(), text)
    }

    fn texts(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| {
            Some(match reader.next().now_or_never()? {
                Next::Event(number, event) => format!("{number} {}", event.message),
                Next::Lost(before) => format!("lost before {before}"),
            })
        })
        .collect()
    }

    #[test]
    fn a_reader_sees_what_comes_and_goes_on_where_it_was() {
        let log = EventLog::new(10, 5);
        log.tell(event("before"));
        let mut reader = log.read(None);
        log.tell(event("a"));
        log.tell(event("b"));
        assert_eq!(texts(&mut reader), ["5001 a", "5002 b"]);
        assert_eq!(texts(&mut log.read(Some(5001))), ["5002 b"]);
        assert!(texts(&mut reader).is_empty());
    }

    #[test]
    fn who_is_too_slow_or_comes_from_before_the_start_is_told() {
        let log = EventLog::new(2, 5);
        let mut slow = log.read(None);
        for text in ["a", "b", "c"] {
            log.tell(event(text));
        }
        assert_eq!(texts(&mut slow), ["lost before 5001", "5001 b", "5002 c"]);
        let mut earlier = EventLog::new(2, 5).read(Some(17));
        assert_eq!(texts(&mut earlier), ["lost before 5000"]);
    }
}
