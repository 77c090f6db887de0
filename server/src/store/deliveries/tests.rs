//! Lanes, batches and ends of deliveries, on a real database.

use muxi_contract::events::EventKind;

use super::*;
use crate::disk::Reserve;
use crate::store::Store;
use crate::store::events::{self, NewEvent};

/// One event of the manager's own; formations need rows that do not matter here.
fn event(kind: EventKind) -> NewEvent {
    NewEvent {
        kind,
        formation: None,
        reason: None,
        log: Vec::new(),
        operation_id: None,
        request_id: None,
    }
}

fn subscriber(webhook: &str, kinds: &[EventKind]) -> Subscriber {
    Subscriber {
        webhook: webhook.to_owned(),
        kinds: kinds.to_vec(),
        formations: Vec::new(),
        attempts_max: 3,
    }
}

fn attempt(error: Option<&str>, next_at_ms: Option<i64>) -> Attempt {
    Attempt {
        at_ms: 10,
        duration_ms: 1,
        status: Some(500),
        error: error.map(str::to_owned),
        next_at_ms,
    }
}

async fn with_store<T: Send + 'static>(
    check: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let reserve = Reserve::new(folder.path().join("reserve"));
    let store = Store::open(&folder.path().join("manager.db"), reserve).unwrap();
    store.write(check).await.unwrap()
}

fn due_kinds(db: &Connection, now_ms: i64) -> Vec<(String, String)> {
    due(db, now_ms, 10).unwrap().into_iter().map(|it| (it.webhook, it.kind)).collect()
}

#[tokio::test]
async fn a_webhook_gets_what_came_after_it_and_what_it_wants() {
    with_store(|db| {
        events::record(db, event(EventKind::Deployed), 1)?;
        let all = [subscriber("all", &[]), subscriber("crashes", &[EventKind::Crashed])];
        subscribe(db, &all)?;
        events::record(db, event(EventKind::Crashed), 2)?;
        events::record(db, event(EventKind::Ping), 2)?;
        events::record(db, event(EventKind::Recovered), 3)?;
        assert!(is_behind(db)?);
        hand_out(db, &all, 4)?;
        assert!(!is_behind(db)?);
        hand_out(db, &all, 4)?; // Nothing is handed out twice.
        let kinds = |webhook: &str| -> Result<Vec<_>, StoreError> {
            let filter = Filter { webhook: Some(webhook.to_owned()), ..Filter::default() };
            Ok(list(db, &filter, None, 10)?.into_iter().map(|(_, it)| it.event).collect())
        };
        assert_eq!(kinds("all")?, [EventKind::Recovered, EventKind::Crashed]);
        assert_eq!(kinds("crashes")?, [EventKind::Crashed]);
        // One that is no longer configured keeps nobody waiting.
        subscribe(db, &all[1..])?;
        assert_eq!(counts(db, "all")?, DeliveryCounts { failed: 2, ..Default::default() });
        assert_eq!(due_kinds(db, 9), [("crashes".to_owned(), "formation.crashed".to_owned())]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn only_the_oldest_of_a_lane_is_due_until_it_is_over() {
    with_store(|db| {
        let all = [subscriber("w", &[])];
        subscribe(db, &all)?;
        events::record(db, event(EventKind::Crashed), 1)?;
        events::record(db, event(EventKind::Recovered), 2)?;
        hand_out(db, &all, 3)?;
        let first = due(db, 3, 10)?.remove(0);
        assert_eq!(due_kinds(db, 3).len(), 1);
        note(db, &first.id, &attempt(Some("refused"), Some(50)))?;
        // The second waits for the first, though its own time has come.
        assert_eq!((due_kinds(db, 49).len(), next_at(db, 49)?), (0, Some(50)));
        assert_eq!(due(db, 50, 10)?[0].attempts, 1);
        note(db, &first.id, &attempt(Some("refused"), None))?;
        assert_eq!(due_kinds(db, 50), [("w".to_owned(), "formation.recovered".to_owned())]);
        let second = due(db, 50, 10)?.remove(0);
        note(db, &second.id, &attempt(None, None))?;
        let expected = DeliveryCounts { pending: 0, delivered: 1, failed: 1 };
        assert_eq!((counts(db, "w")?, next_at(db, 50)?), (expected, None));

        assert!(retry(db, &first.id, 3, 60)?);
        assert!(!retry(db, "dlv_unknown", 3, 60)?);
        assert_eq!(due(db, 60, 10)?[0].attempts_max, 2 + 3);
        assert_eq!(get(db, &first.id)?.unwrap().state, DeliveryState::Pending);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_long_absence_is_handed_out_in_batches_and_old_events_go() {
    with_store(|db| {
        let all = [subscriber("w", &[])];
        subscribe(db, &all)?;
        for at_ms in 0..450 {
            events::record(db, event(EventKind::Crashed), at_ms)?;
        }
        for pending in [200, 400, 450] {
            assert!(is_behind(db)?);
            hand_out(db, &all, 450)?;
            assert_eq!(counts(db, "w")?.pending, pending);
        }
        assert!(!is_behind(db)?);
        events::record(db, event(EventKind::Crashed), 0)?;
        events::prune(db, 7 * 24 * 3_600_000 + 400)?;
        assert_eq!(counts(db, "w")?.pending, 50);
        // What is gone before it was handed out is not waited for.
        hand_out(db, &all, 450)?;
        assert!(!is_behind(db)?);
        assert_eq!(events::newest(db)?, 451, "numbers are never used again");
        let page = events::list(db, &events::Filter::default(), Some(449), 2)?;
        assert_eq!(page.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [448, 447]);
        let rest = events::after(db, &events::Filter::default(), 448, 10)?;
        assert_eq!(rest.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [449, 450]);
        Ok(())
    })
    .await;
}
