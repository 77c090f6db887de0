//! Webhooks on their way: written down with what they tell of, tried until they are taken or given up.

use crate::owner;
use crate::sql::values;
use crate::store::{Store, StoreError};

/// A webhook whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDelivery {
    pub seq: i64,
    pub id: String,
    pub url: String,
    pub body: String,
    /// Attempts that failed.
    pub attempts: u32,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempted {
    Delivered,
    /// It is tried again at the time.
    Again {
        at_ms: i64,
        error: String,
    },
    GivenUp {
        error: String,
    },
}

// === impl Store ===

impl Store {
    /// Claims webhooks that are due: no other process tries them before `claimed_until_ms`, unless
    /// this one dies.
    pub async fn claim_deliveries(
        &self,
        now_ms: i64,
        claimed_until_ms: i64,
        limit: u32,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let own = self.context().owner.clone();
        self.write(move |transaction| {
            let due = transaction.all(
                "SELECT seq, id, url, body, attempts FROM deliveries
                 WHERE state = 'due' AND next_ms <= ?1 ORDER BY next_ms, seq LIMIT ?2",
                values![now_ms, limit],
                |row| {
                    Ok(DueDelivery {
                        seq: row.get(0)?,
                        id: row.get(1)?,
                        url: row.get(2)?,
                        body: row.get(3)?,
                        attempts: row.get(4)?,
                    })
                },
            )?;
            for delivery in &due {
                transaction.execute(
                    "UPDATE deliveries SET next_ms = ?2, owner = ?3 WHERE seq = ?1",
                    values![delivery.seq, claimed_until_ms, &own],
                )?;
            }
            Ok(due)
        })
        .await
    }

    /// What dead processes were trying is due again.
    pub async fn free_deliveries(&self, now_ms: i64) -> Result<(), StoreError> {
        let own = self.context().owner.clone();
        let freed = self
            .write(move |transaction| {
                let owners: Vec<String> = transaction.all(
                    "SELECT DISTINCT owner FROM deliveries
                     WHERE state = 'due' AND owner IS NOT NULL AND owner <> ?1",
                    values![&own],
                    |row| row.get(0),
                )?;
                let mut freed = 0;
                for owner in owners {
                    if !owner::lives(transaction, &owner)? {
                        freed += transaction.execute(
                            "UPDATE deliveries SET next_ms = ?2, owner = NULL
                             WHERE state = 'due' AND owner = ?1",
                            values![&owner, now_ms],
                        )?;
                    }
                }
                Ok(freed)
            })
            .await?;
        if freed > 0 {
            self.delivery_made.notify_one();
        }
        Ok(())
    }

    /// When the next webhook is due.
    pub async fn next_delivery_ms(&self) -> Result<Option<i64>, StoreError> {
        self.read(|transaction| {
            transaction.one("SELECT min(next_ms) FROM deliveries WHERE state = 'due'", &[], |row| {
                row.get(0)
            })
        })
        .await
    }

    /// Resolves when this process has written down a webhook since the last time.
    pub async fn delivery_made(&self) {
        self.delivery_made.notified().await;
    }

    pub async fn note_attempt(
        &self,
        seq: i64,
        came_of_it: Attempted,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let (state, next_ms, error, ended_ms) = match &came_of_it {
                Attempted::Delivered => ("delivered", now_ms, None, Some(now_ms)),
                Attempted::Again { at_ms, error } => ("due", *at_ms, Some(error), None),
                Attempted::GivenUp { error } => ("given_up", now_ms, Some(error), Some(now_ms)),
            };
            transaction.execute(
                "UPDATE deliveries SET state = ?2, attempts = attempts + 1, next_ms = ?3,
                     last_error = ?4, ended_ms = ?5, owner = NULL
                 WHERE seq = ?1 AND state = 'due'",
                values![seq, state, next_ms, error, ended_ms],
            )?;
            Ok(())
        })
        .await
    }
}
