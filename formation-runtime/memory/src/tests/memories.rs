//! What is remembered: found by its words, taken from a source once, forgotten for good.

use super::*;

promises![
    a_user_has_no_more_memories_than_allowed,
    memories_are_found_by_their_words_and_by_nobody_else,
    what_a_source_brought_is_remembered_once,
    what_is_deleted_or_forgotten_is_gone,
    the_past_is_told_from_its_end,
];

fn new(id: &str, content: &str, at_ms: i64) -> NewMemory {
    NewMemory {
        id: id.to_owned(),
        event_id: format!("evt_{id}"),
        scope: Scope::User,
        kind: "fact".to_owned(),
        content: content.to_owned(),
        metadata: "{}".to_owned(),
        source: None,
        source_id: None,
        subject: None,
        happened_ms: None,
        at_ms,
    }
}

fn from(source: &str, source_id: &str, new: NewMemory) -> NewMemory {
    NewMemory { source: Some(source.to_owned()), source_id: Some(source_id.to_owned()), ..new }
}

async fn remember(store: &UserStore, new: NewMemory) -> Remembered {
    store.remember(vec![new], 100, |_| None).await.unwrap().unwrap().remove(0)
}

async fn found(store: &UserStore, query: Option<&str>) -> Vec<String> {
    let query = query.map(str::to_owned);
    let filter =
        MemoryFilter { of_user: true, of_formation: true, query, limit: 10, ..Default::default() };
    store.memories(filter).await.unwrap().into_iter().map(|it| it.id).collect()
}

async fn memories_are_found_by_their_words_and_by_nobody_else(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    remember(&alice, new("a", "Liebt ÄPFEL, 100%", 1)).await;
    remember(&alice, new("b", "likes_tea!", 2)).await;
    let for_all = NewMemory { scope: Scope::Formation, ..new("c", "we close at 5", 3) };
    remember(&alice, for_all).await;
    assert_eq!(found(&alice, None).await, ["c", "b", "a"]);
    for (query, id) in [("äpfel", "a"), ("100%", "a"), ("S_T", "b"), ("tea!", "b"), ("WE CL", "c")]
    {
        assert_eq!(found(&alice, Some(query)).await, [id], "{query}");
    }
    assert!(found(&alice, Some("likes%tea")).await.is_empty());
    assert_eq!(found(&bob, None).await, ["c"]);
    assert!(bob.memories_of_event("evt_a").await.unwrap().is_empty());
    assert_eq!(alice.memories_of_event("evt_a").await.unwrap().len(), 1);
    let formation = MemoryFilter { of_formation: true, limit: 10, ..Default::default() };
    assert_eq!(alice.memories(formation).await.unwrap().len(), 1);
    let second = MemoryFilter { of_user: true, limit: 1, offset: 1, ..Default::default() };
    assert_eq!(alice.memories(second).await.unwrap()[0].id, "a");
}

async fn what_a_source_brought_is_remembered_once(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    let report = |id: &'static str| {
        move |done: &[Remembered]| {
            let items = format!("[{}]", done.len());
            Some(Ingestion { id: id.to_owned(), items, created_ms: 5 })
        }
    };
    let entries = vec![
        from("crm", "1", new("a", "x", 1)),
        from("crm", "1", new("b", "y", 1)),
        from("crm", "2", new("c", "z", 1)),
    ];
    let before = Remembered::Before { event_id: "evt_a".to_owned() };
    let done = alice.remember(entries, 100, report("ing_1")).await.unwrap().unwrap();
    assert_eq!(done, [Remembered::New, before.clone(), Remembered::New]);
    let again = database.open().for_user(&user("alice"));
    assert_eq!(remember(&again, from("crm", "1", new("d", "x", 2))).await, before);
    // Another source, another user: another entry.
    assert_eq!(remember(&alice, from("web", "1", new("e", "x", 2))).await, Remembered::New);
    assert_eq!(remember(&bob, from("crm", "1", new("f", "x", 2))).await, Remembered::New);

    let (whose, kept) = store.ingestion("ing_1").await.unwrap().unwrap();
    assert_eq!((whose, kept.items.as_str(), kept.created_ms), (user("alice"), "[3]", 5));
    store.forget_requests(6).await.unwrap();
    assert_eq!(store.ingestion("ing_1").await.unwrap(), None);
}

async fn what_is_deleted_or_forgotten_is_gone(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    remember(&alice, new("a", "x", 1)).await;
    let for_all = NewMemory { scope: Scope::Formation, ..new("b", "x", 1) };
    remember(&alice, for_all).await;
    assert!(!bob.delete_memory("a", true).await.unwrap());
    assert!(!alice.delete_memory("b", false).await.unwrap());
    assert!(bob.delete_memory("b", true).await.unwrap());
    assert!(alice.delete_memory("a", false).await.unwrap());
    assert!(!alice.delete_memory("a", false).await.unwrap());

    for (whose, id, source) in
        [(&alice, "c", "crm"), (&alice, "d", "web"), (&bob, "e", "crm"), (&bob, "f", "web")]
    {
        remember(whose, from(source, "1", new(id, "x", 2))).await;
    }
    let forget = |id: &str, user: Option<UserId>, source: Option<&str>| Forget {
        id: id.to_owned(),
        user,
        source: source.map(str::to_owned),
        reason: Some("asked".to_owned()),
        at_ms: 3,
    };
    let both = forget("forget_1", Some(user("alice")), Some("crm"));
    assert_eq!(store.forget_memories(both.clone()).await.unwrap(), 1);
    assert_eq!(found(&alice, None).await, ["d"]);
    let source = forget("forget_2", None, Some("web"));
    assert_eq!(store.forget_memories(source.clone()).await.unwrap(), 2);
    let all = forget("forget_3", Some(user("bob")), None);
    assert_eq!(store.forget_memories(all).await.unwrap(), 1);
    assert!(found(&bob, None).await.is_empty());
    assert_eq!(store.forgotten("forget_1").await.unwrap(), Some((both, 1)));
    assert_eq!(store.forgotten("forget_2").await.unwrap(), Some((source, 2)));
    assert_eq!(store.forgotten("forget_9").await.unwrap(), None);
    // That it was done is told for as long as requests are.
    let late = Forget { at_ms: 9, ..forget("forget_4", None, Some("none")) };
    store.forget_memories(late.clone()).await.unwrap();
    store.forget_requests(9).await.unwrap();
    assert_eq!(store.forgotten("forget_1").await.unwrap(), None);
    assert_eq!(store.forgotten("forget_4").await.unwrap(), Some((late, 0)));
}

async fn the_past_is_told_from_its_end(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    say(&alice, "s", "q1", "a1", 10).await;
    remember(&alice, new("m", "x", 20)).await;
    say(&alice, "t", "q2", "a2", 30).await;
    say(&bob, "s", "his", "own", 25).await;
    let told = |past: Vec<Past>| -> Vec<String> {
        past.into_iter()
            .map(|it| match it {
                Past::Turn(turn) => {
                    format!("{} {}", turn.question.unwrap(), turn.answer.unwrap())
                }
                Past::Memory(memory) => memory.id,
            })
            .collect()
    };
    assert_eq!(told(alice.past(10, None, None).await.unwrap()), ["q2 a2", "m", "q1 a1"]);
    assert_eq!(told(alice.past(2, None, None).await.unwrap()), ["q2 a2", "m"]);
    assert_eq!(told(alice.past(10, Some(10), Some(30)).await.unwrap()), ["m", "q1 a1"]);
}

#[tokio::test]
async fn a_memory_without_a_disk_forgets_the_oldest() {
    let retention = Retention { messages_per_session: 4, sessions: 2, memories: 2 };
    let store = Store::open(&Location::Process(retention)).unwrap();
    let alice = store.for_user(&user("alice"));
    for id in ["a", "b", "c"] {
        remember(&alice, new(id, "x", 1)).await;
    }
    assert_eq!(found(&alice, None).await, ["c", "b"]);
}

async fn a_user_has_no_more_memories_than_allowed(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    let keep =
        async |whose: &UserStore, entries| whose.remember(entries, 2, |_| None).await.unwrap();
    remember(&alice, from("crm", "1", new("a", "x", 1))).await;
    let both = vec![new("b", "x", 2), new("c", "x", 2)];
    assert_eq!(keep(&alice, both.clone()).await, Err(TooManyMemories));
    let all = MemoryFilter { of_user: true, limit: 10, ..Default::default() };
    assert_eq!(alice.memories(all).await.unwrap().len(), 1);
    // What is known already takes no room.
    let again = vec![from("crm", "1", new("d", "x", 3)), new("e", "x", 3)];
    assert_eq!(keep(&alice, again).await.unwrap().len(), 2);
    assert_eq!(keep(&alice, vec![new("f", "x", 4)]).await, Err(TooManyMemories));
    assert_eq!(keep(&bob, both).await.unwrap().len(), 2);
    let repeated = || from("web", "1", new("g", "x", 4));
    let with_less_room = async |entries| alice.remember(entries, 1, |_| None).await.unwrap();
    let known = with_less_room(vec![from("crm", "1", new("h", "x", 4))]).await.unwrap();
    assert_eq!(known, [Remembered::Before { event_id: "evt_a".to_owned() }]);
    assert!(alice.delete_memory("e", false).await.unwrap());
    // One entry that comes twice is one.
    let again = NewMemory { id: "i".to_owned(), event_id: "evt_i".to_owned(), ..repeated() };
    assert_eq!(keep(&alice, vec![repeated(), again]).await.unwrap().len(), 2);
    assert!(alice.delete_memory("g", false).await.unwrap());
    assert_eq!(keep(&alice, vec![new("f", "x", 5)]).await.unwrap(), [Remembered::New]);
}
