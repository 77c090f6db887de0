//! Whether it serves, and what it serves.

use crate::document::{Walk, call};

#[tokio::test]
async fn whether_it_serves() {
    let walk = Walk::start().await;
    walk.take(call("get_health")).await;
    walk.take(call("get_root_health")).await;
    for operation in ["get_page", "get_api_page", "get_docs", "get_openapi"] {
        walk.take_text(call(operation)).await;
    }
}
