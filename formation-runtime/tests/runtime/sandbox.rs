//! The runtime as the launcher of its own sandbox.

use std::collections::BTreeMap;

use muxi_tools::sandbox::{ARGUMENT, End, Job, Launcher, Limits, Sandbox};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn the_runtime_starts_programs_with_few_rights() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "the secret").unwrap();
    let launcher = Launcher {
        program: env!("CARGO_BIN_EXE_formation-runtime").into(),
        arguments: vec![ARGUMENT.into()],
    };
    let root = folder.path().join("jobs");
    let sandbox = Sandbox::new(launcher, root, Vec::new(), Limits::default());
    let secret = folder.path().join("secret").into_os_string();
    let job = Job {
        program: "cat".into(),
        arguments: vec!["--".into(), "-".into(), secret],
        environment: BTreeMap::new(),
        read: Vec::new(),
        stdin: "told\n".into(),
        timeout: None,
        cancelled: CancellationToken::new(),
    };
    let finished = sandbox.run(job).await.unwrap();
    assert_eq!((finished.stdout.text().as_str(), finished.end), ("told\n", End::Exited(1)));
    assert!(finished.stderr.text().contains("Permission denied"), "{finished:?}");
}
