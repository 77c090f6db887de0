//! Requests: what was asked, where it is, and what came of it.
//!
//! A turn that runs for its caller is written down together with its question; one that was accepted
//! for later is written down before its caller is told so, and is found again by the next process.

mod waiting;
mod words;

use muxi_contract::{ErrorCode, RequestId, SessionId, UserId};

pub(crate) use self::waiting::{
    accept_again, end_forgotten, forget_silent_turn, settle, take_up, wait,
};
pub use self::words::{RequestKind, RequestMode, RequestStatus};

use crate::owner;
use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::{self, UserStore};
use crate::{Outcome, pending, tasks, usage};

/// A request that is accepted for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    pub id: RequestId,
    pub session: SessionId,
    pub kind: RequestKind,
    /// What is to be done, as JSON that its maker reads again.
    pub work: String,
    /// Who is to be told of the end, also when the process dies on the way.
    pub webhook_url: Option<String>,
    pub at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub seq: RequestSeq,
    pub id: RequestId,
    pub user: UserId,
    pub session: SessionId,
    pub kind: RequestKind,
    pub mode: RequestMode,
    pub status: RequestStatus,
    pub result: Option<String>,
    pub error: Option<String>,
    pub error_code: Option<ErrorCode>,
    /// What the caller should know besides, as a JSON list.
    pub warnings: Option<String>,
    pub created_ms: i64,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    /// Who answers, from the start of the work for as long as the session is kept; nobody where the answer
    /// needed no agent.
    pub agent: Option<String>,
    /// What it took up to the end of its last turn, once that has ended by itself.
    pub tokens: Option<Tokens>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    pub prompt: u64,
    pub completion: u64,
}

/// A request's place in the order of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestSeq(i64);

/// A request without an end whose process is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    pub request: Request,
    /// There while its work had not begun, so that it can still be done.
    pub work: Option<String>,
    pub webhook_url: Option<String>,
    /// How many processes died while they worked on it.
    pub deaths: u32,
    /// Somebody wanted it to stop while nobody could.
    pub is_cancelled: bool,
}

/// A webhook that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Told with every attempt, so that receivers recognise a second one.
    pub id: String,
    pub url: String,
    pub body: String,
}

/// What a turn used until its process died is not known.
const COLUMNS: &str = "SELECT r.seq, r.id, r.user_id, r.session, r.kind, r.mode, r.status, \
     r.result, r.error, r.error_code, r.warnings, r.created_ms, r.started_ms, r.ended_ms, t.agent, \
     CASE WHEN t.status NOT IN ('running', 'interrupted') THEN t.prompt_tokens END, \
     t.completion_tokens \
     FROM requests r LEFT JOIN turns t ON t.seq = r.turn";

// === impl UserStore ===

impl UserStore {
    /// Writes down a request that will be worked on later.
    pub async fn accept_request(&self, new: NewRequest) -> Result<RequestSeq, StoreError> {
        let (user, owner) = (self.user().clone(), self.store().context().owner.clone());
        self.store()
            .write(move |transaction| accept(transaction, user.as_str(), &owner, &new))
            .await
    }

    /// The newest requests of the user first.
    pub async fn requests(&self, limit: u32) -> Result<Vec<Request>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql = format!("{COLUMNS} WHERE r.user_id = ?1 ORDER BY r.seq DESC LIMIT ?2");
                transaction.all(&sql, values![user.as_str(), limit], request)
            })
            .await
    }

    /// The newest request of the user that has this id.
    pub async fn request(&self, id: &RequestId) -> Result<Option<Request>, StoreError> {
        let (user, id) = (self.user().clone(), id.clone());
        self.store()
            .read(move |transaction| {
                let sql = format!(
                    "{COLUMNS} WHERE r.id = ?1 AND r.user_id = ?2 ORDER BY r.seq DESC LIMIT 1"
                );
                transaction.first(&sql, values![id.as_str(), user.as_str()], request)
            })
            .await
    }

    /// Ends a request that has no turn to end with: its work never began, or its process died. False
    /// if it has ended already.
    pub async fn end_request(
        &self,
        seq: RequestSeq,
        outcome: Outcome,
        delivery: Option<NewDelivery>,
        at_ms: i64,
    ) -> Result<bool, StoreError> {
        let user = self.user().clone();
        let tells = delivery.is_some();
        let ended = self
            .store()
            .write(move |transaction| {
                let came = End {
                    outcome: &outcome,
                    result: None,
                    warnings: None,
                    delivery: delivery.as_ref(),
                    original_delivery: None,
                    at_ms,
                };
                end(transaction, user.as_str(), seq, &came)
            })
            .await?;
        if tells {
            self.store().delivery_made.notify_one();
        }
        Ok(ended)
    }
}

// === impl Store ===

impl Store {
    /// The newest requests of all users, for the operator.
    pub async fn all_requests(&self, limit: u32) -> Result<Vec<Request>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("{COLUMNS} ORDER BY r.seq DESC LIMIT ?1");
            transaction.all(&sql, values![limit], request)
        })
        .await
    }

    /// The newest request of anybody that has this id, for the operator and for refusals.
    pub async fn request_of_anyone(&self, id: &RequestId) -> Result<Option<Request>, StoreError> {
        let id = id.clone();
        self.read(move |transaction| {
            let sql = format!("{COLUMNS} WHERE r.id = ?1 ORDER BY r.seq DESC LIMIT 1");
            transaction.first(&sql, values![id.as_str()], request)
        })
        .await
    }

    /// Asks whoever works on it to stop; false when nobody does.
    pub async fn ask_to_cancel(&self, seq: RequestSeq, at_ms: i64) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let asked = transaction.execute(
                "UPDATE requests SET cancel_ms = ?2
                 WHERE seq = ?1 AND ended_ms IS NULL AND status <> 'awaiting_clarification'",
                values![seq.0, at_ms],
            )?;
            Ok(asked > 0)
        })
        .await
    }

    /// Open requests of this process that somebody asked to stop.
    pub async fn asked_to_cancel(&self) -> Result<Vec<RequestSeq>, StoreError> {
        let owner = self.context().owner.clone();
        self.read(move |transaction| {
            transaction.all(
                "SELECT seq FROM requests
                 WHERE owner = ?1 AND ended_ms IS NULL AND cancel_ms IS NOT NULL",
                values![&owner],
                |row| row.get(0).map(RequestSeq),
            )
        })
        .await
    }

    /// Marks what dead processes left: their turns end as interrupted, and their open requests are
    /// taken over. Each of these is given to one taker only.
    pub async fn take_abandoned(&self) -> Result<Vec<Abandoned>, StoreError> {
        let own = self.context().owner.clone();
        self.write(move |transaction| {
            transcript::interrupt_orphans(transaction)?;
            let owners: Vec<String> = transaction.all(
                "SELECT DISTINCT coalesce(owner, '') FROM requests
                 WHERE ended_ms IS NULL AND coalesce(owner, '') <> ?1
                   AND status <> 'awaiting_clarification'",
                values![&own],
                |row| row.get(0),
            )?;
            let mut found = Vec::new();
            for owner in owners {
                if owner::lives(transaction, &owner)? {
                    continue;
                }
                let sql = format!(
                    "{COLUMNS} WHERE r.ended_ms IS NULL AND coalesce(r.owner, '') = ?1
                       AND r.status <> 'awaiting_clarification'"
                );
                for request in transaction.all(&sql, values![&owner], request)? {
                    // One that had not begun did not kill anybody.
                    let died = u32::from(request.status == RequestStatus::Processing);
                    let deaths = transaction.one(
                        "UPDATE requests SET owner = ?2, deaths = deaths + ?3
                         WHERE seq = ?1 RETURNING deaths",
                        values![request.seq.0, &own, died],
                        |row| row.get(0),
                    )?;
                    let (work, webhook_url, cancel_ms) = transaction.one(
                        "SELECT w.work, r.webhook_url, r.cancel_ms FROM requests r
                         LEFT JOIN request_work w ON w.request = r.seq WHERE r.seq = ?1",
                        values![request.seq.0],
                        |row| Ok((row.get(0)?, row.get(1)?, row.get::<Option<i64>>(2)?)),
                    )?;
                    let is_cancelled = cancel_ms.is_some();
                    found.push(Abandoned { request, work, webhook_url, deaths, is_cancelled });
                }
            }
            Ok(found)
        })
        .await
    }

    /// Forgets requests that ended before the given time, what is left of their webhooks, and what else
    /// was only kept to be asked for once more.
    pub async fn forget_requests(&self, before_ms: i64) -> Result<u64, StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "DELETE FROM deliveries WHERE state <> 'due' AND ended_ms < ?1",
                values![before_ms],
            )?;
            transaction.execute(
                "DELETE FROM answers WHERE created_ms < ?1 AND status IS NOT NULL",
                values![before_ms],
            )?;
            let now_ms = transaction.now_ms()?;
            usage::forget(transaction, now_ms)?;
            tasks::forget(transaction, now_ms)?;
            pending::forget(transaction, before_ms)?;
            end_forgotten(transaction)?;
            transaction
                .execute("DELETE FROM ingestions WHERE created_ms < ?1", values![before_ms])?;
            transaction.execute("DELETE FROM forgets WHERE created_ms < ?1", values![before_ms])?;
            transaction.execute(
                // What a job has not noted yet stays until it has.
                "DELETE FROM requests WHERE ended_ms IS NOT NULL AND ended_ms < ?1
                   AND NOT EXISTS (SELECT 1 FROM job_runs r
                                   WHERE r.request = requests.seq AND r.ended_ms IS NULL)",
                values![before_ms],
            )
        })
        .await
    }
}

/// The row of a request that will be worked on later.
pub(crate) fn accept(
    transaction: &mut Transaction<'_>,
    user: &str,
    owner: &str,
    new: &NewRequest,
) -> Result<RequestSeq, DatabaseError> {
    let seq = transaction.one(
        "INSERT INTO requests
             (id, user_id, session, kind, mode, status, owner, webhook_url, created_ms)
         VALUES (?1, ?2, ?3, ?4, 'async', 'pending', ?5, ?6, ?7) RETURNING seq",
        values![
            new.id.as_str(),
            user,
            new.session.as_str(),
            new.kind.as_str(),
            owner,
            new.webhook_url.as_ref(),
            new.at_ms,
        ],
        |row| row.get(0).map(RequestSeq),
    )?;
    put_work(transaction, seq, &new.work)?;
    Ok(seq)
}

/// The row of a turn that begins: made now, or made when the request was accepted.
pub(crate) fn begin(
    transaction: &mut Transaction<'_>,
    begun: &Begun<'_>,
) -> Result<RequestSeq, DatabaseError> {
    let Begun { accepted, id, user, session, kind, mode, owner, turn, at_ms } = *begun;
    if let Some(seq) = accepted {
        transaction.execute(
            "UPDATE requests SET status = 'processing', turn = ?2, started_ms = ?3, owner = ?4
             WHERE seq = ?1",
            values![seq.0, turn, at_ms, owner],
        )?;
        // Nobody begins it a second time.
        drop_work(transaction, seq)?;
        return Ok(seq);
    }
    transaction.one(
        "INSERT INTO requests
             (id, user_id, session, kind, mode, status, owner, turn, created_ms, started_ms)
         VALUES (?1, ?2, ?3, ?8, ?4, 'processing', ?5, ?6, ?7, ?7) RETURNING seq",
        values![id.as_str(), user, session, mode.as_str(), owner, turn, at_ms, kind.as_str()],
        |row| row.get(0).map(RequestSeq),
    )
}

/// The turn that answers the request, if it has begun.
pub(crate) fn turn_of(
    transaction: &mut Transaction<'_>,
    request: RequestSeq,
) -> Result<Option<i64>, DatabaseError> {
    let sql = "SELECT turn FROM requests WHERE seq = ?1";
    Ok(transaction.first(sql, values![request.0], |row| row.get(0))?.flatten())
}

/// The request that the turn answers, if it is still known.
pub(crate) fn of_turn(
    transaction: &mut Transaction<'_>,
    turn: i64,
) -> Result<Option<RequestSeq>, DatabaseError> {
    let sql = "SELECT seq FROM requests WHERE turn = ?1";
    transaction.first(sql, values![turn], |row| row.get(0).map(RequestSeq))
}

/// What [`begin`] writes down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun<'a> {
    pub(crate) accepted: Option<RequestSeq>,
    pub(crate) id: &'a RequestId,
    pub(crate) user: &'a str,
    pub(crate) session: &'a str,
    pub(crate) kind: RequestKind,
    pub(crate) mode: RequestMode,
    pub(crate) owner: &'a str,
    pub(crate) turn: i64,
    pub(crate) at_ms: i64,
}

/// What [`end`] writes down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) result: Option<&'a str>,
    pub(crate) warnings: Option<&'a str>,
    pub(crate) delivery: Option<&'a NewDelivery>,
    /// Of the request that asked first, where this one goes on from its question.
    pub(crate) original_delivery: Option<&'a NewDelivery>,
    pub(crate) at_ms: i64,
}

/// The request's first end, which is that of the requests that it goes on from, too; whether this is
/// it. One that waits ends with what it waits for.
pub(crate) fn end(
    transaction: &mut Transaction<'_>,
    user: &str,
    seq: RequestSeq,
    end: &End<'_>,
) -> Result<bool, DatabaseError> {
    let End { outcome, result, warnings, delivery, at_ms, .. } = *end;
    let code = outcome.error_code().map(ErrorCode::name);
    let ended: Option<(String, Option<String>)> = transaction.first(
        "UPDATE requests
         SET status = ?3, result = ?4, error = ?5, error_code = ?6, warnings = ?7, ended_ms = ?8,
             owner = NULL
         WHERE seq = ?1 AND user_id = ?2 AND ended_ms IS NULL
           AND status <> 'awaiting_clarification'
         RETURNING id, goes_on_from",
        values![
            seq.0,
            user,
            ended_as(outcome).as_str(),
            result,
            outcome.error(),
            code.as_ref(),
            warnings,
            at_ms,
        ],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let Some((id, goes_on_from)) = ended else { return Ok(false) };
    if let Some(earlier) = goes_on_from {
        settle(transaction, user, &earlier, end)?;
    }
    drop_work(transaction, seq)?;
    if let Some(delivery) = delivery {
        deliver(transaction, &id, user, delivery, at_ms)?;
    }
    Ok(true)
}

// === impl RequestSeq ===

impl RequestSeq {
    pub(crate) const fn number(self) -> i64 {
        self.0
    }

    pub(crate) fn read(row: &Row, column: usize) -> Result<Self, DatabaseError> {
        row.get(column).map(Self)
    }
}

// === private helpers ===

/// What waits for nothing has said all that there was.
const fn ended_as(outcome: &Outcome) -> RequestStatus {
    if matches!(outcome, Outcome::Waiting) {
        RequestStatus::Completed
    } else {
        outcome.request_status()
    }
}

pub(crate) fn put_work(
    transaction: &mut Transaction<'_>,
    seq: RequestSeq,
    work: &str,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "INSERT INTO request_work (request, work) VALUES (?1, ?2)
         ON CONFLICT (request) DO UPDATE SET work = excluded.work",
        values![seq.0, work],
    )?;
    Ok(())
}

/// Files may come with it, so that it is large.
fn drop_work(transaction: &mut Transaction<'_>, seq: RequestSeq) -> Result<(), DatabaseError> {
    transaction.execute("DELETE FROM request_work WHERE request = ?1", values![seq.0])?;
    Ok(())
}

fn request(row: &Row) -> Result<Request, DatabaseError> {
    let error_code: Option<String> = row.get(9)?;
    let used: (Option<u64>, Option<u64>) = (row.get(15)?, row.get(16)?);
    let tokens = |(prompt, completion)| Tokens { prompt, completion };
    Ok(Request {
        seq: RequestSeq(row.get(0)?),
        id: row.parsed(1)?,
        user: row.parsed(2)?,
        session: row.parsed(3)?,
        kind: row.parsed(4)?,
        mode: row.parsed(5)?,
        status: row.parsed(6)?,
        result: row.get(7)?,
        error: row.get(8)?,
        error_code: error_code.map(|_| row.parsed(9)).transpose()?,
        warnings: row.get(10)?,
        created_ms: row.get(11)?,
        started_ms: row.get(12)?,
        ended_ms: row.get(13)?,
        agent: row.get::<Option<String>>(14)?.filter(|agent| !agent.is_empty()),
        tokens: used.0.zip(used.1).map(tokens),
    })
}

pub(crate) fn deliver(
    transaction: &mut Transaction<'_>,
    request: &str,
    user: &str,
    delivery: &NewDelivery,
    at_ms: i64,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "INSERT INTO deliveries (id, request_id, user_id, url, body, state, next_ms, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, 'due', ?6, ?6)",
        values![&delivery.id, request, user, &delivery.url, &delivery.body, at_ms],
    )?;
    Ok(())
}
