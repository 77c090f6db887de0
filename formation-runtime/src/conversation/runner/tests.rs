use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use muxi_llm::{
    Chunk, ChunkStream, CompletionRequest, FinishReason, Llm, LlmError, Provider, RetryPolicy,
    Target,
};
use muxi_memory::{Location, Retention};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::agents::{Agents, FileLimits, Model, Voices};
use crate::conversation::Failure;
use crate::procedures::Procedures;
use crate::redact::Redactor;
use crate::safe::{Purpose, Safe};
use crate::team;
use crate::tools::{self, Entrusted, Entrusting, Tools};

/// Answers with one script after the other, and then says nothing.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<Vec<Chunk>>>);

impl Provider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn stream<'a>(
        &'a self,
        _: &'a str,
        _: &'a CompletionRequest,
    ) -> BoxFuture<'a, Result<ChunkStream, LlmError>> {
        let script = self.0.lock().unwrap().pop_front().unwrap_or_default();
        let chunks = stream::iter(script.into_iter().map(Ok)).chain(stream::pending());
        async move { Ok(Box::pin(chunks) as ChunkStream) }.boxed()
    }
}

fn say(text: &str) -> Chunk {
    Chunk::Text(text.to_owned())
}

fn end() -> Chunk {
    Chunk::Finished { reason: FinishReason::Stop, usage: None }
}

struct Fixture {
    _folder: tempfile::TempDir,
    conversations: Conversations,
    store: Store,
}

impl Fixture {
    fn new(scripts: Vec<Vec<Chunk>>) -> Self {
        let provider = Arc::new(Scripted(Mutex::new(scripts.into())));
        let target = Target { provider, model: "model".to_owned() };
        let config: muxi_formation::Agent =
            serde_json::from_value(json!({"id": "helper", "description": "Helps"})).unwrap();
        let model = || Model {
            llm: Llm::new(target.clone(), None, RetryPolicy::default()),
            name: "scripted/model".to_owned(),
            temperature: 0.0,
            max_tokens: 10,
            silence_max: Duration::ZERO,
            needs_model_host: false,
            is_local: false,
            language: None,
        };
        let voices = Voices {
            base: model(),
            synthesis: model(),
            embedding: None,
            named: std::collections::BTreeMap::new(),
        };
        let agent = Agent {
            written: config.clone(),
            config,
            text: model(),
            vision: None,
            documents: None,
            audio: None,
            file_limits: FileLimits { image_bytes: 1, document_bytes: 1, audio_bytes: 1 },
        };
        let retention = Retention { messages_per_session: 100, sessions: 100, memories: 100 };
        let store = Store::open(&Location::Process(retention)).unwrap();
        let limits =
            Limits { turn: Duration::from_millis(100), updates_queued: 1, ..Limits::default() };
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(
            muxi_formation::manifest::Artifacts::default(),
            store.clone(),
            folder.path(),
            Clock::system(),
            100,
        );
        let agents = Agents::new(vec![agent], voices);
        let loaded = loaded();
        let store_ = store.clone();
        let tasks = TaskGroup::new(CancellationToken::new());
        let safe = Safe::new(folder.path(), Purpose::Credentials);
        let entrusted = Entrusted::new(
            store_,
            safe,
            Clock::system(),
            Redactor::default(),
            Entrusting::default(),
        );
        let stop = CancellationToken::new();
        let servers = tools::servers(
            &loaded,
            (folder.path(), folder.path()),
            &entrusted,
            tasks.clone(),
            &stop,
        );
        let team = Team::new(team::Parts {
            agents: agents.clone(),
            procedures: Procedures::new(Vec::new()),
            overlord: loaded.manifest.overlord.clone(),
            approvals: loaded.manifest.approvals.clone(),
            mcp: loaded.manifest.mcp.clone(),
            tool_output_bytes: 1_000,
            tools: Tools::new(
                &loaded,
                servers,
                Vec::new(),
                &tools::Place {
                    folder: folder.path(),
                    data_dir: folder.path(),
                    store: &store,
                    clock: &Clock::system(),
                    tasks: &tasks,
                },
                &|_| None,
                Redactor::default(),
            )
            .unwrap(),
        });
        let conversations = Conversations::new(TurnContext {
            team: Arc::new(team.unwrap()),
            formation: "hello".parse().unwrap(),
            store: store.clone(),
            soul: "".into(),
            usage: Arc::default(),
            history_messages: 10,
            clock: Clock::system(),
            limits,
            tasks,
            shutdown: Shutdown::new(),
            open_requests: OpenRequests::default(),
            events: EventLog::new(100, 0),
            artifacts,
        });
        Self { _folder: folder, conversations, store }
    }

    fn ask(&self, text: &str) -> mpsc::Receiver<Update> {
        let question = Question {
            user: UserId::anonymous(),
            session: "s".parse().unwrap(),
            request_id: RequestId::generate(),
            agent: None,
            text: text.to_owned(),
            files: Vec::new(),
            kind: RequestKind::Chat,
            mode: RequestMode::Sync,
            expected: None,
            resumes: None,
            picked: None,
            depth: 0,
            webhook_url: None,
            accepted: None,
            created_ms: 0,
        };
        self.conversations.start(question).unwrap()
    }

    /// The texts of the session with their turn's status.
    async fn transcript(&self) -> Vec<(String, String)> {
        let user = self.store.for_user(&UserId::anonymous());
        let page = user.messages(&"s".parse().unwrap(), 100, None).await.unwrap();
        page.messages.into_iter().map(|message| (message.text, message.status)).collect()
    }
}

/// A formation with the agent of the fixture and nothing else.
fn loaded() -> muxi_formation::Loaded {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "schema: '1.0.0'\nid: hello\ndescription: A test\nllm: {models: [{text: a/b}]}\n\
                    agents: [{id: helper, description: Helps}]\n";
    std::fs::write(folder.path().join("formation.afs"), manifest).unwrap();
    muxi_formation::load(folder.path(), muxi_formation::Resolve::Keep).unwrap()
}

async fn last(updates: &mut mpsc::Receiver<Update>) -> Update {
    let mut last = None;
    while let Some(update) = updates.recv().await {
        last = Some(update);
    }
    last.unwrap()
}

#[tokio::test]
async fn a_model_that_never_ends_is_given_up_and_its_session_goes_on() {
    let fixture = Fixture::new(vec![vec![say("Once")], vec![say("Yes"), end()]]);
    let (mut endless, mut next) = (fixture.ask("tell"), fixture.ask("again"));
    let failed = last(&mut endless).await;
    assert!(matches!(failed, Update::Failed(Failure::Model { retryable: true, .. })), "{failed:?}");
    assert!(matches!(last(&mut next).await, Update::Completed(_)));
    let expected =
        [("tell", "failed"), ("Once", "failed"), ("again", "completed"), ("Yes", "completed")];
    let expected = expected.map(|(text, status)| (text.to_owned(), status.to_owned()));
    assert_eq!(fixture.transcript().await, expected);
}

#[tokio::test]
async fn a_reader_that_is_stuck_does_not_hold_its_session() {
    let long = vec![say("a"), say("b"), say("c"), say("d"), end()];
    let short = vec![say("Yes"), end()];
    let fixture = Fixture::new(vec![long, short]);
    let mut stuck = fixture.ask("long");
    assert!(matches!(last(&mut fixture.ask("short")).await, Update::Completed(_)));
    // When it reads at last, it still learns how the turn ended.
    assert!(matches!(last(&mut stuck).await, Update::Failed(Failure::Model { .. })));
}
