//! What stays of a procedure when somebody changes its plan.

use crate::graph::Task;

/// The changed plan with what the procedure insists on: a critical step is there and stays critical, and
/// what came after a step comes after it still. In the place of a step that was left out stands what it
/// came after.
pub fn changed(old: &[Task], mut new: Vec<Task>) -> Vec<Task> {
    let is_left_out = |new: &[Task], old: &Task| new.iter().all(|task| task.id != old.id);
    for (position, step) in old.iter().enumerate() {
        if step.critical && is_left_out(&new, step) {
            new.insert(position.min(new.len()), step.clone());
        }
    }
    let there: Vec<String> = new.iter().map(|task| task.id.clone()).collect();
    for task in &mut new {
        let Some(step) = old.iter().find(|step| step.id == task.id) else { continue };
        task.critical |= step.critical;
        task.depends_on.retain(|on| there.contains(on));
        for on in came_after(step, old, &there) {
            if !task.depends_on.contains(&on) {
                task.depends_on.push(on);
            }
        }
    }
    new
}

fn came_after(step: &Task, old: &[Task], there: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut open: Vec<&str> = step.depends_on.iter().map(String::as_str).collect();
    while let Some(id) = open.pop() {
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        if there.iter().any(|it| it == id) {
            found.push(id.to_owned());
        } else if let Some(left_out) = old.iter().find(|task| task.id == id) {
            open.extend(left_out.depends_on.iter().map(String::as_str));
        }
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a!<b,c` is the critical task `a` that depends on `b` and `c`.
    fn tasks(text: &str) -> Vec<Task> {
        let task = |word: &str| {
            let (name, on) = word.split_once('<').unwrap_or((word, ""));
            Task {
                id: name.trim_end_matches('!').to_owned(),
                title: None,
                instruction: "Do it".to_owned(),
                agent: "helper".to_owned(),
                depends_on: on.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
                critical: name.ends_with('!'),
            }
        };
        text.split_whitespace().map(task).collect()
    }

    #[test]
    fn what_a_procedure_insists_on_survives_a_change() {
        for (old, new, expected) in [
            // Neither is told by those who change it.
            ("a! b<a c<b", "a b c", "a! b<a c<b"),
            // What is left out holds nobody up, and its order stays.
            ("a b<a c<b", "a c", "a c<a"),
            ("a b<a c<b", "a c<b", "a c<a"),
            // What is critical is never left out.
            ("a b!<a c<b", "a c", "a b!<a c<b"),
            // New steps stand where they were put.
            ("a b<a", "a b x<b", "a b<a x<b"),
            ("a b<a", "x b<x a", "x b<x,a a"),
        ] {
            assert_eq!(changed(&tasks(old), tasks(new)), tasks(expected), "{old} to {new}");
        }
    }
}
