//! The manager that runs, if one does, and the ports it needs.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _};

use jiff::Timestamp;

use super::{Check, Patient};
use crate::ask::Asker;
use crate::running::Holder;
use crate::store;

/// A range with fewer free ports will soon be exhausted.
const FREE_PORTS_COMFORTABLE: usize = 10;

pub(super) fn holder(holder: &io::Result<Holder>) -> Check {
    const NAME: &str = "manager";
    match holder {
        Ok(Holder::Nobody) => Check::ok(NAME, "none runs on this data folder"),
        Ok(Holder::Starting { pid }) => Check::warn(
            NAME,
            format!("process {pid} holds the data folder and does not serve yet"),
            "ask again in a moment; its log says what it waits for",
        ),
        Ok(Holder::Manager(running)) if running.version != crate::VERSION => Check::warn(
            NAME,
            format!("process {} is of version {}", running.pid, running.version),
            format!("restart it to run the installed version {}", crate::VERSION),
        ),
        Ok(Holder::Manager(running)) => {
            Check::ok(NAME, format!("process {} listens on {}", running.pid, running.url))
        }
        Err(error) => Check::fail(NAME, error.to_string(), "run this as the manager's user"),
    }
}

/// Whether the manager that runs says that it is ready.
pub(super) fn answers(patient: &Patient) -> Check {
    const NAME: &str = "answers";
    let Holder::Manager(running) = &patient.holder else {
        return Check::ok(NAME, "nobody to ask");
    };
    let mend = "see the manager's log; `muxi-server stop` and start it if it hangs";
    let asking = async {
        let asker = Asker::new(&running.url, &patient.config)?;
        let now = Timestamp::now();
        let ready = asker.get("/ready", now).await?;
        // A manager of an earlier version knows only the other.
        if ready.status == 404 { asker.get("/health", now).await } else { Ok(ready) }
    };
    match super::block_on(asking) {
        Ok(said) if said.status == 200 => Check::ok(NAME, "it says that it is ready"),
        Ok(said) => Check::fail(NAME, format!("it is not ready: {}", said.body), mend),
        Err(error) => Check::fail(NAME, super::chain(&error), mend),
    }
}

pub(super) fn port(patient: &Patient) -> Check {
    const NAME: &str = "management port";
    let server = &patient.config.server;
    if let Holder::Manager(running) = &patient.holder {
        return Check::ok(NAME, format!("the manager listens on {}", running.url));
    }
    let address = (server.host.as_str(), server.port).to_socket_addrs().map(|mut it| it.next());
    let Ok(Some(address)) = address else {
        let found = format!("server.host `{}` is no address of any machine", server.host);
        return Check::fail(NAME, found, "set it to an address of this machine");
    };
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(NAME, format!("{address} is free")),
        Err(error) => Check::fail(
            NAME,
            format!("{address} cannot be bound: {error}"),
            "end the program that has it (`ss -ltnp` names it), or set server.port",
        ),
    }
}

pub(super) fn port_range(patient: &Patient) -> Check {
    const NAME: &str = "port range";
    let config = &patient.config.formations;
    let (first, last) = (config.port_range_start, config.port_range_end);
    let Ok(host) = config.bind_host.parse::<IpAddr>() else {
        return Check::fail(NAME, "formations.bind_host is no address", "set it to 127.0.0.1");
    };
    // A store that cannot be read has a check of its own.
    let leased = store::leased_ports(&patient.layout.database()).unwrap_or_default();
    let ours = |port: &u16| leased.contains(port);
    let free = (first..=last)
        .filter(|port| !ours(port) && TcpListener::bind(SocketAddr::new(host, *port)).is_ok())
        .count();
    let total = usize::from(last.saturating_sub(first)) + 1;
    let leased = leased.iter().filter(|port| (first..=last).contains(port)).count();
    let found = format!("{free} of {total} ports {first}–{last} are free, {leased} leased");
    let mend = "widen formations.port_range_start and port_range_end, or end what holds the ports";
    match free {
        0 => Check::fail(NAME, found, mend),
        1..FREE_PORTS_COMFORTABLE if total >= FREE_PORTS_COMFORTABLE => {
            Check::warn(NAME, found, mend)
        }
        _ => Check::ok(NAME, found),
    }
}
