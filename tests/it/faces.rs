//! Help, completions and manual pages: what a newcomer meets.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::support::fleet::{TestFleet, agent};

/// Asks bash, with ringfence's script loaded, how it completes the last of these words.
fn completed(fleet: &TestFleet, words: &[&str]) -> Vec<String> {
    const ASK: &str = r#"
        source <(ringfence completions bash) || exit 9
        function=$(complete -p ringfence | sed 's/.*-F \([^ ]*\).*/\1/')
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9 COMP_KEY=9
        COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        "$function" ringfence "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_ringfence"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", ASK, "bash", "ringfence"])
        .args(words)
        .current_dir(fleet.repo())
        .env_remove("RINGFENCE_REPO")
        .env("PATH", path)
        .env("HOME", fleet.home())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{words:?}: {told}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_options_and_the_names_of_the_fleet() {
    let fleet = TestFleet::example("completions");
    let complete = |words: &[&str]| completed(&fleet, words);
    assert_eq!(complete(&["st"]), ["status", "stack"]);
    assert!(complete(&["plan", "--"]).contains(&"--exit-code".to_owned()));
    let mut names = complete(&["plan", ""]);
    names.retain(|n| !n.starts_with('-'));
    assert_eq!(names, ["canary", "dev", "dev-lab", "platform", "prod", "staging"]);
    assert_eq!(complete(&["history", "p"]), ["prod"]);
    assert_eq!(complete(&["tenant", "show", "dev"]), ["dev-lab"]);
    assert_eq!(complete(&["logs", "dev-lab/"]), ["dev-lab/agent", "dev-lab/web"]);
    assert_eq!(complete(&["stack", "preview", "hyp"]), ["hyperscaler"]);
    assert_eq!(complete(&["schema", "output-tenant-s"]), ["output-tenant-show"]);

    // Another fleet on the line wins over the one around the directory; where there is none, there are no names.
    let nothing = fleet.home().join("nothing");
    std::fs::create_dir_all(&nothing).unwrap();
    let at = nothing.to_str().unwrap();
    assert!(complete(&["-C", at, "tenant", "show", "dev-"]).is_empty());
    fleet.ringfence(&["init", "--one-branch", at]).expect(0);
    assert_eq!(complete(&["-C", at, "tenant", "show", "l"]), ["lab"]);
}

#[test]
fn every_shell_has_a_script_that_names_the_binary() {
    let fleet = TestFleet::new("shells");
    for shell in ["bash", "zsh", "fish"] {
        let script = fleet.ringfence(&["completions", shell]).expect(0).stdout;
        assert!(script.contains(env!("CARGO_BIN_EXE_ringfence")), "{script}");
        assert!(script.contains("RINGFENCE_COMPLETE"), "{script}");
    }
    fleet.ringfence(&["completions", "tcsh"]).expect(64);
}

/// The names of the verbs that `--help` lists below `verb`.
fn verbs(fleet: &TestFleet, verb: &[&str]) -> Vec<String> {
    let text = fleet.ringfence(&[verb, &["-h"]].concat()).expect(0).stdout;
    let listed = text
        .lines()
        .skip_while(|l| !l.starts_with("Usage"))
        .filter(|l| l.starts_with("  ") && l.chars().nth(2).is_some_and(|c| c.is_ascii_lowercase()));
    let names = listed.map(|l| l.split_whitespace().next().unwrap().to_owned());
    names.filter(|n| n != "ringfence" && n != "help").collect()
}

#[test]
fn every_verb_has_help_with_examples_and_a_manual_page() {
    let fleet = TestFleet::new("help");
    let pages = fleet.home().join("man1");
    fleet.ringfence(&["man", pages.to_str().unwrap()]).expect(0);
    let verbs = verbs(&fleet, &[]);
    assert!(verbs.len() >= 15, "{verbs:?}");
    for verb in &verbs {
        let help = fleet.ringfence(&[verb, "--help"]).expect(0).stdout;
        let shows = help.contains("Examples:") || help.contains("Install it");
        assert!(shows && help.contains(&format!("ringfence {verb}")), "{help}");
        assert!(help.lines().all(|l| l.chars().count() <= 110), "{help}");
        let page = std::fs::read_to_string(pages.join(format!("ringfence-{verb}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{page}");
    }
    // All of them stand in the groups of the first help: what is in none would not be found.
    let all = fleet.ringfence(&["help"]).expect(0).stdout;
    for page in std::fs::read_dir(&pages).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        if let Some(verb) = name.strip_prefix("ringfence-").and_then(|n| n.strip_suffix(".1")) {
            let first = verb.split('-').next().unwrap();
            assert!(
                all.contains(&format!("\n  {first} ")),
                "{first} is in no group:\n{all}"
            );
        }
    }
    assert!(
        fleet
            .ringfence(&["man"])
            .expect(0)
            .stdout
            .contains(".TH ringfence 1")
    );
}

#[test]
fn a_watch_that_is_piped_prints_a_snapshot_at_each_change_and_ends_with_the_daemon() {
    let fleet = TestFleet::one_ring("watch-pipe");
    let daemon = fleet.daemon();
    fleet.eventually("it runs", |f| f.synced("dev"));
    let mut watch = fleet
        .command(&["status", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let first = lines.by_ref().take_while(|l| !l.is_empty()).count();
    assert!(first > 0);
    let change = fleet.on("main").write("desired/services/agent.yaml", &agent("2"));
    let commit = change.commit("agent 2")[..8].to_owned();
    let mut seen = Vec::new();
    let found = lines.by_ref().any(|line| {
        let found = line.contains("synced") && line.contains(&commit);
        seen.push(line);
        found
    });
    assert!(found, "{seen:#?}");
    assert!(seen.iter().all(|l| !l.contains('\u{1b}')), "{seen:#?}");
    daemon.stop();
    lines.for_each(drop);
    assert_eq!(
        watch.wait().unwrap().code(),
        Some(1),
        "nobody keeps it so any more"
    );
}

#[test]
fn a_watch_on_a_terminal_fits_it_and_gives_it_back() {
    let fleet = TestFleet::one_ring("watch-screen");
    let _daemon = fleet.daemon();
    fleet.eventually("it runs", |f| f.synced("dev"));
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .open(path.to_str().unwrap())
        .unwrap();
    let size = |columns| Winsize {
        ws_row: 12,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&slave, size(40)).unwrap();
    let before = tcgetattr(&slave).unwrap();
    let mut watch = fleet
        .command(&["status", "--watch"])
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut master = File::from(master);
    let mut seen = String::new();
    let mut read_until = |master: &mut File, text: &str| {
        let mut part = [0; 4096];
        while !seen.contains(text) {
            let n = master.read(&mut part).unwrap();
            assert!(n > 0, "{seen:?}");
            seen.push_str(&String::from_utf8_lossy(&part[..n]));
        }
        std::mem::take(&mut seen)
    };
    let narrow = read_until(&mut master, "q ends");
    assert!(
        narrow.contains("\u{1b}[?1049h") && narrow.contains("acme"),
        "{narrow:?}"
    );
    let widest = |text: &str| {
        let lines = text.rsplit("\u{1b}[H").next().unwrap().split("\r\n");
        lines
            .map(|l| l.replace("\u{1b}[K", "").chars().count())
            .max()
            .unwrap()
    };
    assert_eq!(widest(&narrow), 39, "{narrow:?}");
    tcsetwinsize(&slave, size(200)).unwrap();
    // A pseudo-terminal that is nobody's controlling one tells nobody of its new size.
    let pid = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    let wide = read_until(&mut master, "q ends");
    assert!(widest(&wide) > 40, "{wide:?}");
    master.write_all(b"q").unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    let last = read_until(&mut master, "\u{1b}[?1049l");
    assert!(last.contains("\u{1b}[?25h"), "{last:?}");
    let after = tcgetattr(&slave).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
}
