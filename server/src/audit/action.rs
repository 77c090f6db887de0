//! What a call is named after: its route.

use axum::http::Method;

/// A name such as `formations.restart`: the words of the route, and a verb where the route ends with
/// a collection or one of its members.
pub fn name(method: &Method, route: Option<&str>) -> String {
    let Some(route) = route else { return "unknown".to_owned() };
    let segments: Vec<&str> =
        route.split('/').filter(|it| !it.is_empty() && *it != "rpc").collect();
    let words = segments.iter().filter(|it| !it.starts_with('{')).copied();
    let mut name = words.collect::<Vec<_>>().join(".");
    let is_member = segments.last().is_some_and(|it| it.starts_with('{'));
    if is_member || segments.len() == 1 {
        name.push('.');
        name.push_str(verb(method, is_member));
    }
    name
}

/// The first variable part of the path, which is what the call is about.
pub fn target(route: Option<&str>, path: &str) -> Option<String> {
    let at = route?.split('/').position(|it| it.starts_with('{'))?;
    path.split('/').nth(at).filter(|it| !it.is_empty()).map(str::to_owned)
}

fn verb(method: &Method, is_member: bool) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" if is_member => "get",
        "GET" | "HEAD" => "list",
        "POST" => "create",
        "PUT" | "PATCH" => "update",
        "DELETE" => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_targets_come_from_the_route() {
        let cases = [
            ("GET", "/rpc/formations", "/rpc/formations", "formations.list", None),
            ("POST", "/rpc/formations", "/rpc/formations", "formations.create", None),
            (
                "DELETE",
                "/rpc/formations/{id}",
                "/rpc/formations/abc",
                "formations.delete",
                Some("abc"),
            ),
            (
                "POST",
                "/rpc/formations/{id}/start",
                "/rpc/formations/abc/start",
                "formations.start",
                Some("abc"),
            ),
            (
                "POST",
                "/rpc/formations/{id}/start/stream",
                "/rpc/formations/abc/start/stream",
                "formations.start.stream",
                Some("abc"),
            ),
            ("GET", "/rpc/server/status", "/rpc/server/status", "server.status", None),
            ("POST", "/rpc/keys/{id}/rotate", "/rpc/keys/k1/rotate", "keys.rotate", Some("k1")),
        ];
        for (method, route, path, wanted, about) in cases {
            assert_eq!(name(&method.parse().unwrap(), Some(route)), wanted);
            assert_eq!(target(Some(route), path).as_deref(), about);
        }
        assert_eq!(name(&Method::GET, None), "unknown");
        assert_eq!(target(None, "/rpc/nothing"), None);
    }
}
