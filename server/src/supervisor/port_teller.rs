//! Tells one instance what to do about the formation's port: one wish at a time, the newest, until it
//! was heard.

use std::path::PathBuf;
use std::time::Duration;

use hyper::{Method, StatusCode};
use muxi_contract::launch::{ACCEPT_ROUTE, RETIRE_ROUTE};
use tokio::sync::watch;

use super::probe::{self, ProbeError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortWish {
    Accept,
    Retire,
}

/// The wish as it is now; a task passes it on.
#[derive(Debug)]
pub(super) struct PortTeller {
    wish: watch::Sender<Option<PortWish>>,
    heard: watch::Receiver<Option<PortWish>>,
}

/// An instance that is told something has this long to hear it, and is told again after a pause.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

// === impl PortTeller ===

impl PortTeller {
    /// The second value passes the wishes on, for as long as the first one lives.
    pub(super) fn new(socket: PathBuf) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (wish, wishes) = watch::channel(None);
        let (told, heard) = watch::channel(None);
        (Self { wish, heard }, pass_on(socket, wishes, told))
    }

    pub(super) fn tell(&self, wish: PortWish) {
        self.wish.send_replace(Some(wish));
    }

    /// Wishes that it retires, and resolves once it has heard so.
    pub(super) fn retired(&self) -> impl Future<Output = ()> + Send + 'static {
        self.tell(PortWish::Retire);
        let mut heard = self.heard.clone();
        async move {
            // Without its task the instance is gone, and with it whoever waits here.
            let _gone = heard.wait_for(|heard| *heard == Some(PortWish::Retire)).await;
        }
    }
}

// === private helpers ===

async fn pass_on(
    socket: PathBuf,
    mut wishes: watch::Receiver<Option<PortWish>>,
    heard: watch::Sender<Option<PortWish>>,
) {
    loop {
        let wish = *wishes.borrow_and_update();
        if let Some(wish) = wish
            && !is_heard(&socket, wish).await
        {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        heard.send_replace(wish);
        if wishes.changed().await.is_err() {
            return;
        }
    }
}

/// One that does not know the route has nothing to be told.
async fn is_heard(socket: &std::path::Path, wish: PortWish) -> bool {
    let route = match wish {
        PortWish::Accept => ACCEPT_ROUTE,
        PortWish::Retire => RETIRE_ROUTE,
    };
    match probe::ask(socket, Method::POST, route, PATIENCE).await {
        Ok(())
        | Err(ProbeError::Status(
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED,
        )) => true,
        Err(error) => {
            tracing::debug!(%error, route, "told again");
            false
        }
    }
}
