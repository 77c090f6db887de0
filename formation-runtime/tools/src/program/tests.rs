use std::path::Path;

use super::*;

/// A shell is the program here, as any other could be.
fn order(folder: &Path, script: &str) -> Order {
    Order {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("GIVEN".to_owned(), "a value".into())],
        folder: folder.to_owned(),
        stdin: None,
    }
}

async fn run(order: Order) -> (Vec<String>, Vec<String>, ExitStatus) {
    let mut program = Program::start(order).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = program
        .run(&mut |printed, line| {
            let line = String::from_utf8_lossy(line).into_owned();
            if printed == Printed::Out { out.push(line) } else { err.push(line) }
        })
        .await
        .unwrap();
    (out, err, status)
}

/// The process that the script wrote down, as soon as it has.
async fn written_pid(file: &Path) -> Identity {
    loop {
        if let Ok(text) = std::fs::read_to_string(file)
            && text.ends_with('\n')
        {
            return Identity::of(text.trim().parse().unwrap());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_gone(identity: &Identity) {
    while identity.is_alive() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn it_reads_what_it_is_given_and_what_it_prints_comes_in_lines() {
    let folder = tempfile::tempdir().unwrap();
    let script = "cat; echo; pwd; printf 'no end'; echo fault >&2; exit 3";
    let order = Order { stdin: Some("one\ntwo".to_owned()), ..order(folder.path(), script) };
    let (out, err, status) = run(order).await;
    let inside = folder.path().canonicalize().unwrap();
    assert_eq!(out, ["one", "two", inside.to_str().unwrap(), "no end"]);
    assert_eq!(err, ["fault"]);
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn nothing_of_our_environment_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _, _) = run(order(folder.path(), "env")).await;
    let names: Vec<&str> = out.iter().filter_map(|line| line.split('=').next()).collect();
    // The shell adds some of its own.
    let known = [INHERITED, &["GIVEN", "PWD", "OLDPWD", "SHLVL", "_"]].concat();
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(out.contains(&"GIVEN=a value".to_owned()), "{out:?}");
    assert!(out.contains(&format!("PWD={}", folder.path().display())), "{out:?}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let order = Order { program: "no-such-program".to_owned(), ..order(folder.path(), "") };
    let error = Program::start(order).unwrap_err().to_string();
    assert_eq!(
        error,
        "`no-such-program` cannot be started: it is not there; install it, or name its full path"
    );
}

#[tokio::test]
async fn a_stop_ends_the_whole_group_also_those_who_do_not_want_to() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' &
        wait; while :; do sleep 1; done";
    let mut program = Program::start(order(folder.path(), script)).unwrap();
    let grandchild = written_pid(&folder.path().join("child")).await;
    let leader = program.identity().clone();
    assert!(leader.is_alive() && grandchild.is_alive());
    program.stop(Duration::from_millis(100)).await;
    assert!(!leader.is_alive());
    until_gone(&grandchild).await;
}

#[tokio::test]
async fn a_group_ends_with_who_dropped_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = "sh -c 'echo $$ > child; sleep 600' & wait";
    let program = Program::start(order(folder.path(), script)).unwrap();
    let grandchild = written_pid(&folder.path().join("child")).await;
    drop(program);
    until_gone(&grandchild).await;
}

#[tokio::test]
async fn what_is_left_behind_ends_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    // It holds the output open, so that waiting for its end would take ten minutes.
    let script = "sh -c 'echo $$ > child; sleep 600' & while ! [ -s child ]; do :; done; echo done";
    let (out, _, status) = run(order(folder.path(), script)).await;
    assert_eq!((out, status.success()), (vec!["done".to_owned()], true));
    until_gone(&written_pid(&folder.path().join("child")).await).await;
}

#[tokio::test]
async fn another_process_can_end_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(order(folder.path(), "sleep 600")).unwrap();
    let told = serde_json::to_string(program.identity()).unwrap();
    let found: Identity = serde_json::from_str(&told).unwrap();
    assert!(found.kill());
    let status = program.run(&mut |_, _| {}).await.unwrap();
    assert!(!status.success());
    assert!(!found.kill(), "nobody is killed twice");
}

#[tokio::test]
async fn a_flood_without_line_ends_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let script = "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo end";
    let (out, _, _) = run(order(folder.path(), script)).await;
    let lengths: Vec<usize> = out.iter().map(String::len).collect();
    assert_eq!(lengths, [LINE_BYTES_MAX, 3]);
}
