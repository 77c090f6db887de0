//! What the tests of several tools have in common.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::tool::Call;

/// A call of the user `alice` in a session that is the same in a whole test.
pub(crate) fn call(arguments: Value) -> Call {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    Call {
        arguments,
        user: "alice".parse().unwrap(),
        session: "sess_1".parse().unwrap(),
        request: "req_1".parse().unwrap(),
        agent: "helper".into(),
        depth: 0,
        time_left: Duration::from_mins(1),
        cancelled: CancellationToken::new(),
    }
}
