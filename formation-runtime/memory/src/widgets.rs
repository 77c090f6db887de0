//! What users were offered to choose from. An answer names the widget, which stands for its options
//! once, and not at all when the conversation has gone on with others.

use muxi_contract::{RequestId, SessionId};

use crate::sql::values;
use crate::store::StoreError;
use crate::transcript::UserStore;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWidget {
    pub id: String,
    pub session: SessionId,
    pub request_id: RequestId,
    /// As JSON that its maker reads again.
    pub options_json: String,
    pub at_ms: i64,
}

/// A widget that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widget {
    pub request_id: RequestId,
    pub options_json: String,
}

/// Of one session; the oldest go first.
const WIDGETS_KEPT: u32 = 32;

// === impl UserStore ===

impl UserStore {
    /// Writes down what is offered in a session that exists.
    pub async fn offer_widget(&self, new: NewWidget) -> Result<(), StoreError> {
        let user = self.user().clone();
        self.store()
            .write(move |transaction| {
                let (user, session) = (user.as_str(), new.session.as_str());
                transaction.execute(
                    "INSERT INTO widgets (user_id, session, id, request_id, options, created_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    values![
                        user,
                        session,
                        &new.id,
                        new.request_id.as_str(),
                        &new.options_json,
                        new.at_ms,
                    ],
                )?;
                transaction.execute(
                    "DELETE FROM widgets WHERE user_id = ?1 AND session = ?2 AND id NOT IN (
                         SELECT id FROM widgets WHERE user_id = ?1 AND session = ?2
                         ORDER BY created_ms DESC, id LIMIT ?3)",
                    values![user, session, WIDGETS_KEPT],
                )?;
                Ok(())
            })
            .await
    }

    /// Takes the widget that an answer names; `None` if it was answered before, if others were offered
    /// since, or if there is none.
    pub async fn take_widget(
        &self,
        session: &SessionId,
        id: &str,
        at_ms: i64,
    ) -> Result<Option<Widget>, StoreError> {
        let (user, session, id) = (self.user().clone(), session.clone(), id.to_owned());
        self.store()
            .write(move |transaction| {
                transaction.first(
                    "UPDATE widgets SET used_ms = ?4
                     WHERE user_id = ?1 AND session = ?2 AND id = ?3 AND used_ms IS NULL
                       AND NOT EXISTS (
                           SELECT 1 FROM widgets n
                           WHERE n.user_id = ?1 AND n.session = ?2
                             AND n.request_id <> widgets.request_id
                             AND n.created_ms > widgets.created_ms)
                     RETURNING request_id, options",
                    values![user.as_str(), session.as_str(), &id, at_ms],
                    |row| Ok(Widget { request_id: row.parsed(0)?, options_json: row.get(1)? }),
                )
            })
            .await
    }
}
