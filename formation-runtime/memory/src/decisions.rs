//! Why a request was worked on as it was: told to people, and never read by the work itself.

use muxi_contract::RequestId;

use crate::requests::RequestSeq;
use crate::sql::{DatabaseError, Transaction, values};
use crate::store::StoreError;
use crate::transcript::UserStore;
use crate::{ModelCall, TurnId, usage};

/// One decision on the way of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was decided, in a word, such as `routing`.
    pub step: String,
    pub choice: String,
    pub reason: String,
    /// What more there is to tell, as JSON.
    pub detail_json: Option<String>,
    pub at_ms: i64,
}

/// Of one request; later ones are not written down.
const DECISIONS_MAX: u32 = 200;
const TEXT_CHARS_MAX: usize = 1_000;
/// Larger ones are left out, since half of a JSON is none.
const DETAIL_BYTES_MAX: usize = 8 * 1024;

// === impl UserStore ===

impl UserStore {
    /// Writes down what was decided and which models were asked in a turn that goes on.
    pub async fn note_progress(
        &self,
        turn: TurnId,
        decisions: Vec<Decision>,
        calls: Vec<ModelCall>,
    ) -> Result<(), StoreError> {
        let user = self.user().clone();
        self.store()
            .write(move |transaction| {
                let request = transaction.first(
                    "SELECT seq FROM requests WHERE turn = ?1 AND user_id = ?2",
                    values![turn.seq(), user.as_str()],
                    |row| RequestSeq::read(row, 0),
                )?;
                let Some(request) = request else { return Ok(()) };
                for call in &calls {
                    usage::note(transaction, turn.seq(), call)?;
                }
                note(transaction, request, &decisions)
            })
            .await
    }

    /// In the order in which they were made.
    pub async fn decisions(&self, request: RequestSeq) -> Result<Vec<Decision>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                transaction.all(
                    "SELECT d.step, d.choice, d.reason, d.detail, d.at_ms
                     FROM decisions d JOIN requests r ON r.seq = d.request
                     WHERE d.request = ?1 AND r.user_id = ?2 ORDER BY d.seq",
                    values![request.number(), user.as_str()],
                    |row| {
                        Ok(Decision {
                            step: row.get(0)?,
                            choice: row.get(1)?,
                            reason: row.get(2)?,
                            detail_json: row.get(3)?,
                            at_ms: row.get(4)?,
                        })
                    },
                )
            })
            .await
    }

    /// The requests in which the work of this one went on after it had asked its user, oldest first.
    pub async fn went_on_in(&self, request: RequestSeq) -> Result<Vec<RequestId>, StoreError> {
        let user = self.user().clone();
        self.store()
            .read(move |transaction| {
                transaction.all(
                    "SELECT DISTINCT o.id, o.seq FROM pendings p
                     JOIN requests o ON o.goes_on_from = p.id
                     WHERE p.request = ?1 AND p.user_id = ?2 AND o.seq <> ?1 ORDER BY o.seq",
                    values![request.number(), user.as_str()],
                    |row| row.parsed(0),
                )
            })
            .await
    }
}

pub(crate) fn note(
    transaction: &mut Transaction<'_>,
    request: RequestSeq,
    decisions: &[Decision],
) -> Result<(), DatabaseError> {
    if decisions.is_empty() {
        return Ok(());
    }
    let there: u32 = transaction.one(
        "SELECT count(*) FROM decisions WHERE request = ?1",
        values![request.number()],
        |row| row.get(0),
    )?;
    let room = DECISIONS_MAX.saturating_sub(there) as usize;
    for decision in decisions.iter().take(room) {
        let detail = decision.detail_json.as_ref().filter(|it| it.len() <= DETAIL_BYTES_MAX);
        transaction.execute(
            "INSERT INTO decisions (request, step, choice, reason, detail, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            values![
                request.number(),
                cut(&decision.step),
                cut(&decision.choice),
                cut(&decision.reason),
                detail,
                decision.at_ms,
            ],
        )?;
    }
    Ok(())
}

// === private helpers ===

fn cut(text: &str) -> &str {
    text.char_indices().nth(TEXT_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}
