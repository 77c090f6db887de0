//! A program before the real runtime, so that a test decides when and whether an instance starts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Builder, PATIENCE, bin_dir, wait_until};

/// Turned by files, so that it needs no connection to the test.
#[derive(Debug)]
pub struct RuntimeSwitch {
    folder: PathBuf,
}

const HELD: &str = "held";
const BROKEN: &str = "broken";
const DEAF: &str = "deaf";
const WAITING: &str = "waiting";
const CHATTER: &str = "chatter";
const SPEAK: &str = "speak";

// === impl Builder ===

impl Builder {
    /// Runs the program `fake-formation` in place of the runtime.
    #[must_use]
    pub fn fake_formation(self) -> Self {
        self.config(json!({"runtime": {"program": bin_dir().join("fake-formation")}}))
    }
}

impl Builder {
    /// The same behind a [`RuntimeSwitch`].
    #[must_use]
    pub fn fake_formation_switched(mut self) -> Self {
        self.switched = Some("fake-formation");
        self
    }
}

// === impl RuntimeSwitch ===

impl RuntimeSwitch {
    pub(super) fn install(folder: &Path, program: &str) -> Self {
        let folder = folder.join("switch");
        fs::create_dir(&folder).expect("a fresh folder");
        let script = format!(
            "#!/bin/sh\n\
             cd '{folder}' || exit 2\n\
             if [ -e {BROKEN} ]; then cat {BROKEN} >&2; exit 1; fi\n\
             if [ -e {DEAF} ]; then trap '' TERM; fi\n\
             if [ -e {CHATTER} ]; then (\n\
               while [ ! -e {SPEAK} ]; do sleep 0.01; done\n\
               last=$(cat {CHATTER}); at=1\n\
               while [ $at -le $last ]; do\n\
                 case $at in *0) echo \"chatter $at\" >&2;; *) echo \"chatter $at\";; esac\n\
                 at=$((at + 1))\n\
               done\n\
             ) & fi\n\
             while [ -e {HELD} ]; do : >{WAITING}; sleep 0.01; done\n\
             exec '{runtime}' \"$@\"\n",
            folder = folder.display(),
            runtime = bin_dir().join(program).display(),
        );
        // Instances may be of any user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("our own folder");
        let switch = Self { folder };
        fs::write(switch.program(), script).expect("a fresh folder");
        fs::set_permissions(switch.program(), fs::Permissions::from_mode(0o755))
            .expect("our own file");
        switch
    }

    pub(super) fn program(&self) -> PathBuf {
        self.folder.join("formation-runtime")
    }

    /// Where instances look and write; it must be reachable from within their fence.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Instances wait before they begin.
    pub fn hold(&self) {
        self.set(HELD, "");
    }

    /// Resolves once an instance waits.
    pub async fn reached(&self) {
        wait_until(PATIENCE, "an instance waits", async || {
            self.folder.join(WAITING).exists().then_some(())
        })
        .await;
    }

    pub fn release(&self) {
        self.unset(HELD);
    }

    /// Instances write this to their log and end with 1.
    pub fn break_down(&self, last_words: &str) {
        self.set(BROKEN, last_words);
    }

    pub fn mend(&self) {
        self.unset(BROKEN);
    }

    /// Instances that are held ignore SIGTERM.
    pub fn deafen(&self) {
        self.set(DEAF, "");
    }

    pub fn cure(&self) {
        self.unset(DEAF);
    }

    /// Instances that start from now on print numbered lines once they are told to speak: every
    /// tenth on standard error, the others on standard output.
    pub fn chatter(&self, lines: u32) {
        self.set(CHATTER, &lines.to_string());
    }

    pub fn speak(&self) {
        self.set(SPEAK, "");
    }

    fn set(&self, name: &str, content: &str) {
        // Complete before it is seen.
        let draft = self.folder.join("draft");
        fs::write(&draft, content)
            .and_then(|()| fs::rename(&draft, self.folder.join(name)))
            .expect("our own folder");
    }

    fn unset(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).expect("it was set before");
    }
}
