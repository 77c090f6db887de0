//! Which skills a session has activated, so that each is told to its model once.

use muxi_contract::SessionId;

use crate::sql::values;
use crate::store::StoreError;
use crate::transcript::UserStore;

// === impl UserStore ===

impl UserStore {
    /// Notes it in a session that exists; false if it was active there already.
    pub async fn activate_skill(
        &self,
        session: &SessionId,
        skill: &str,
        at_ms: i64,
    ) -> Result<bool, StoreError> {
        let (user, session, skill) = (self.user().clone(), session.clone(), skill.to_owned());
        self.store()
            .write(move |transaction| {
                let activated = transaction.execute(
                    "INSERT INTO active_skills (user_id, session, skill, at_ms)
                     VALUES (?1, ?2, ?3, ?4) ON CONFLICT (user_id, session, skill) DO NOTHING",
                    values![user.as_str(), session.as_str(), &skill, at_ms],
                )?;
                Ok(activated > 0)
            })
            .await
    }

    /// In the order in which they were activated.
    pub async fn active_skills(&self, session: &SessionId) -> Result<Vec<String>, StoreError> {
        let (user, session) = (self.user().clone(), session.clone());
        self.store()
            .read(move |transaction| {
                transaction.all(
                    "SELECT skill FROM active_skills WHERE user_id = ?1 AND session = ?2
                     ORDER BY at_ms, skill",
                    values![user.as_str(), session.as_str()],
                    |row| row.get(0),
                )
            })
            .await
    }
}
