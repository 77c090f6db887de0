//! What is remembered of a user: written, brought in from outside, found and deleted.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use muxi_contract::formation::memories::{
    BatchIngested, IngestedItem, IngestedStatus, IngestionCounts, IngestionReport, Memory,
    MemoryCreated, MemoryDeleted, MemoryIngested, MemoryList, MemoryScope, Provenance,
    ProvenanceEvent, TypedContent,
};
use muxi_contract::ids::nanoid;
use muxi_contract::{ErrorCode, UserId};
use muxi_memory::{Ingestion, MemoryFilter, NewMemory, Remembered, Scope, TooManyMemories};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::auth::{Caller, NamedUser, RequiredUser};
use super::body;
use super::error::Problem;
use super::fields::Fields;
use super::memory_entry::{self, Entry, Wanted};
use super::path::Id;
use super::query::Parameters;
use super::users::time;
use crate::app::{App, Parts};
use crate::events::{Event, EventKind};

const LIMIT: u32 = 10;
const LIMIT_MAX: u32 = 100;
const OFFSET_MAX: u32 = 1_000_000;
const QUERY_CHARS_MAX: usize = 1_000;

pub(crate) async fn list(
    _: Caller,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let filter = MemoryFilter {
        limit: query.number("limit", 1..=LIMIT_MAX, LIMIT),
        offset: query.number("offset", 0..=OFFSET_MAX, 0),
        query: query.text("query").map(str::to_owned),
        ..scopes(&mut query)
    };
    if filter.query.as_ref().is_some_and(|text| text.chars().count() > QUERY_CHARS_MAX) {
        query.fault("query", format!("may have {QUERY_CHARS_MAX} characters"));
    }
    query.finish()?;
    let found = app.store.for_user(&user).memories(filter).await?;
    let user = named.shown(&user);
    let memories: Vec<Memory> = found.into_iter().map(|memory| shown(&app, memory, user)).collect();
    let data = MemoryList { count: memories.len(), memories };
    Ok(Answer::new("memory_list", "memory.list", &data))
}

pub(crate) async fn create(
    caller: Caller,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    body: Body,
) -> Result<Response, Problem> {
    let fields = body::object(body, &app).await?;
    let chars_max = app.manifest.input_limits.max_memory_entry_size;
    let entry =
        memory_entry::parse("", &fields, chars_max).map_err(|faults| Problem::invalid(&faults))?;
    let new = new_memory(&app, &entry, &caller)?;
    let named = named.shown(&user);
    if let Some(source) = entry.source {
        return ingest(&app, &user, named, source, new).await;
    }
    let done = app.store.for_user(&user).remember(vec![new.clone()], most(&app), |_| None).await?;
    done.map_err(|TooManyMemories| full(&app))?;
    tell(&app, EventKind::MemoryCreated, &user, "something is remembered", 1);
    let data = MemoryCreated {
        id: new.id,
        content: TypedContent { kind: entry.kind, detail: entry.content },
        created_at: time(new.at_ms),
        metadata: json_of(&entry.metadata),
        scope: scope(new.scope),
        scope_id: scope_id(&app, new.scope, named),
        event_id: new.event_id,
    };
    Ok(Answer::new("memory", "memory.created", &data).into_response())
}

pub(crate) async fn batch(
    caller: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    body: Body,
) -> Result<Answer, Problem> {
    let limits = &app.manifest.input_limits;
    let body = body::object(body, &app).await?;
    let mut fields = Fields::of(&body);
    fields.require("items");
    let items = fields.list("items", limits.max_batch_items).unwrap_or_default();
    fields.finish()?;
    let mut entries = Vec::new();
    let mut places: Vec<Result<usize, String>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let read = batch_item(&app, &caller, index, item, limits.max_memory_entry_size);
        places.push(read.map(|new| {
            entries.push(new);
            entries.len() - 1
        }));
    }
    let (id, at_ms) = (ingestion_id(), app.clock.now_ms());
    let (report_id, events) = (id.clone(), event_ids(&entries));
    let told = move |places: &[Result<usize, String>], done: &[Remembered]| -> Vec<IngestedItem> {
        let item = |(index, place): (usize, &Result<usize, String>)| match place {
            Ok(at) => item_shown(index, &events[*at], &done[*at]),
            Err(error) => IngestedItem {
                index,
                status: IngestedStatus::Invalid,
                event_id: None,
                error: Some(error.clone()),
            },
        };
        places.iter().enumerate().map(item).collect()
    };
    let (report, kept_places) = (told.clone(), places.clone());
    let done = app
        .store
        .for_user(&user)
        .remember(entries, most(&app), move |done| {
            Some(kept(report_id, &report(&kept_places, done), at_ms))
        })
        .await?
        .map_err(|TooManyMemories| full(&app))?;
    let accepted = done.iter().filter(|it| **it == Remembered::New).count();
    tell(&app, EventKind::MemoryCreated, &user, "entries were brought in", accepted);
    let items = told(&places, &done);
    let (counts, status_url) = (counts(&items), status_url(&id));
    let data = BatchIngested { processing_id: id, counts, items, status_url };
    Ok(Answer::new("memory_ingestion", "memory.ingestion.accepted", &data))
}

pub(crate) async fn ingestion(
    caller: Caller,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = app.store.ingestion(&id).await?;
    let (whose, report) = found.ok_or_else(|| not_found("ingestion", &id))?;
    if caller.user().is_some_and(|user| *user != whose) {
        let message = format!("ingestion '{id}' is another user's");
        return Err(Problem::new(ErrorCode::Forbidden, message));
    }
    let items: Vec<IngestedItem> = json_of(&report.items);
    // Entries are taken whole in one act; nothing is left to be done when their caller is answered.
    let data = IngestionReport {
        processing_id: report.id,
        status: "completed".to_owned(),
        created_at: time(report.created_ms),
        completed_at: time(report.created_ms),
        counts: counts(&items),
        items,
        usage: Map::new(),
    };
    Ok(Answer::new("memory_ingestion", "memory.ingestion.status", &data))
}

pub(crate) async fn provenance(
    _: Caller,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let (event, entity) = (query.text("event_id"), query.text("entity"));
    let (event, entity) = (event.map(str::to_owned), entity.map(str::to_owned));
    if event.is_some() == entity.is_some() {
        query.fault("event_id", "is to be given, or entity; not both".to_owned());
    }
    query.finish()?;
    let store = app.store.for_user(&user);
    let (found, name) = match (event, entity) {
        (Some(event), _) => (store.memories_of_event(&event).await?, event),
        (None, entity) => {
            let entity = entity.unwrap_or_default();
            (store.memories_about(&entity).await?, entity)
        }
    };
    if found.is_empty() {
        return Err(not_found("event or entity", &name));
    }
    let user = named.shown(&user);
    let events: Vec<ProvenanceEvent> = found
        .into_iter()
        .map(|memory| ProvenanceEvent {
            event_id: memory.event_id.clone(),
            source: memory.source.clone(),
            source_id: memory.source_id.clone(),
            subject: memory.subject.clone(),
            timestamp: memory.happened_ms.map(time),
            recorded_at: time(memory.created_ms),
            memory: shown(&app, memory, user),
        })
        .collect();
    let data = Provenance { query: name, count: events.len(), events };
    Ok(Answer::new("memory", "memory.retrieved", &data))
}

pub(crate) async fn delete(
    caller: Caller,
    RequiredUser(user): RequiredUser,
    named: NamedUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let is_operator = matches!(caller, Caller::Admin(_));
    if !app.store.for_user(&user).delete_memory(&id, is_operator).await? {
        return Err(not_found("memory", &id));
    }
    tell(&app, EventKind::MemoryDeleted, &user, "a memory was deleted", 1);
    let data = MemoryDeleted { id, deleted: true, user_id: named.shown(&user).clone() };
    Ok(Answer::new("memory", "memory.deleted", &data))
}

/// As lists and the history show it.
pub(super) fn shown(app: &Parts, memory: muxi_memory::Memory, user: &UserId) -> Memory {
    Memory {
        id: memory.id,
        kind: memory.kind,
        content: memory.content,
        created_at: time(memory.created_ms),
        metadata: json_of(&memory.metadata),
        scope: scope(memory.scope),
        scope_id: scope_id(app, memory.scope, user),
        source: memory.source,
        event_id: memory.event_id,
    }
}

// === private helpers ===

fn most(app: &Parts) -> u32 {
    app.manifest.input_limits.max_memories_per_user
}

fn full(app: &Parts) -> Problem {
    let message = format!(
        "a user may have {} memories (`input_limits.max_memories_per_user`); delete some first",
        most(app)
    );
    Problem::new(ErrorCode::UnprocessableEntity, message)
}

/// One entry from outside: new, or known already.
async fn ingest(
    app: &App,
    user: &UserId,
    named: &UserId,
    source: String,
    new: NewMemory,
) -> Result<Response, Problem> {
    let (id, at_ms, event) = (ingestion_id(), new.at_ms, new.event_id.clone());
    let (read_by, source_id) = (new.scope, new.source_id.clone());
    let (report_id, report_event) = (id.clone(), event.clone());
    let done = app
        .store
        .for_user(user)
        .remember(vec![new], most(app), move |done| {
            let items: Vec<IngestedItem> =
                done.iter().map(|it| item_shown(0, &report_event, it)).collect();
            Some(kept(report_id, &items, at_ms))
        })
        .await?
        .map_err(|TooManyMemories| full(app))?;
    let (status, event, is_duplicate) = match done.into_iter().next() {
        Some(Remembered::Before { event_id }) => (StatusCode::OK, event_id, true),
        Some(Remembered::New) | None => (StatusCode::ACCEPTED, event, false),
    };
    if !is_duplicate {
        tell(app, EventKind::MemoryCreated, user, "an entry was brought in", 1);
    }
    let data = MemoryIngested {
        status: if is_duplicate { IngestedStatus::Duplicate } else { IngestedStatus::Accepted },
        duplicate: is_duplicate,
        event_id: event,
        source,
        source_id,
        scope: scope(read_by),
        scope_id: scope_id(app, read_by, named),
        derived_events: Vec::new(),
        status_url: status_url(&id),
        processing_id: id,
    };
    let answer = Answer::new("memory_ingestion", "memory.ingestion.accepted", &data);
    Ok((status, answer).into_response())
}

fn new_memory(app: &Parts, entry: &Entry, caller: &Caller) -> Result<NewMemory, Problem> {
    let refuse = |message: &str| Err(Problem::new(ErrorCode::Forbidden, message));
    let scope = match (entry.scope, caller) {
        (Wanted::Group, _) => {
            return refuse("this formation has no groups; remember it for the user");
        }
        (Wanted::Scope(Scope::Formation), Caller::Client(_)) => {
            return refuse("what everybody may read is written with the admin key");
        }
        (Wanted::Scope(scope), _) => scope,
    };
    Ok(NewMemory {
        id: nanoid(),
        event_id: format!("evt_{}", nanoid()),
        scope,
        kind: entry.kind.clone(),
        content: entry.content.clone(),
        metadata: entry.metadata.clone(),
        source: entry.source.clone(),
        source_id: entry.source_id.clone(),
        subject: entry.subject.clone(),
        happened_ms: entry.happened_ms,
        at_ms: app.clock.now_ms(),
    })
}

/// One item, or in words why it is none.
fn batch_item(
    app: &Parts,
    caller: &Caller,
    index: usize,
    item: &Value,
    chars_max: usize,
) -> Result<NewMemory, String> {
    let item = item.as_object().ok_or("must be an object")?;
    let entry =
        memory_entry::parse(&format!("items.{index}."), item, chars_max).map_err(|faults| {
            let told: Vec<_> = faults.into_iter().map(|it| it.message).collect();
            told.join("; ")
        })?;
    if entry.source.is_none() {
        return Err(format!("items.{index}.source is required"));
    }
    new_memory(app, &entry, caller).map_err(|problem| problem.message)
}

fn scopes(query: &mut Parameters) -> MemoryFilter {
    let Some(text) = query.text("scopes").map(str::to_owned) else {
        return MemoryFilter { of_user: true, of_formation: true, ..MemoryFilter::default() };
    };
    let mut filter = MemoryFilter::default();
    for scope in text.split(',').map(str::trim) {
        match scope {
            "user" => filter.of_user = true,
            "formation" => filter.of_formation = true,
            // Nobody is in a group.
            "group" => {}
            _ => query.fault("scopes", "must be some of user, group and formation".to_owned()),
        }
    }
    filter
}

fn scope(scope: Scope) -> MemoryScope {
    match scope {
        Scope::User => MemoryScope::User,
        Scope::Formation => MemoryScope::Formation,
    }
}

fn scope_id(app: &Parts, scope: Scope, user: &UserId) -> String {
    match scope {
        Scope::User => user.to_string(),
        Scope::Formation => app.manifest.id.to_string(),
    }
}

fn item_shown(index: usize, event: &str, done: &Remembered) -> IngestedItem {
    let (status, event_id) = match done {
        Remembered::New => (IngestedStatus::Accepted, event),
        Remembered::Before { event_id } => (IngestedStatus::Duplicate, event_id.as_str()),
    };
    IngestedItem { index, status, event_id: Some(event_id.to_owned()), error: None }
}

fn counts(items: &[IngestedItem]) -> IngestionCounts {
    let of = |status| items.iter().filter(|item| item.status == status).count();
    IngestionCounts {
        total: items.len(),
        accepted: of(IngestedStatus::Accepted),
        duplicate: of(IngestedStatus::Duplicate),
        invalid: of(IngestedStatus::Invalid),
    }
}

/// The report as it is kept with the entries.
fn kept(id: String, items: &[IngestedItem], created_ms: i64) -> Ingestion {
    let items = serde_json::to_string(items).expect("our own types always serialise");
    Ingestion { id, items, created_ms }
}

fn event_ids(entries: &[NewMemory]) -> Vec<String> {
    entries.iter().map(|entry| entry.event_id.clone()).collect()
}

fn ingestion_id() -> String {
    format!("ing_{}", nanoid())
}

fn status_url(id: &str) -> String {
    format!("/v1/memories/ingestion/{id}")
}

/// What this file has written into the memory itself.
fn json_of<T: DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

fn not_found(what: &str, id: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("{what} '{id}' was not found"))
}

fn tell(app: &App, kind: EventKind, user: &UserId, message: &str, count: usize) {
    if count > 0 {
        let event = app.event(kind, message).with("count", count);
        app.events.tell(Event { user: Some(user.clone()), ..event });
    }
}
