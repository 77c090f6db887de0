//! What an answer shows besides its words: a few small things, or none that are too large.

use serde_json::Value;

/// Published clients drop envelopes that hold more.
const WIDGETS_MAX: usize = 8;
const WIDGET_BYTES_MAX: usize = 4 * 1024;
const RESOURCE_BYTES_MAX: usize = 64 * 1024;
const SUM_BYTES_MAX: usize = 16 * 1024;
const RESOURCE_SUM_BYTES_MAX: usize = 128 * 1024;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Widgets {
    all: Vec<Value>,
    bytes: usize,
    resource_bytes: usize,
}

// === impl Widgets ===

impl Widgets {
    /// The widget if it fits, or why it is dropped as a whole.
    pub(super) fn came(&mut self, widget: Value) -> Result<Value, String> {
        let is_resource = widget.get("type").and_then(Value::as_str) == Some("mcp_resource");
        let bytes = widget.to_string().len();
        let (sum, one_max, sum_max) = if is_resource {
            (&mut self.resource_bytes, RESOURCE_BYTES_MAX, RESOURCE_SUM_BYTES_MAX)
        } else {
            (&mut self.bytes, WIDGET_BYTES_MAX, SUM_BYTES_MAX)
        };
        if bytes > one_max {
            return Err(format!("a widget of {bytes} bytes was left out; {one_max} are allowed"));
        }
        if self.all.len() >= WIDGETS_MAX || *sum + bytes > sum_max {
            return Err(
                "the answer has more widgets than clients take; others were left out".to_owned()
            );
        }
        *sum += bytes;
        self.all.push(widget.clone());
        Ok(widget)
    }

    pub(super) fn all(self) -> Vec<Value> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_large_is_dropped_as_a_whole() {
        let widget = |kind: &str, bytes: usize| json!({"type": kind, "text": "x".repeat(bytes)});
        let mut widgets = Widgets::default();
        assert!(widgets.came(widget("options", 5_000)).is_err());
        assert!(widgets.came(widget("mcp_resource", 60_000)).is_ok());
        for _ in 0..4 {
            assert!(widgets.came(widget("options", 3_900)).is_ok());
        }
        assert!(widgets.came(widget("options", 3_900)).is_err());
        assert_eq!(widgets.all().len(), 5);
    }
}
