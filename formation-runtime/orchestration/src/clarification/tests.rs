use super::*;

fn state(options: &[&str]) -> State {
    let options = options.iter().map(ToString::to_string).collect();
    State::first(
        Kind::Direct,
        "Book a flight for the conference",
        "To which city?".into(),
        options,
        &Limits::default(),
    )
    .unwrap()
}

fn said(text: &str) -> Reply<'_> {
    Reply { text, pinned: None }
}

fn next(state: &State, reply: &Reply<'_>) -> Next {
    state.clone().next(reply, &Limits::default())
}

#[test]
fn an_answer_goes_on_with_the_request() {
    for (options, text, expected) in [
        (&[][..], "Paris, on Monday", "Paris, on Monday"),
        (&["Paris", "Rome"], "2", "Rome"),
        (&["Paris", "Rome"], "1.", "Paris"),
        (&["Paris", "Rome"], "ROME!", "Rome"),
        (&["Paris", "Rome"], "3", "3"),
        (&["Paris", "Rome"], "neither, London", "neither, London"),
        (&["Stop", "Go"], "stop", "Stop"),
        // A question about the question, and one that stays with the matter.
        (&[], "what do you mean by that?", "what do you mean by that?"),
        (&[], "which cities have flights at all?", "which cities have flights at all?"),
        (&[], "no", "no"),
        // However a request may begin, most answers begin so too.
        (&[], "please make it Friday at noon", "please make it Friday at noon"),
        (&[], "I want Friday at noon, two people", "I want Friday at noon, two people"),
        (&[], "Can you do Friday at noon?", "Can you do Friday at noon?"),
        (&[], "Book Oslo, and give me a window", "Book Oslo, and give me a window"),
        (&[], "help yourself, Friday noon works best", "help yourself, Friday noon works best"),
        (&[], "by the way, Rome is fine too", "by the way, Rome is fine too"),
        (&[], "Was Berlin kostet, nehme ich", "Was Berlin kostet, nehme ich"),
    ] {
        let Next::GoOn { state, message } = next(&state(options), &said(text)) else {
            panic!("{text}")
        };
        assert_eq!(state.answered[0].answer, expected);
        assert_eq!(
            message,
            format!(
                "Book a flight for the conference\n\nAsked \"To which city?\", the user answered: {expected}"
            )
        );
    }
}

#[test]
fn another_request_drops_the_question() {
    for text in [
        "New topic: my invoice",
        "Something else. Write a poem about autumn leaves",
        "Different question: what is the capital of Mongolia?",
        "Anderes Thema: schreib ein Gedicht",
    ] {
        assert_eq!(next(&state(&[]), &said(text)), Next::TopicSwitch, "{text}");
    }
    for text in ["cancel", "Never mind.", "vergiss es"] {
        assert_eq!(next(&state(&[]), &said(text)), Next::Cancelled, "{text}");
    }
}

#[test]
fn what_was_chosen_in_the_widget_counts_before_the_text() {
    let reply = Reply { text: "What is the capital of Mongolia?", pinned: Some("Rome") };
    let Next::GoOn { state: answered, .. } = next(&state(&["Paris", "Rome"]), &reply) else {
        panic!("no answer")
    };
    assert_eq!(answered.answered[0].answer, "Rome");
    // What was never offered is no choice.
    let reply = Reply { text: "Paris", pinned: Some("Atlantis") };
    let Next::GoOn { state: answered, .. } = next(&state(&["Paris", "Rome"]), &reply) else {
        panic!("no answer")
    };
    assert_eq!(answered.answered[0].answer, "Paris");
}

#[test]
fn rounds_end_and_the_work_goes_ahead() {
    let limits = Limits::default();
    let mut state = state(&[]);
    for round in 2..=3 {
        let Next::GoOn { state: answered, .. } = next(&state, &said("hm")) else {
            panic!("{round}")
        };
        let Next::Ask(asked) = answered.ask("And when?".into(), vec![], &limits) else {
            panic!("{round}")
        };
        assert_eq!(asked.rounds, round);
        state = asked;
    }
    let Next::GoOn { state, .. } = next(&state, &said("hm")) else { panic!("no answer") };
    let Next::TooManyRounds { message } = state.ask("And why?".into(), vec![], &limits) else {
        panic!("another round")
    };
    assert!(message.starts_with("Book a flight") && message.matches("answered: hm").count() == 3);
    assert!(message.contains("say what was assumed"));
}

#[test]
fn nothing_said_asks_again_and_counts() {
    let Next::Ask(again) = next(&state(&["Paris", "Rome"]), &said("  ")) else { panic!("no ask") };
    assert_eq!((again.rounds, again.options.len()), (2, 2));
    let Next::Ask(again) = next(&again, &said("")) else { panic!("no ask") };
    assert!(matches!(next(&again, &said("")), Next::TooManyRounds { .. }));
}

#[test]
fn who_may_not_be_asked_is_not() {
    let limits = Limits { other: 0, ..Limits::default() };
    assert_eq!(State::first(Kind::Other, "x", "y".into(), vec![], &limits), None);
}

#[test]
fn a_question_survives_a_restart() {
    let Next::GoOn { state, .. } = next(&state(&["a", "b"]), &said("a")) else {
        panic!("no answer")
    };
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
}
