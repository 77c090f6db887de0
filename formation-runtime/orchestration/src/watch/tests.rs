use serde_json::json;

use super::*;

fn condition(written: &Value) -> Result<Condition, InvalidCondition> {
    let written: WrittenCondition = serde_json::from_value(written.clone()).unwrap();
    Condition::try_from(&written)
}

#[test]
fn a_job_is_done_when_what_was_wanted_stands_there() {
    let answer = json!({
        "status": "done", "code": 3, "share": 1.0, "ok": true, "gone": null, "text": "true",
        "number": "7", "steps": [{"state": "passed"}], "set": {"a": 1},
    });
    for (written, holds) in [
        (json!({"path": "status", "equals": "done"}), true),
        (json!({"path": "status", "equals": "Done"}), false),
        (json!({"path": "status", "in": ["failed", "done"]}), true),
        (json!({"path": "status", "in": ["failed"]}), false),
        (json!({"path": "code", "equals": 3}), true),
        (json!({"path": "code", "equals": 3.0}), true),
        (json!({"path": "code", "equals": "3"}), true),
        (json!({"path": "number", "equals": 7}), true),
        (json!({"path": "code", "equals": "three"}), false),
        (json!({"path": "share", "equals": 1}), true),
        (json!({"path": "ok", "equals": true}), true),
        // A truth value is only ever another one.
        (json!({"path": "ok", "equals": "true"}), false),
        (json!({"path": "ok", "equals": 1}), false),
        (json!({"path": "text", "equals": true}), false),
        (json!({"path": "gone", "equals": null}), true),
        (json!({"path": "gone", "equals": "null"}), false),
        // What is not there is not done, whatever is wanted.
        (json!({"path": "missing", "equals": null}), false),
        (json!({"path": "steps[0].state", "equals": "passed"}), true),
        (json!({"path": "steps.-1.state", "equals": "passed"}), true),
        (json!({"path": "set", "equals": {"a": 1}}), true),
    ] {
        assert_eq!(condition(&written).unwrap().holds(&answer), holds, "{written}");
    }
}

#[test]
fn a_condition_that_cannot_be_is_refused_by_name() {
    for (written, fault) in [
        (json!({"equals": 1}), InvalidCondition::NoPath),
        (json!({"path": 7, "equals": 1}), InvalidCondition::NoPath),
        (json!({"path": "a"}), InvalidCondition::Test),
        (json!({"path": "a", "equals": 1, "in": [1]}), InvalidCondition::Test),
        (json!({"path": "a", "in": []}), InvalidCondition::Values),
        (json!({"path": "a", "in": "done"}), InvalidCondition::Values),
        (json!({"path": "a", "is": 1}), InvalidCondition::Unknown("is".to_owned())),
        (json!({"path": "a..b", "equals": 1}), InvalidCondition::Path(InvalidJsonPath::EmptyPart)),
    ] {
        assert_eq!(condition(&written), Err(fault), "{written}");
    }
}

const PACE: Pace = Pace { interval_ms: 30_000, timeout_ms: 100_000, failures_max: 3 };

fn check(failures: u32, seen: Seen<'_>, now_ms: i64, next: &Next) {
    let condition = condition(&json!({"path": "state", "equals": "done"})).unwrap();
    let watched =
        Watched { condition: &condition, result: None, pace: PACE, since_ms: 0, failures };
    assert_eq!(watched.next(seen, now_ms), *next, "{seen:?} at {now_ms}");
}

#[test]
fn one_looks_in_steady_steps_and_a_last_time_at_the_end() {
    let (waiting, done) = (json!({"state": "busy"}), json!({"state": "done"}));
    check(0, Seen::Answer(&waiting), 0, &Next::Look { at_ms: 30_000, failures: 0 });
    check(0, Seen::Answer(&waiting), 90_000, &Next::Look { at_ms: 100_000, failures: 0 });
    check(0, Seen::Answer(&waiting), 100_000, &Next::TimedOut);
    // Done is done, also when nobody could look for long.
    check(0, Seen::Answer(&done), 900_000, &Next::Done { result: done.clone() });
}

#[test]
fn only_failures_in_a_row_are_the_end() {
    let waiting = json!({"state": "busy"});
    check(0, Seen::Failed("no"), 0, &Next::Look { at_ms: 30_000, failures: 1 });
    check(1, Seen::Failed("no"), 0, &Next::Look { at_ms: 30_000, failures: 2 });
    check(2, Seen::Answer(&waiting), 0, &Next::Look { at_ms: 30_000, failures: 0 });
    let reason = "3 looks in a row failed, the last one: no".to_owned();
    check(2, Seen::Failed("no"), 0, &Next::Failed { reason });
    check(0, Seen::Failed("no"), 100_000, &Next::TimedOut);
    let reason = "not allowed any more".to_owned();
    check(0, Seen::Refused(&reason), 0, &Next::Failed { reason: reason.clone() });
}

#[test]
fn only_the_part_that_was_asked_for_comes_back() {
    let condition = condition(&json!({"path": "state", "equals": "done"})).unwrap();
    let answer = json!({"state": "done", "url": "https://example.org/1"});
    for (path, result) in [("url", json!("https://example.org/1")), ("missing", json!(null))] {
        let path: JsonPath = path.parse().unwrap();
        let watched = Watched {
            condition: &condition,
            result: Some(&path),
            pace: PACE,
            since_ms: 0,
            failures: 0,
        };
        assert_eq!(watched.next(Seen::Answer(&answer), 0), Next::Done { result });
    }
}
