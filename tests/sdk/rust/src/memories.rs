//! What is remembered of users, and the buffers of their conversations.

use anyhow::{Context as _, ensure};
use muxi_rust::FormationClient;
use serde_json::json;

use crate::calls::call;
use crate::checks::{Checks, Kind, equal, refused, strings};

pub(crate) async fn check(checks: &mut Checks, way: &str, client: &FormationClient) {
    check_memories(checks, way, client).await;
    check_buffers(checks, way, client).await;
}

async fn check_memories(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (user, other) = (&format!("{way}-rememberer"), &format!("{way}-stranger"));
    checks
        .check(&format!("{way} get_memory_config"), async {
            equal(&call!(client.get_memory_config()).await?["buffer"]["size"], &json!(8))
        })
        .await;
    checks
        .check(&format!("{way} add_memory, listed for its user and for nobody else"), async {
            call!(client.add_memory(user, "preference", "likes herons")).await?;
            call!(client.add_memory(user, "fact", "has a boat")).await?;
            let listed = call!(client.get_memories(user, None)).await?;
            let mut texts = strings(&listed["memories"], "content");
            texts.sort();
            equal(texts, ["has a boat", "likes herons"])?;
            let others = call!(client.get_memories(other, None)).await?;
            equal(&others["memories"], &json!([]))?;
            equal(&call!(client.get_memories(user, Some(1))).await?["count"], &json!(1))
        })
        .await;
    checks
        .check(&format!("{way} delete_memory, not of another user's"), async {
            let listed = call!(client.get_memories(user, None)).await?;
            let id = listed["memories"][0]["id"].as_str().context("no id")?;
            refused(call!(client.delete_memory(other, id)).await, Kind::NotFound, 404)?;
            call!(client.delete_memory(user, id)).await?;
            let left = call!(client.get_memories(user, None)).await?;
            ensure!(strings(&left["memories"], "id") != [id] && left["count"] == 1, "{left}");
            Ok(())
        })
        .await;
}

async fn check_buffers(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (user, other) = (&format!("{way}-buffered"), &format!("{way}-other"));
    let [first, second, third] = &["b1", "b2", "b3"].map(|name| format!("{way}-{name}"));
    let sessions = async |whom: &str| {
        let found = call!(client.get_user_buffer(whom)).await?;
        let mut ids = strings(&found["sessions"], "session_id");
        ids.sort();
        anyhow::Ok(ids)
    };
    checks
        .check(&format!("{way} get_user_buffer and get_buffer_stats"), async {
            for (whom, session) in [(user, first), (user, second), (other, third)] {
                let message = json!({"message": "greet me", "session_id": session});
                call!(client.chat(message, Some(whom))).await?;
            }
            equal(sessions(user).await?, [first.as_str(), second])?;
            equal(sessions(other).await?, [third.as_str()])?;
            let stats = call!(client.get_buffer_stats()).await?;
            ensure!(stats["total_entries"].as_u64() >= Some(6), "{stats}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} clear_session_buffer, not of another user's"), async {
            let cleared = call!(client.clear_session_buffer(user, first)).await?;
            equal(&cleared["messages_cleared"], &json!(2))?;
            let others = call!(client.clear_session_buffer(user, third)).await;
            refused(others, Kind::NotFound, 404)?;
            equal(sessions(user).await?, [second.as_str()])
        })
        .await;
    checks
        .check(&format!("{way} clear_user_buffer leaves other users' alone"), async {
            call!(client.clear_user_buffer(user)).await?;
            equal(sessions(user).await?.len(), 0)?;
            equal(sessions(other).await?, [third.as_str()])
        })
        .await;
    checks
        .check(&format!("{way} clear_all_buffers"), async {
            call!(client.clear_all_buffers()).await?;
            equal(sessions(other).await?.len(), 0)?;
            equal(&call!(client.get_buffer_stats()).await?["total_entries"], &json!(0))
        })
        .await;
}
