use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_llm::ToolSpec;
use serde_json::json;

use super::*;
use crate::{Call, Danger, Outcome};

struct Named {
    spec: ToolSpec,
    origin: Origin,
}

impl fmt::Debug for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.spec.name)
    }
}

impl Tool for Named {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn danger(&self) -> Danger {
        Danger::Unknown
    }

    fn call(&self, _call: Call) -> BoxFuture<'_, Outcome> {
        std::future::ready(Outcome::default()).boxed()
    }
}

fn tool(server: &str, name: &str, description: &str) -> Arc<dyn Tool> {
    let spec = ToolSpec {
        name: format!("{server}__{name}"),
        description: description.to_owned(),
        parameters: Arc::new(json!({"type": "object"})),
    };
    let origin = Origin::Mcp { server: server.to_owned(), tool: name.to_owned() };
    Arc::new(Named { spec, origin })
}

const ACTS: &[(&str, &str)] = &[
    ("create", "Creates a new {}."),
    ("delete", "Deletes a {} for good."),
    ("list", "Lists every {} that the caller may see."),
    ("update", "Changes fields of an existing {}."),
    ("search", "Searches for a {} by words."),
    ("export", "Exports a {} as a table."),
    ("share", "Shares a {} with other people."),
    ("archive", "Puts a {} away without deleting it."),
];

const THINGS: &[(&str, &str)] = &[
    ("github", "issue"),
    ("github", "repository"),
    ("jira", "ticket"),
    ("calendar", "meeting"),
    ("mail", "message"),
    ("mail", "folder"),
    ("shop", "order"),
    ("shop", "customer"),
    ("shop", "invoice"),
    ("crm", "contact"),
    ("crm", "deal"),
    ("wiki", "page"),
    ("wiki", "comment"),
    ("cloud", "server"),
    ("cloud", "bucket"),
    ("cloud", "database"),
    ("music", "playlist"),
    ("music", "album"),
    ("travel", "flight"),
    ("travel", "hotel"),
    ("bank", "payment"),
    ("bank", "account"),
    ("hr", "vacation"),
    ("hr", "employee"),
    ("notes", "notebook"),
];

/// 200 tools: 25 things, and eight acts on each.
fn catalogue() -> Vec<Arc<dyn Tool>> {
    let of_thing = |(server, thing): &(&str, &str)| {
        let of_act = |(act, text): &(&str, &str)| {
            tool(server, &format!("{act}_{thing}"), &text.replace("{}", thing))
        };
        ACTS.iter().map(of_act).collect::<Vec<_>>()
    };
    THINGS.iter().flat_map(of_thing).collect()
}

fn names(tools: &[Arc<dyn Tool>]) -> Vec<&str> {
    tools.iter().map(|it| it.spec().name.as_str()).collect()
}

#[test]
fn few_tools_are_all_shown() {
    let tools: Vec<_> = catalogue().into_iter().take(24).collect();
    assert_eq!(names(&shortlist(&tools, "nothing that fits", 24)), names(&tools));
    assert!(shortlist(&[], "x", 0).is_empty());
}

#[test]
fn the_wanted_tool_is_found_in_a_large_catalogue() {
    let tools = catalogue();
    assert_eq!(tools.len(), 200);
    let phrases: &[(&str, &str)] = &[
        ("create", "Please create a new {} for me."),
        ("delete", "Deleting the old {}s would be nice, can you?"),
        ("list", "Which {}s do we have? List them."),
        ("update", "I want to update the {} from yesterday."),
        ("search", "Search the {}s that mention Berlin"),
        ("export", "I need an export of our {}s"),
        ("share", "Could you share this {} with Ann?"),
        ("archive", "archive the {}"),
    ];
    let mut asked = 0;
    let mut found = 0;
    let mut found_first = 0;
    for (server, thing) in THINGS {
        for (act, phrase) in phrases {
            let wanted = format!("{server}__{act}_{thing}");
            let message = phrase.replace("{}", thing);
            let shown = shortlist(&tools, &message, 24);
            assert_eq!(shown.len(), 24);
            asked += 1;
            found += usize::from(names(&shown).contains(&wanted.as_str()));
            let few = shortlist(&tools, &message, 3);
            found_first += usize::from(names(&few).contains(&wanted.as_str()));
        }
    }
    assert_eq!(found, asked, "recall among 24");
    assert!(found_first * 100 >= asked * 95, "recall among 3: {found_first} of {asked}");
}

#[test]
fn tools_that_the_message_names_are_always_shown() {
    let tools = catalogue();
    for message in [
        "use music__archive_album",
        "Run `archive_album`, then list the issues of the repository.",
        "ARCHIVE_ALBUM!",
    ] {
        assert!(
            names(&shortlist(&tools, message, 5)).contains(&"music__archive_album"),
            "{message}"
        );
    }
    let all_named = "create_issue list_issue delete_issue";
    assert_eq!(shortlist(&tools, all_named, 1).len(), 3);
    let part_of_another = "re-archive_album_now";
    let shown = shortlist(&tools, part_of_another, 200 - 1);
    assert_eq!(shown.len(), 199);
}

#[test]
fn the_order_is_that_of_the_catalogue_and_ties_are_stable() {
    let tools = catalogue();
    let shown = shortlist(&tools, "zzz", 10);
    assert_eq!(names(&shown), names(&tools[..10]));
    let twice = [shortlist(&tools, "delete page", 24), shortlist(&tools, "delete page", 24)];
    assert_eq!(names(&twice[0]), names(&twice[1]));
    let places: Vec<usize> = names(&twice[0])
        .iter()
        .map(|name| names(&tools).iter().position(|it| it == name).unwrap())
        .collect();
    assert!(places.is_sorted());
}
