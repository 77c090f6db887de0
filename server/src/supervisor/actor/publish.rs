//! What others see of a formation: its status, its route, and a word on its port while it is down.

use muxi_contract::management::{FormationStatus, RolloutPhase, RolloutView};

use super::Actor;
use crate::metrics;
use crate::proxy::routes::{Published, Upstream};
use crate::supervisor::closed_sign::ClosedSign;
use crate::supervisor::lifecycle::Phase;

impl Actor {
    pub(super) fn status(&self) -> FormationStatus {
        if self.queued {
            return FormationStatus::Starting;
        }
        match self.life.phase {
            Phase::Stopped | Phase::Removed => FormationStatus::Stopped,
            Phase::Starting { .. } => FormationStatus::Starting,
            Phase::Running { .. } | Phase::Replacing { .. } | Phase::Trial { .. } => {
                FormationStatus::Running
            }
            Phase::Stopping => FormationStatus::Stopping,
            Phase::Waiting { .. } => FormationStatus::Crashed,
            Phase::CrashLoop => FormationStatus::CrashLoop,
        }
    }

    /// Lets the proxy and the lists see the state as it is now.
    pub(super) fn publish(&mut self) {
        if self.life.phase == Phase::Removed {
            return;
        }
        let status = self.status();
        self.answer_on_the_port(status);
        let running = self.life.serving().map(|(instance, since)| (instance.number, since));
        let (routes, name) = (self.context.routes_of(&self.id), self.id.formation());
        let before = routes.get(&name);
        let upstream = running.map(|(instance, _)| {
            let socket = self.context.layout.private_socket(&self.id, instance);
            // The pool of connections goes on as long as the instance does.
            let kept = before.as_ref().and_then(|it| it.upstream.clone());
            kept.filter(|upstream| upstream.is_to(&socket)).unwrap_or_else(|| Upstream::new(socket))
        });
        let was = before.as_ref().map(|it| it.status);
        let down = matches!(
            status,
            FormationStatus::Crashed | FormationStatus::CrashLoop | FormationStatus::Starting
        );
        routes.publish(
            &name,
            Published {
                status,
                pid: self.shown_pid(),
                rollout: self.rollout(),
                since: running.map(|(_, since)| since),
                healthy: self.healthy.filter(|_| running.is_some()),
                reason: self.reason.clone().filter(|_| down),
                upstream,
            },
        );
        if status == FormationStatus::CrashLoop && was != Some(status) {
            metrics::given_up(&self.context, &self.id);
        }
    }

    /// Sends nobody to the instance any more, before anything else is done about its end: requests
    /// wait for the next one meanwhile.
    pub(super) fn withdraw(&self) {
        let (routes, name) = (self.context.routes_of(&self.id), self.id.formation());
        if let Some(before) = routes.get(&name) {
            let without = Published { upstream: None, healthy: None, ..(*before).clone() };
            routes.publish(&name, without);
        }
    }

    /// The process that serves, or the newest there is.
    fn shown_pid(&self) -> Option<u32> {
        let serving = self.life.serving().map(|(instance, _)| instance.number);
        let number = serving.or_else(|| self.living.keys().next_back().copied())?;
        Some(self.living.get(&number)?.process.identity.pid)
    }

    fn rollout(&self) -> Option<RolloutView> {
        let (phase, to, from) = match self.life.phase {
            Phase::Replacing { serving, new, .. } => (RolloutPhase::Starting, new, Some(serving)),
            Phase::Trial { instance, standby, .. } => (RolloutPhase::OnTrial, instance, standby),
            Phase::Stopped
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping
            | Phase::Waiting { .. }
            | Phase::CrashLoop
            | Phase::Removed => return None,
        };
        Some(RolloutView {
            phase,
            to_generation: to.target.generation,
            from_generation: from.map(|it| it.target.generation),
        })
    }

    /// While nobody will accept on the formation's port, the manager says so there.
    fn answer_on_the_port(&mut self, status: FormationStatus) {
        let reason = match status {
            FormationStatus::Stopped => "is stopped; an operator can start it again",
            FormationStatus::CrashLoop => "keeps crashing and was given up; see its log",
            FormationStatus::Starting
            | FormationStatus::Running
            | FormationStatus::Stopping
            | FormationStatus::Crashed => {
                self.sign = None;
                return;
            }
        };
        if self.sign.is_none() && !self.context.shutdown.stopping.is_cancelled() {
            let lease = self.lease.as_ref();
            self.sign =
                lease.and_then(|lease| ClosedSign::hang(&self.context, &self.id, lease, reason));
        }
    }
}
