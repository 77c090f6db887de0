use super::*;
use crate::store;

fn entry(action: &str, at: &str) -> AuditEntry {
    AuditEntry {
        seq: 0,
        at: at.to_owned(),
        actor: Some("k".to_owned()),
        claimed_key: None,
        remote: Some("127.0.0.1".to_owned()),
        method: "POST".to_owned(),
        path: "/rpc/x".to_owned(),
        action: action.to_owned(),
        target: None,
        outcome: Outcome::Success,
        status: 200,
        error: None,
        duration_ms: 1,
        request_id: "req_1".to_owned(),
        count: 1,
    }
}

/// Ten entries, one a day.
fn filled() -> Connection {
    let db = store::in_memory();
    for day in 1..=10 {
        let action = if day % 2 == 0 { "formations.start" } else { "keys.create" };
        append(&db, entry(action, &format!("2026-11-{day:02}T00:00:00Z"))).unwrap();
    }
    seal(&db, &MasterKey::for_tests(1)).unwrap();
    db
}

fn verified(db: &Connection) -> Verified {
    verify(db, Some(&MasterKey::for_tests(1))).unwrap()
}

/// As somebody who can write the file.
fn tampered(sql: &str) -> Verified {
    let db = filled();
    db.execute_batch(
        "DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_pruned_by_checkpoint;",
    )
    .unwrap();
    db.execute_batch(sql).unwrap();
    verified(&db)
}

#[test]
fn a_whole_chain_is_found_whole() {
    let db = store::in_memory();
    assert!(verified(&db).ok, "an empty one, too");
    let db = filled();
    let found = verified(&db);
    assert_eq!((found.ok, found.entries, found.last_seq, found.seal), (true, 10, 10, Seal::Valid));
    // What comes after the seal is fine.
    append(&db, entry("keys.list", "2026-11-11T00:00:00Z")).unwrap();
    assert!(verified(&db).ok);
}

#[test]
fn the_first_break_is_named() {
    let broken_at = |sql| tampered(sql).fault.unwrap().seq;
    assert_eq!(
        broken_at("UPDATE audit SET entry = replace(entry, '\"k\"', '\"j\"') WHERE seq = 4"),
        4
    );
    assert_eq!(broken_at("UPDATE audit SET hash = zeroblob(32) WHERE seq = 5"), 5);
    assert_eq!(broken_at("DELETE FROM audit WHERE seq = 6"), 7);
    assert_eq!(broken_at("DELETE FROM audit WHERE seq = 1"), 2);
    assert_eq!(broken_at("DELETE FROM audit WHERE seq > 8"), 9, "the newest are cut off");
    assert_eq!(broken_at("DELETE FROM audit"), 1);
    assert_eq!(broken_at("UPDATE audit SET seq = 11 WHERE seq = 10"), 11);
    assert_eq!(broken_at("DELETE FROM audit_seal"), 11);
    assert_eq!(
        broken_at(
            "UPDATE audit_checkpoint SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3);
             DELETE FROM audit WHERE seq <= 3"
        ),
        11,
        "old entries are cut off"
    );
}

#[test]
fn a_seal_of_another_master_key_says_so() {
    let found = verify(&filled(), Some(&MasterKey::for_tests(2))).unwrap();
    assert_eq!((found.ok, found.seal), (true, Seal::OtherMasterKey));
    assert_eq!(verify(&filled(), None).unwrap().seal, Seal::Unchecked);
}

#[test]
fn the_table_itself_refuses_changes() {
    let db = filled();
    for sql in [
        "UPDATE audit SET entry = '{}' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 1",
        "UPDATE audit_checkpoint SET seq = -1",
        "DELETE FROM audit_checkpoint",
    ] {
        assert!(db.execute_batch(sql).is_err(), "{sql}");
    }
}

#[test]
fn pruning_leaves_a_chain_that_goes_on() {
    let master = MasterKey::for_tests(1);
    let now_ms = "2026-11-11T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let days = AuditConfig { keep_days: 5, entries_max: 1_000 };
    let db = filled();
    assert!(!prune(&db, days, now_ms).unwrap());
    seal(&db, &master).unwrap();
    let found = verified(&db);
    assert_eq!((found.ok, found.pruned_to, found.entries), (true, 5, 5), "{found:?}");
    let count = AuditConfig { keep_days: 0, entries_max: 2 };
    prune(&db, count, now_ms).unwrap();
    seal(&db, &master).unwrap();
    assert_eq!(verified(&db).pruned_to, 8);
    // The numbers go on, even when nothing is left.
    prune(&db, AuditConfig { entries_max: 0, ..count }, now_ms).unwrap();
    assert_eq!(append(&db, entry("keys.list", "2026-11-11T00:00:00Z")).unwrap().seq, 11);
    seal(&db, &master).unwrap();
    assert_eq!((verified(&db).ok, verified(&db).entries), (true, 1));
}

#[test]
fn pages_go_from_new_to_old_and_filters_all_apply() {
    let db = filled();
    let page = |filter: &Filter, before, limit| {
        let page = page(&db, filter, before, limit).unwrap();
        (page.entries.iter().map(|it| it.seq).collect::<Vec<_>>(), page.next_before)
    };
    let all = Filter::default();
    assert_eq!(page(&all, None, 4), (vec![10, 9, 8, 7], Some(7)));
    assert_eq!(page(&all, Some(7), 100), (vec![6, 5, 4, 3, 2, 1], None));
    let starts = Filter { action: Some("formations".to_owned()), ..all.clone() };
    assert_eq!(page(&starts, None, 2), (vec![10, 8], Some(8)));
    let prefix = Filter { action: Some("formation".to_owned()), ..all.clone() };
    assert_eq!(page(&prefix, None, 2).0, Vec::<u64>::new());
    let time = |text: &str| Some(text.parse().unwrap());
    let some_days = Filter {
        since: time("2026-11-03T00:00:00Z"),
        until: time("2026-11-05T00:00:00Z"),
        ..all.clone()
    };
    assert_eq!(page(&some_days, None, 100).0, [5, 4, 3]);
    assert_eq!(
        page(&Filter { actor: Some("nobody".to_owned()), ..all }, None, 9).0,
        Vec::<u64>::new()
    );
}

#[test]
fn a_known_entry_is_missed() {
    let db = filled();
    let known = last(&db).unwrap();
    assert!(holds(&db, &known).unwrap());
    assert!(!holds(&db, &Link { hash: [0; 32], ..known }).unwrap());
    assert!(!holds(&db, &Link { seq: 11, ..known }).unwrap());
}
