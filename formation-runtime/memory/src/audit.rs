//! What operators did to the formation. An act is written down before it is done, so that one whose
//! process died in it is not forgotten.

use muxi_contract::RequestId;

use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Store, StoreError};

/// An act that is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAuditEntry {
    /// What is done, such as `secret.created`.
    pub action: &'static str,
    /// To what kind of thing.
    pub resource_type: &'static str,
    /// To which of them, unless it is done to all.
    pub resource_id: Option<String>,
    pub request_id: RequestId,
    pub at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub seq: i64,
    pub at_ms: i64,
    pub action: String,
    pub resource_type: String,
    pub resource_id: Option<String>,
    pub request_id: String,
    /// `pending`, `succeeded` or `failed`.
    pub outcome: String,
    /// The code of the error, of an act that failed.
    pub error: Option<String>,
}

/// An entry's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSeq(i64);

/// Which entries are asked for; an absent part lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub action: Option<String>,
    pub resource_type: Option<String>,
    pub since_ms: Option<i64>,
}

/// The newest entries first, and how many fit the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    pub total: u64,
}

// === impl Store ===

impl Store {
    /// Writes an act down, and forgets the oldest beyond `entries_max`.
    pub async fn begin_audit(
        &self,
        entry: NewAuditEntry,
        entries_max: u32,
    ) -> Result<AuditSeq, StoreError> {
        self.write(move |transaction| {
            let seq = insert(transaction, &entry, "pending")?;
            transaction.execute(
                "DELETE FROM audit WHERE seq <= ?1",
                values![seq.saturating_sub(i64::from(entries_max))],
            )?;
            Ok(AuditSeq(seq))
        })
        .await
    }

    /// Says what came of an act.
    pub async fn end_audit(
        &self,
        AuditSeq(seq): AuditSeq,
        outcome: Result<(), String>,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let (outcome, error) = match outcome {
                Ok(()) => ("succeeded", None),
                Err(error) => ("failed", Some(error)),
            };
            transaction.execute(
                "UPDATE audit SET outcome = ?2, error = ?3 WHERE seq = ?1 AND outcome = 'pending'",
                values![seq, outcome, error.as_deref()],
            )?;
            Ok(())
        })
        .await
    }

    pub async fn audit(&self, filter: AuditFilter, limit: u32) -> Result<AuditPage, StoreError> {
        self.read(move |transaction| {
            const FITTING: &str = "FROM audit
                 WHERE (CAST(?1 AS TEXT) IS NULL OR action = ?1)
                   AND (CAST(?2 AS TEXT) IS NULL OR resource_type = ?2)
                   AND at_ms >= ?3";
            let (action, kind) = (filter.action.as_deref(), filter.resource_type.as_deref());
            let since_ms = filter.since_ms.unwrap_or(i64::MIN);
            let total = transaction.one(
                &format!("SELECT count(*) {FITTING}"),
                values![action, kind, since_ms],
                |row| row.get(0),
            )?;
            let entries = transaction.all(
                &format!(
                    "SELECT seq, at_ms, action, resource_type, resource_id, request_id, outcome, error
                     {FITTING} ORDER BY seq DESC LIMIT ?4"
                ),
                values![action, kind, since_ms, limit],
                entry,
            )?;
            Ok(AuditPage { entries, total })
        })
        .await
    }

    /// Empties the log but for an entry that says so, and tells how many there were.
    pub async fn clear_audit(&self, entry: NewAuditEntry) -> Result<u64, StoreError> {
        self.write(move |transaction| {
            let cleared = transaction.execute("DELETE FROM audit", &[])?;
            insert(transaction, &entry, "succeeded")?;
            Ok(cleared)
        })
        .await
    }
}

// === private helpers ===

fn insert(
    transaction: &mut Transaction<'_>,
    entry: &NewAuditEntry,
    outcome: &str,
) -> Result<i64, DatabaseError> {
    transaction.one(
        "INSERT INTO audit (at_ms, action, resource_type, resource_id, request_id, outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING seq",
        values![
            entry.at_ms,
            entry.action,
            entry.resource_type,
            entry.resource_id.as_deref(),
            entry.request_id.as_str(),
            outcome
        ],
        |row| row.get(0),
    )
}

fn entry(row: &Row) -> Result<AuditEntry, DatabaseError> {
    Ok(AuditEntry {
        seq: row.get(0)?,
        at_ms: row.get(1)?,
        action: row.get(2)?,
        resource_type: row.get(3)?,
        resource_id: row.get(4)?,
        request_id: row.get(5)?,
        outcome: row.get(6)?,
        error: row.get(7)?,
    })
}
