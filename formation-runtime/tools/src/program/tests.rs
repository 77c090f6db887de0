use std::path::Path;

use super::*;
use crate::sandbox::Launcher;

/// A shell is the program here, as any other could be.
fn order(folder: &Path, script: &str) -> Order {
    Order {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("GIVEN".to_owned(), "a value".into())],
        stdin: None,
        walls: walls(folder),
    }
}

/// The folder is its work folder, and the folder itself is a secret.
fn walls(folder: &Path) -> Walls {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap();
    let work = folder.join("work");
    std::fs::create_dir_all(&work).unwrap();
    Walls {
        launcher: Launcher { program: built.join("examples/confine"), arguments: Vec::new() },
        hidden: vec![folder.to_owned()],
        work,
        place: folder.join("place"),
        timeout: Duration::from_mins(10),
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
    let inside = folder.path().join("work").canonicalize().unwrap();
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
    let known =
        [INHERITED, &["PATH", "HOME", "TMPDIR", "GIVEN", "PWD", "OLDPWD", "SHLVL", "_"]].concat();
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(out.contains(&"GIVEN=a value".to_owned()), "{out:?}");
    assert!(out.contains(&format!("PWD={}", folder.path().join("work").display())), "{out:?}");
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
async fn a_stop_ends_the_whole_session_also_those_who_do_not_want_to() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' &
        wait; while :; do sleep 1; done";
    let mut program = Program::start(order(folder.path(), script)).unwrap();
    let grandchild = written_pid(&folder.path().join("work/child")).await;
    let leader = program.identity().clone();
    assert!(leader.is_alive() && grandchild.is_alive());
    program.stop(Duration::from_millis(100)).await;
    assert!(!leader.is_alive());
    until_gone(&grandchild).await;
}

#[tokio::test]
async fn a_session_ends_with_who_dropped_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = "sh -c 'echo $$ > child; sleep 600' & wait";
    let program = Program::start(order(folder.path(), script)).unwrap();
    let grandchild = written_pid(&folder.path().join("work/child")).await;
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
    until_gone(&written_pid(&folder.path().join("work/child")).await).await;
}

#[tokio::test]
async fn another_process_can_end_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo $$ > child; exec sleep 600";
    let mut program = Program::start(order(folder.path(), script)).unwrap();
    written_pid(&folder.path().join("work/child")).await;
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

#[tokio::test]
async fn it_writes_in_its_own_folders_and_reads_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), "secret").unwrap();
    let script = "echo a > a && echo b > $HOME/b && echo c > $TMPDIR/c && cat a $HOME/b $TMPDIR/c
         cat ../keys.json; echo x > ../new; echo x > ../place/report; ls ..
         printf '#!/bin/sh\\necho made here\\n' > tool && chmod +x tool && ./tool";
    let (out, err, _) = run(order(folder.path(), script)).await;
    assert_eq!(out, ["a", "b", "c", "made here"], "{err:?}");
    assert_eq!(err.iter().filter(|it| it.contains("ermission denied")).count(), 4, "{err:?}");
    assert!(!folder.path().join("new").exists());
}

#[tokio::test]
async fn it_has_a_network_but_no_socket_at_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "exec perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or print qq(refused\\n);
         socket(T, AF_INET, SOCK_STREAM, 0); connect(T, sockaddr_in({port}, INADDR_LOOPBACK))
         and print qq(connected\\n)'"
    );
    let (out, err, _) = run(order(folder.path(), &script)).await;
    assert_eq!(out, ["refused", "connected"], "{err:?}");
}

#[tokio::test]
async fn groups_within_it_end_with_it_and_nobody_leaves_its_session() {
    let folder = tempfile::tempdir().unwrap();
    // A time limit makes a group of its own, and ends that alone.
    let script = "timeout 0.05 sleep 600; echo $?; timeout 600 sh -c 'echo $$ > child; exec sleep 600' &
         while ! [ -s child ]; do :; done
         perl -MPOSIX -e 'fork() or POSIX::setsid() == -1 and print qq(stays\\n); wait' | grep stays; echo end";
    let (out, err, status) = run(order(folder.path(), script)).await;
    assert_eq!(
        (out, status.success()),
        (["124", "stays", "end"].map(str::to_owned).to_vec(), true),
        "{err:?}"
    );
    until_gone(&written_pid(&folder.path().join("work/child")).await).await;
}

#[tokio::test]
async fn what_cannot_be_confined_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut order = order(folder.path(), "echo run");
    order.walls.launcher.program = "/bin/false".into();
    let mut program = Program::start(order).unwrap();
    let error = program.run(&mut |_, _| panic!("it was run")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program could not be confined, so it was not run: the launcher ended early"
    );
}
