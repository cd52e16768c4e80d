//! docs/promotion.md: what its example shows is what happens, commands and output alike.

use crate::support::simulated::SimulatedFleet;

/// A command of the page, and what it shows of the output.
struct Shown {
    command: String,
    output: Vec<String>,
}

fn shown(page: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let (mut inside, mut typed) = (false, false);
    for line in page.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(command), _) => {
                    typed = command.contains("<<'X'");
                    all.push(Shown {
                        command: command.to_owned(),
                        output: Vec::new(),
                    });
                }
                (None, Some(last)) if typed => {
                    last.command += &format!("\n{line}");
                    typed = line != "X";
                }
                (None, Some(last)) => last.output.push(line.to_owned()),
                (None, None) => panic!("output without a command: {line}"),
            },
        }
    }
    all
}

/// Ids differ from one machine to the next: seven and more hexadecimal digits are any.
fn without_ids(line: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_digit() || ('a'..='f').contains(&c) {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= 7 { "#" } else { &run });
        run.clear();
        out.push(c);
    }
    out.trim_end().to_owned()
}

/// Whether a line is what the page shows: `…` stands for anything.
fn is_shown(line: &str, pattern: &str) -> bool {
    let (line, pattern) = (without_ids(line), without_ids(pattern));
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

/// Whether the output is what the page shows: a line `…` stands for any number of lines.
fn agrees(output: &[&str], page: &[String]) -> bool {
    match (output, page.split_first()) {
        ([], None) => true,
        (_, Some((skip, rest))) if skip == "…" => (0..=output.len()).any(|n| agrees(&output[n..], rest)),
        ([line, more @ ..], Some((pattern, rest))) => is_shown(line, pattern) && agrees(more, rest),
        _ => false,
    }
}

#[test]
fn the_worked_example_is_what_happens() {
    let fleet = SimulatedFleet::new("page");
    let page = include_str!("../../../docs/promotion.md");
    let mut dir = fleet.home();
    let commands = shown(page);
    assert!(commands.len() > 15, "{} commands", commands.len());
    for Shown { command, output } in commands {
        let (told, ended_in) = fleet.shell(&dir, &command);
        dir = ended_in;
        let stdout = String::from_utf8_lossy(&told.stdout);
        assert!(
            agrees(&stdout.lines().collect::<Vec<_>>(), &output),
            "$ {command}\n{stdout}\nand the page says\n{}\nstandard error:\n{}",
            output.join("\n"),
            String::from_utf8_lossy(&told.stderr)
        );
    }
}
