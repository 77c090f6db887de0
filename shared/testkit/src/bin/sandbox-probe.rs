//! A runtime that first tries what it must not be able to do, and then becomes the real one.
//!
//! It writes what came of each attempt to `probe.json` in its data folder. A file `task` there names
//! something more to do: use up open files, processes, memory, one file, or the disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, getppid, kill_process};
use serde_json::{Map, Value, json};

const PIECE_BYTES: usize = 1 << 20;
/// Far beyond every limit that a test sets.
const PIECES_MAX: usize = 1_024;
const COUNT_MAX: usize = 1_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = std::env::current_exe()?.with_file_name("formation-runtime");
    if let Some(at) = arguments.iter().position(|it| it == "--data-dir") {
        let (generation, data) = (Path::new(&arguments[0]), Path::new(&arguments[at + 1]));
        let mut results = attempts(generation, data);
        if let Ok(task) = fs::read_to_string(data.join("task")) {
            // Told before it is done: it may be the end of this process.
            write(data, &results)?;
            results.insert("task".to_owned(), perform(task.trim(), data));
        }
        write(data, &results)?;
    }
    Err(Command::new(runtime).args(arguments).exec().into())
}

fn write(data: &Path, results: &Map<String, Value>) -> io::Result<()> {
    let draft = data.join("probe.draft");
    fs::write(&draft, serde_json::to_vec(results)?)?;
    fs::rename(draft, data.join("probe.json"))
}

/// Every attempt with `ok` or the kernel's answer.
fn attempts(generation: &Path, data: &Path) -> Map<String, Value> {
    let root = data.ancestors().nth(3).expect("the data folder of the manager");
    let installation = root.parent().expect("the test's own folder");
    let temp = std::env::var("TMPDIR").map(PathBuf::from).unwrap_or_default();
    let var = |name| std::env::var(name).map(PathBuf::from).unwrap_or_default();
    let manager = getppid();
    let signal = |pid: Option<Pid>| {
        pid.map_or(Err(io::ErrorKind::NotFound.into()), |pid| {
            kill_process(pid, Signal::WINCH).map_err(io::Error::from)
        })
    };
    let list = |path: &Path| fs::read_dir(path).map(|_| ());
    let read = |path: &Path| fs::read(path).map(|_| ());
    // Where it succeeds, nothing may be left.
    let make = |folder: &Path| {
        let path = folder.join(format!("muxi-sandbox-probe-{}", std::process::id()));
        File::options().write(true).create_new(true).open(&path)?;
        fs::remove_file(path)
    };
    let manager_pid = manager.map_or(0, |pid| pid.as_raw_nonzero().get());
    let mut results = Map::new();
    let mut note = |name: &str, result: io::Result<()>| {
        let text = result.map_or_else(|error| error_name(&error), |()| "ok".to_owned());
        results.insert(name.to_owned(), Value::String(text));
    };

    note("read the manager's database", read(&root.join("manager.db")));
    note("read the manager's configuration", read(&installation.join("config/config.yaml")));
    note("read a webhook's secret", read(&installation.join("extra/webhook.secret")));
    note("list the formations", list(&root.join("formations")));
    note("list another's data", list(&root.join("formations/other/data")));
    note(
        "read another's manifest",
        read(&root.join("formations/other/generations/1/formation.afs")),
    );
    note("list the logs", list(&root.join("logs")));
    note("list the sockets", list(&root.join("run")));
    note("list /root", list(Path::new("/root")));
    note("read /etc/shadow", read(Path::new("/etc/shadow")));
    note("write to /tmp", make(Path::new("/tmp")));
    note("write to /usr", make(Path::new("/usr")));
    note("write to the generation", make(generation));
    note("change the manifest", append(&generation.join("formation.afs")));
    note("signal the manager", signal(manager));
    let environ = format!("/proc/{manager_pid}/environ");
    note("read the manager's environment", read(Path::new(&environ)));
    note("make a user namespace", run(Command::new("unshare").args(["-U", "true"])));
    note("run a written file", write_and_run(&temp.join("program")));

    note("read the manifest", read(&generation.join("formation.afs")));
    note("list the generation", list(generation));
    note("write to the data folder", fs::write(data.join("own"), "x"));
    note("move within the data folder", move_within(data));
    note("write to the temporary folder", fs::write(temp.join("own"), "x"));
    note("read /etc/passwd", read(Path::new("/etc/passwd")));
    note("write to /dev/null", fs::write("/dev/null", "x"));
    note("run a program", run(&mut Command::new("true")));
    let child = Command::new("sleep").arg("60").spawn();
    note("signal a child", child.and_then(|mut child| child.kill().and(child.wait().map(|_| ()))));
    note("reach the model host", UnixStream::connect(var("MUXI_MODEL_HOST")).map(|_| ()));
    // A path that the machine's administrator allowed beside the usual.
    note("read an extra path", read(&installation.join("extra/file")));

    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for name in ["Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        results.insert(name.to_owned(), Value::String(value));
    }
    results.insert("TMPDIR".to_owned(), json!(temp));
    results
}

/// How far it came, and why no further.
fn perform(task: &str, data: &Path) -> Value {
    let mut reached = 0;
    let mut refused = "nothing".to_owned();
    let mut step = |result: io::Result<()>| match result {
        Ok(()) => {
            reached += 1;
            true
        }
        Err(error) => {
            refused = error_name(&error);
            false
        }
    };
    match task {
        "files" => {
            let mut held = Vec::new();
            while held.len() < COUNT_MAX && step(File::open("/dev/null").map(|it| held.push(it))) {}
        }
        "processes" => {
            let mut held = Vec::new();
            let start = || Command::new("sleep").arg("60").stdout(Stdio::null()).spawn();
            let mut starting = true;
            while starting && held.len() < COUNT_MAX {
                starting = step(start().map(|child| held.push(child)));
            }
            for mut child in held {
                child.kill().and_then(|()| child.wait()).expect("our own child");
            }
        }
        "memory" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            let mut more = || {
                let mut piece = Vec::new();
                piece.try_reserve_exact(PIECE_BYTES).map_err(|_| io::ErrorKind::OutOfMemory)?;
                piece.resize(PIECE_BYTES, 1);
                held.push(piece);
                Ok(held.len())
            };
            while step(more().and_then(|count| {
                if count < PIECES_MAX { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
            })) {}
        }
        "file" => {
            let piece = vec![1; PIECE_BYTES];
            let file = File::create(data.join("large"));
            let Ok(mut file) = file else { return json!("no file") };
            for _ in 0..PIECES_MAX {
                if !step(file.write_all(&piece)) {
                    break;
                }
            }
        }
        "disk" => {
            for number in 0..12 {
                step(fs::write(data.join(format!("many-{number}")), vec![1; PIECE_BYTES]));
            }
        }
        other => return json!(format!("unknown task {other}")),
    }
    json!({"reached": reached, "refused": refused})
}

fn append(path: &Path) -> io::Result<()> {
    File::options().append(true).open(path).map(|_| ())
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

fn write_and_run(path: &Path) -> io::Result<()> {
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o755).open(path)?;
    file.write_all(b"#!/bin/sh\nexit 0\n")?;
    drop(file);
    run(&mut Command::new(path))
}

fn move_within(data: &Path) -> io::Result<()> {
    fs::create_dir_all(data.join("folder"))?;
    fs::rename(data.join("own"), data.join("folder/own"))
}

fn error_name(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |it| {
            let errno = rustix::io::Errno::from_raw_os_error(it);
            match errno {
                rustix::io::Errno::ACCESS => "EACCES".to_owned(),
                rustix::io::Errno::PERM => "EPERM".to_owned(),
                rustix::io::Errno::NOENT => "ENOENT".to_owned(),
                rustix::io::Errno::AGAIN => "EAGAIN".to_owned(),
                rustix::io::Errno::MFILE => "EMFILE".to_owned(),
                rustix::io::Errno::ROFS => "EROFS".to_owned(),
                _ => errno.to_string(),
            }
        },
    )
}
