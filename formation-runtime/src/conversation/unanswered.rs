//! What nobody answers: requests that wait end when their time is over, or when somebody cancels them.

use muxi_contract::ErrorCode;
use muxi_memory::{NewResolution, Outcome, Pending, Resolution, StoreError, Then};

use super::report::{self, Reported};
use crate::app::Parts;
use crate::events::{Event, EventKind};

/// Looked at in one go; the next look takes the rest.
const AT_ONCE: u32 = 100;

/// Ends requests whose user said nothing in time.
pub async fn expire(app: &Parts) -> Result<(), StoreError> {
    for pending in app.store.overdue_pending(app.clock.now_ms(), AT_ONCE).await? {
        let error = "nobody answered in time what the request asked".to_owned();
        let outcome = Outcome::Failed { error, code: ErrorCode::Timeout };
        if end(app, &pending, Resolution::Expired, outcome).await? {
            let told = format!("{} was not answered in time", pending.id);
            app.events.tell(Event {
                user: Some(pending.user),
                session: Some(pending.session),
                request: Some(pending.request_id),
                ..app.event(EventKind::RequestExpired, told)
            });
        }
    }
    Ok(())
}

/// Ends the requests that wait for it, and tells the receiver of the one that asked first; false if
/// somebody was first.
pub async fn end(
    app: &Parts,
    pending: &Pending,
    resolution: Resolution,
    outcome: Outcome,
) -> Result<bool, StoreError> {
    let now_ms = app.clock.now_ms();
    let delivery = pending.webhook_url.as_deref().map(|url| {
        let reported = Reported {
            formation: &app.manifest.id,
            user: &pending.user,
            request: &pending.request_id,
            url,
            began_ms: pending.request_created_ms,
        };
        report::of_end(reported, &outcome, "", &[], now_ms)
    });
    let then = Then::Ends { outcome, delivery };
    let new = NewResolution { resolution, note: None, then, at_ms: now_ms };
    let store = app.store.for_user(&pending.user);
    Ok(store.resolve_pending(&pending.id, new).await?.is_some())
}
