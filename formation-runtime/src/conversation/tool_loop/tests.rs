use muxi_orchestration::loop_guard::Caps;
use serde_json::json;

use super::*;

fn tool_loop(rounds: u32) -> ToolLoop {
    let caps = Caps { iterations: rounds, calls: 10, repeated_errors: 2, total_ms: 1_000 };
    ToolLoop::new(vec![Message::user("Q")], Guard::new(caps, 0))
}

fn wants(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

/// `read` may be called, `write` must be approved, `drop` may not be called; a tainted loop asks for all.
fn judge(name: &str, _: &Map<String, Value>, is_tainted: bool) -> Option<Verdict> {
    let action = match name {
        "read" if is_tainted => Action::Ask,
        "read" => Action::Allow,
        "write" => Action::Ask,
        "drop" => Action::Deny,
        _ => return None,
    };
    Some(Verdict { action, because: "rule 1".to_owned() })
}

fn numbers(planned: &[Planned]) -> Vec<usize> {
    planned.iter().map(|it| it.number).collect()
}

/// What the model reads, without the question.
fn read(tool_loop: &ToolLoop) -> Vec<String> {
    let messages = tool_loop.messages().into_iter().skip(1);
    messages.map(|it| format!("{:?}: {}", it.role, it.content)).collect()
}

#[test]
fn words_alone_are_the_answer() {
    let mut tool_loop = tool_loop(5);
    assert_eq!(tool_loop.answered("Hello", Vec::new(), &judge, 0), Next::Done);
    assert_eq!(read(&tool_loop), ["Assistant: Hello"]);
}

#[test]
fn every_call_has_one_result_in_the_order_in_which_it_was_asked_for() {
    let mut tool_loop = tool_loop(5);
    let calls = vec![
        wants("1", "read", "{}"),
        wants("2", "nothing", "{}"),
        wants("3", "read", "[1]"),
        wants("4", "read", "{\"a"),
        wants("5", "drop", "{}"),
        wants("6", "read", ""),
    ];
    let Next::Call(planned) = tool_loop.answered("", calls, &judge, 0) else { panic!() };
    assert_eq!(numbers(&planned), [0, 5]);
    let outcome = Outcome::told("fine");
    assert_eq!(tool_loop.called(5, &outcome, false, "six".to_owned()), Next::Nothing);
    assert_eq!(tool_loop.called(0, &outcome, false, "one".to_owned()), Next::Ask);
    let messages = tool_loop.messages();
    let ids: Vec<_> = messages.iter().filter_map(|it| it.tool_call_id.as_deref()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6"]);
    let failed: Vec<bool> = messages.iter().skip(2).map(|it| it.is_error).collect();
    assert_eq!(failed, [false, true, true, true, true, false]);
    let told = read(&tool_loop);
    assert_eq!((told[1].as_str(), told[6].as_str()), ("Tool: one", "Tool: six"));
    assert!(told[2].contains("there is no tool `nothing`"), "{told:?}");
    assert!(told[3].contains("no object") && told[4].contains("not JSON"), "{told:?}");
    assert!(told[5].contains("does not allow it (rule 1)"), "{told:?}");
}

#[test]
fn what_is_free_is_called_before_somebody_is_asked_and_a_refusal_is_a_result() {
    let mut tool_loop = tool_loop(5);
    let calls = vec![wants("1", "write", "{\"x\": 1}"), wants("2", "read", "{}")];
    let Next::Call(planned) = tool_loop.answered("", calls, &judge, 0) else { panic!() };
    assert_eq!(numbers(&planned), [1]);
    let outcome = Outcome::told("fine");
    let Next::Hold(held) = tool_loop.called(1, &outcome, false, "two".to_owned()) else { panic!() };
    assert_eq!((held[0].number, held[0].because.as_deref()), (0, Some("rule 1")));
    // Put away and taken up by another process.
    let kept = serde_json::to_string(&tool_loop).unwrap();
    let mut refused: ToolLoop = serde_json::from_str(&kept).unwrap();
    assert_eq!(refused.decided(false, Some("not today")), Next::Ask);
    let told = read(&refused);
    assert!(told[1].contains("did not allow") && told[1].contains("not today"), "{told:?}");
    assert_eq!(told[2], "Tool: two");
    let Next::Call(planned) = tool_loop.decided(true, None) else { panic!() };
    assert_eq!((planned[0].tool.as_str(), &planned[0].arguments["x"]), ("write", &json!(1)));
}

#[test]
fn words_of_others_taint_what_follows() {
    let mut tool_loop = tool_loop(5);
    let Next::Call(_) = tool_loop.answered("", vec![wants("1", "read", "{}")], &judge, 0) else {
        panic!()
    };
    let outcome = Outcome { is_trusted: false, ..Outcome::told("call read again") };
    assert_eq!(tool_loop.called(0, &outcome, true, "fenced".to_owned()), Next::Ask);
    assert!(tool_loop.is_tainted());
    let next = tool_loop.answered("", vec![wants("2", "read", "{}")], &judge, 0);
    assert!(matches!(next, Next::Hold(_)), "{next:?}");
}

#[test]
fn a_loop_that_goes_on_for_too_long_is_stopped_with_the_reason() {
    let mut tool_loop = tool_loop(2);
    for _ in 0..2 {
        let next = tool_loop.answered("", vec![wants("1", "read", "{}")], &judge, 0);
        assert!(matches!(next, Next::Call(_)), "{next:?}");
        assert_eq!(tool_loop.called(0, &Outcome::told("x"), false, "x".to_owned()), Next::Ask);
    }
    let next = tool_loop.answered("", vec![wants("2", "read", "{}")], &judge, 0);
    assert_eq!((next, tool_loop.stopped().is_some()), (Next::Ask, true));
    let told = read(&tool_loop).pop().unwrap();
    assert!(told.contains("not made") && told.contains("No more tools can be used"), "{told}");
    // Who asks all the same has had its last word.
    let next = tool_loop.answered("So far", vec![wants("2", "read", "{}")], &judge, 0);
    assert_eq!(next, Next::Done);
}

#[test]
fn the_same_error_again_and_again_ends_it() {
    let mut tool_loop = tool_loop(9);
    for _ in 0..2 {
        tool_loop.answered("", vec![wants("1", "read", "{}")], &judge, 0);
        tool_loop.called(0, &Outcome::refused("no such file"), false, "no".to_owned());
    }
    assert!(tool_loop.stopped().is_some(), "{:?}", read(&tool_loop));
}

#[test]
fn nobody_knows_what_became_of_a_call_that_a_restart_cut_off() {
    let mut tool_loop = tool_loop(5);
    tool_loop.answered("", vec![wants("1", "read", "{}")], &judge, 0);
    assert_eq!(tool_loop.interrupted(), Next::Ask);
    assert!(read(&tool_loop)[1].contains("not known"), "{:?}", read(&tool_loop));
}

#[test]
fn what_an_agent_that_was_asked_waits_for_is_asked_for_and_decided_with_the_rest() {
    for is_approved in [true, false] {
        let mut inner = tool_loop(5);
        let Next::Hold(_) = inner.answered("", vec![wants("1", "write", "{\"x\": 1}")], &judge, 0)
        else {
            panic!()
        };
        let mut outer = tool_loop(5);
        let calls = vec![wants("1", "read", "{}"), wants("2", "write", "{\"x\": 2}")];
        let Next::Call(_) = outer.answered("", calls, &judge, 0) else { panic!() };
        assert!(outer.take_deeper(0).is_none());
        let Next::Hold(held) = outer.waits(0, Box::new(inner)) else { panic!() };
        let shown: Vec<_> =
            held.iter().map(|it| (it.tool.as_str(), it.because.as_deref().unwrap())).collect();
        assert_eq!(shown, [("write", "rule 1, within `read`"), ("write", "rule 1")]);
        // Put away with all that is in it.
        let kept = serde_json::to_string(&outer).unwrap();
        let mut outer: ToolLoop = serde_json::from_str(&kept).unwrap();
        let Next::Call(planned) = outer.decided(is_approved, None) else { panic!() };
        assert_eq!(numbers(&planned), if is_approved { vec![0, 1] } else { vec![0] });
        let mut inner = outer.take_deeper(0).unwrap();
        assert!(outer.take_deeper(0).is_none());
        let caps = Caps { iterations: 5, calls: 10, repeated_errors: 2, total_ms: 1_000 };
        let next = inner.resumed(Guard::new(caps, 0));
        if is_approved {
            let Next::Call(planned) = next else { panic!("{next:?}") };
            assert_eq!(planned[0].arguments["x"], 1);
        } else {
            assert_eq!(next, Next::Ask);
        }
    }
}
