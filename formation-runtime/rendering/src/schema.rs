//! How the tool is described to a model.

use serde_json::{Value, json};

use crate::format;
use crate::limits::LIMITS;

pub const NAME: &str = "generate_file";

pub const DESCRIPTION: &str = "Make a file for the user: a text, a table, data, source code, a \
spreadsheet or a chart. Give exactly one of `content`, `data`, `rows`, `sheets` and `chart`. The \
file is handed to the user with your answer, so do not repeat its content in it.";

/// JSON Schema of the arguments.
pub fn schema() -> Value {
    let formats: Vec<_> = format::all().collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["file_name"],
        "properties": {
            "file_name": {
                "type": "string",
                "description": "Name with extension, such as report.md, sales.xlsx or chart.png. \
                    The extension chooses the format."
            },
            "format": {
                "type": "string",
                "enum": formats,
                "description": "Only where the file name's extension does not say it."
            },
            "content": {
                "type": "string",
                "description": "The whole text of the file, for every text format (md, html, csv, \
                    json, source code …). Not for xlsx and png."
            },
            "from_markdown": {
                "type": "boolean",
                "description": "For html: `content` is Markdown and becomes a styled page."
            },
            "data": {
                "description": "Any JSON value, for json and yaml; a list, for jsonl. Safer than \
                    writing such a file as `content`."
            },
            "columns": columns(),
            "rows": rows("for csv, tsv, xlsx, json, jsonl and yaml"),
            "sheets": sheets(),
            "chart": chart(),
        }
    })
}

fn columns() -> Value {
    json!({
        "type": "array",
        "items": {"type": "string"},
        "description": "Names of the columns, in order; they become the header."
    })
}

fn rows(purpose: &str) -> Value {
    json!({
        "type": "array",
        // Some providers refuse lists that do not say what they hold.
        "items": {"type": ["array", "object"], "items": {}},
        "description": format!("The rows, {purpose}, without the header. Each is a list of cells or \
            an object from column to cell. A cell is text, a number, true, false or null. In xlsx, \
            an ISO date such as 2026-01-31 becomes a date, {{\"formula\": \"=SUM(B2:B9)\"}} a \
            formula, and {{\"text\": \"…\"}} stays text.")
    })
}

fn sheets() -> Value {
    json!({
        "type": "array",
        "maxItems": LIMITS.sheets,
        "description": "For xlsx with several sheets, or with column widths.",
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "rows"],
            "properties": {
                "name": {"type": "string", "description": "At most 31 characters, unique."},
                "columns": columns(),
                "rows": rows("of this sheet"),
                "column_widths": {
                    "type": "array",
                    "items": {"type": "number"},
                    "description": "In characters, from the first column on. Columns fit their \
                        content without them."
                }
            }
        }
    })
}

fn chart() -> Value {
    let side = |default: usize| {
        json!({
            "type": "integer",
            "minimum": LIMITS.pixels_min,
            "maximum": LIMITS.pixels,
            "default": default,
        })
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["kind", "series"],
        "description": "For png and svg.",
        "properties": {
            "kind": {
                "type": "string",
                "enum": ["bar", "horizontal_bar", "line", "area", "pie", "donut", "scatter",
                    "radar", "funnel"],
                "description": "bar and horizontal_bar compare, line and area show a course, pie, \
                    donut and funnel show shares of one series, scatter shows points, radar \
                    compares three or more measures."
            },
            "title": {"type": "string"},
            "subtitle": {"type": "string"},
            "labels": {
                "type": "array",
                "items": {"type": "string"},
                "description": "One for each value of a series. Not for scatter."
            },
            "series": {
                "type": "array",
                "minItems": 1,
                "maxItems": LIMITS.series,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "name": {"type": "string"},
                        "values": {
                            "type": "array",
                            "items": {"type": ["number", "null"]},
                            "description": "As many as there are labels; null where one is missing."
                        },
                        "points": {
                            "type": "array",
                            "items": {
                                "type": "array",
                                "items": {"type": "number"},
                                "minItems": 2,
                                "maxItems": 2
                            },
                            "description": "[x, y] each. Only for scatter, in place of `values`."
                        }
                    }
                }
            },
            "y_title": {
                "type": "string",
                "description": "What the upright axis measures, with its unit. For bar, line, \
                    area and scatter."
            },
            "stacked": {
                "type": "boolean",
                "description": "Series on top of each other. For bar, horizontal_bar, line, area."
            },
            "show_values": {"type": "boolean", "description": "Write the values beside the marks."},
            "theme": {"type": "string", "enum": ["light", "dark"]},
            "width": side(800),
            "height": side(500)
        }
    })
}
