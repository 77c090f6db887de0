//! The text of a unit.

use std::fmt::Write as _;
use std::path::Path;

use super::{Scope, Service};

/// The first line of every unit that is ours.
pub(super) const MARK: &str = "# Made by `muxi-server service install`, which replaces it.";

/// What instances may call, beyond what services usually need: the launcher's own sandbox.
const SANDBOX_CALLS: &str =
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp";
/// What root gives up nothing of: a user id for each formation, their files, and signals to them.
const ROOT_CAPABILITIES: &str =
    "CAP_SETUID CAP_SETGID CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_KILL CAP_SYS_PTRACE";

pub(super) fn render(service: &Service) -> String {
    let mut text = format!(
        "{MARK}\n\
         # Changes belong into a drop-in: `systemctl edit {name}`.\n\
         [Unit]\n\
         Description=MUXI manager: deploys and supervises formations\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         # The manager comes back however often it ends; its own crash-loop rules are for formations.\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={program} start\n\
         # Waits for the outcome, so that `systemctl reload` fails with a faulty configuration.\n\
         ExecReload={program} reload\n\
         Restart=always\n\
         RestartSec=1\n\
         # Pings come only while the store answers.\n\
         WatchdogSec=60\n\
         TimeoutStopSec=90\n\
         # Formations outlive a manager that dies, and the next one adopts them. When the service is\n\
         # stopped, the manager itself ends them, unless formations.on_manager_stop is `keep`.\n\
         KillMode=process\n\
         OOMPolicy=continue\n\
         # Limits of memory and time for each formation.\n\
         Delegate=yes\n\
         LimitNOFILE=65536\n\
         TasksMax=32768\n\
         UMask=0077\n\
         Environment={config_dir}\n\
         Environment={data_dir}\n\
         \n\
         NoNewPrivileges=yes\n\
         LockPersonality=yes\n\
         RestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\n\
         SystemCallArchitectures=native\n\
         SystemCallFilter=@system-service {SANDBOX_CALLS}\n\
         SystemCallErrorNumber=EPERM\n",
        name = match service.scope {
            Scope::System { .. } => service.name.clone(),
            Scope::User => format!("--user {}", service.name),
        },
        // A command also has variables.
        program = quoted(&service.program.display().to_string()).replace('$', "$$"),
        config_dir = quoted(&format!("MUXI_CONFIG_DIR={}", service.folders.config.display())),
        data_dir = quoted(&format!("MUXI_DATA_DIR={}", service.folders.data.display())),
    );
    match &service.scope {
        Scope::System { user } => {
            system(&mut text, service, user).expect("a string takes everything");
        }
        Scope::User => text.push_str("\n[Install]\nWantedBy=default.target\n"),
    }
    text
}

fn system(text: &mut String, service: &Service, user: &str) -> std::fmt::Result {
    let is_root = user == "root";
    if is_root {
        writeln!(text, "\n# As root, so that each formation has a user id of its own.")?;
        let low_port = if service.low_port { " CAP_NET_BIND_SERVICE" } else { "" };
        writeln!(text, "CapabilityBoundingSet={ROOT_CAPABILITIES}{low_port}")?;
    } else {
        writeln!(text, "\nUser={user}")?;
        if service.low_port {
            writeln!(text, "CapabilityBoundingSet=CAP_NET_BIND_SERVICE")?;
            writeln!(text, "AmbientCapabilities=CAP_NET_BIND_SERVICE")?;
        } else {
            writeln!(text, "CapabilityBoundingSet=")?;
        }
        // Root without the right to trace would not see its formations' processes.
        writeln!(text, "ProtectProc=invisible")?;
    }
    write!(
        text,
        "ProtectSystem=strict\n\
         ReadWritePaths={data}\n\
         ProtectHome={home}\n\
         PrivateTmp=yes\n\
         PrivateDevices=yes\n\
         ProtectClock=yes\n\
         ProtectHostname=yes\n\
         ProtectKernelLogs=yes\n\
         ProtectKernelModules=yes\n\
         ProtectKernelTunables=yes\n\
         # Not ProtectControlGroups: formations get groups of their own below the delegated one.\n\
         RestrictNamespaces=yes\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        data = quoted(&service.folders.data.display().to_string()),
        home = if needs_home(service) { "read-only" } else { "yes" },
    )
}

/// Whether something the service needs lies where users live.
fn needs_home(service: &Service) -> bool {
    let needed = [&service.program, &service.folders.config, &service.folders.data];
    let homes = ["/home", "/root", "/run/user"].map(Path::new);
    needed.into_iter().any(|path| homes.iter().any(|home| path.starts_with(home)))
}

/// A word of a unit: quoted where it must be, and without specifiers.
fn quoted(word: &str) -> String {
    let escaped = word.replace('%', "%%");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-=%:@+,$".contains(letter);
    if escaped.chars().all(plain) {
        return escaped;
    }
    format!("\"{}\"", escaped.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;
    use crate::service::Tools;

    fn service(scope: Scope) -> Service {
        Service {
            name: "muxi-server".into(),
            scope,
            program: "/usr/local/bin/muxi-server".into(),
            folders: Folders { config: "/etc/muxi/server".into(), data: "/var/lib/muxi".into() },
            low_port: false,
            unit_folder: "/etc/systemd/system".into(),
            tools: Tools { systemctl: "systemctl".into(), useradd: "useradd".into() },
        }
    }

    #[test]
    fn a_system_unit_gives_away_every_right_it_can() {
        let unit = service(Scope::System { user: "muxi".into() }).unit();
        for line in [
            "User=muxi",
            "CapabilityBoundingSet=",
            "ProtectSystem=strict",
            "ReadWritePaths=/var/lib/muxi",
            "ProtectHome=yes",
            "KillMode=process",
            "Environment=MUXI_DATA_DIR=/var/lib/muxi",
            "ExecReload=/usr/local/bin/muxi-server reload",
            "WantedBy=multi-user.target",
        ] {
            assert!(unit.lines().any(|it| it == line), "{line} is not in\n{unit}");
        }
    }

    #[test]
    fn what_is_needed_is_not_taken_away() {
        let mut low = service(Scope::System { user: "muxi".into() });
        low.low_port = true;
        assert!(low.unit().contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"));
        low.program = "/home/ada/bin/muxi-server".into();
        assert!(low.unit().contains("ProtectHome=read-only"));
        let root = service(Scope::System { user: "root".into() }).unit();
        assert!(
            root.contains("CAP_SETUID") && !root.contains("User=") && !root.contains("ProtectProc")
        );
    }

    #[test]
    fn a_users_unit_asks_for_nothing_that_users_cannot_have() {
        let unit = service(Scope::User).unit();
        for word in ["User=", "ProtectSystem", "PrivateTmp", "Capabilit", "multi-user"] {
            assert!(!unit.contains(word), "{word}");
        }
        assert!(unit.contains("WantedBy=default.target"));
    }

    #[test]
    fn words_are_quoted_so_that_systemd_reads_what_was_meant() {
        for (word, expected) in [
            ("/usr/bin/x", "/usr/bin/x"),
            ("/a b/100%", "\"/a b/100%%\""),
            ("A=/q\"\\x", "\"A=/q\\\"\\\\x\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
