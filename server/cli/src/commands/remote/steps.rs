//! The steps of a deploy, a start, a restart or a rollback, as the manager tells them.

use muxi_contract::management::ProblemKind;
use serde_json::Value;

use crate::client::answer;
use crate::client::manager::Told;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::plain;

/// Until the work is done; what came of it.
pub(crate) async fn follow(told: Told, context: &Context) -> Result<Value, Fault> {
    let mut events = match told {
        Told::Answer(answer) => return Ok(answer),
        Told::Steps(events) => events,
    };
    let mut steps = context.terminal.steps();
    loop {
        let frame = match events.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                steps.fail();
                return Err(Fault::new(
                    Exit::Unreachable,
                    "BrokenStream",
                    "the manager broke off before it was done",
                )
                .mend("muxi remote get   shows what came of it"));
            }
            Err(fault) => {
                steps.fail();
                return Err(fault.mend("muxi remote get   shows what came of it"));
            }
        };
        match frame.name.as_str() {
            "progress" => steps.begin(&told_of(&frame.data)),
            "complete" => {
                steps.finish();
                return Ok(frame.data);
            }
            "error" => {
                steps.fail();
                return Err(answer::fault(failed_status(&frame.data), &frame.data));
            }
            // Newer managers may tell more.
            _ => {}
        }
    }
}

fn told_of(progress: &Value) -> String {
    let text = progress["message"].as_str().or_else(|| progress["stage"].as_str());
    // The count of probes would be a line each.
    plain(text.unwrap_or("working").split(" (").next().unwrap_or_default())
}

/// Frames tell no status, but the name of the failure.
fn failed_status(data: &Value) -> u16 {
    serde_json::from_value(data["error"].clone()).map_or(422, ProblemKind::status)
}
