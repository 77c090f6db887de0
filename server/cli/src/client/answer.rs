//! Both APIs' answers: what they hold, and what is wrong when they tell a failure.

use reqwest::{Response, Url};
use serde_json::{Value, json};

use super::unreachable;
use crate::exit::Exit;
use crate::fault::Fault;

const BYTES_MAX: usize = 64 * 1024 * 1024;

/// `data` of a success; a document without an envelope as it is. Failures become faults.
pub(crate) async fn data(url: &Url, response: Response) -> Result<Value, Fault> {
    let status = response.status().as_u16();
    let body = body(url, response).await?;
    let document = serde_json::from_slice::<Value>(&body);
    if (200..300).contains(&status) {
        return match document {
            Ok(mut document) if document["data"].is_object() || document["data"].is_array() => {
                Ok(document["data"].take())
            }
            Ok(document) => Ok(document),
            Err(_) if body.is_empty() => Ok(json!({})),
            Err(_) => Err(no_json(url)),
        };
    }
    Err(document.map_or_else(|_| of_text(url, status, &body), |document| fault(status, &document)))
}

/// A failure as the manager or a formation tells it.
pub(crate) fn fault(status: u16, document: &Value) -> Fault {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let error = &document["error"];
    // Some routes have a sentence where others have a name.
    let name = text(error).filter(|it| !it.contains(char::is_whitespace));
    let code = text(&error["code"]).or(name).unwrap_or_else(|| format!("HTTP{status}"));
    let message = text(&error["message"])
        .or_else(|| text(&document["message"]))
        .or_else(|| text(error))
        .unwrap_or_else(|| format!("it answered with status {status}"));
    let mut lines = message.lines().map(str::to_owned);
    let message = lines.next().unwrap_or_default();
    let details = document["details"].as_array().into_iter().flatten().filter_map(text);
    let invalid = error["data"]["validation_errors"].as_array().into_iter().flatten();
    let invalid = invalid.map(|it| {
        format!(
            "{}: {}",
            it["field"].as_str().unwrap_or("body"),
            it["message"].as_str().unwrap_or("invalid")
        )
    });
    let of_status = Exit::of_status(status);
    let exit = match code.as_str() {
        // What cannot be done to a thing in its state is told with a status of its own.
        "OPERATION_FAILED" => Exit::Conflict,
        // A formation was reached, and tells of its model or its memory.
        _ if of_status == Exit::Unreachable && error.is_object() => Exit::Failed,
        _ => of_status,
    };
    Fault::new(exit, &code, message).details(lines.chain(details).chain(invalid))
}

/// A proxy in between, or something that is no MUXI at all.
fn of_text(url: &Url, status: u16, body: &[u8]) -> Fault {
    let text = crate::terminal::format::cut(&String::from_utf8_lossy(body), 200);
    let message = format!("{} answered with status {status}", url.origin().ascii_serialization());
    let fault = Fault::new(Exit::of_status(status), &format!("HTTP{status}"), message);
    if text.is_empty() { fault } else { fault.details([text]) }
}

fn no_json(url: &Url) -> Fault {
    let message =
        format!("what answers at {} is no MUXI server", url.origin().ascii_serialization());
    Fault::new(Exit::Failed, "NotMuxi", message)
        .mend("look at the address of the profile: muxi profiles list")
}

async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|it| unreachable(url, &it))? {
        if body.len() + chunk.len() > BYTES_MAX {
            return Err(Fault::failed(format!("the answer has more than {BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_apis_failures_are_understood() {
        let of_manager = json!({"success": false, "error": "BundleInvalid", "message": "It has faults",
            "code": 422, "details": ["formation.afs:1:1: x"]});
        let told = fault(422, &of_manager);
        assert_eq!(told.to_text(), "It has faults\n  formation.afs:1:1: x");
        assert_eq!((told.code(), told.exit()), ("BundleInvalid", Exit::Failed));

        let of_formation = json!({"success": false, "error": {"code": "VALIDATION_ERROR", "message": "Wrong",
            "data": {"validation_errors": [{"field": "message", "message": "is missing"}]}}, "data": {}});
        let told = fault(422, &of_formation);
        assert_eq!(told.to_text(), "Wrong\n  message: is missing");

        assert_eq!(fault(501, &json!({})).exit(), Exit::NotBuilt);
    }
}
