//! What calls of models used and cost, written down with the turns that they belong to.

use muxi_contract::formation::usage::GroupBy;
use muxi_contract::{RequestId, UserId};

use crate::requests::RequestSeq;
use crate::sql::{DatabaseError, Row, Transaction, values};
use crate::store::{Store, StoreError};
use crate::transcript::UserStore;

/// One call of a model, and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall {
    /// For whom it was made.
    pub agent: String,
    /// `provider/model` of the model that answered.
    pub model: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// In billionths of the currency.
    pub cost_nano: Option<i64>,
    /// The provider did not tell; the figures are ours.
    pub is_estimated: bool,
    /// When it began.
    pub at_ms: i64,
}

/// A sum over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub calls: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cost_nano: i64,
    /// Calls of models without a price, which are not in the cost.
    pub unpriced_calls: u64,
    /// Calls whose tokens were estimated; they are in the sums.
    pub estimated_calls: u64,
}

/// Which calls are summed up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    pub user: Option<UserId>,
    pub from_ms: Option<i64>,
    /// Exclusive.
    pub to_ms: Option<i64>,
}

/// Calls are remembered for about three years.
const KEPT_MS: i64 = 3 * 366 * 24 * 60 * 60 * 1000;

const SUMS: &str = "count(*), coalesce(CAST(sum(prompt_tokens) AS BIGINT), 0), \
                    coalesce(CAST(sum(completion_tokens) AS BIGINT), 0), \
                    coalesce(CAST(sum(cost_nano) AS BIGINT), 0), count(*) - count(cost_nano), \
                    coalesce(CAST(sum(estimated) AS BIGINT), 0)";
const WHICH: &str = "(CAST(?1 AS TEXT) IS NULL OR user_id = ?1) AND at_ms >= ?2 AND at_ms < ?3";

/// Of one request that are listed.
const CALLS_MAX: u32 = 500;

// === impl UserStore ===

impl UserStore {
    /// The calls that the user's request made since the given time, oldest first.
    pub async fn calls_of(
        &self,
        request: &RequestId,
        since_ms: i64,
    ) -> Result<Vec<ModelCall>, StoreError> {
        let (whose, request) = (self.user().clone(), request.clone());
        self.store()
            .read(move |transaction| {
                transaction.all(
                    "SELECT agent, model, prompt_tokens, completion_tokens, cost_nano, estimated,
                         at_ms
                     FROM usage WHERE user_id = ?1 AND at_ms >= ?3 AND request_id = ?2
                     ORDER BY seq LIMIT ?4",
                    values![whose.as_str(), request.as_str(), since_ms, CALLS_MAX],
                    |row| {
                        Ok(ModelCall {
                            agent: row.get(0)?,
                            model: row.get(1)?,
                            prompt_tokens: row.get(2)?,
                            completion_tokens: row.get(3)?,
                            cost_nano: row.get(4)?,
                            is_estimated: row.get(5)?,
                            at_ms: row.get(6)?,
                        })
                    },
                )
            })
            .await
    }
}

// === impl Store ===

impl Store {
    pub async fn spent(&self, filter: UsageFilter) -> Result<Spent, StoreError> {
        self.read(move |transaction| {
            let sql = format!("SELECT {SUMS} FROM usage WHERE {WHICH}");
            transaction.one(&sql, &filter.values(), |row| spent(row, 0))
        })
        .await
    }

    /// The largest sums first.
    pub async fn spent_by(
        &self,
        filter: UsageFilter,
        group: GroupBy,
        limit: u32,
    ) -> Result<Vec<(String, Spent)>, StoreError> {
        self.read(move |transaction| {
            let column = column(group);
            let sql = format!(
                "SELECT {column}, {SUMS} FROM usage WHERE {WHICH} GROUP BY {column}
                 ORDER BY sum(prompt_tokens + completion_tokens) DESC, {column} LIMIT ?4"
            );
            let values = [&filter.values()[..], values![limit]].concat();
            transaction.all(&sql, &values, |row| Ok((row.get(0)?, spent(row, 1)?)))
        })
        .await
    }
}

/// Writes down what a turn used.
pub(crate) fn note(
    transaction: &mut Transaction<'_>,
    turn: i64,
    call: &ModelCall,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "INSERT INTO usage (at_ms, user_id, session, request_id, agent, model, prompt_tokens,
             completion_tokens, cost_nano, estimated)
         SELECT ?2, user_id, session, request_id, ?8, ?3, ?4, ?5, ?6, ?7 FROM turns WHERE seq = ?1",
        values![
            turn,
            call.at_ms,
            &call.model,
            call.prompt_tokens,
            call.completion_tokens,
            call.cost_nano,
            call.is_estimated,
            &call.agent,
        ],
    )?;
    Ok(())
}

/// The tokens of a request that goes on in another turn, as far as providers told them.
pub(crate) fn told_of(
    transaction: &mut Transaction<'_>,
    user: &str,
    request: RequestSeq,
) -> Result<(u64, u64), DatabaseError> {
    transaction.one(
        "SELECT coalesce(CAST(sum(u.prompt_tokens) AS BIGINT), 0),
             coalesce(CAST(sum(u.completion_tokens) AS BIGINT), 0)
         FROM requests r JOIN usage u ON u.user_id = r.user_id AND u.at_ms >= r.created_ms
             AND u.request_id = r.id AND u.estimated = 0
         WHERE r.seq = ?1 AND r.user_id = ?2",
        values![request.number(), user],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Forgets what nobody will be asked about any more.
pub(crate) fn forget(transaction: &mut Transaction<'_>, now_ms: i64) -> Result<(), DatabaseError> {
    transaction.execute("DELETE FROM usage WHERE at_ms < ?1", values![now_ms - KEPT_MS])?;
    Ok(())
}

// === impl UsageFilter ===

impl UsageFilter {
    fn values(&self) -> [crate::sql::Value<'_>; 3] {
        [
            self.user.as_ref().map(UserId::as_str).into(),
            self.from_ms.unwrap_or(0).into(),
            self.to_ms.unwrap_or(i64::MAX).into(),
        ]
    }
}

// === private helpers ===

const fn column(group: GroupBy) -> &'static str {
    match group {
        GroupBy::Request => "request_id",
        GroupBy::User => "user_id",
        GroupBy::Session => "session",
        GroupBy::Agent => "agent",
        GroupBy::Model => "model",
    }
}

fn spent(row: &Row, from: usize) -> Result<Spent, DatabaseError> {
    Ok(Spent {
        calls: row.get(from)?,
        prompt_tokens: row.get(from + 1)?,
        completion_tokens: row.get(from + 2)?,
        cost_nano: row.get(from + 3)?,
        unpriced_calls: row.get(from + 4)?,
        estimated_calls: row.get(from + 5)?,
    })
}
