//! Who asks, and what that allows. Authentication of any kind yields a [`Principal`]; what follows
//! looks at nothing else.

use axum::http::Method;
use muxi_contract::keys::Role;

/// Whoever signed a request; handlers, logs and the audit see only this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub key_id: String,
    pub role: Role,
    pub permissions: &'static [Permission],
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To look at formations, operations and the manager's state.
    Read,
    /// To change formations.
    Deploy,
    /// To change the manager itself, and to see its keys, audit and logs.
    Administer,
}

/// The actor of calls while authentication is off.
const ANONYMOUS: &str = "anonymous";

/// Only administrators look at these.
const ADMIN_ONLY: [&str; 3] = ["/rpc/keys", "/rpc/audit", "/rpc/server/logs"];
/// What a deployer may change.
const DEPLOYERS: [&str; 3] = ["/rpc/formations", "/rpc/operations", "/rpc/dev"];

/// What a call needs; `route` is the pattern that matched. What nobody thought of is for
/// administrators.
pub fn needed(method: &Method, route: &str) -> Permission {
    let below = |prefix: &str| {
        route.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if ADMIN_ONLY.iter().any(|it| below(it)) {
        Permission::Administer
    } else if is_safe(method) {
        Permission::Read
    } else if DEPLOYERS.iter().any(|it| below(it)) {
        Permission::Deploy
    } else {
        Permission::Administer
    }
}

/// Whether a method changes nothing.
pub fn is_safe(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}

// === impl Principal ===

impl Principal {
    pub fn new(key_id: impl Into<String>, role: Role) -> Self {
        Self { key_id: key_id.into(), role, permissions: permissions(role) }
    }

    /// Everyone, where the operator switched authentication off.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, Role::Admin)
    }

    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }
}

// === impl Permission ===

impl Permission {
    /// The least role that has it.
    pub const fn least_role(self) -> Role {
        match self {
            Self::Read => Role::Read,
            Self::Deploy => Role::Deploy,
            Self::Administer => Role::Admin,
        }
    }
}

const fn permissions(role: Role) -> &'static [Permission] {
    match role {
        Role::Read => &[Permission::Read],
        Role::Deploy => &[Permission::Read, Permission::Deploy],
        Role::Admin => &[Permission::Read, Permission::Deploy, Permission::Administer],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_has_its_least_role() {
        let cases = [
            ("GET", "/rpc/formations", Role::Read),
            ("HEAD", "/rpc/formations/{id}", Role::Read),
            ("GET", "/rpc/operations/{id}/stream", Role::Read),
            ("GET", "/rpc/server/status", Role::Read),
            ("POST", "/rpc/formations", Role::Deploy),
            ("PUT", "/rpc/formations/{id}", Role::Deploy),
            ("DELETE", "/rpc/formations/{id}", Role::Deploy),
            ("POST", "/rpc/dev/run", Role::Deploy),
            ("POST", "/rpc/operations/{id}/cancel", Role::Deploy),
            ("GET", "/rpc/server/logs", Role::Admin),
            ("GET", "/rpc/keys", Role::Admin),
            ("POST", "/rpc/keys/{id}/rotate", Role::Admin),
            ("GET", "/rpc/audit", Role::Admin),
            ("POST", "/rpc/backup", Role::Admin),
            ("POST", "/rpc/formationsx", Role::Admin),
        ];
        for (method, route, role) in cases {
            let needed = needed(&method.parse().unwrap(), route);
            assert_eq!(needed.least_role(), role, "{method} {route}");
            for holder in [Role::Read, Role::Deploy, Role::Admin] {
                let may = Principal::new("k", holder).may(needed);
                assert_eq!(may, holder >= role, "{holder} {method} {route}");
            }
        }
    }
}
