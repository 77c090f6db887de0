//! Who is who: identifiers that are linked to a person act as that person.
//!
//! Linking moves nothing. A person's things are kept under the first identifier, others lead there
//! from then on, and one that is unlinked leads back to where it led before. Only the first one finds
//! an empty place instead, since what was kept there stays the person's.

use muxi_contract::{MuxiUserId, UserId};

use crate::sql::{DatabaseError, Transaction, values};
use crate::store::{Store, StoreError};

/// An identifier that is to be linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentifier {
    pub identifier: UserId,
    /// What kind of identifier it is, such as `email`.
    pub kind: Option<String>,
}

/// An identifier of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    pub identifier: UserId,
    pub kind: Option<String>,
    pub linked_ms: i64,
}

/// Why identifiers were not linked; none of them was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkRefusal {
    NoSuchPerson,
    SomebodyElses(UserId),
}

// === impl Store ===

impl Store {
    /// Under whom things are kept when this user asks: the person whom the identifier is linked to,
    /// else the user as named.
    pub async fn acting_user(&self, named: &UserId) -> Result<UserId, StoreError> {
        let named = named.clone();
        self.read(move |transaction| {
            let found = transaction.first(
                "SELECT coalesce(p.user_id, i.user_id)
                 FROM identifiers i LEFT JOIN people p ON p.id = i.person
                 WHERE i.identifier = ?1
                 UNION ALL SELECT user_id FROM people WHERE id = ?1 LIMIT 1",
                values![named.as_str()],
                |row| row.parsed(0),
            )?;
            Ok(found.unwrap_or(named))
        })
        .await
    }

    /// The person whom the identifier, or the person's own id, names.
    pub async fn person(&self, identifier: &UserId) -> Result<Option<MuxiUserId>, StoreError> {
        let identifier = identifier.clone();
        self.read(move |transaction| person(transaction, &identifier)).await
    }

    /// The same; one who is not there yet is made. The answer tells whether that was so.
    pub async fn person_or_new(
        &self,
        new: NewIdentifier,
        at_ms: i64,
    ) -> Result<(MuxiUserId, bool), StoreError> {
        self.write(move |transaction| {
            if let Some(found) = person(transaction, &new.identifier)? {
                return Ok((found, false));
            }
            let made = make(transaction, &new.identifier, at_ms)?;
            link(transaction, &made, &new, at_ms)?;
            Ok((made, true))
        })
        .await
    }

    /// Links all identifiers to the person, or to a new one; or none of them.
    pub async fn link_identifiers(
        &self,
        whom: Option<MuxiUserId>,
        identifiers: Vec<NewIdentifier>,
        at_ms: i64,
    ) -> Result<Result<MuxiUserId, LinkRefusal>, StoreError> {
        self.write(move |transaction| {
            if let Some(whom) = &whom
                && !exists(transaction, whom)?
            {
                return Ok(Err(LinkRefusal::NoSuchPerson));
            }
            for new in &identifiers {
                let whose = person(transaction, &new.identifier)?;
                if whose.is_some() && whose != whom {
                    return Ok(Err(LinkRefusal::SomebodyElses(new.identifier.clone())));
                }
            }
            let whom = match (whom, identifiers.first()) {
                (Some(whom), _) => whom,
                (None, Some(first)) => make(transaction, &first.identifier, at_ms)?,
                (None, None) => return Ok(Err(LinkRefusal::NoSuchPerson)),
            };
            for new in &identifiers {
                link(transaction, &whom, new, at_ms)?;
            }
            Ok(Ok(whom))
        })
        .await
    }

    /// The person's identifiers, oldest first; `None` if there is no such person.
    pub async fn identifiers(
        &self,
        whose: &MuxiUserId,
    ) -> Result<Option<Vec<Identifier>>, StoreError> {
        let whose = whose.clone();
        self.read(move |transaction| {
            if !exists(transaction, &whose)? {
                return Ok(None);
            }
            let found = transaction.all(
                "SELECT identifier, type, linked_ms FROM identifiers
                 WHERE person = ?1 ORDER BY linked_ms, identifier",
                values![whose.as_str()],
                |row| {
                    Ok(Identifier {
                        identifier: row.parsed(0)?,
                        kind: row.get(1)?,
                        linked_ms: row.get(2)?,
                    })
                },
            );
            found.map(Some)
        })
        .await
    }

    /// Whose the identifier was; `None` if it was nobody's.
    pub async fn unlink_identifier(
        &self,
        identifier: &UserId,
    ) -> Result<Option<MuxiUserId>, StoreError> {
        let identifier = identifier.clone();
        self.write(move |transaction| {
            let found: Option<(MuxiUserId, String, String)> = transaction.first(
                "SELECT p.id, p.user_id, i.user_id
                 FROM identifiers i JOIN people p ON p.id = i.person WHERE i.identifier = ?1",
                values![identifier.as_str()],
                |row| Ok((row.parsed(0)?, row.get(1)?, row.get(2)?)),
            )?;
            let Some((whose, kept_under, own)) = found else { return Ok(None) };
            // Nobody can have used a name that is made now.
            let fresh = MuxiUserId::generate();
            let leads_to = if own == kept_under { fresh.as_str() } else { &own };
            transaction.execute(
                "UPDATE identifiers SET person = NULL, user_id = ?2 WHERE identifier = ?1",
                values![identifier.as_str(), leads_to],
            )?;
            Ok(Some(whose))
        })
        .await
    }
}

// === private helpers ===

fn person(
    transaction: &mut Transaction<'_>,
    identifier: &UserId,
) -> Result<Option<MuxiUserId>, DatabaseError> {
    transaction.first(
        "SELECT person FROM identifiers WHERE identifier = ?1 AND person IS NOT NULL
         UNION ALL SELECT id FROM people WHERE id = ?1 LIMIT 1",
        values![identifier.as_str()],
        |row| row.parsed(0),
    )
}

fn exists(transaction: &mut Transaction<'_>, whom: &MuxiUserId) -> Result<bool, DatabaseError> {
    let found =
        transaction
            .first("SELECT 1 FROM people WHERE id = ?1", values![whom.as_str()], |_| Ok(()))?;
    Ok(found.is_some())
}

/// A person whose things are kept where those of the identifier are already.
fn make(
    transaction: &mut Transaction<'_>,
    first: &UserId,
    at_ms: i64,
) -> Result<MuxiUserId, DatabaseError> {
    let id = MuxiUserId::generate();
    transaction.execute(
        "INSERT INTO people (id, user_id, created_ms) VALUES
             (?1, coalesce((SELECT user_id FROM identifiers WHERE identifier = ?2), ?2), ?3)",
        values![id.as_str(), first.as_str(), at_ms],
    )?;
    Ok(id)
}

fn link(
    transaction: &mut Transaction<'_>,
    whom: &MuxiUserId,
    new: &NewIdentifier,
    at_ms: i64,
) -> Result<(), DatabaseError> {
    transaction.execute(
        "INSERT INTO identifiers (identifier, user_id, person, type, linked_ms)
         VALUES (?1, ?1, ?2, ?3, ?4)
         ON CONFLICT (identifier) DO UPDATE SET
             linked_ms = CASE WHEN identifiers.person IS NULL
                 THEN excluded.linked_ms ELSE identifiers.linked_ms END,
             type = coalesce(excluded.type, identifiers.type),
             person = excluded.person",
        values![new.identifier.as_str(), whom.as_str(), new.kind.as_ref(), at_ms],
    )?;
    Ok(())
}
