//! What others answer: the manager, and the formation behind it.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::DATE;
use reqwest::{Response, Url};
use serde_json::Value;

use super::findings::Findings;
use crate::client::formation::{Formation, Key};
use crate::client::manager::{Manager, ManagerArgs};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::files::bundle::Bundle;
use crate::files::profiles::{ENVIRONMENT, LOCAL};
use crate::files::variable;

/// Signatures are refused when clocks differ by five minutes.
const SKEW_WRONG_S: i64 = 240;
const SKEW_UNSURE_S: i64 = 30;

/// The manager, if it can be used.
pub(super) async fn manager(
    args: &ManagerArgs,
    context: &Context,
    findings: &mut Findings,
) -> Option<Manager> {
    let manager = match args.manager(context) {
        Ok(manager) => manager,
        Err(fault) => {
            findings.fault("profile", &fault);
            return None;
        }
    };
    let (name, url) = (&manager.chosen.name, &manager.chosen.profile.url);
    findings.right("profile", format!("{name}, {url}, {}", why(args, name, context)));
    match manager.raw("/ping").await {
        Ok(response) => clock(&response, &manager.url, findings),
        Err(fault) => {
            findings.fault("manager", &fault);
            return None;
        }
    }
    match manager.get("/rpc/server/status").await {
        Ok(status) => {
            let (theirs, ours) =
                (status["server"]["version"].as_str().unwrap_or("?"), env!("CARGO_PKG_VERSION"));
            findings.right("key", format!("{} is accepted", manager.chosen.profile.key_id));
            if theirs.split('.').take(2).eq(ours.split('.').take(2)) {
                findings.right("versions", format!("manager {theirs}, muxi {ours}"));
            } else {
                findings
                    .unsure(
                        "versions",
                        format!("manager {theirs}, muxi {ours}: some commands may not fit"),
                    )
                    .mend("bring the older of them up to date");
            }
            Some(manager)
        }
        Err(fault) => {
            findings.fault("key", &fault);
            None
        }
    }
}

pub(super) async fn formation(
    formation: &Formation,
    manager: Option<&Manager>,
    findings: &mut Findings,
) {
    if let Some(manager) = manager
        && !formation.is_draft
        && !deployed(&formation.id, manager, findings).await
    {
        return;
    }
    let what = if formation.is_draft { "draft" } else { "formation" };
    match formation.get(Key::Client, "/sessions?limit=1").await {
        Ok(_) => findings.right("client key", format!("{what} {} accepts it", formation.id)),
        Err(fault) if fault.exit() == Exit::Unreachable => return findings.fault(what, &fault),
        Err(fault) => return findings.fault("client key", &fault),
    };
    match formation.get(Key::Admin, "/status").await {
        Ok(_) => findings.right("admin key", format!("{what} {} accepts it", formation.id)),
        Err(fault) => return findings.fault("admin key", &fault),
    };
    match formation.get(Key::Admin, "/requests?limit=1").await {
        Ok(requests) => model(&requests["requests"][0], findings),
        Err(fault) => findings.fault("model", &fault),
    }
}

// === private helpers ===

/// Only the formation can ask its model, and doing so may cost: its last answer tells what is known.
fn model(last: &Value, findings: &mut Findings) {
    match last["status"].as_str() {
        None => findings
            .unsure("model", "nobody has asked it anything yet")
            .mend("muxi chat Hello   tries it"),
        Some("failed") => {
            let error = last["error"].as_str().unwrap_or("no reason was kept");
            findings
                .wrong("model", format!("the last request failed: {error}"))
                .mend("muxi chat Hello   tries again")
                .mend("muxi logs   tells more")
        }
        Some(status) => findings.right("model", format!("the last request is {status}")),
    };
}

async fn deployed(id: &str, manager: &Manager, findings: &mut Findings) -> bool {
    match manager.get(&format!("/rpc/formations/{}", segment(id))).await {
        Ok(view) => {
            let status = view["status"].as_str().unwrap_or("?");
            let version = view["version"]["semantic"].as_str().unwrap_or("?");
            if status == "running" && view["healthy"] != false {
                findings.right("formation", format!("{id} {version} is running"));
                return true;
            }
            findings
                .wrong("formation", format!("{id} {version} is {status}"))
                .mend(format!("muxi remote logs {id}   tells why"))
                .mend(format!("muxi remote start {id}"));
            false
        }
        Err(fault) if fault.exit() == Exit::NotFound => {
            findings
                .unsure(
                    "formation",
                    format!("{id} is not deployed at {}", manager.chosen.profile.url),
                )
                .mend("muxi deploy   sends it there; muxi up   runs it as a draft");
            false
        }
        Err(fault) => {
            findings.fault("formation", &fault);
            false
        }
    }
}

fn clock(response: &Response, url: &Url, findings: &mut Findings) {
    let address = url.origin().ascii_serialization();
    let date = response.headers().get(DATE).and_then(|it| it.to_str().ok());
    let theirs = date.and_then(|it| rfc2822::parse(it).ok()).map(|it| it.timestamp());
    let Some(theirs) = theirs else {
        findings.right("manager", format!("{address} answers"));
        return;
    };
    let skew = Timestamp::now().as_second() - theirs.as_second();
    let side = if skew > 0 { "ahead of" } else { "behind" };
    let text = format!("{address} answers; this machine's clock is {} s {side} its", skew.abs());
    let mend =
        "set both clocks by a time server; signatures are refused when they differ by five minutes";
    match skew.abs() {
        SKEW_WRONG_S.. => findings.wrong("manager", text).mend(mend),
        SKEW_UNSURE_S.. => findings.unsure("manager", text).mend(mend),
        _ => findings.right("manager", format!("{address} answers; the clocks agree")),
    };
}

/// Which of the ways to name a profile was the one.
fn why(args: &ManagerArgs, name: &str, context: &Context) -> &'static str {
    let settings =
        Bundle::find(&context.folder).and_then(|it| it.settings().ok()).unwrap_or_default();
    if args.profile.is_some() {
        "named by --profile"
    } else if variable("MUXI_PROFILE").is_some() {
        "named by MUXI_PROFILE"
    } else if name == ENVIRONMENT {
        "from MUXI_SERVER_URL and its keys"
    } else if settings.profile.is_some() {
        "named by this folder's .muxi"
    } else if name == LOCAL {
        "the manager of this machine"
    } else {
        "the usual one"
    }
}
