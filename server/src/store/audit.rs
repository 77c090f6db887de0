//! The audit log as rows: a chain of hashes that only grows, pruned from its old end.
//!
//! `hash` is SHA-256 over the hash of the entry before and the entry's canonical JSON, so a change,
//! a gap or a swap is found by walking the chain. A chain alone does not show that its newest
//! entries were cut off or that all of it was made anew; for that the newest entry is noted under a
//! keyed hash, the seal, which only the holder of the master key can make.

use muxi_contract::audit::{AuditEntry, Outcome};
use muxi_contract::management::ProblemKind;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::auth::master::MasterKey;
use crate::config::AuditConfig;

pub type Hash = [u8; 32];

/// An entry's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub seq: u64,
    pub hash: Hash,
}

/// What the walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub ok: bool,
    pub entries: u64,
    /// Entries up to here were pruned.
    pub pruned_to: u64,
    pub last_seq: u64,
    /// Hash of the last entry, to be noted elsewhere.
    pub last_hash: String,
    pub seal: Seal,
    /// The first break.
    pub fault: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub seq: u64,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seal {
    Valid,
    /// Nothing was written yet.
    None,
    /// It is not what this master key would have made.
    Broken,
    /// Made with another master key, so it says nothing.
    OtherMasterKey,
    /// There is no master key to check it with.
    Unchecked,
}

/// Which entries are wanted; all that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub actor: Option<String>,
    pub target: Option<String>,
    /// The action, or what stands before one of its dots.
    pub action: Option<String>,
    pub outcome: Option<Outcome>,
    pub since: Option<jiff::Timestamp>,
    pub until: Option<jiff::Timestamp>,
}

/// A part of the log, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<AuditEntry>,
    /// Go on below this number.
    pub next_before: Option<u64>,
}

/// Entries that one page looks at, so that a rare find does not hold up the store.
const SCANNED_MAX: usize = 5_000;
/// Entries that one pruning removes.
const PRUNED_MAX: u64 = 5_000;
const SEAL_CONTEXT: &str = "audit seal";

/// Adds an entry, whose number is set here.
pub fn append(connection: &Connection, mut entry: AuditEntry) -> Result<Link, StoreError> {
    let last = last(connection)?;
    entry.seq = last.seq + 1;
    let json = serde_json::to_string(&entry).expect("our own types always serialise");
    let link = Link { seq: entry.seq, hash: next_hash(&last.hash, &json) };
    connection
        .prepare_cached("INSERT INTO audit (seq, entry, hash) VALUES (?1, ?2, ?3)")?
        .execute(params![link.seq, json, link.hash])?;
    Ok(link)
}

/// The end of an operation, which may come long after the call that began it.
pub fn append_operation(
    connection: &Connection,
    operation: &str,
    error: Option<ProblemKind>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT kind, formation, started_at_ms FROM operations WHERE id = ?1")?;
    let (kind, formation, started_at_ms): (String, String, i64) =
        statement.query_row([operation], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    append(
        connection,
        AuditEntry {
            seq: 0,
            at: crate::auth::when::rfc3339(now_ms),
            actor: Some("manager".to_owned()),
            claimed_key: None,
            remote: None,
            method: String::new(),
            path: format!("/rpc/operations/{operation}"),
            action: format!("operations.{kind}.ended"),
            target: Some(formation),
            outcome: if error.is_some() { Outcome::Failure } else { Outcome::Success },
            status: error.map_or(200, ProblemKind::status),
            error,
            duration_ms: u64::try_from(now_ms.saturating_sub(started_at_ms)).unwrap_or(0),
            request_id: operation.to_owned(),
            count: 1,
        },
    )?;
    Ok(())
}

/// The newest entry; before the first one, what it will be chained to.
pub fn last(connection: &Connection) -> Result<Link, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?;
    match statement.query_row([], link).optional()? {
        Some(last) => Ok(last),
        None => checkpoint(connection),
    }
}

/// Whether an entry that was written is still there as it was.
pub fn holds(connection: &Connection, known: &Link) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?;
    let found: Option<Hash> = statement.query_row([known.seq], |row| row.get(0)).optional()?;
    match found {
        Some(hash) => Ok(hash == known.hash),
        None => Ok(checkpoint(connection)?.seq >= known.seq),
    }
}

/// Notes the newest entry under the master key.
pub fn seal(connection: &Connection, master: &MasterKey) -> Result<(), StoreError> {
    let (last, checkpoint) = (last(connection)?, checkpoint(connection)?);
    let mac =
        master.mac(SEAL_CONTEXT, &sealed_parts(&last, &checkpoint).each_ref().map(Vec::as_slice));
    connection
        .prepare_cached(
            "INSERT INTO audit_seal (only, seq, checkpoint, fingerprint, mac)
             VALUES (1, ?1, ?2, ?3, ?4)
             ON CONFLICT (only) DO UPDATE
             SET seq = ?1, checkpoint = ?2, fingerprint = ?3, mac = ?4",
        )?
        .execute(params![last.seq, checkpoint.seq, master.fingerprint(), mac])?;
    Ok(())
}

/// What the seal says, without a walk along the chain.
pub fn check_seal(
    connection: &Connection,
    master: Option<&MasterKey>,
) -> Result<(Seal, u64), StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq, fingerprint, mac FROM audit_seal WHERE only = 1")?;
    let found = statement.query_row([], |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
    });
    let (checkpoint, newest) = (checkpoint(connection)?, last(connection)?.seq);
    let Some((seq, fingerprint, mac)) = found.optional()? else {
        let fine = newest == 0 || master.is_none();
        return Ok((if fine { Seal::None } else { Seal::Broken }, newest));
    };
    let Some(master) = master else { return Ok((Seal::Unchecked, seq)) };
    if fingerprint != master.fingerprint() {
        return Ok((Seal::OtherMasterKey, seq));
    }
    let mut statement = connection.prepare_cached("SELECT seq, hash FROM audit WHERE seq = ?1")?;
    let sealed = statement.query_row([seq], link).optional()?;
    let sealed = sealed.or((checkpoint.seq == seq).then_some(checkpoint));
    let valid = sealed.is_some_and(|sealed| {
        let parts = sealed_parts(&sealed, &checkpoint);
        master.is_mac(SEAL_CONTEXT, &parts.each_ref().map(Vec::as_slice), &mac)
    });
    Ok((if valid { Seal::Valid } else { Seal::Broken }, seq))
}

/// Walks along the whole chain; the caller's transaction makes it one state.
pub fn verify(connection: &Connection, master: Option<&MasterKey>) -> Result<Verified, StoreError> {
    let start = checkpoint(connection)?;
    let (mut before, mut entries, mut fault) = (start, 0, None);
    let mut statement = connection.prepare("SELECT seq, entry, hash FROM audit ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, json): (u64, String) = (row.get(0)?, row.get(1)?);
        let hash: Hash = row.get(2)?;
        let stated = serde_json::from_str::<AuditEntry>(&json).map(|entry| entry.seq);
        let reason = if seq != before.seq + 1 {
            Some(format!("entry {} is missing", before.seq + 1))
        } else if stated.ok() != Some(seq) {
            Some("its text is not that of an entry with this number".to_owned())
        } else if hash != next_hash(&before.hash, &json) {
            Some("its hash is not that of its text and the entry before".to_owned())
        } else {
            None
        };
        if let Some(reason) = reason {
            fault = Some(Fault { seq, reason });
            break;
        }
        before = Link { seq, hash };
        entries += 1;
    }
    let (seal, sealed_seq) = check_seal(connection, master)?;
    if fault.is_none() && seal == Seal::Broken {
        let reason = if sealed_seq > before.seq {
            format!("entries {} to {sealed_seq} were there, and are missing", before.seq + 1)
        } else {
            "the seal is missing or was not made for this chain".to_owned()
        };
        fault = Some(Fault { seq: before.seq + 1, reason });
    }
    Ok(Verified {
        ok: fault.is_none(),
        entries,
        pruned_to: start.seq,
        last_seq: before.seq,
        last_hash: hex::encode(before.hash),
        seal,
        fault,
    })
}

/// Entries below `before`, newest first.
pub fn page(
    connection: &Connection,
    filter: &Filter,
    before: Option<u64>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT seq, entry FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?;
    let mut rows = statement.query(params![before.unwrap_or(i64::MAX as u64), SCANNED_MAX])?;
    let (mut entries, mut scanned, mut at) = (Vec::new(), 0, None);
    while entries.len() < limit {
        let Some(row) = rows.next()? else { break };
        scanned += 1;
        at = Some(row.get::<_, u64>(0)?);
        let entry = parse(&row.get::<_, String>(1)?)?;
        if filter.fits(&entry) {
            entries.push(entry);
        }
    }
    let more = entries.len() == limit || scanned == SCANNED_MAX;
    Ok(Page { entries, next_before: at.filter(|seq| more && *seq > 1) })
}

/// Removes what is too old or too much; true when there is more to remove.
pub fn prune(connection: &Connection, rules: AuditConfig, now_ms: i64) -> Result<bool, StoreError> {
    let (start, newest) = (checkpoint(connection)?.seq, last(connection)?.seq);
    let mut end = newest.saturating_sub(rules.entries_max).max(start);
    if rules.keep_days > 0 {
        let oldest_ms = now_ms.saturating_sub(i64::from(rules.keep_days) * 86_400_000);
        let mut statement =
            connection.prepare_cached("SELECT seq, entry FROM audit ORDER BY seq LIMIT ?1")?;
        let mut rows = statement.query([PRUNED_MAX])?;
        while let Some(row) = rows.next()? {
            let at: Option<jiff::Timestamp> = parse(&row.get::<_, String>(1)?)?.at.parse().ok();
            if at.is_none_or(|at| at.as_millisecond() >= oldest_ms) {
                break;
            }
            end = end.max(row.get(0)?);
        }
    }
    let end = end.min(start + PRUNED_MAX);
    if end == start {
        return Ok(false);
    }
    let mut statement = connection.prepare_cached("SELECT seq, hash FROM audit WHERE seq = ?1")?;
    let Some(last_gone) = statement.query_row([end], link).optional()? else { return Ok(false) };
    connection.execute(
        "UPDATE audit_checkpoint SET seq = ?1, hash = ?2, pruned_at_ms = ?3 WHERE only = 1",
        params![last_gone.seq, last_gone.hash, now_ms],
    )?;
    connection.execute("DELETE FROM audit WHERE seq <= ?1", [last_gone.seq])?;
    Ok(end - start == PRUNED_MAX)
}

fn checkpoint(connection: &Connection) -> Result<Link, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq, hash FROM audit_checkpoint WHERE only = 1")?;
    Ok(statement.query_row([], link)?)
}

fn link(row: &rusqlite::Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link { seq: row.get(0)?, hash: row.get(1)? })
}

fn next_hash(before: &Hash, json: &str) -> Hash {
    Sha256::new().chain_update(before).chain_update(json).finalize().into()
}

fn sealed_parts(last: &Link, checkpoint: &Link) -> [Vec<u8>; 2] {
    [last, checkpoint].map(|it| [&it.seq.to_be_bytes()[..], &it.hash].concat())
}

fn parse(json: &str) -> Result<AuditEntry, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Unreadable(format!("an audit entry: {error}")))
}

// === impl Filter ===

impl Filter {
    fn fits(&self, entry: &AuditEntry) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        let action = self.action.as_deref().is_none_or(|wanted| {
            let rest = entry.action.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let at = || entry.at.parse::<jiff::Timestamp>().ok();
        action
            && same(&self.actor, entry.actor.as_deref())
            && same(&self.target, entry.target.as_deref())
            && self.outcome.is_none_or(|wanted| wanted == entry.outcome)
            && self.since.is_none_or(|since| at().is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at().is_some_and(|at| at <= until))
    }
}

#[cfg(test)]
mod tests;
