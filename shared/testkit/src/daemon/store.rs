//! The manager's store as a test sees it, past the manager.

use super::{Daemon, PATIENCE};

impl Daemon {
    /// The ports that formations hold, as the store has them.
    pub fn leased_ports(&self) -> Vec<u16> {
        let db = self.database();
        let mut statement =
            db.prepare("SELECT port FROM ports ORDER BY port").expect("the manager's store");
        let rows = statement.query_map([], |row| row.get(0)).expect("the manager's store");
        rows.map(|port| port.expect("a port")).collect()
    }

    /// Changes the manager's store behind its back.
    pub fn execute(&self, sql: &str) -> Result<(), String> {
        let path = self.data_dir().join("manager.db");
        let db = rusqlite::Connection::open(path).expect("the manager's store");
        db.busy_timeout(PATIENCE).expect("a timeout");
        db.execute_batch(sql).map_err(|error| error.to_string())
    }

    /// The number that a query of the manager's store gives.
    pub fn count(&self, sql: &str) -> i64 {
        self.database().query_row(sql, [], |row| row.get(0)).expect("a number")
    }
}
