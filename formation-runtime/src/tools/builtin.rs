//! What this program does for agents itself: files that were made before, and what was said before.

mod artifacts;
mod recall;

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_llm::ToolSpec;
use muxi_memory::Store;
use muxi_tools::{Call, Danger, Origin, Outcome, Tool};
use serde_json::{Map, Value};

use self::artifacts::{ArtifactContent, ArtifactHistory, ArtifactSearch};
use self::recall::Recall;
use crate::artifacts::Artifacts;

/// Everything that only reads what is the user's own.
pub fn all(store: &Store, artifacts: &Artifacts) -> Vec<Arc<dyn Tool>> {
    let means = || (store.clone(), artifacts.clone());
    vec![
        ReadOnly::tool(Recall::new(store.clone())),
        ReadOnly::tool(ArtifactSearch::new(means())),
        ReadOnly::tool(ArtifactContent::new(means())),
        ReadOnly::tool(ArtifactHistory::new(means())),
    ]
}

/// A tool of ours that changes nothing.
trait Reads: Send + Sync + std::fmt::Debug + 'static {
    fn spec() -> ToolSpec
    where
        Self: Sized;

    fn read<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Outcome>;
}

#[derive(Debug)]
struct ReadOnly<T> {
    spec: ToolSpec,
    reader: T,
}

// === impl ReadOnly ===

impl<T: Reads> ReadOnly<T> {
    fn tool(reader: T) -> Arc<dyn Tool> {
        Arc::new(Self { spec: T::spec(), reader })
    }
}

impl<T: Reads> Tool for ReadOnly<T> {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    fn danger(&self) -> Danger {
        Danger::ReadOnly
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        async move { self.reader.read(&call).await }.boxed()
    }
}

// === private helpers ===

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    arguments.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// What is absent or out of its bounds becomes the nearest that is allowed.
fn count(arguments: &Map<String, Value>, name: &str, usual: u32, max: u32) -> u32 {
    let given = arguments.get(name).and_then(Value::as_u64);
    given.map_or(usual, |it| u32::try_from(it).unwrap_or(max)).clamp(1, max)
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Outcome {
    tracing::error!(error, "a built-in tool could not read");
    Outcome::refused("It cannot be read at the moment.")
}
