//! `docs/commands.md` shows what is printed: every block that runs on the examples is run.

use std::fs;

use super::{root, septum};

#[test]
fn what_is_shown_is_what_is_printed() {
    let text = fs::read_to_string(root().join("docs/commands.md")).expect("docs/commands.md");
    let mut shown = 0;
    for block in text.split("```\n").skip(1).step_by(2) {
        let Some((command, output)) = block.strip_prefix("$ septum ").and_then(|it| it.split_once('\n'))
        else {
            continue;
        };
        // Files that a reader would write, the page does not have.
        if command.contains("policy.") {
            continue;
        }
        let ran = septum(command.split_whitespace());
        assert_eq!(format!("{}{}", ran.stderr, ran.stdout), output, "$ septum {command}");
        shown += 1;
    }
    assert!(shown >= 5, "{shown}");
}
