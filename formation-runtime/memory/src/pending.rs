//! What sessions wait for: an approval, an answer, a credential.
//!
//! A turn that asks ends with its question, and its request waits. Whoever resolves what is waited for
//! says how the work goes on, in the same transaction: in a turn that runs already, as the same request
//! once more, or not at all. The requests that waited get the same end as the one that took them up.

mod words;

use muxi_contract::{RequestId, SessionId, UserId};

pub use self::words::{PendingGroup, PendingKind, PendingStatus, Resolution};

use crate::requests::{self, End, RequestSeq};
use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;
use crate::{NewDelivery, Outcome, RequestMode, TurnEnd, TurnId};

/// What a turn asks for at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPending {
    pub id: String,
    pub kind: PendingKind,
    pub question: String,
    /// What may be shown of it, as JSON that its maker reads again.
    pub detail_json: String,
    /// What going on needs, as JSON that its maker reads again.
    pub state_json: String,
    pub expires_ms: i64,
}

/// What a session waits for, or waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub id: String,
    pub user: UserId,
    pub session: SessionId,
    pub request: RequestSeq,
    /// The request that asked first, whose caller looks for the end under this id.
    pub request_id: RequestId,
    /// Who is to be told of that request's end.
    pub webhook_url: Option<String>,
    pub request_created_ms: i64,
    /// Nobody waits for the end of one that was accepted for later.
    pub request_mode: RequestMode,
    pub kind: PendingKind,
    pub question: String,
    pub detail_json: String,
    pub state_json: String,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub resolved: Option<Resolved>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub resolution: Resolution,
    pub note: Option<String>,
    pub at_ms: i64,
}

/// How something that is waited for is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResolution {
    pub resolution: Resolution,
    /// What was said about it.
    pub note: Option<String>,
    pub then: Then,
    pub at_ms: i64,
}

/// How the work goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// In this turn, which runs: the requests that waited end with its request.
    InTurn(TurnId),
    /// As the request that asked first, accepted once more with this work.
    Again { work: String },
    /// Not at all.
    Ends { outcome: Outcome, delivery: Option<NewDelivery> },
}

/// Which of a user's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingFilter {
    pub group: Option<PendingGroup>,
    pub status: Option<PendingStatus>,
}

const COLUMNS: &str = "SELECT p.id, p.user_id, p.session, p.request, p.request_id, q.webhook_url, \
     coalesce(q.created_ms, p.created_ms), p.kind, p.question, p.detail, p.state, p.created_ms, \
     p.expires_ms, p.resolution, p.note, p.resolved_ms, coalesce(q.mode, 'sync') \
     FROM pendings p LEFT JOIN requests q ON q.seq = p.request";

// === impl UserStore ===

impl UserStore {
    /// Ends the turn with its question: the request waits, and what it waits for takes the place of an
    /// older one of the session's, if that is of the same group. A question that goes on from an
    /// earlier one is of the request that asked first.
    pub async fn end_turn_waiting(
        &self,
        turn: TurnId,
        end: TurnEnd,
        pending: NewPending,
    ) -> Result<(), StoreError> {
        let text = if end.text.is_empty() { pending.question.clone() } else { end.text };
        let end = TurnEnd { outcome: Outcome::Waiting, text, ..end };
        self.finish_turn(turn, end, Some(pending)).await
    }

    /// The latest that the session waits for.
    pub async fn open_pending(
        &self,
        session: &SessionId,
        now_ms: i64,
    ) -> Result<Option<Pending>, StoreError> {
        let (user, session) = (self.user().clone(), session.clone());
        self.store()
            .read(move |transaction| {
                open_of_session(transaction, user.as_str(), session.as_str(), now_ms)
            })
            .await
    }

    pub async fn pending(&self, id: &str) -> Result<Option<Pending>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store().read(move |transaction| find(transaction, user.as_str(), &id)).await
    }

    /// What the request waits for.
    pub async fn pending_of(&self, request: RequestSeq) -> Result<Option<Pending>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql = format!(
                    "{COLUMNS} JOIN requests w ON w.waits_for = p.id
                     WHERE w.seq = ?1 AND p.user_id = ?2 AND w.status = 'awaiting_clarification'"
                );
                transaction.first(&sql, values![request.number(), user.as_str()], pending)
            })
            .await
    }

    /// What the request answers, whose work has not ended.
    pub async fn taken_up_by(&self, request: RequestSeq) -> Result<Option<Pending>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql = format!(
                    "{COLUMNS} JOIN requests w ON w.goes_on_from = p.id
                     WHERE w.seq = ?1 AND p.user_id = ?2 AND w.ended_ms IS NULL"
                );
                transaction.first(&sql, values![request.number(), user.as_str()], pending)
            })
            .await
    }

    /// The newest first.
    pub async fn list_pending(
        &self,
        filter: PendingFilter,
        limit: u32,
    ) -> Result<Vec<Pending>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                let sql = format!(
                    "{COLUMNS} WHERE p.user_id = ?1
                       AND (CAST(?2 AS TEXT) IS NULL OR p.kind IN (?2, ?3))
                       AND (CAST(?4 AS TEXT) IS NULL OR coalesce(p.resolution, 'open') = ?4)
                     ORDER BY p.created_ms DESC, p.id LIMIT ?5"
                );
                let kinds = filter.group.map(|group| group.kinds().map(PendingKind::as_str));
                let (first, second) = kinds.map(|[first, second]| (first, second)).unzip();
                let status = filter.status.map(PendingStatus::as_str);
                transaction.all(&sql, values![user.as_str(), first, second, status, limit], pending)
            })
            .await
    }

    /// Resolves what is waited for, with what that means for the requests that wait. Exactly one
    /// caller gets it; the others, and those who come too late, get `None`.
    pub async fn resolve_pending(
        &self,
        id: &str,
        new: NewResolution,
    ) -> Result<Option<Pending>, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        let owner = self.store().context().owner.clone();
        let tells = matches!(new.then, Then::Ends { delivery: Some(_), .. });
        let found = self
            .store()
            .write(move |transaction| {
                let user = user.as_str();
                if !mark(transaction, user, &id, &new)? {
                    return Ok(None);
                }
                let found = find(transaction, user, &id)?.ok_or(DatabaseError::NoRow)?;
                go_on(transaction, &found, &new, &owner)?;
                Ok(Some(found))
            })
            .await?;
        if tells && found.is_some() {
            self.store().delivery_made.notify_one();
        }
        Ok(found)
    }

    /// Changes what is shown of it and what going on needs; false if it is no longer open.
    pub async fn update_pending(
        &self,
        id: &str,
        detail_json: String,
        state_json: String,
    ) -> Result<bool, StoreError> {
        let (user, id) = (self.user().clone(), id.to_owned());
        self.store()
            .write(move |transaction| {
                let changed = transaction.execute(
                    "UPDATE pendings SET detail = ?3, state = ?4
                     WHERE id = ?1 AND user_id = ?2 AND resolution IS NULL",
                    values![&id, user.as_str(), &detail_json, &state_json],
                )?;
                Ok(changed > 0)
            })
            .await
    }
}

// === impl Store ===

impl Store {
    /// What nobody answered in time, the longest overdue first; each is still to be resolved.
    pub async fn overdue_pending(
        &self,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<Pending>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "{COLUMNS} WHERE p.resolution IS NULL AND p.expires_ms <= ?1
                 ORDER BY p.expires_ms LIMIT ?2"
            );
            transaction.all(&sql, values![now_ms, limit], pending)
        })
        .await
    }

    /// How many of the group are open, of all users.
    pub async fn open_pending_count(&self, group: PendingGroup) -> Result<u64, StoreError> {
        self.read(move |transaction| {
            let [first, second] = group.kinds().map(PendingKind::as_str);
            transaction.one(
                "SELECT count(*) FROM pendings WHERE resolution IS NULL AND kind IN (?1, ?2)",
                values![first, second],
                |row| row.get(0),
            )
        })
        .await
    }
}

/// Lets the request wait, instead of its end.
pub(crate) fn begin(
    transaction: &mut Transaction<'_>,
    user: &str,
    session: &str,
    request: RequestSeq,
    new: &NewPending,
    end: &End<'_>,
) -> Result<(), DatabaseError> {
    let Some(waits) = requests::wait(transaction, user, request, &new.id, end)? else {
        return Ok(());
    };
    let first = match &waits.goes_on_from {
        Some(earlier) => asked_first(transaction, earlier)?,
        None => None,
    };
    if let (Some((_, id)), Some(delivery)) = (&first, end.original_delivery) {
        requests::deliver(transaction, id.as_str(), user, delivery, end.at_ms)?;
    }
    let (first, first_id) = first.unwrap_or((request, waits.id));
    let [one_kind, other_kind] = new.kind.group().kinds().map(PendingKind::as_str);
    let replaced: Vec<String> = transaction.all(
        "UPDATE pendings SET resolution = 'cancelled', resolved_ms = ?5
         WHERE user_id = ?1 AND session = ?2 AND kind IN (?3, ?4) AND resolution IS NULL
         RETURNING id",
        values![user, session, one_kind, other_kind, end.at_ms],
        |row| row.get(0),
    )?;
    let cancelled = End { delivery: None, original_delivery: None, result: None, ..*end };
    for id in &replaced {
        let cancelled = End { outcome: &Outcome::Cancelled, ..cancelled };
        requests::settle(transaction, user, id, &cancelled)?;
    }
    transaction.execute(
        "INSERT INTO pendings (id, user_id, session, request, request_id, kind, question, detail,
             state, created_ms, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        values![
            &new.id,
            user,
            session,
            first.number(),
            first_id.as_str(),
            new.kind.as_str(),
            &new.question,
            &new.detail_json,
            &new.state_json,
            end.at_ms,
            new.expires_ms,
        ],
    )?;
    Ok(())
}

/// The latest that the session waits for.
pub(crate) fn open_of_session(
    transaction: &mut Transaction<'_>,
    user: &str,
    session: &str,
    now_ms: i64,
) -> Result<Option<Pending>, DatabaseError> {
    let sql = format!(
        "{COLUMNS} WHERE p.user_id = ?1 AND p.session = ?2 AND p.resolution IS NULL
           AND p.expires_ms > ?3
         ORDER BY p.created_ms DESC, q.seq DESC LIMIT 1"
    );
    transaction.first(&sql, values![user, session, now_ms], pending)
}

/// Forgets what came of things before the given time.
pub(crate) fn forget(
    transaction: &mut Transaction<'_>,
    before_ms: i64,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "DELETE FROM pendings WHERE resolution IS NOT NULL AND resolved_ms < ?1",
        values![before_ms],
    )?;
    Ok(())
}

// === private helpers ===

/// Whether the caller is the one who resolves it.
fn mark(
    transaction: &mut Transaction<'_>,
    user: &str,
    id: &str,
    new: &NewResolution,
) -> Result<bool, DatabaseError> {
    let time_left_from = if new.resolution.needs_no_time() { i64::MIN } else { new.at_ms };
    let marked = transaction.execute(
        "UPDATE pendings SET resolution = ?3, note = ?4, resolved_ms = ?5
         WHERE id = ?1 AND user_id = ?2 AND resolution IS NULL AND expires_ms > ?6",
        values![id, user, new.resolution.as_str(), new.note.as_ref(), new.at_ms, time_left_from,],
    )?;
    Ok(marked > 0)
}

fn go_on(
    transaction: &mut Transaction<'_>,
    found: &Pending,
    new: &NewResolution,
    owner: &str,
) -> Result<(), DatabaseError> {
    let user = found.user.as_str();
    let outcome = match &new.then {
        Then::InTurn(turn) => {
            if requests::take_up(transaction, user, turn.seq(), &found.id)? {
                return Ok(());
            }
            // Its turn is over already, so nobody is left to end the others.
            &Outcome::Interrupted
        }
        Then::Again { work } => {
            return requests::accept_again(transaction, found.request, &found.id, owner, work);
        }
        Then::Ends { outcome, .. } => outcome,
    };
    let delivery = match &new.then {
        Then::Ends { delivery, .. } => delivery.as_ref(),
        Then::InTurn(_) | Then::Again { .. } => None,
    };
    let end = End {
        outcome,
        result: None,
        warnings: None,
        delivery: None,
        original_delivery: delivery,
        at_ms: new.at_ms,
    };
    requests::settle(transaction, user, &found.id, &end)
}

/// Of which request an earlier question was.
fn asked_first(
    transaction: &mut Transaction<'_>,
    earlier: &str,
) -> Result<Option<(RequestSeq, RequestId)>, DatabaseError> {
    transaction.first(
        "SELECT request, request_id FROM pendings WHERE id = ?1",
        values![earlier],
        |row| Ok((RequestSeq::read(row, 0)?, row.parsed(1)?)),
    )
}

fn find(
    transaction: &mut Transaction<'_>,
    user: &str,
    id: &str,
) -> Result<Option<Pending>, DatabaseError> {
    let sql = format!("{COLUMNS} WHERE p.id = ?1 AND p.user_id = ?2");
    transaction.first(&sql, values![id, user], pending)
}

fn pending(row: &Row) -> Result<Pending, DatabaseError> {
    let resolution: Option<String> = row.get(13)?;
    let resolved = match resolution {
        Some(_) => {
            Some(Resolved { resolution: row.parsed(13)?, note: row.get(14)?, at_ms: row.get(15)? })
        }
        None => None,
    };
    Ok(Pending {
        id: row.get(0)?,
        user: row.parsed(1)?,
        session: row.parsed(2)?,
        request: RequestSeq::read(row, 3)?,
        request_id: row.parsed(4)?,
        webhook_url: row.get(5)?,
        request_created_ms: row.get(6)?,
        request_mode: row.parsed(16)?,
        kind: row.parsed(7)?,
        question: row.get(8)?,
        detail_json: row.get(9)?,
        state_json: row.get(10)?,
        created_ms: row.get(11)?,
        expires_ms: row.get(12)?,
        resolved,
    })
}
