//! The quickstart of the public documentation, command by command, with an empty home: the real manager, the
//! real runtime, and the model of this machine.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use muxi_testkit::daemon::{PATIENCE, bin_dir, models_dir, wait_until};
use serde_json::json;

use crate::harness::{Ran, User};

const MODEL_FILE: &str = "smollm2-135m-instruct.q8.gguf";

/// `muxi-server start` of this user; asked to end when dropped.
struct Manager<'a> {
    user: &'a User,
    child: Child,
}

// === impl Manager ===

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        server(self.user, &["stop"]).output().ok();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn server(user: &User, arguments: &[&str]) -> Command {
    let mut command = Command::new(bin_dir().join("muxi-server"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", user.home())
        .env("MUXI_MODELS_DIR", models_dir())
        .stdin(Stdio::null());
    command
}

fn ran(command: &mut Command) -> Ran {
    Ran::of(command.output().expect("the program starts"))
}

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

fn free_port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("one").port().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_works_from_an_empty_home() {
    let model = models_dir().join(MODEL_FILE);
    assert!(
        model.is_file(),
        "{} is missing; run: formation-runtime models import \"$(./scripts/fetch-model.sh)\"",
        model.display()
    );
    let user = User::new();
    let (port, work) = (free_port(), user.work());
    let root = work.to_str().expect("a plain path");
    done(ran(&mut server(&user, &["init", "--port", &port, "--dev-root", root])));
    let log = std::fs::File::create(user.home().join("manager.log")).expect("a file");
    let child = server(&user, &["start"]).stdout(Stdio::null()).stderr(log).spawn();
    let manager = Manager { user: &user, child: child.expect("the manager starts") };
    wait_until(PATIENCE, "the manager is ready", async || {
        (ran(&mut server(&user, &["status"])).code == 0).then_some(())
    })
    .await;

    // Nobody had to add a profile: it is the manager of this machine.
    let profiles = done(user.run(&["profiles", "list", "--json"])).json();
    assert_eq!(profiles["profiles"][0]["name"], "local", "{profiles}");
    done(user.run(&["new", "formation", "my-team"]));
    done(user.run_in("my-team", &["secrets", "setup"]));
    done(user.run_in("my-team", &["validate"]));

    done(user.run_in("my-team", &["up"]));
    let said = done(user.run_in("my-team", &["chat", "Say hello in one short sentence."]));
    assert!(!said.out.trim().is_empty(), "{said:?}");
    done(user.run_in("my-team", &["down"]));

    let deployed = done(user.run_in("my-team", &["deploy"]));
    assert!(deployed.out.contains("Deployed my-team 1.0.0"), "{deployed:?}");
    let said = done(user.run_in("my-team", &["chat", "Say hello in one short sentence."]));
    assert!(!said.out.trim().is_empty(), "{said:?}");
    let doctor = done(user.run_in("my-team", &["doctor"]));
    assert!(!doctor.out.contains('✗') && !doctor.out.contains('!'), "{doctor:?}");

    let listed = done(user.run(&["remote", "list"]));
    assert!(listed.out.contains("my-team  running"), "{listed:?}");
    let got = done(user.run(&["remote", "get", "my-team", "--json"])).json();
    assert_eq!(got["version"]["semantic"], "1.0.0", "{got}");
    let logs = done(user.run(&["remote", "logs", "my-team"]));
    assert!(logs.out.contains("my-team 1.0.0"), "{logs:?}");
    // The documentation of older versions says it so.
    let listed = done(user.run(&["formations", "list"]));
    assert!(listed.out.contains("my-team"), "{listed:?}");
    let logs = done(user.run(&["formations", "logs", "my-team"]));
    assert!(logs.out.contains("my-team 1.0.0"), "{logs:?}");
    done(user.run(&["remote", "stop", "my-team"]));
    done(user.run(&["remote", "start", "my-team"]));
    done(user.run(&["remote", "restart", "my-team"]));

    done(user.run_in("my-team", &["bump"]));
    done(user.run_in("my-team", &["deploy", "--no-stream"]));
    done(user.run(&["remote", "rollback", "my-team", "--yes"]));
    let got = done(user.run(&["remote", "get", "my-team", "--json"])).json();
    assert_eq!(got["version"]["semantic"], "1.0.0", "{got}");

    // A bundle that was packed elsewhere.
    let archive = user.work().join("my-formation.tar.gz");
    let mut bytes = Vec::new();
    let id = "my-team".parse().expect("an id");
    muxi_formation::pack(
        &user.work().join("my-team"),
        &id,
        muxi_formation::PackOptions::default(),
        &mut bytes,
    )
    .expect("it packs");
    std::fs::write(&archive, bytes).expect("a file");
    done(user.run(&["deploy", "my-formation.tar.gz"]));
    done(user.run(&["remote", "delete", "my-team", "--force"]));
    let listed = done(user.run(&["remote", "list", "--json"])).json();
    assert_eq!(listed["total"], json!(0), "{listed}");
    drop(manager);
}
