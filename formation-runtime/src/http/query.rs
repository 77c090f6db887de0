//! Query parameters, with all faults told at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use muxi_contract::envelope::ValidationError;

use super::error::Problem;

#[derive(Debug, Default)]
pub(crate) struct Parameters {
    given: BTreeMap<String, String>,
    faults: Vec<ValidationError>,
}

// === impl Parameters ===

impl Parameters {
    /// Of a parameter that is given twice, the last one counts.
    pub(crate) fn of(uri: &Uri) -> Self {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let given = pairs.map(|pairs| pairs.0.into_iter().collect()).unwrap_or_default();
        Self { given, faults: Vec::new() }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<u32>, absent: u32) -> u32 {
        let Some(text) = self.text(name) else { return absent };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.unwrap_or_else(|| {
            let message = format!("must be a number from {} to {}", range.start(), range.end());
            self.fault(name, message);
            absent
        })
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.text(name) {
            None | Some("false" | "False" | "0") => false,
            Some("true" | "True" | "1") => true,
            Some(_) => {
                self.fault(name, "must be true or false".to_owned());
                false
            }
        }
    }

    /// A value that is written in its own form, such as an id.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let parsed = self.text(name)?.parse().map_err(|error: T::Err| error.to_string());
        parsed.map_err(|message| self.fault(name, message)).ok()
    }

    pub(crate) fn fault(&mut self, name: &str, message: String) {
        let (field, kind) = (format!("query.{name}"), "invalid".to_owned());
        self.faults.push(ValidationError { field, message, kind });
    }

    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid(&self.faults)) }
    }
}
