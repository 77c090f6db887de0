//! Requests that wait for their user: neither open, since nobody works on them, nor ended.

use muxi_contract::{ErrorCode, RequestId};

use super::{End, RequestSeq, deliver, drop_work, ended_as};
use crate::Outcome;
use crate::sql::{DatabaseError, Transaction, values};

/// A request that waits from now on.
pub(crate) struct Waits {
    pub(crate) id: RequestId,
    /// What was waited for before the work that asks again.
    pub(crate) goes_on_from: Option<String>,
}

/// Lets an open request wait, and those that it goes on from with it.
pub(crate) fn wait(
    transaction: &mut Transaction<'_>,
    user: &str,
    seq: RequestSeq,
    pending: &str,
    end: &End<'_>,
) -> Result<Option<Waits>, DatabaseError> {
    let waits = transaction.first(
        "SELECT id, goes_on_from FROM requests
         WHERE seq = ?1 AND user_id = ?2 AND ended_ms IS NULL",
        values![seq.0, user],
        |row| Ok(Waits { id: row.parsed(0)?, goes_on_from: row.get(1)? }),
    )?;
    let Some(waits) = waits else { return Ok(None) };
    transaction.execute(
        "UPDATE requests SET status = 'awaiting_clarification', waits_for = ?2, result = ?3,
             warnings = ?4, goes_on_from = NULL, owner = NULL
         WHERE seq = ?1",
        values![seq.0, pending, end.result, end.warnings],
    )?;
    if let Some(earlier) = &waits.goes_on_from {
        transaction.execute(
            "UPDATE requests SET waits_for = ?3
             WHERE waits_for = ?1 AND user_id = ?2 AND status = 'awaiting_clarification'",
            values![earlier, user, pending],
        )?;
    }
    drop_work(transaction, seq)?;
    if let Some(delivery) = end.delivery {
        deliver(transaction, waits.id.as_str(), user, delivery, end.at_ms)?;
    }
    Ok(Some(waits))
}

/// Makes the request of a turn that runs the one that goes on; false if it has ended.
pub(crate) fn take_up(
    transaction: &mut Transaction<'_>,
    user: &str,
    turn: i64,
    pending: &str,
) -> Result<bool, DatabaseError> {
    let taken = transaction.execute(
        "UPDATE requests SET goes_on_from = ?3
         WHERE turn = ?1 AND user_id = ?2 AND status = 'processing'",
        values![turn, user, pending],
    )?;
    Ok(taken > 0)
}

/// Accepts the request that waited once more, as if it had just come.
pub(crate) fn accept_again(
    transaction: &mut Transaction<'_>,
    seq: RequestSeq,
    pending: &str,
    owner: &str,
    work: &str,
) -> Result<(), DatabaseError> {
    let accepted = transaction.execute(
        "UPDATE requests SET status = 'pending', owner = ?3, goes_on_from = ?2, waits_for = NULL,
             result = NULL, warnings = NULL
         WHERE seq = ?1 AND status = 'awaiting_clarification'",
        values![seq.0, pending, owner],
    )?;
    if accepted > 0 {
        super::put_work(transaction, seq, work)?;
    }
    Ok(())
}

/// Ends all requests that wait for it.
pub(crate) fn settle(
    transaction: &mut Transaction<'_>,
    user: &str,
    pending: &str,
    end: &End<'_>,
) -> Result<(), DatabaseError> {
    let End { outcome, result, warnings, original_delivery, at_ms, .. } = *end;
    if *outcome == Outcome::Interrupted {
        // Whoever looks after abandoned requests ends them, and knows how to tell their receivers.
        transaction.execute(
            "UPDATE requests SET status = 'processing', owner = NULL
             WHERE waits_for = ?1 AND user_id = ?2 AND status = 'awaiting_clarification'",
            values![pending, user],
        )?;
        return Ok(());
    }
    let code = outcome.error_code().map(ErrorCode::name);
    let ended: Vec<String> = transaction.all(
        "UPDATE requests
         SET status = ?3, result = ?4, error = ?5, error_code = ?6, warnings = ?7, ended_ms = ?8
         WHERE waits_for = ?1 AND user_id = ?2 AND status = 'awaiting_clarification'
         RETURNING id",
        values![
            pending,
            user,
            ended_as(outcome).as_str(),
            result,
            outcome.error(),
            code.as_ref(),
            warnings,
            at_ms,
        ],
        |row| row.get(0),
    )?;
    if let (Some(delivery), Some(id)) = (original_delivery, ended.first()) {
        deliver(transaction, id, user, delivery, at_ms)?;
    }
    Ok(())
}

/// Ends what waits for something that is forgotten, together with whoever would have answered.
pub(crate) fn end_forgotten(transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
    let now_ms = transaction.now_ms()?;
    transaction.execute(
        "UPDATE requests SET status = 'cancelled', ended_ms = ?1
         WHERE status = 'awaiting_clarification'
           AND NOT EXISTS (SELECT 1 FROM pendings p
                           WHERE p.id = requests.waits_for AND p.resolution IS NULL)
           AND NOT EXISTS (SELECT 1 FROM requests o
                           WHERE o.goes_on_from = requests.waits_for AND o.ended_ms IS NULL)",
        values![now_ms],
    )?;
    Ok(())
}

/// Forgets the turn of a process that died before it said a word: the request begins once more.
pub(crate) fn forget_silent_turn(
    transaction: &mut Transaction<'_>,
    user: &str,
    seq: RequestSeq,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "DELETE FROM turns
         WHERE user_id = ?2 AND seq = (SELECT turn FROM requests WHERE seq = ?1)
           AND status = 'interrupted' AND NOT EXISTS (
               SELECT 1 FROM messages m
               WHERE m.turn = turns.seq AND m.role = 'assistant' AND m.content IS NOT NULL)",
        values![seq.0, user],
    )?;
    Ok(())
}
