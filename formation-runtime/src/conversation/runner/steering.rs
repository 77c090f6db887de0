//! Asks the course of a turn what is to be found out, finds it out, and goes the way that it says.

use std::sync::Arc;

use muxi_llm::Message;
use muxi_memory::{BegunTurn, HistoryMessage, Role};
use muxi_orchestration::fence;
use muxi_orchestration::routing::{self, Asking, Candidate, Key, Limits};
use serde_json::{Map, json};

use super::running::Running;
use super::speaking::{Asked, Stage};
use crate::agents::Agent;
use crate::conversation::course::{Course, Facts, Ranked, Routed, Step, Way};
use crate::conversation::ledger::{OVERLORD, Purpose};
use crate::conversation::turn::{Event, Failure, Finish, Update};
use crate::events::EventKind;

// === impl Running ===

impl Running {
    /// The way that the turn goes.
    pub(super) async fn steer(
        &self,
        begun: &BegunTurn,
        text: &str,
        stage: &Stage,
    ) -> Result<Way, Failure> {
        let team = &self.context.team;
        let candidates = team.candidates();
        let last_agent = self.last_agent(begun);
        let mut course = Course::new(self.facts(text, &candidates, last_agent));
        let mut step = course.step();
        loop {
            for decision in course.take_decisions() {
                self.trace.decide(decision);
            }
            step = match step {
                Step::Go(way) => {
                    // Of the only agent there is nothing to tell.
                    if candidates.len() > 1 || !matches!(way, Way::Agent { .. }) {
                        self.tell_way(&way);
                    }
                    return Ok(way);
                }
                Step::MatchProcedure => {
                    let best = team.procedures.matched(text, &team.agents).await;
                    course.matched(best.as_ref())
                }
                Step::Route => course.routed(self.route(begun, text, &candidates, stage).await),
            };
        }
    }

    /// Goes it, up to the last word or to a question that somebody must answer.
    pub(super) async fn go(
        &self,
        way: Way,
        begun: &BegunTurn,
        text: &str,
        stage: &Stage,
    ) -> Result<Finish, Failure> {
        match way {
            Way::Nobody => Err(Failure::Nobody),
            Way::Direct { answer } => {
                stage.send(Event::Text(answer)).await;
                Ok(Finish { reason: "stop".to_owned(), ..Finish::default() })
            }
            Way::Agent { id } => {
                let agent = self.context.team.agents.find(&id).ok_or(Failure::Nobody)?;
                self.answer_as(agent, begun, text, stage).await
            }
            Way::Procedure { id } => self.follow(&id, begun, text, stage).await,
            Way::Workflow { plan, complexity } => {
                self.begin_plan(plan, complexity, begun, text, stage).await
            }
            Way::Clarify { about, question, options } => {
                self.clarify(about, question, options, begun, text, stage).await
            }
        }
    }

    /// The agent's model is about to be asked.
    pub(super) async fn is_led_by(&self, agent: &Arc<Agent>, stage: &Stage) {
        // A turn that comes to it twice, such as one that goes on, has the same agent.
        drop(self.lead.set(Arc::clone(agent)));
        let config = &agent.config;
        let name = config.name.as_ref().unwrap_or(&config.id).clone();
        stage.note(Update::Asked { agent: config.id.clone(), name }).await;
    }

    fn facts(&self, text: &str, candidates: &[Candidate], last_agent: Option<&str>) -> Facts {
        let team = &self.context.team;
        // Who writes to a webhook does not choose who reads it.
        let own_words = fence::outside(text);
        let explicit = self.question.agent.as_ref().map(|agent| agent.config.id.clone());
        let ranked = match candidates {
            [only] => vec![Ranked { agent: only.id.clone(), score: 0.0, because: String::new() }],
            _ => routing::score(text, candidates, last_agent)
                .into_iter()
                .map(|it| Ranked { agent: it.id, score: it.score, because: it.because })
                .collect(),
        };
        Facts {
            mentioned_agent: routing::mention(&own_words, candidates).map(str::to_owned),
            named_procedure: team.procedures.named(&own_words).map(str::to_owned),
            has_procedures: !team.procedures.is_empty(),
            is_small_talk: routing::small_talk(text),
            remembered: self.remembered(text, candidates, last_agent),
            may_decompose: team.workflow.auto_decomposition,
            may_ask: self.question.kind.can_be_asked_back(),
            complexity_threshold: team.workflow.complexity_threshold,
            explicit_agent: explicit,
            ranked,
        }
    }

    fn remembered(
        &self,
        text: &str,
        candidates: &[Candidate],
        last_agent: Option<&str>,
    ) -> Option<routing::Route> {
        let team = &self.context.team;
        let key = Key::of(text, candidates, team.procedures.catalogue(), last_agent)?;
        let cache = team.routing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        cache.get(&key, self.now_ms()).map(|decision| decision.route.clone())
    }

    /// Whom follow-ups stay with, where the formation wants that.
    pub(super) fn last_agent<'a>(&self, begun: &'a BegunTurn) -> Option<&'a str> {
        let stays = self.context.team.workflow.enable_agent_affinity;
        begun.last_agent.as_deref().filter(|_| stays)
    }

    /// The soul, and the form of all answers.
    fn voice(&self) -> String {
        let form = self.context.team.form.unwrap_or_default();
        [&*self.context.soul, form].join("\n\n")
    }

    /// The one call that settles who does what.
    async fn route(
        &self,
        begun: &BegunTurn,
        text: &str,
        candidates: &[Candidate],
        stage: &Stage,
    ) -> Result<Routed, String> {
        let team = &self.context.team;
        let (procedures, limits) = (team.procedures.catalogue(), Limits::default());
        let last_agent = self.last_agent(begun);
        let may_clarify = self.question.kind.can_be_asked_back();
        let history = digest(&begun.history);
        let asking = Asking {
            message: text,
            candidates,
            procedures,
            history: &history,
            last_agent,
            voice: &self.voice(),
            question_style: team.question_style,
            may_split: true,
            may_clarify,
            limits: &limits,
        };
        let question = routing::question(&asking);
        let message = "choosing who answers".to_owned();
        stage.note(Update::Planning { stage: "agent_selection", message, more: Map::new() }).await;
        let voices = team.agents.voices();
        let asked = Asked {
            model: &voices.base,
            messages: vec![
                Message::system(fence::noticed(question.system, &[text])),
                Message::user(text),
            ],
            tools: Vec::new(),
            needs_tools: false,
            shape: Some(Arc::new(question.schema)),
            purpose: Purpose::Routing,
            agent: OVERLORD,
        };
        let spoken = self.speak(asked, &stage.silent()).await.map_err(|it| it.to_string())?;
        let decision = routing::read(&spoken.text, &asking).map_err(|fault| fault.to_string())?;
        if let Some(key) = Key::of(text, candidates, procedures, last_agent) {
            let mut cache = team.routing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            cache.put(key, &decision, self.now_ms());
        }
        if self.expected().is_some() && matches!(decision.route, routing::Route::Direct { .. }) {
            return Err("an answer of a given shape needs an agent".to_owned());
        }
        let (complexity, complexity_because) =
            team.complexity(text, candidates, decision.complexity);
        let topics = decision.topics;
        if !topics.is_empty() {
            let told = self.event(EventKind::TopicsExtracted, topics.join(", "));
            self.context
                .events
                .tell(told.with("topics", topics.clone()).with("complexity_score", complexity));
        }
        let (route, because) = (decision.route, decision.because);
        Ok(Routed { route, complexity, complexity_because, topics, because })
    }

    fn tell_way(&self, way: &Way) {
        let (kind, message, data) = match way {
            Way::Agent { id } => {
                (EventKind::AgentSelected, format!("{id} answers"), json!({"agent": id}))
            }
            Way::Procedure { id } => (
                EventKind::ProcedureMatched,
                format!("the procedure {id} is followed"),
                json!({"procedure": id}),
            ),
            Way::Workflow { plan, .. } => {
                let tasks = plan.tasks().len();
                (
                    EventKind::WorkflowPlanned,
                    format!("{tasks} tasks were planned"),
                    json!({"tasks": tasks}),
                )
            }
            Way::Direct { .. } | Way::Clarify { .. } | Way::Nobody => return,
        };
        let mut event = self.event(kind, message);
        event.data.extend(data.as_object().cloned().unwrap_or_default());
        self.context.events.tell(event);
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.context.clock.now_ms()).unwrap_or_default()
    }
}

// === private helpers ===

/// The last words of both sides, for a model that only has to know what it is about.
fn digest(history: &[HistoryMessage]) -> String {
    let lines = history.iter().map(|message| {
        let who = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let text: String = fence::outside(&message.text).chars().take(LINE_CHARS_MAX).collect();
        format!("{who}: {}", text.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

const LINE_CHARS_MAX: usize = 600;
