//! What a new draft begins with.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use muxi_contract::FormationId;

use super::files::SECRET;

/// A formation with one agent on a model of this machine, which needs neither network nor keys.
pub(super) fn minimal(files: &Path, id: &FormationId) -> io::Result<()> {
    let manifest = format!(
        "schema: \"1.0.0\"
id: {id}
name: {id}
version: \"1.0.0\"
description: A formation that is being made.

llm:
  models:
    - text: local/smollm2-135m-instruct

agents:
  - assistant
"
    );
    let agent = "schema: \"1.0.0\"
id: assistant
name: Assistant
description: Answers questions.
system_message: Answer in one or two short sentences.
";
    fs::write(files.join("formation.afs"), manifest)?;
    fs::create_dir(files.join("agents"))?;
    fs::write(files.join("agents/assistant.afs"), agent)
}

/// A generation has only files and folders, for nothing else can be unpacked.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
            if SECRET.iter().any(|name| entry.file_name() == *name) {
                fs::set_permissions(&target, Permissions::from_mode(0o600))?;
            }
        }
    }
    Ok(())
}
