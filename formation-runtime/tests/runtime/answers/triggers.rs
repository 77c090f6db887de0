//! Data of other systems that is answered.

use serde_json::json;

use crate::document::{Walk, call};
use crate::harness::{Bundle, manifest};

#[tokio::test]
async fn triggers() {
    let bundle = Bundle::new(&manifest(""));
    let folder = bundle.path().join("triggers");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("issue.md"), "Sum up ${{ data.issue.title }}.\n").unwrap();
    let walk = Walk::of(bundle).await;
    walk.take(call("list_triggers").client()).await;
    walk.take(call("get_trigger").client().path("issue")).await;
    walk.take(call("get_trigger").client().path("x").fails_with("TRIGGER_NOT_FOUND")).await;

    let fire = || call("fire_trigger").client().path("issue");
    let data = json!({"issue": {"title": "It breaks"}});
    // The data alone, and within an object that says more.
    let later = walk.pass(fire().body(data.clone())).await;
    assert_eq!(later["type"], "request.processing");
    let waits = json!({"data": data, "session_id": "s", "use_async": false});
    let answered = walk.take(fire().body(waits)).await;
    assert_eq!(answered["type"], "request.completed");
}
