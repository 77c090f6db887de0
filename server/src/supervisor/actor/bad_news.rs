//! What is told of an instance that hangs, and of a formation that is given up.

use muxi_contract::events::EventKind;

use super::Actor;
use crate::store::events::{self, NewEvent};
use crate::supervisor::instance;
use crate::supervisor::lifecycle::InstanceNumber;

impl Actor {
    /// One that hangs is as good as dead; it is made to end after this.
    pub(super) async fn note_hang(&mut self, instance: InstanceNumber) {
        let serves = self.life.serving().is_some_and(|(serving, _)| serving.number == instance);
        let Some(living) = self.living.get(&instance).filter(|_| serves) else { return };
        let log = instance::log_tail(&self.context, &self.id, instance, living.log_from);
        let (id, epoch, why) = (self.id.clone(), living.noted_epoch, (self.reason.clone(), log));
        let now_ms = self.context.clock.now_ms();
        self.record
            .write(move |tx| events::record_crash(tx, &id, epoch, why.clone(), now_ms))
            .await;
    }

    /// Too many deaths in a row.
    pub(super) async fn note_giving_up(&mut self) {
        let newest = self.life.newest;
        let event = NewEvent {
            reason: self.reason.clone(),
            log: instance::log_tail(&self.context, &self.id, newest, self.failed_log_from),
            ..NewEvent::of(EventKind::CrashLoop, &self.id)
        };
        let now_ms = self.context.clock.now_ms();
        self.record.write(move |tx| events::record(tx, event.clone(), now_ms)).await;
    }
}
