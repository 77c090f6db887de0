//! Services under systemd. The programs that change the machine are stand-ins that write down what
//! they were asked; the units and the notifications are real.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use muxi_testkit::daemon::{Daemon, PATIENCE};

/// A folder with a `systemctl` that notes its arguments and knows which units it was told to start.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "systemctl $*" >>"$here/calls"
case "$*" in
*is-enabled*|*is-active*) [ -e "$here/on" ] && echo active || { echo inactive; exit 3; } ;;
*"enable --now broken"*) echo "the bus is gone" >&2; exit 1 ;;
*disable*) rm -f "$here/on" ;;
*enable*) touch "$here/on" ;;
esac
"#;

fn stand_ins(daemon: &Daemon) -> PathBuf {
    let folder = daemon.scratch().join("bin");
    fs::create_dir_all(&folder).expect("our own folder");
    let path = folder.join("systemctl");
    fs::write(&path, SYSTEMCTL).expect("our own folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    folder
}

fn calls(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("calls")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

fn run(mut command: Command, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let output = command.env("PATH", path).args(arguments).output().expect("the program starts");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

fn unit(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.scratch().join(format!(".config/systemd/user/{name}.service"))
}

#[test]
fn a_service_is_installed_once_and_removed_without_its_data() {
    let daemon = Daemon::builder().install();
    let bin = stand_ins(&daemon);
    let service =
        |arguments: &[&str]| run(daemon.command(), &bin, &[&["service"], arguments].concat());
    let path = unit(&daemon, "muxi-server");

    let (code, said) = service(&["status", "--user"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("not installed"), "{said}");

    let (code, printed) = service(&["install", "--user", "--print"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(!path.exists(), "--print touches nothing");

    let (code, said) = service(&["install", "--user"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(&path).expect("the unit"), printed);
    let data = format!("Environment=MUXI_DATA_DIR={}", daemon.data_dir().display());
    assert!(printed.contains(&data), "{printed}");
    let told = calls(&bin);
    assert!(told.contains(&"systemctl --user daemon-reload".to_owned()), "{told:?}");
    assert!(
        told.contains(&"systemctl --user enable --now muxi-server.service".to_owned()),
        "{told:?}"
    );
    let (code, said) = service(&["install", "--user"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("was up to date"), "{said}");
    assert_eq!(service(&["status", "--user"]).0, Some(0));

    fs::write(daemon.data_dir().join("manager.db"), "data").expect("the data folder");
    let (code, said) = service(&["uninstall", "--user"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!path.exists() && daemon.config_file().exists());
    assert!(daemon.data_dir().join("manager.db").exists());
    let (code, said) = service(&["uninstall", "--user"]);
    assert!(code == Some(1) && said.contains("does not exist"), "{said}");
}

#[test]
fn what_is_not_ours_or_cannot_be_is_left_alone() {
    let daemon = Daemon::builder().install();
    let bin = stand_ins(&daemon);
    let service =
        |arguments: &[&str]| run(daemon.command(), &bin, &[&["service"], arguments].concat());

    let foreign = unit(&daemon, "other");
    fs::create_dir_all(foreign.parent().expect("a folder")).expect("our own folder");
    fs::write(&foreign, "[Service]\nExecStart=/bin/true\n").expect("our own folder");
    for verb in ["install", "uninstall"] {
        let (code, said) = service(&[verb, "--user", "--name", "other"]);
        assert!(code == Some(1) && said.contains("was not made by"), "{said}");
    }
    assert!(fs::read_to_string(&foreign).expect("the unit").contains("/bin/true"));
    assert!(calls(&bin).is_empty());

    for name in ["../x", "a b", ""] {
        let (code, said) = service(&["install", "--user", "--name", name]);
        assert!(code == Some(1) && said.contains("no name for a service"), "{said}");
    }
    let (code, said) = service(&["install", "--user", "--name", "broken"]);
    assert!(code == Some(1) && said.contains("the bus is gone"), "{said}");

    // Without systemd nothing is written.
    let mut command = daemon.command();
    command.env("PATH", "/nowhere").args(["service", "install", "--user", "--name", "x"]);
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("not run by systemd"), "{said}");
    assert!(!unit(&daemon, "x").exists());

    fs::write(daemon.config_file(), "limits: {entries: 0}").expect("our own file");
    let (code, said) = service(&["install", "--user", "--name", "y"]);
    assert!(code == Some(1) && said.contains("limits.entries must be"), "{said}");
    assert!(!unit(&daemon, "y").exists());
}

#[tokio::test]
async fn systemd_is_told_when_the_manager_is_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let receiver = UnixDatagram::bind(&path).expect("a socket");
    receiver.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let next = || {
        let mut buffer = [0; 1_024];
        let count = receiver.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..count].to_vec()).expect("text")
    };
    let mut daemon = Daemon::builder()
        .environment("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))
        .environment("WATCHDOG_USEC", "200000")
        .start()
        .await;
    assert_eq!(next(), format!("READY=1\nSTATUS=listens on {}", daemon.url()));
    assert_eq!([next(), next()], ["WATCHDOG=1", "WATCHDOG=1"]);
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let last = std::iter::repeat_with(next).find(|said| said != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn what_is_not_offered_is_refused_by_name() {
    let daemon = Daemon::builder().install();
    let bin = stand_ins(&daemon);
    for (arguments, words) in
        [(&["start", "--daemon"][..], "service install"), (&["upgrade"], "does not replace itself")]
    {
        let (code, said) = run(daemon.command(), &bin, arguments);
        assert!(code == Some(1) && said.contains(words), "{said}");
    }
}
