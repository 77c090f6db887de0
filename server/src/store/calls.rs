//! Calls that change something, by the signature and the idempotency key they came with.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;

/// A call as it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCall {
    pub key: String,
    pub signature: [u8; 32],
    pub idempotency_key: Option<String>,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What a signature of version 2 says about the body.
    pub content_sha256: Option<String>,
}

/// How calls are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRules {
    pub now_ms: i64,
    /// How long after its first use a signature of version 1 may come with another call.
    pub same_signature_ms: i64,
    pub kept_ms: i64,
    pub calls_max: u64,
    /// The newest so many answers keep their bodies.
    pub answers_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is to be done; this is its number.
    New(i64),
    /// It was begun before.
    Repeat(StoredCall),
    /// The signature was used for another call.
    UsedSignature,
    /// The idempotency key was used for another call.
    OtherCall,
    /// More calls than are kept.
    TooMany,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCall {
    pub id: i64,
    pub state: CallState,
    /// Of its body, in hex, as far as that is known.
    pub body_sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallState {
    Running { operation: Option<String> },
    Answered(StoredAnswer),
    Released,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    pub error: Option<String>,
    pub content_type: String,
    /// Sealed; absent if it was not kept.
    pub body: Option<Vec<u8>>,
}

/// Writes a call down unless it must not be done.
pub fn begin(
    connection: &Connection,
    new: &NewCall,
    rules: CallRules,
) -> Result<Begun, StoreError> {
    if let Some(idempotency_key) = &new.idempotency_key {
        let mut statement = connection.prepare_cached(
            "SELECT id, state, operation, status, error, content_type, body, body_sha256, method,
                    target, content_sha256
             FROM calls WHERE key = ?1 AND idempotency_key = ?2",
        )?;
        let found = statement.query_row(params![new.key, idempotency_key], |row| {
            let same = row.get::<_, String>(8)? == new.method
                && row.get::<_, String>(9)? == new.target
                && row.get::<_, Option<String>>(10)? == new.content_sha256;
            Ok((stored(row)?, same))
        });
        match found.optional()? {
            Some((_, false)) => return Ok(Begun::OtherCall),
            Some((StoredCall { id, state: CallState::Released, .. }, true)) => {
                connection.execute(
                    "UPDATE calls SET state = 'running', operation = NULL, signature = ?2,
                         body_sha256 = NULL
                     WHERE id = ?1",
                    params![id, new.signature],
                )?;
                return Ok(Begun::New(id));
            }
            Some((stored, true)) => return Ok(Begun::Repeat(stored)),
            None => {}
        }
    }
    let mut statement = connection
        .prepare_cached("SELECT min(begun_at_ms) FROM calls WHERE key = ?1 AND signature = ?2")?;
    let first: Option<i64> =
        statement.query_row(params![new.key, new.signature], |row| row.get(0))?;
    // A signature of version 2 is used once, and its nonce sees to that while the manager lives.
    let allowed_ms = if new.content_sha256.is_some() { -1 } else { rules.same_signature_ms };
    if first.is_some_and(|first_ms| rules.now_ms.saturating_sub(first_ms) > allowed_ms) {
        return Ok(Begun::UsedSignature);
    }
    prune(connection, rules)?;
    let count: u64 =
        connection.prepare_cached("SELECT count(*) FROM calls")?.query_row([], |row| row.get(0))?;
    if count >= rules.calls_max {
        return Ok(Begun::TooMany);
    }
    // Without an idempotency key nothing can ask for the answer again.
    let state = if new.idempotency_key.is_some() { "running" } else { "released" };
    connection
        .prepare_cached(
            "INSERT INTO calls
                 (key, signature, idempotency_key, method, target, content_sha256, begun_at_ms, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            new.key,
            new.signature,
            new.idempotency_key,
            new.method,
            new.target,
            new.content_sha256,
            rules.now_ms,
            state
        ])?;
    Ok(Begun::New(connection.last_insert_rowid()))
}

/// What a repeat with the same body will be told.
pub fn answer(
    connection: &Connection,
    id: i64,
    body_sha256: Option<&str>,
    answer: &StoredAnswer,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE calls SET state = 'answered', status = ?2, error = ?3, content_type = ?4, body = ?5,
             body_sha256 = ?6
         WHERE id = ?1",
        params![id, answer.status, answer.error, answer.content_type, answer.body, body_sha256],
    )?;
    Ok(())
}

/// A repeat is to be done anew.
pub fn release(connection: &Connection, id: i64) -> Result<(), StoreError> {
    connection.execute("UPDATE calls SET state = 'released' WHERE id = ?1", [id])?;
    Ok(())
}

/// The operation that a call began.
pub fn note_operation(
    connection: &Connection,
    id: i64,
    body_sha256: Option<&str>,
    operation: &str,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE calls SET operation = ?2, body_sha256 = ?3 WHERE id = ?1",
        params![id, operation, body_sha256],
    )?;
    Ok(())
}

fn prune(connection: &Connection, rules: CallRules) -> Result<(), StoreError> {
    let CallRules { now_ms, kept_ms, answers_max, .. } = rules;
    connection
        .prepare_cached("DELETE FROM calls WHERE begun_at_ms < ?1")?
        .execute([now_ms.saturating_sub(kept_ms)])?;
    connection
        .prepare_cached(
            "UPDATE calls SET body = NULL WHERE id <= (
                 SELECT id FROM calls WHERE body IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?1)
             AND body IS NOT NULL",
        )?
        .execute([answers_max])?;
    Ok(())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredCall> {
    let state = match row.get::<_, String>(1)?.as_str() {
        "running" => CallState::Running { operation: row.get(2)? },
        "answered" => CallState::Answered(StoredAnswer {
            status: row.get(3)?,
            error: row.get(4)?,
            content_type: row.get(5)?,
            body: row.get(6)?,
        }),
        _ => CallState::Released,
    };
    Ok(StoredCall { id: row.get(0)?, state, body_sha256: row.get(7)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    const RULES: CallRules = CallRules {
        now_ms: 1_000_000,
        same_signature_ms: 2_000,
        kept_ms: 600_000,
        calls_max: 5,
        answers_max: 2,
    };

    fn at(now_ms: i64) -> CallRules {
        CallRules { now_ms, ..RULES }
    }

    fn call(signature: u8, idempotency_key: Option<&str>) -> NewCall {
        NewCall {
            key: "k".to_owned(),
            signature: [signature; 32],
            idempotency_key: idempotency_key.map(str::to_owned),
            method: "POST".to_owned(),
            target: "/rpc/formations".to_owned(),
            content_sha256: None,
        }
    }

    fn answered(body: &[u8]) -> StoredAnswer {
        let content_type = "application/json".to_owned();
        StoredAnswer { status: 200, error: None, content_type, body: Some(body.to_vec()) }
    }

    #[test]
    fn a_repeat_gets_the_first_answer_and_another_call_does_not() {
        let db = store::in_memory();
        let Begun::New(id) = begin(&db, &call(1, Some("a")), RULES).unwrap() else { panic!() };
        let stored = |state, body: Option<&str>| {
            let body_sha256 = body.map(str::to_owned);
            StoredCall { id, state, body_sha256 }
        };
        let running = Begun::Repeat(stored(CallState::Running { operation: None }, None));
        assert_eq!(begin(&db, &call(1, Some("a")), RULES).unwrap(), running);
        note_operation(&db, id, Some("b0d1"), "op_1").unwrap();
        let operation = Some("op_1".to_owned());
        let running = Begun::Repeat(stored(CallState::Running { operation }, Some("b0d1")));
        assert_eq!(begin(&db, &call(1, Some("a")), at(1_200_000)).unwrap(), running);
        answer(&db, id, Some("b0d2"), &answered(b"x")).unwrap();
        let repeat = Begun::Repeat(stored(CallState::Answered(answered(b"x")), Some("b0d2")));
        assert_eq!(begin(&db, &call(1, Some("a")), at(1_200_000)).unwrap(), repeat);
        assert_eq!(begin(&db, &call(2, Some("a")), RULES).unwrap(), repeat, "signed anew");
        let elsewhere = NewCall { target: "/rpc/other".to_owned(), ..call(1, Some("a")) };
        assert_eq!(begin(&db, &elsewhere, RULES).unwrap(), Begun::OtherCall);
        let other_key = NewCall { key: "other".to_owned(), ..call(1, Some("a")) };
        assert!(matches!(begin(&db, &other_key, RULES).unwrap(), Begun::New(_)));
    }

    #[test]
    fn a_signature_serves_other_calls_for_a_moment_only() {
        for idempotency_key in [None, Some("b")] {
            let db = store::in_memory();
            begin(&db, &call(1, Some("a")), RULES).unwrap();
            let same = begin(&db, &call(1, idempotency_key), at(1_001_900)).unwrap();
            assert!(matches!(same, Begun::New(_)), "{same:?}");
            // The first use counts, not the latest.
            let late = begin(&db, &call(1, Some("c")), at(1_002_100)).unwrap();
            assert_eq!(late, Begun::UsedSignature);
            assert_eq!(begin(&db, &call(1, None), at(1_300_000)).unwrap(), Begun::UsedSignature);
        }
    }

    #[test]
    fn a_signature_of_version_2_is_used_once() {
        let db = store::in_memory();
        let signed = |signature, idempotency_key, body: &str| {
            let content_sha256 = Some(body.to_owned());
            NewCall { content_sha256, ..call(signature, idempotency_key) }
        };
        assert!(matches!(begin(&db, &signed(1, None, "x"), RULES).unwrap(), Begun::New(_)));
        assert_eq!(begin(&db, &signed(1, None, "x"), RULES).unwrap(), Begun::UsedSignature);
        assert!(matches!(begin(&db, &signed(2, Some("a"), "x"), RULES).unwrap(), Begun::New(_)));
        assert!(matches!(begin(&db, &signed(3, Some("a"), "x"), RULES).unwrap(), Begun::Repeat(_)));
        assert_eq!(begin(&db, &signed(4, Some("a"), "y"), RULES).unwrap(), Begun::OtherCall);
    }

    #[test]
    fn what_failed_for_now_is_done_again() {
        let db = store::in_memory();
        let Begun::New(id) = begin(&db, &call(1, Some("a")), RULES).unwrap() else { panic!() };
        release(&db, id).unwrap();
        assert_eq!(begin(&db, &call(1, Some("a")), at(1_100_000)).unwrap(), Begun::New(id));
        let other = begin(&db, &call(1, Some("b")), at(1_100_000)).unwrap();
        assert_eq!(other, Begun::UsedSignature);
    }

    #[test]
    fn calls_and_answers_are_bounded() {
        let db = store::in_memory();
        for count in 0..4u8 {
            let new = begin(&db, &call(count, Some(&count.to_string())), RULES).unwrap();
            let Begun::New(id) = new else { panic!("{new:?}") };
            answer(&db, id, None, &answered(b"x")).unwrap();
        }
        begin(&db, &call(9, None), RULES).unwrap();
        let bodies = "SELECT count(*) FROM calls WHERE body IS NOT NULL";
        let count: u64 = db.query_row(bodies, [], |row| row.get(0)).unwrap();
        assert_eq!(count, RULES.answers_max);
        assert_eq!(begin(&db, &call(10, None), RULES).unwrap(), Begun::TooMany);
        assert!(matches!(begin(&db, &call(10, None), at(1_700_000)).unwrap(), Begun::New(_)));
    }
}
