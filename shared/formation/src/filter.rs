//! Which tools of a server may be used: patterns that allow and deny, from several places at once.
//!
//! Invariant: a tool passes only if every layer lets it through, so that no layer can widen another.

use serde::Deserialize;

use crate::pattern;
use crate::schema::closest;

/// One `tools` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ToolFilter {
    /// `None` lets every tool through that is not denied.
    pub allow: Option<Vec<String>>,
    /// Comes after `allow`.
    pub deny: Vec<String>,
}

/// All blocks that apply to one agent and one server, the server's own first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EffectiveFilter {
    pub layers: Vec<ToolFilter>,
}

/// What a filter makes of the tools that a server has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filtered {
    /// In the server's order.
    pub tools: Vec<String>,
    /// Names without wildcards that no tool has.
    pub unmatched: Vec<Unmatched>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    pub name: String,
    /// A tool that was probably meant.
    pub meant: Option<String>,
}

// === impl ToolFilter ===

impl ToolFilter {
    pub fn allows(&self, tool: &str) -> bool {
        let has = |patterns: &[String]| patterns.iter().any(|it| pattern::matches(it, tool));
        self.allow.as_deref().is_none_or(has) && !has(&self.deny)
    }

    fn patterns(&self) -> impl Iterator<Item = &String> {
        self.allow.iter().flatten().chain(&self.deny)
    }
}

// === impl EffectiveFilter ===

impl EffectiveFilter {
    pub fn allows(&self, tool: &str) -> bool {
        self.layers.iter().all(|layer| layer.allows(tool))
    }

    pub fn apply<'a>(&self, tools: impl IntoIterator<Item = &'a str>) -> Filtered {
        let all: Vec<&str> = tools.into_iter().collect();
        let literals = self.layers.iter().flat_map(ToolFilter::patterns);
        let unmatched =
            literals.filter(|name| !pattern::has_wildcards(name) && !all.contains(&name.as_str()));
        Filtered {
            unmatched: unmatched
                .map(|name| Unmatched {
                    name: name.clone(),
                    meant: closest(name, all.iter().copied()).map(str::to_owned),
                })
                .collect(),
            tools: all.iter().filter(|it| self.allows(it)).map(|&it| it.to_owned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(allow: Option<&[&str]>, deny: &[&str]) -> ToolFilter {
        let owned = |patterns: &[&str]| patterns.iter().map(|&it| it.to_owned()).collect();
        ToolFilter { allow: allow.map(owned), deny: owned(deny) }
    }

    #[test]
    fn deny_comes_after_allow_and_no_layer_widens_another() {
        let read = filter(Some(&["read_*", "list_?"]), &["read_secret"]);
        for (layers, tool, allowed) in [
            (vec![], "anything", true),
            (vec![filter(None, &[])], "anything", true),
            (vec![filter(Some(&[]), &[])], "anything", false),
            (vec![filter(None, &["*"])], "anything", false),
            (vec![read.clone()], "read_file", true),
            (vec![read.clone()], "Read_file", false),
            (vec![read.clone()], "read_secret", false),
            (vec![read.clone()], "list_1", true),
            (vec![read.clone()], "list_12", false),
            (vec![read.clone()], "write_file", false),
            (vec![read.clone(), filter(Some(&["*"]), &[])], "write_file", false),
            (vec![read.clone(), filter(Some(&["read_file"]), &[])], "read_file", true),
            (vec![read.clone(), filter(Some(&["read_file"]), &[])], "read_dir", false),
            (vec![read.clone(), filter(None, &["*_dir"])], "read_dir", false),
            (vec![filter(Some(&["x_[!a]"]), &[])], "x_a", false),
            (vec![filter(Some(&["x_[!a]"]), &[])], "x_b", true),
        ] {
            let filter = EffectiveFilter { layers };
            assert_eq!(filter.allows(tool), allowed, "{filter:?} {tool}");
        }
    }

    #[test]
    fn names_that_no_tool_has_are_told_with_what_was_meant() {
        let layers = vec![filter(Some(&["read_flie", "list_*", "zzz"]), &["none_*"])];
        let filtered = EffectiveFilter { layers }.apply(["read_file", "write_file"]);
        assert_eq!(filtered.tools, Vec::<String>::new());
        let told: Vec<_> =
            filtered.unmatched.iter().map(|it| (it.name.as_str(), it.meant.as_deref())).collect();
        assert_eq!(told, [("read_flie", Some("read_file")), ("zzz", None)]);
    }
}
