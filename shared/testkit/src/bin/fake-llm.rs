//! The scripted fake model as a process; see `muxi_testkit::fake_llm` for its routes and scripts.
//! Prints one line of JSON with its address once it listens.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use muxi_testkit::fake_llm::{FakeLlm, Script};
use tokio::signal::unix::{SignalKind, signal};

/// A scripted stand-in for a model provider. For tests only.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1")]
    host: std::net::IpAddr,
    /// 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Listens on this Unix socket as well.
    #[arg(long)]
    unix: Option<PathBuf>,
    /// A JSON file with the script to start with.
    #[arg(long)]
    script: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let address = SocketAddr::from((arguments.host, arguments.port));
    let fake = FakeLlm::bind(address, arguments.unix.as_deref())
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    if let Some(path) = &arguments.script {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let script = serde_json::from_str(&text).and_then(Script::from_json);
        fake.set_script(script.with_context(|| format!("{} is not a script", path.display()))?);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let line = serde_json::json!({
        "url": fake.url(),
        "base_url": fake.base_url(),
        "unix": fake.unix_socket(),
    });
    writeln!(std::io::stdout(), "{line}")?;
    tokio::select! {
        // All three are cancel-safe; the process ends either way.
        () = fake.run() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
