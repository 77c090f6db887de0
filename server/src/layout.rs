//! Where everything lies in the data folder.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use muxi_contract::FormationId;

/// Paths of one data folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

// === impl Layout ===

impl Layout {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the folders, readable by this user only.
    pub fn create(&self) -> io::Result<()> {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        for folder in [
            self.formations(),
            self.drafts(),
            self.bundles(),
            self.logs(),
            self.run(),
            self.uploads(),
        ] {
            private.create(folder)?;
        }
        Ok(())
    }

    /// What users of formations must be able to pass on their way to their own folders.
    pub fn shared_folders(&self) -> [PathBuf; 3] {
        [self.root.clone(), self.formations(), self.run()]
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("manager.db")
    }

    /// Held by the one manager that works on this folder.
    pub fn lock(&self) -> PathBuf {
        self.root.join("manager.lock")
    }

    /// There while a restore puts things into place; until it is done nothing may start here.
    pub fn unfinished_restore(&self) -> PathBuf {
        self.root.join("restore-unfinished")
    }

    /// Bytes that are given back when the disk is full.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// What the manager that runs says of itself.
    pub fn running(&self) -> PathBuf {
        self.root.join("manager.json")
    }

    pub fn formations(&self) -> PathBuf {
        self.root.join("formations")
    }

    pub fn formation(&self, id: &FormationId) -> PathBuf {
        self.formations().join(id.as_str())
    }

    pub fn generations(&self, id: &FormationId) -> PathBuf {
        self.formation(id).join("generations")
    }

    /// The unpacked bundle of one generation; never changed after it is in place.
    pub fn generation(&self, id: &FormationId, generation: u64) -> PathBuf {
        self.generations(id).join(generation.to_string())
    }

    /// What the formation's runtime owns; outlives every generation; that of a draft its runs, too.
    pub fn formation_data(&self, id: &FormationId) -> PathBuf {
        self.formation(id).join("data")
    }

    /// Temporary files of the formation's instances.
    pub fn temps(&self, id: &FormationId) -> PathBuf {
        self.formation(id).join("tmp")
    }

    pub fn temp(&self, id: &FormationId, instance: u64) -> PathBuf {
        self.temps(id).join(instance.to_string())
    }

    /// What belongs to drafts; beside the formations, so that nothing that happens to those takes
    /// them along.
    pub fn drafts(&self) -> PathBuf {
        self.root.join("drafts")
    }

    pub fn draft(&self, id: &FormationId) -> PathBuf {
        self.drafts().join(id.as_str())
    }

    /// The files that become the bundle.
    pub fn draft_files(&self, id: &FormationId) -> PathBuf {
        self.draft(id).join("files")
    }

    pub fn bundles(&self) -> PathBuf {
        self.root.join("bundles")
    }

    pub fn bundle(&self, sha256: &str) -> PathBuf {
        self.bundles().join(format!("sha256-{sha256}.tar.gz"))
    }

    /// Uploads and half-done removals; emptied at every start.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// What a formation's instances wrote; outlives the formation.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(name)
    }

    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The socket over which the manager speaks to one instance.
    pub fn private_socket(&self, id: &FormationId, instance: u64) -> PathBuf {
        self.run().join(format!("{id}.{instance}.sock"))
    }

    /// The socket that hands the shared listener to a manager that comes back.
    pub fn handoff_socket(&self, id: &FormationId, instance: u64) -> PathBuf {
        self.run().join(format!("{id}.{instance}.handoff"))
    }

    /// No formation's id begins like this.
    pub const MODEL_HOST_LOG: &str = "_model-host";

    /// What the launcher of one instance applied.
    pub fn report(&self, id: &FormationId, instance: u64) -> PathBuf {
        self.run().join(format!("{id}.{instance}.json"))
    }

    pub fn model_host_socket(&self) -> PathBuf {
        self.run().join("model-host.sock")
    }
}
