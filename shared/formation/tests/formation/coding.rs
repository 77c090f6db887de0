use muxi_formation::coding::{AdapterOutput, Call, Cleanup, Session};
use muxi_formation::{Coding, Resolve, load};

use crate::bundles::{MINIMAL, bundle, faults, loaded};

fn coding(block: &str) -> Coding {
    loaded(&[("formation.afs", &format!("{MINIMAL}coding: {block}\n"))]).coding.unwrap()
}

fn told(block: &str) -> String {
    faults(&[("formation.afs", &format!("{MINIMAL}coding: {block}\n"))])
}

#[test]
fn each_client_that_comes_along_is_called_in_its_own_words() {
    for (client, new, resumed) in [
        (
            "claude-code",
            "claude --print --output-format stream-json --verbose --model m --session-id s1 --x < hi",
            "claude --print --output-format stream-json --verbose --model m --resume s1 --x < hi",
        ),
        (
            "droid",
            "droid exec --output-format json --model m --x hi",
            "droid exec --output-format json --model m --session-id s1 --x hi",
        ),
        (
            "opencode",
            "opencode run --format json --model m --x hi",
            "opencode run --format json --model m --session s1 --x hi",
        ),
        (
            "pi",
            "pi --print --mode json --model m --x hi",
            "pi --print --mode json --model m --session s1 --x hi",
        ),
    ] {
        let coding = coding(&format!("{{client: {client}, workdirs: [/w], extra_args: [--x]}}"));
        let line = |session| {
            let line = coding.command_line(Call { prompt: "hi", model: Some("m"), session });
            let stdin = line.stdin.map_or(String::new(), |text| format!(" < {text}"));
            format!("{} {}{stdin}", line.program, line.args.join(" "))
        };
        assert_eq!(
            (line(Session::New("s1")).as_str(), line(Session::Resume("s1")).as_str()),
            (new, resumed)
        );
        assert!(
            coding.adapter.parse.result.is_some() && coding.adapter.output != AdapterOutput::Text
        );
        assert_eq!(
            (coding.timeout_seconds, coding.max_concurrent, coding.cleanup),
            (1_800, 3, Cleanup::Delete)
        );
    }
}

#[test]
fn a_bundle_describes_clients_of_its_own() {
    let own = "command: aider\nargs: {base: [--yes, 7], prompt: [--message, '{prompt}'], session: ['--chat={id}']}\n";
    let manifest = format!(
        "{MINIMAL}coding: {{client: pi, workdirs: [/w], timeout: 2h, cleanup: keep, env: {{A: '${{{{ secrets.A }}}}'}}}}\n"
    );
    let loaded = loaded(&[("formation.afs", &manifest), ("coding/pi.yml", own)]);
    let coding = loaded.coding.unwrap();
    assert_eq!((coding.adapter.name.as_str(), coding.timeout_seconds), ("pi", 7_200));
    let call = Call { prompt: "a; b", model: Some("m"), session: Session::New("s") };
    assert_eq!(coding.command_line(call).args, ["--yes", "7", "--chat=s", "--message", "a; b"]);
    let inline = self::coding("{command: x, args: {prompt: stdin}, output: text, workdirs: [/w]}");
    assert_eq!(inline.command_line(call).stdin.as_deref(), Some("a; b"));
}

#[test]
fn every_rule_of_coding_is_checked() {
    const PROMPT: &str = "args: {prompt: stdin}, workdirs: [/w]";
    for (block, expected) in [
        ("{client: pi}", "`coding.workdirs` is missing"),
        ("{client: pi, workdirs: []}", "is empty, so no job has a place to work"),
        ("{client: pi, workdirs: [../x]}", "leads out of the bundle"),
        ("{workdirs: [/w]}", "does not say which client"),
        ("{client: pi, command: x, workdirs: [/w]}", "names a client and describes one"),
        ("{client: opencod, workdirs: [/w]}", "did you mean `opencode`?"),
        ("{client: vim, workdirs: [/w]}", "add coding/vim.yaml, or write one of claude-code"),
        ("{client: pi, workdirs: [/w], workers: 3}", "`coding.workers` is not a known key"),
        ("{client: pi, workdirs: [/w], timeout: soon}", "a time such as"),
        (
            "{client: pi, workdirs: [/w], groups: [devs]}",
            "`coding.groups` is documented but not built",
        ),
        (
            "{client: pi, workdirs: [/w], extra_args: [--mode=rpc]}",
            "`--mode=rpc` would change how `pi` is called or read",
        ),
        (
            "{client: pi, workdirs: [/w], model: '${{ secrets.M }}'}",
            "`coding.model` cannot have a secret",
        ),
        (
            "{client: pi, workdirs: [/w], extra_args: ['${{ secrets.M }}']}",
            "`coding.extra_args` cannot have a secret",
        ),
        ("{command: x, workdirs: [/w]}", "`coding.args` is missing"),
        ("{command: x, args: {base: []}, workdirs: [/w]}", "`coding.args.prompt` is missing"),
        (
            "{command: x, args: {prompt: [y]}, workdirs: [/w]}",
            "`coding.args.prompt` does not say where the value goes",
        ),
        (
            "{command: x, args: {prompt: stdin, session: [y]}, workdirs: [/w]}",
            "`coding.args.session` does not say",
        ),
        (
            "{command: x, args: {prompt: stdin, model: [y]}, workdirs: [/w]}",
            "`coding.args.model` does not say",
        ),
        (
            "{command: x, args: {prompt: stdin, session_new: ['{id}']}, workdirs: [/w]}",
            "has no `session_resume`",
        ),
        (
            "{command: x, args: {prompt: stdin, session_resume: ['{id}']}, output: json, workdirs: [/w]}",
            "that nobody names",
        ),
        (
            "{command: x, args: {prompt: stdin, session: ['{id}'], session_resume: ['{id}']}, workdirs: [/w]}",
            "beside another way",
        ),
        (&format!("{{command: x, parse: {{result: a}}, {PROMPT}}}"), "cannot be read from text"),
        (
            &format!("{{command: x, output: xml, {PROMPT}}}"),
            "write `stream-json`, `json` or `text`",
        ),
    ] {
        let told = told(block);
        assert!(told.contains(expected), "{block}\n{told}");
    }
    let manifest = format!("{MINIMAL}coding: {{client: pi, workdirs: [/nowhere, work]}}\n");
    let folder = bundle(&[("formation.afs", &manifest), ("work/keep", "")]);
    assert!(load(folder.path(), Resolve::Keep).is_ok());
    let faults = load(folder.path(), Resolve::With(&|_, _| None)).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].message.contains("`/nowhere` is not a folder of this machine"));
}
