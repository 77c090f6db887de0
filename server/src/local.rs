//! The store in the hands of the command line: the same acts as over the API, beside a manager that
//! runs or alone. A manager that runs notices changed keys at its next request.

use std::io;

use jiff::Timestamp;
use muxi_contract::keys::KeyView;
use rusqlite::{Connection, TransactionBehavior};

use crate::audit::local_entry;
use crate::auth::keys::{self, KeyError, KeyRules};
use crate::auth::master::{MasterKey, MasterKeyError};
use crate::config::{Config, ConfigError, Folders};
use crate::layout::Layout;
use crate::owner::{self, OwnerError};
use crate::running::{self, Holder};
use crate::store::{self, StoreError, audit};

/// An open store with what its acts are judged by.
#[derive(Debug)]
pub struct Local {
    connection: Connection,
    rules: KeyRules,
}

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("failed to use the data folder {folder}")]
    Folder { folder: String, source: io::Error },
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error("failed to use the manager's store: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

// === impl Local ===

impl Local {
    /// Root becomes the data's owner by it, for the rest of the process.
    pub fn open(folders: &Folders) -> Result<Self, LocalError> {
        let layout = folders.layout().map_err(|source| LocalError::Folder {
            folder: folders.data.display().to_string(),
            source,
        })?;
        let folder =
            |source| LocalError::Folder { folder: layout.root().display().to_string(), source };
        owner::become_owner(&layout)?;
        layout.create().map_err(folder)?;
        // The manager that runs may have been given another file.
        let config = match running::holder(&layout).map_err(folder)? {
            Holder::Manager(running) => running.config_file,
            Holder::Starting { .. } | Holder::Nobody => folders.config_file(),
        };
        let (config, _) = Config::read(&config)?;
        let rules = KeyRules {
            configured: config.keys(),
            master: Some(MasterKey::load_or_make(&folders.master_key())?),
            now: Timestamp::now(),
        };
        Ok(Self {
            connection: connect(&layout).map_err(|error| error.unwrap_or_else(folder))?,
            rules,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.rules.now
    }

    pub fn keys(&self) -> Result<Vec<KeyView>, LocalError> {
        Ok(keys::list(&self.connection, &self.rules, &std::collections::BTreeMap::new())?)
    }

    /// An act on keys with its entry in the audit log, both or neither; `target` tells what it was
    /// about.
    pub fn act<T>(
        &mut self,
        action: &str,
        act: impl FnOnce(&Connection, &KeyRules) -> Result<T, KeyError>,
        target: impl FnOnce(&T) -> String,
    ) -> Result<T, LocalError> {
        let now_ms = self.rules.now.as_millisecond();
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(StoreError::from)?;
        let done = act(&transaction, &self.rules)?;
        audit::append(&transaction, local_entry(action, Some(&target(&done)), now_ms))?;
        if let Some(master) = &self.rules.master {
            audit::seal(&transaction, master)?;
        }
        transaction.commit().map_err(StoreError::from)?;
        Ok(done)
    }

    /// Walks along the audit log as it is at this moment.
    pub fn verify(&mut self) -> Result<audit::Verified, LocalError> {
        let snapshot = self.connection.transaction().map_err(StoreError::from)?;
        Ok(audit::verify(&snapshot, self.rules.master.as_ref())?)
    }

    pub fn audit_page(
        &self,
        filter: &audit::Filter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<audit::Page, LocalError> {
        Ok(audit::page(&self.connection, filter, before, limit)?)
    }
}

/// Alone, the tables are brought to the newest version; beside a manager they must have it.
fn connect(layout: &Layout) -> Result<Connection, Result<LocalError, io::Error>> {
    let lock = running::lock(layout).map_err(Err)?;
    let connected = match lock {
        Some(_alone) => store::connect(&layout.database()),
        None => store::connect_beside(&layout.database()),
    };
    connected.map_err(|error| Ok(error.into()))
}
