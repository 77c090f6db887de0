//! Files that agents make for users.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use muxi_llm::ToolSpec;
use muxi_rendering::{Order, RenderError, Rendered, render};
use tokio::sync::Semaphore;

use crate::tool::{Call, Content, Danger, Origin, Outcome, Tool};

/// A large chart keeps a processor busy; chats go on beside it.
const AT_ONCE: usize = 2;

/// Makes a file of what the model describes. It comes back as [`Content::File`].
#[derive(Debug)]
pub struct GenerateFile {
    spec: ToolSpec,
    permits: Arc<Semaphore>,
}

// === impl GenerateFile ===

impl GenerateFile {
    pub fn new() -> Self {
        let spec = ToolSpec {
            name: muxi_rendering::NAME.to_owned(),
            description: muxi_rendering::DESCRIPTION.to_owned(),
            parameters: Arc::new(muxi_rendering::schema()),
        };
        Self { spec, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    async fn make(&self, call: Call) -> Outcome {
        let order = match Order::parse(call.arguments) {
            Ok(order) => order,
            Err(error) => return told(&error),
        };
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Outcome::refused("no more files are made: the formation is stopping");
        };
        let making = tokio::task::spawn_blocking(move || {
            // It goes with the work, which goes on when nobody waits for it any more.
            let _permit = permit;
            render(&order)
        });
        match making.await {
            Ok(Ok(made)) => handed_over(made),
            Ok(Err(error)) => told(&error),
            Err(error) => {
                tracing::error!(%error, "a file could not be made");
                Outcome::refused("the file could not be made; simplify what it is made of")
            }
        }
    }
}

impl Default for GenerateFile {
    fn default() -> Self {
        Self::new()
    }
}

impl Tool for GenerateFile {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    /// A file is a part of the answer, as its text is.
    fn danger(&self) -> Danger {
        Danger::ReadOnly
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        let cancelled = call.cancelled.clone();
        Box::pin(async move {
            let making = cancelled.run_until_cancelled(self.make(call));
            making.await.unwrap_or_else(|| Outcome::refused("the call was cancelled"))
        })
    }
}

fn handed_over(made: Rendered) -> Outcome {
    let size = made.bytes.len();
    let told =
        format!("`{}` was made ({size} bytes) and goes to the user with the answer", made.name);
    let file = Content::File {
        name: made.name,
        media_type: made.media_type.to_owned(),
        bytes: made.bytes,
    };
    let mut outcome = Outcome::told(told);
    outcome.content.push(file);
    outcome
}

/// The message repeats what the model gave, so that it can mend it.
fn told(error: &RenderError) -> Outcome {
    Outcome::refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::call;

    #[tokio::test]
    async fn a_file_comes_back_beside_words_about_it() {
        let tool = GenerateFile::new();
        let outcome = tool.call(call(json!({"file_name": "a.csv", "rows": [[1, "b"]]}))).await;
        assert!(!outcome.is_error && outcome.is_trusted, "{outcome:?}");
        assert_eq!(
            outcome.text(),
            "`a.csv` was made (4 bytes) and goes to the user with the answer"
        );
        let file = Content::File {
            name: "a.csv".into(),
            media_type: "text/csv".into(),
            bytes: "1,b\n".into(),
        };
        assert_eq!(outcome.content.last(), Some(&file));
    }

    #[tokio::test]
    async fn a_fault_is_told_so_that_it_can_be_mended() {
        let tool = GenerateFile::new();
        let outcome = tool.call(call(json!({"file_name": "a.json", "content": "{"}))).await;
        assert!(outcome.is_error);
        assert!(outcome.text().contains("line 1, column 1"), "{}", outcome.text());
        let cancelled = call(json!({"file_name": "a.txt", "content": "x"}));
        cancelled.cancelled.cancel();
        assert_eq!(tool.call(cancelled).await.text(), "the call was cancelled");
    }
}
