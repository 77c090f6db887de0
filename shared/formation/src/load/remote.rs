//! The agents elsewhere that the manifest lists.

use serde_yaml::Value;

use super::Reading;
use super::components::{Component, Kind};
use crate::diagnostic::Diagnostic;
use crate::manifest::RemoteAgentFields;
use crate::schema::{REMOTE_FILE, REMOTE_INLINE};
use crate::yaml::Node;

const KIND: Kind = Kind {
    noun: "remote agent",
    article: "a",
    folders: &["a2a"],
    key: "a2a.outbound.services",
    is_nested: false,
};

// === impl Reading ===

impl Reading<'_> {
    pub(super) fn remote_agents(&mut self, root: &Node) -> Vec<RemoteAgentFields> {
        let (mut ids, mut read) = (Vec::new(), Vec::new());
        let outbound = root.get("a2a").and_then(|it| it.get("outbound"));
        let list = outbound.and_then(|it| it.get("services"));
        for component in self.components(self.manifest, list, &KIND) {
            let Component { file, node, path, is_inline, .. } = &component;
            // The older name of `id`.
            let node = &renamed(node, "service_id", "id");
            let table = if *is_inline { &REMOTE_INLINE } else { &REMOTE_FILE };
            let fitting = self.checker(file).table(node, path, table);
            let Some(id) = fitting.get("id").and_then(Value::as_str).map(str::to_owned) else {
                continue;
            };
            if component.node.get("id").is_none() {
                let place = component.node.get("service_id").map_or(node.place, |it| it.place);
                let message = "`service_id` is an older name";
                self.found.push(Diagnostic::warning(file, place, message, "write `id`"));
            }
            self.is_first(&ids, &id, &component, KIND.noun);
            ids.push(id);
            read.extend(self.typed::<RemoteAgentFields>(file, fitting));
        }
        read.into_iter().filter(|it| it.active).collect()
    }
}

// === private helpers ===

fn renamed(node: &Node, from: &str, to: &str) -> Node {
    let mut node = node.clone();
    if node.get(to).is_none()
        && let crate::yaml::Content::Map(entries) = &mut node.content
    {
        for entry in entries.iter_mut().filter(|it| it.key == from) {
            to.clone_into(&mut entry.key);
        }
    }
    node
}
