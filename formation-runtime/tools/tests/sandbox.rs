//! The walls of the sandbox, each pushed against by a real program; and skills' scripts behind them.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muxi_tools::sandbox::{End, Finished, Job, Launcher, Limits, Sandbox, SandboxError};
use muxi_tools::skills::{RecentActivations, SkillConfig, SkillFiles, Skills};
use muxi_tools::{Call, Content, Outcome};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The folders of one test: a bundle with a secret beside a skill, and where jobs run.
struct Ground {
    folder: tempfile::TempDir,
    sandbox: Sandbox,
}

impl Ground {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let skill = folder.path().join("bundle/skills/demo");
        std::fs::create_dir_all(skill.join("scripts")).unwrap();
        std::fs::write(skill.join("note.txt"), "a note").unwrap();
        std::fs::write(folder.path().join("bundle/.key"), "the secret").unwrap();
        std::os::unix::fs::symlink("../../.key", skill.join("link")).unwrap();
        let hidden = vec![folder.path().join("bundle")];
        let sandbox = Sandbox::new(launcher(), folder.path().join("jobs"), hidden, limits);
        Self { folder, sandbox }
    }

    fn skill(&self) -> PathBuf {
        self.folder.path().join("bundle/skills/demo")
    }

    fn job(&self, script: &str) -> Job {
        let folder = self.folder.path().to_string_lossy().into_owned();
        Job {
            program: "bash".into(),
            arguments: ["-c", script].map(Into::into).to_vec(),
            environment: BTreeMap::from([("GROUND".to_owned(), folder.into())]),
            read: vec![self.skill()],
            stdin: bytes::Bytes::new(),
            timeout: None,
            cancelled: CancellationToken::new(),
        }
    }

    async fn run(&self, script: &str) -> Finished {
        self.sandbox.run(self.job(script)).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn launcher() -> Launcher {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap();
    Launcher { program: built.join("examples/confine"), arguments: Vec::new() }
}

/// Processes that have this word among their arguments.
fn processes_with(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|arg| arg == word.as_bytes())).count()
}

/// A time to sleep for that no other process on the machine has.
fn unique_seconds() -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    format!("7{}.{now}", std::process::id())
}

#[tokio::test]
async fn a_program_writes_in_its_folder_and_nowhere_else() {
    let ground = Ground::new();
    let outside = ground.folder.path().join("outside");
    std::fs::write(&outside, "whole").unwrap();
    let finished = ground
        .run(
            "echo in > a.txt; mkdir -p $OUTPUT_DIR/sub; echo deep > sub/b.txt; echo t > $TMPDIR/t
             echo x > $GROUND/new; : > $GROUND/outside; truncate -s 1 $GROUND/outside
             rm $GROUND/outside; mv $GROUND/outside moved; ln $GROUND/outside linked
             echo x > /dev/shm/muxi-sandbox-test; echo x > $GROUND/bundle/skills/demo/note.txt
             ln -s /etc/passwd soft; cp /bin/true run; chmod +x run; ./run || echo refused",
        )
        .await;
    let mut files: Vec<_> =
        finished.files.iter().map(|file| (file.name.as_str(), &file.bytes[..])).collect();
    files.retain(|(name, _)| *name != "run");
    assert_eq!(files, [("a.txt", &b"in\n"[..]), ("b.txt", b"deep\n")], "{finished:?}");
    assert_eq!(finished.left_out, ["soft (no regular file)"]);
    assert_eq!(finished.stdout.text(), "refused\n");
    assert_eq!(std::fs::read_to_string(outside).unwrap(), "whole");
    assert!(!ground.folder.path().join("new").exists());
    assert!(!Path::new("/dev/shm/muxi-sandbox-test").exists());
    assert_eq!(std::fs::read_to_string(ground.skill().join("note.txt")).unwrap(), "a note");
    // Nothing of the job's folder stays.
    assert_eq!(std::fs::read_dir(ground.folder.path().join("jobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_program_reads_its_skill_and_no_secret() {
    let ground = Ground::new();
    let script = format!(
        "cat $GROUND/bundle/skills/demo/note.txt
         for secret in $GROUND/bundle/.key $GROUND/bundle/skills/demo/link /etc/shadow \
             /proc/{0}/environ /proc/{0}/root/etc/hostname /root/.ssh /var/log; do
             ls -l $secret/. > /dev/null 2>&1 && echo listed $secret
             cat $secret 2> /dev/null && echo read $secret
         done; exit 0",
        std::process::id()
    );
    let finished = ground.run(&script).await;
    assert_eq!((finished.stdout.text().as_str(), finished.end), ("a note", End::Exited(0)));
}

#[tokio::test]
async fn a_program_has_a_short_environment_and_no_descriptors_of_others() {
    let ground = Ground::new();
    let finished = ground.run("env | cut -d= -f1 | sort | tr '\\n' ' '; ls /proc/self/fd").await;
    assert_eq!(
        finished.stdout.text(),
        "GROUND HOME LANG OUTPUT_DIR PATH PWD PYTHONDONTWRITEBYTECODE SHLVL TMPDIR _ 0\n1\n2\n3\n",
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_program_reaches_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let ground = Ground::new();
    let finished = ground
        .run(&format!(
            "exec 3<> /dev/tcp/127.0.0.1/{port} && echo connected; kill -0 $PPID && echo reached"
        ))
        .await;
    assert_eq!(finished.stdout.text(), "", "{finished:?}");
    assert!(finished.stderr.text().contains("not permitted"), "{finished:?}");
    assert!(listener.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}

/// Python, without which half of all skills do not run, says more of calls than a shell.
async fn python(ground: &Ground, script: &str) -> Finished {
    ground.run(&format!("exec python3 - <<'END'\n{script}\nEND")).await
}

/// The limits of this very process, which is the same user's.
fn open_files_max() -> (u64, u64) {
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap()
}

#[tokio::test]
async fn a_program_changes_no_limits_or_priorities_of_others() {
    let ground = Ground::new();
    let before = open_files_max();
    let script = format!(
        "import os, resource
other = {}
def refused(act):
    try:
        act()
        print('done', act.__code__.co_firstlineno)
    except PermissionError:
        pass
refused(lambda: resource.prlimit(other, resource.RLIMIT_NOFILE, (3, 3)))
refused(lambda: os.setpriority(os.PRIO_PROCESS, other, 15))
refused(lambda: os.setpriority(os.PRIO_USER, 0, 15))
refused(lambda: os.sched_setaffinity(other, {{0}}))
refused(lambda: os.sched_setscheduler(other, os.SCHED_BATCH, os.sched_param(0)))
os.setpriority(os.PRIO_PROCESS, 0, 5)
os.sched_setaffinity(0, os.sched_getaffinity(0))
resource.prlimit(0, resource.RLIMIT_NOFILE, (20, 20))
print('its own can be changed')",
        std::process::id()
    );
    let finished = python(&ground, &script).await;
    assert_eq!(finished.stdout.text(), "its own can be changed\n", "{finished:?}");
    assert_eq!(open_files_max(), before);
}

#[tokio::test]
async fn a_program_changes_no_mode_time_or_attribute_of_any_file() {
    use std::os::unix::fs::MetadataExt as _;
    let ground = Ground::new();
    let note = ground.skill().join("note.txt");
    let facts = || {
        let facts = std::fs::metadata(&note).unwrap();
        (facts.mode(), facts.mtime(), facts.ctime_nsec(), facts.uid())
    };
    let before = facts();
    // It may read this one, so it has a descriptor as well.
    let finished = python(
        &ground,
        "import os, shutil
note = os.environ['GROUND'] + '/bundle/skills/demo/note.txt'
opened = os.open(note, os.O_RDONLY)
for file in (note, opened):
    os.chmod(file, 0o777)
    os.utime(file, (1, 1))
    os.chown(file, 65534, 65534)
    try:
        os.setxattr(file, 'user.x', b'y')
        print('an attribute was set')
    except OSError:
        pass
shutil.copy2(note, 'copy.txt')
os.system('touch ' + note + '; cp -a ' + note + ' other.txt; chmod 700 other.txt')
print('copied')",
    )
    .await;
    assert_eq!(finished.stdout.text(), "copied\n", "{finished:?}");
    assert_eq!((finished.stderr.text().as_str(), finished.files.len()), ("", 2), "{finished:?}");
    assert_eq!(facts(), before);
}

#[tokio::test]
async fn memory_that_belongs_to_no_process_cannot_be_had() {
    let ground = Ground::new();
    let finished = python(
        &ground,
        "import mmap, os
def refused(what, act):
    try:
        act()
        print(what)
    except OSError:
        pass
refused('a file in memory', lambda: os.memfd_create('m'))
refused('shared memory', lambda: mmap.mmap(-1, 1 << 20))
refused('shared zeros', lambda: os.open('/dev/zero', os.O_RDWR))
mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
open('file', 'wb').write(b'0' * 4096)
mmap.mmap(os.open('file', os.O_RDWR), 4096)
print('its own memory, and that of files')",
    )
    .await;
    assert_eq!(finished.stdout.text(), "its own memory, and that of files\n", "{finished:?}");
}

#[tokio::test]
async fn a_program_that_multiplies_is_ended_with_all_its_children() {
    let ground = Ground::with(Limits { processes: 20, ..Limits::default() });
    let seconds = unique_seconds();
    let script = format!("for i in $(seq 200); do sleep {seconds} & done; wait");
    assert_eq!(ground.run(&script).await.end, End::TooManyProcesses(20));
    until(|| processes_with(&seconds) == 0).await;
}

#[tokio::test]
async fn when_the_time_is_over_the_whole_group_is_ended() {
    let ground = Ground::new();
    let seconds = unique_seconds();
    // Neither a background process nor one that wants a session of its own stays.
    let script =
        format!("sleep {seconds} & setsid sleep {seconds} & trap '' TERM; sleep {seconds}");
    let timeout = Duration::from_millis(700);
    let job = Job { timeout: Some(timeout), ..ground.job(&script) };
    let finished = ground.sandbox.run(job).await.unwrap();
    assert_eq!(finished.end, End::TimedOut(timeout));
    until(|| processes_with(&seconds) == 0).await;
    // A program that ends at once does not leave anything behind either.
    let seconds = unique_seconds();
    let finished = ground.run(&format!("sleep {seconds} & echo done")).await;
    assert_eq!((finished.end, finished.stdout.text().as_str()), (End::Exited(0), "done\n"));
    until(|| processes_with(&seconds) == 0).await;
}

#[tokio::test]
async fn a_cancelled_and_a_dropped_job_end() {
    let ground = Ground::new();
    let seconds = unique_seconds();
    let job = ground.job(&format!("sleep {seconds}"));
    let cancelled = job.cancelled.clone();
    let cancel = async {
        until(|| processes_with(&seconds) > 0).await;
        cancelled.cancel();
    };
    let (finished, ()) = tokio::join!(ground.sandbox.run(job), cancel);
    assert_eq!(finished.unwrap().end, End::Cancelled);
    until(|| processes_with(&seconds) == 0).await;

    let seconds = unique_seconds();
    let job = ground.job(&format!("sleep {seconds}"));
    tokio::select! {
        finished = ground.sandbox.run(job) => panic!("{finished:?}"),
        () = until(|| processes_with(&seconds) > 0) => {}
    }
    until(|| processes_with(&seconds) == 0).await;
}

async fn until(fact: impl Fn() -> bool) {
    while !fact() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn output_memory_and_files_have_an_end() {
    let ground = Ground::with(Limits {
        memory_bytes: 64 << 20,
        file_bytes: 1 << 20,
        folder_bytes: 8 << 20,
        files: 2,
        files_bytes: 1_000,
        ..Limits::default()
    });
    let finished = ground.run("yes | head -c 5000000; yes | head -c 5000000 >&2").await;
    for output in [&finished.stdout, &finished.stderr] {
        assert_eq!((output.bytes.len(), output.is_cut), (100_000, true));
    }
    // `tail` keeps a line that never ends; it gets no more memory, or is ended for it.
    let finished = ground
        .run("yes | tr -d '\\n' | head -c 300000000 | tail -n 1 | wc -c; exit ${PIPESTATUS[3]}")
        .await;
    assert_ne!(finished.end, End::Exited(0));
    let finished = ground
        .run("yes 2> /dev/null | head -c 5000000 > big || echo refused; stat -c %s big")
        .await;
    assert_eq!(finished.stdout.text(), "refused\n1048576\n");
    assert_eq!(finished.left_out, ["big (all files together may have 1000 bytes)"]);
    let finished =
        ground.run("for i in $(seq 20); do yes | head -c 1000000 > part$i; done; sleep 60").await;
    assert_eq!(finished.end, End::TooMuchOnDisk(8 << 20));
    let finished = ground.run("for i in 1 2 3; do echo $i > $i; done").await;
    assert_eq!(finished.files.len(), 2);
    assert_eq!(finished.left_out, ["3 (more than 2 files)"]);
}

/// A manager has its own fence around the whole runtime, so the job's stands within it.
#[test]
fn a_program_is_confined_within_another_fence() {
    use landlock::{
        ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope,
        path_beneath_rules,
    };
    let ground = Ground::new();
    let runs = std::thread::spawn(move || {
        // Of this thread, and of what it starts.
        let all = AccessFs::from_all(ABI::V6);
        let rules = Ruleset::default().handle_access(all).unwrap();
        let rules = rules.scope(Scope::from_all(ABI::V6)).unwrap().create().unwrap();
        let rules = rules.add_rules(path_beneath_rules(["/"], AccessFs::from_read(ABI::V6)));
        let own = [ground.folder.path(), Path::new("/dev/null")];
        let rules = rules.unwrap().add_rules(path_beneath_rules(own, all)).unwrap();
        rules.restrict_self().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let script = "cat $GROUND/bundle/.key; echo in > a; echo x > $GROUND/new; cat < a";
        let finished = runtime.block_on(ground.run(script));
        assert!(!ground.folder.path().join("new").exists());
        finished
    });
    let finished = runs.join().unwrap();
    assert_eq!(
        (finished.stdout.text().as_str(), finished.files.len()),
        ("in\n", 1),
        "{finished:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_confined_or_started_is_not_run() {
    let ground = Ground::new();
    let with = |program: &str| {
        Sandbox::new(
            Launcher { program: program.into(), arguments: Vec::new() },
            ground.folder.path().join("jobs"),
            Vec::new(),
            Limits::default(),
        )
    };
    // A launcher that applies nothing is not believed, whatever its exit code says.
    let error = with("/bin/true").run(ground.job("true")).await.unwrap_err();
    assert!(matches!(error, SandboxError::NotConfined(_)), "{error}");
    let error = with("/no/launcher").run(ground.job("true")).await.unwrap_err();
    assert!(matches!(error, SandboxError::Launcher { .. }), "{error}");
    let job = Job { program: "no-such-program".into(), ..ground.job("") };
    let error = ground.sandbox.run(job).await.unwrap_err();
    assert!(error.to_string().contains("no-such-program"), "{error}");
    let job = Job { stdin: vec![0; (1 << 20) + 1].into(), ..ground.job("") };
    let error = ground.sandbox.run(job).await.unwrap_err();
    assert!(matches!(error, SandboxError::Stdin { .. }), "{error}");
}

async fn run_skill(ground: Ground, arguments: Value) -> Outcome {
    let folder = ground.skill();
    let files = SkillFiles::of(&folder).unwrap();
    let skill = SkillConfig {
        name: "demo".into(),
        description: "Demonstrates".into(),
        body: "Do it.".into(),
        folder,
        resources: files.resources,
        scripts: files.scripts,
        allowed_tools: Vec::new(),
    };
    let Ground { folder: _kept, sandbox } = ground;
    let skills = Skills::new([Arc::new(skill)]).unwrap();
    let tools = skills.tools(Arc::new(RecentActivations::new(10)), Some(Arc::new(sandbox)));
    let tool = tools.iter().find(|tool| tool.spec().name == "run_skill").unwrap();
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let call = Call {
        arguments,
        user: "alice".parse().unwrap(),
        session: "sess_1".parse().unwrap(),
        request: "req_1".parse().unwrap(),
        agent: "helper".into(),
        depth: 0,
        time_left: Duration::from_mins(1),
        cancelled: CancellationToken::new(),
    };
    tool.call(call).await
}

#[tokio::test]
async fn a_skills_script_gets_its_arguments_and_hands_its_files_over() {
    let ground = Ground::new();
    let script = "#!/usr/bin/env bash\nread line\necho \"$# $2 $line\"\ncat $SKILL_DIR/note.txt\necho a,b > table.csv\necho oops >&2\n";
    std::fs::write(ground.skill().join("scripts/make.sh"), script).unwrap();
    let arguments = json!({
        "skill": "demo", "script": "make.sh", "args": ["one", "$(two); three"], "stdin": "hello\n"
    });
    let outcome = run_skill(ground, arguments).await;
    assert_eq!(
        outcome.text(),
        "scripts/make.sh succeeded\n\nOutput:\n2 $(two); three hello\na note\n\nError output:\noops\n\nFiles for the user: table.csv"
    );
    assert!(!outcome.is_error && !outcome.is_trusted);
    let file = Content::File {
        name: "table.csv".into(),
        media_type: "text/csv".into(),
        bytes: "a,b\n".into(),
    };
    assert_eq!(outcome.content[1], file);
}

#[tokio::test]
async fn a_skills_script_that_fails_or_is_none_is_told() {
    let with = |content: &'static str, arguments: Value| async move {
        let ground = Ground::new();
        std::fs::write(ground.skill().join("scripts/a.sh"), content).unwrap();
        std::fs::write(ground.skill().join("scripts/data"), "no program").unwrap();
        let outcome = run_skill(ground, arguments).await;
        assert!(outcome.is_error, "{outcome:?}");
        outcome.text()
    };
    let run = |script: &str| json!({"skill": "demo", "script": script});
    let fails = with("echo so far; exit 3", run("a.sh")).await;
    assert_eq!(fails, "scripts/a.sh failed with exit code 3\n\nOutput:\nso far");
    let none = "the skill has no such script; it has: scripts/a.sh, scripts/data";
    for script in ["b.sh", "../../.key", "/bin/sh", "note.txt", "scripts/../../../.key", "link"] {
        assert_eq!(with("", run(script)).await, none);
    }
    assert!(with("", run("data")).await.contains("nothing says what runs"));
    let slow = json!({"skill": "demo", "script": "a.sh", "timeout_seconds": 1});
    assert!(with("sleep 600", slow).await.contains("did not end within 1 s"));
}

fn identity(pid: u32) -> Value {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start = line.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap();
    json!({"pid": pid, "start": start.parse::<u64>().unwrap(), "boot": boot.trim()})
}

#[tokio::test]
async fn a_script_ends_with_its_owner_however_that_ends_and_nothing_watches_a_script_that_is_over()
{
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    std::fs::write(&report, "").unwrap();
    let mut owner = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let spec = json!({
        "report": report, "memory_bytes": 1_u64 << 30, "open_files": 100, "file_bytes": 1000,
        "processor_s": 10, "kind": "Script", "owner": identity(owner.id()),
        "fence": {"read": [], "write": [], "write_and_execute": [], "devices": [],
            "read_and_execute": ["/bin", "/lib", "/lib64", "/usr"]},
    });
    let start = |seconds: &str| {
        let mut command = std::process::Command::new(launcher().program);
        command.arg(spec.to_string()).args(["sleep", seconds]).process_group(0).spawn().unwrap()
    };
    let started = |count: usize| {
        let report = std::fs::read_to_string(&report).unwrap();
        assert_eq!(report.replace("confined\n", ""), "");
        report.lines().count() == count
    };
    let mut short = start("0");
    assert!(short.wait().unwrap().success(), "{}", std::fs::read_to_string(&report).unwrap());
    assert!(started(1));
    let watched = format!("{{\"pid\":{},", owner.id());
    until(|| processes_watching(&watched) == 0).await;

    let mut long = start(&unique_seconds());
    until(|| started(2)).await;
    until(|| processes_watching(&watched) == 1).await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(!long.wait().unwrap().success());
    until(|| processes_watching(&watched) == 0).await;
}

/// Only they are told of an owner and of a script.
fn processes_watching(owner: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines =
        entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|it| it.contains(owner) && it.contains("\"is_detached\":true")).count()
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept_and_what_another_runs_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("jobs");
    let mut child =
        std::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
    let gone = json!({"pid": 1, "start": 1, "boot": "another"});
    let job = identity(child.id());
    for (name, runs) in [
        ("run-left", Some(json!([gone, job]))),
        ("run-kept", Some(json!([identity(std::process::id()), job]))),
        ("run-new", None),
        ("other", None),
    ] {
        std::fs::create_dir_all(root.join(name).join("work")).unwrap();
        if let Some(runs) = runs {
            std::fs::write(root.join(name).join("runs"), runs.to_string()).unwrap();
        }
    }
    let _sandbox = Sandbox::new(launcher(), root.clone(), Vec::new(), Limits::default());
    let mut left: Vec<String> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["other", "run-kept", "run-new"]);
    assert!(!child.wait().unwrap().success(), "what ran in the folder that is gone was ended");
}
