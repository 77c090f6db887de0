//! What waits for its user, why requests went as they did, and what goes on behind them.

use crate::document::{Walk, call};
use crate::harness::{Bundle, manifest};
use crate::waiting::{WAITING, Waiting, waits, works};

#[tokio::test]
async fn approvals_and_explanations() {
    let bundle = Bundle::new(&manifest(""));
    let waiting = Waiting { expires_ms: 4_102_444_800_000, ..WAITING };
    waits(&bundle.store(), &waiting).await;
    let walk = Walk::of(bundle).await;
    walk.take(call("list_approvals").client()).await;
    walk.take(call("get_approval").client().path("apv_alice")).await;
    walk.take(call("explain_request").client().path("r-alice")).await;
    walk.refuse(call("list_approvals").client().query("status=perhaps")).await;
    walk.refuse(call("list_approvals").admin()).await;
    walk.refuse(call("get_approval").client().path("apv_none")).await;
    walk.refuse(call("explain_request").client().path("none")).await;
}

#[tokio::test]
async fn background_jobs() {
    let bundle = Bundle::new(&manifest(""));
    works(&bundle.store(), "alice", "the build").await;
    let walk = Walk::of(bundle).await;
    walk.take(call("list_background_jobs").client()).await;
    walk.take(call("get_background_job").client().path("code_alice")).await;
    let log = walk.take(call("get_background_job_log").client().path("code_alice")).await;
    let rest = format!("after={}", log["data"]["lines"][0]["seq"]);
    let log = call("get_background_job_log").client().path("code_alice").query(&rest);
    assert_eq!(walk.pass(log).await["data"]["lines"][0]["text"], "second line");
    walk.take(call("cancel_background_job").client().path("code_alice")).await;
    walk.refuse(call("cancel_background_job").client().path("code_alice")).await;
    walk.refuse(call("get_background_job").client().path("code_none")).await;
}
