//! Works off the queue of one destination.

use std::sync::Arc;

use bytes::Bytes;
use muxi_service::Clock;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::destination::Destination;
use super::http::{HttpSink, Sent};
use super::lines::LineSink;
use super::shape::Encoder;
use crate::events::{Event, Record};
use crate::limits::Limits;
use crate::redact::{Depth, Redactor};

/// To be run as a task of its own.
#[derive(Debug)]
pub struct Worker {
    destination: Arc<Destination>,
    receiver: mpsc::Receiver<Arc<Event>>,
    sink: Sink,
    encoder: Arc<Encoder>,
    redactor: Redactor,
    clock: Clock,
    limits: Limits,
}

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) destination: Arc<Destination>,
    pub(super) receiver: mpsc::Receiver<Arc<Event>>,
    pub(super) sink: Sink,
    pub(super) encoder: Encoder,
    pub(super) redactor: Redactor,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
}

#[derive(Debug)]
pub(super) enum Sink {
    Lines(LineSink),
    Http(Box<HttpSink>),
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { destination, receiver, sink, encoder, redactor, clock, limits } = parts;
        let encoder = Arc::new(encoder);
        Self { destination, receiver, sink, encoder, redactor, clock, limits }
    }

    pub fn name(&self) -> String {
        format!("log {}", self.destination.shown.name)
    }

    /// Until the stop, and then for as long as a flush may take.
    pub async fn run(self, stop: CancellationToken) {
        let (destination, flush) = (Arc::clone(&self.destination), self.limits.log_flush);
        let is_late = async {
            stop.cancelled().await;
            tokio::time::sleep(flush).await;
        };
        tokio::select! {
            biased;
            () = self.work(&stop) => {}
            () = is_late => {}
        }
        let left = destination.state().queued;
        if left > 0 {
            destination.drop_queued(left);
            let name = &destination.shown.name;
            tracing::warn!(destination = name, events = left, "not delivered before the stop");
        }
    }

    async fn work(mut self, stop: &CancellationToken) {
        loop {
            let batch = self.batch(stop).await;
            if batch.is_empty() {
                return;
            }
            let count = batch.len() as u64;
            match &mut self.sink {
                Sink::Lines(_) => self.write(batch, count).await,
                Sink::Http(_) => self.send(batch, count, stop).await,
            }
        }
    }

    /// What waits; empty when there is nothing left after the stop.
    async fn batch(&mut self, stop: &CancellationToken) -> Vec<Arc<Event>> {
        let mut batch = Vec::new();
        let batch_max = self.limits.log_batch_events;
        if !stop.is_cancelled() {
            tokio::select! {
                biased;
                // Both arms are cancel-safe: an event that is not in the batch stays in the queue.
                () = stop.cancelled() => {}
                _count = self.receiver.recv_many(&mut batch, batch_max) => {}
            }
        }
        // A call costs more than a line, so that it waits a little for others to come along.
        let until = Instant::now() + self.limits.log_linger;
        while matches!(self.sink, Sink::Http(_)) && !batch.is_empty() && batch.len() < batch_max {
            let room = batch_max - batch.len();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(until) => break,
                _count = self.receiver.recv_many(&mut batch, room) => {}
            }
        }
        if stop.is_cancelled() {
            // From here on everything that still comes is counted as dropped.
            self.receiver.close();
            let room = batch_max.saturating_sub(batch.len());
            if room > 0 {
                self.receiver.recv_many(&mut batch, room).await;
            }
        }
        batch
    }

    async fn write(&mut self, batch: Vec<Arc<Event>>, count: u64) {
        let Sink::Lines(sink) = &mut self.sink else { return };
        let (encoder, redactor) = (Arc::clone(&self.encoder), self.redactor.clone());
        let mut sink_moved = std::mem::replace(sink, LineSink::Stdout);
        let writing = tokio::task::spawn_blocking(move || {
            let line = |event: &Arc<Event>| encoder.line(&record(event, &redactor));
            let lines: Vec<String> = batch.iter().map(line).collect();
            let written = sink_moved.write(&lines);
            (sink_moved, written)
        });
        match writing.await {
            Ok((sink_back, written)) => {
                *sink = sink_back;
                match written {
                    Ok(()) => self.destination.note_sent(count),
                    Err(error) => self.give_up(count, &error.to_string()),
                }
            }
            Err(_panicked) => self.give_up(count, "writing broke off"),
        }
    }

    /// Again and again until it is taken, refused, or too old.
    async fn send(&mut self, batch: Vec<Arc<Event>>, count: u64, stop: &CancellationToken) {
        let Sink::Http(sink) = &self.sink else { return };
        let (encoder, redactor) = (Arc::clone(&self.encoder), self.redactor.clone());
        let encoding = tokio::task::spawn_blocking(move || {
            let records: Vec<Record> = batch.iter().map(|it| record(it, &redactor)).collect();
            Bytes::from(encoder.body(&records))
        });
        let Ok(body) = encoding.await else {
            return self.give_up(count, "writing broke off");
        };
        let give_up_at = Instant::now() + self.limits.log_retry_for;
        let mut backoff = self.limits.log_retry_first;
        loop {
            let was_stopped = stop.is_cancelled();
            match sink.send(body.clone(), self.clock.now()).await {
                Sent::Taken { rejected } => {
                    let (rejected, why) = rejected.unwrap_or_default();
                    let rejected = rejected.min(count);
                    self.destination.note_sent(count - rejected);
                    if rejected > 0 {
                        self.give_up(rejected, &why);
                    }
                    return;
                }
                Sent::Refused { why } => return self.give_up(count, &why),
                Sent::Later { why, after } => {
                    let wait = after.unwrap_or(backoff).min(self.limits.log_retry_for);
                    if was_stopped || Instant::now() + wait > give_up_at {
                        return self.give_up(count, &why);
                    }
                    self.note(&why);
                    backoff = (backoff * 2).min(self.limits.log_retry_longest);
                    // The stop is one attempt more, at once.
                    let _stopped = tokio::time::timeout(wait, stop.cancelled()).await;
                }
            }
        }
    }

    fn give_up(&self, count: u64, why: &str) {
        self.destination.drop_queued(count);
        let name = &self.destination.shown.name;
        tracing::warn!(destination = name, events = count, error = why, "log events are lost");
        self.note(why);
    }

    fn note(&self, why: &str) {
        let why = self.redactor.text(why).into_owned();
        self.destination.note_error(self.clock.now(), why);
    }
}

// === private helpers ===

fn record(event: &Event, redactor: &Redactor) -> Record {
    Record::of(event, event.user.as_ref(), redactor.scope(Depth::Everything))
}
