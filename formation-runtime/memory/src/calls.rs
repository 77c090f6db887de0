//! Calls on the database, on its own thread. Calls that wait at the same time share one commit: it is the wait
//! for the disk that costs, and it costs the same for one as for many.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::sql::{Connection, DatabaseError, Mode, Transaction};

/// A call on its way to the database, and whoever waits for it.
pub(crate) trait Call: Send {
    fn mode(&self) -> Mode;

    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), DatabaseError>;

    /// `kept` says whether the call succeeded and is on the disk.
    fn answer(self: Box<Self>, kept: Result<(), DatabaseError>);
}

pub(crate) struct Waiting<T, F> {
    mode: Mode,
    act: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, DatabaseError>>,
}

pub(crate) type Queue = Mutex<mpsc::Receiver<Box<dyn Call>>>;

/// Calls that share a commit are answered together, so no more of them than wait about as long as for the disk.
const TOGETHER_MAX: usize = 64;
const TOGETHER_TIME_MAX: Duration = Duration::from_millis(2);

/// Threads take turns at waiting for the next call; whoever has it makes room for another.
pub(crate) fn work(mut connection: Box<dyn Connection>, queue: &Queue) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(call) = next else { return };
        if call.mode() == Mode::Write && connection.shares_commits() {
            together(connection.as_mut(), call, || {
                queue.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
            });
        } else {
            alone(connection.as_mut(), call);
        }
    }
}

// === impl Waiting ===

impl<T, F> Waiting<T, F> {
    pub(crate) fn new(mode: Mode, act: F) -> (Self, oneshot::Receiver<Result<T, DatabaseError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { mode, act: Some(act), value: None, reply }, answer)
    }
}

impl<T, F> Call for Waiting<T, F>
where
    T: Send,
    F: FnOnce(&mut Transaction<'_>) -> Result<T, DatabaseError> + Send,
{
    fn mode(&self) -> Mode {
        self.mode
    }

    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
        let act = self.act.take().expect("a call runs once");
        self.value = Some(act(transaction)?);
        Ok(())
    }

    fn answer(self: Box<Self>, kept: Result<(), DatabaseError>) {
        let Self { value, reply, .. } = *self;
        let result = kept.map(|()| value.expect("a call that succeeded has a value"));
        // A caller that is gone does not need the answer; the change is made all the same.
        drop(reply.send(result));
    }
}

// === private helpers ===

fn alone(connection: &mut dyn Connection, mut call: Box<dyn Call>) {
    let kept = connection.transact(call.mode(), &mut |transaction| call.run(transaction));
    call.answer(kept);
}

/// One transaction for the call and those that wait behind it; one that fails takes only its own changes back.
fn together(
    connection: &mut dyn Connection,
    first: Box<dyn Call>,
    mut next: impl FnMut() -> Option<Box<dyn Call>>,
) {
    let began = Instant::now();
    let mut upcoming = Some(first);
    let mut ran: Vec<(Box<dyn Call>, Result<(), DatabaseError>)> = Vec::new();
    let kept = connection.transact(Mode::Write, &mut |transaction| {
        while let Some(mut call) = upcoming.take() {
            transaction.execute("SAVEPOINT one_call", &[])?;
            let result = call.run(transaction);
            let is_done = result.is_ok();
            ran.push((call, result));
            if !is_done {
                transaction.execute("ROLLBACK TO one_call", &[])?;
            }
            transaction.execute("RELEASE one_call", &[])?;
            if ran.len() < TOGETHER_MAX && began.elapsed() < TOGETHER_TIME_MAX {
                upcoming = next();
            }
        }
        Ok(())
    });
    let lost = kept.err().map(Arc::new);
    for (call, result) in ran {
        call.answer(match &lost {
            Some(error) => result.and_then(|()| Err(DatabaseError::Together(Arc::clone(error)))),
            None => result,
        });
    }
    // Nothing was begun for it: the transaction failed before.
    if let Some(call) = upcoming {
        alone(connection, call);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sql::{sqlite, values};

    type Answer = oneshot::Receiver<Result<u64, DatabaseError>>;

    fn calls(amounts: &[i64]) -> (Vec<Box<dyn Call>>, Vec<Answer>) {
        let call = |amount: i64| {
            let act = move |transaction: &mut Transaction<'_>| {
                transaction.execute("INSERT INTO kept VALUES (?1)", values![amount])?;
                transaction.execute("INSERT INTO positive VALUES (?1)", values![amount])
            };
            let (call, answer) = Waiting::new(Mode::Write, act);
            (Box::new(call) as Box<dyn Call>, answer)
        };
        amounts.iter().copied().map(call).unzip()
    }

    fn database() -> Box<dyn Connection> {
        let connection = sqlite::open(Path::new(":memory:")).unwrap();
        let tables = "CREATE TABLE kept (amount INTEGER); CREATE TABLE positive (amount CHECK (amount > 0));";
        connection.execute_batch(tables).unwrap();
        Box::new(connection)
    }

    fn sum(connection: &mut dyn Connection) -> i64 {
        let mut sum = 0;
        let read = &mut |transaction: &mut Transaction<'_>| {
            sum = transaction.one("SELECT sum(amount) FROM kept", &[], |row| row.get(0))?;
            Ok(())
        };
        connection.transact(Mode::Read, read).unwrap();
        sum
    }

    #[test]
    fn whoever_fails_takes_only_its_own_changes_back() {
        let mut connection = database();
        let (calls, answers) = calls(&[1, -10, 100]);
        let mut calls = calls.into_iter();
        together(connection.as_mut(), calls.next().unwrap(), || calls.next());
        let done: Vec<bool> =
            answers.into_iter().map(|mut it| it.try_recv().unwrap().is_ok()).collect();
        assert_eq!(done, [true, false, true]);
        assert_eq!(sum(connection.as_mut()), 101);
    }

    /// Such as a full disk, for which the database takes the whole transaction back.
    #[test]
    fn what_was_not_kept_is_told_to_all_who_wrote_it() {
        let mut connection = database();
        let (mut calls, mut answers) = calls(&[1, 10]);
        let act = |transaction: &mut Transaction<'_>| {
            transaction.execute("ROLLBACK", &[])?;
            Err::<u64, _>(DatabaseError::NoRow)
        };
        let (call, answer) = Waiting::new(Mode::Write, act);
        calls.insert(1, Box::new(call));
        answers.insert(1, answer);
        let mut calls = calls.into_iter();
        together(connection.as_mut(), calls.next().unwrap(), || calls.next());
        let told: Vec<_> = answers.iter_mut().map(Answer::try_recv).collect();
        assert!(matches!(told[0], Ok(Err(DatabaseError::Together(_)))), "{told:?}");
        assert!(matches!(told[1], Ok(Err(DatabaseError::NoRow))), "{told:?}");
        assert!(told[2].is_err(), "it was never taken from the queue");
        alone(connection.as_mut(), calls.next().unwrap());
        assert!(answers[2].try_recv().unwrap().is_ok());
        assert_eq!(sum(connection.as_mut()), 10);
    }
}
