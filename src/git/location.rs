//! Where a repository is: a path here, or a URL. What git would take as a command or an option is refused.

use std::path::PathBuf;

use super::GitError;
use crate::text::Safe;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On this machine: its refs and objects are read in place, never fetched.
    Path(PathBuf),
    /// Elsewhere: read from a mirror that a `git` child fetches. `https`, `ssh`, `user@host:path`, or `file:///…`.
    Url(String),
}

impl Location {
    /// Reads what a person wrote after `--repo`.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let refuse = |why| {
            Err(GitError::Location {
                text: Safe::new(&redact(text)),
                why,
            })
        };
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.starts_with('-') {
            return refuse("it starts with `-` and git would take it as an option; write `./-…` for a path");
        }
        if text.chars().any(char::is_control) {
            return refuse("it holds a control character");
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match url(scheme, rest) {
                Ok(()) => Ok(Self::Url(text.to_owned())),
                Err(why) => refuse(why),
            };
        }
        let head = text.split('/').next().unwrap_or_default();
        if head.contains("::") {
            return refuse("remote helpers (`ext::` and the like) run commands; use https, ssh or a path");
        }
        if let Some((user, host)) = head.split_once('@')
            && let Some((host, _)) = host.split_once(':')
        {
            return match (authority(user, host), user.contains(':')) {
                (_, true) => refuse("passwords do not belong into a URL; use an SSH key"),
                (Err(why), _) => refuse(why),
                (Ok(()), _) => Ok(Self::Url(text.to_owned())),
            };
        }
        Ok(Self::Path(PathBuf::from(text)))
    }
}

fn url(scheme: &str, rest: &str) -> Result<(), &'static str> {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    match scheme {
        "file" if host.is_empty() && !path.is_empty() && !path.contains(['?', '#', '%']) => Ok(()),
        "file" => Err("a `file` URL is `file:///absolute/path` and nothing else; a plain path does as well"),
        "https" | "ssh" => {
            if rest.contains(['?', '#', ' ']) {
                return Err("a repository's URL has no query, fragment or space");
            }
            if path.is_empty() {
                return Err("it names no repository on that host");
            }
            let (user, host) = host.rsplit_once('@').map_or((None, host), |(u, h)| (Some(u), h));
            if user.is_some_and(|u| u.contains(':')) {
                return Err(
                    "passwords do not belong into a URL, where every process list shows them; use a credential helper or an SSH key",
                );
            }
            authority(user.unwrap_or("git"), host)
        }
        "http" | "git" => Err("it is neither encrypted nor authenticated; use https or ssh"),
        _ => Err("only https, ssh, `user@host:path` and `file:///…` are taken"),
    }
}

fn authority(user: &str, host: &str) -> Result<(), &'static str> {
    let plain = |text: &str, also: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    if !plain(user, "._-+~%") {
        return Err("the user name in it is not plain");
    }
    if !plain(host, ".-_:[]") {
        return Err("the host name in it is not plain");
    }
    Ok(())
}

/// The text without what stands between `://` and `@` (for `ssh`, the user name stays), everywhere in it.
pub(super) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(i) = rest.find("://") {
        let (before, after) = rest.split_at(i + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace() || matches!(c, '\'' | '"'))
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                if before.ends_with("ssh://") && !user.contains(':') {
                    out.push_str(user);
                    out.push('@');
                }
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_told_apart() {
        for url in [
            "https://forge.example/a/b.git",
            "https://me@forge.example:8443/a",
            "ssh://git@forge.example:22/a/b",
            "git@forge.example:a/b.git",
            "file:///srv/git/a.git",
        ] {
            assert_eq!(Location::parse(url).unwrap(), Location::Url(url.to_owned()));
        }
        for path in [".", "/srv/git/a", "../fleet", "a:b", "./user@host:x"] {
            assert_eq!(Location::parse(path).unwrap(), Location::Path(path.into()));
        }
    }

    #[test]
    fn what_runs_commands_or_leaks_passwords_is_refused() {
        for bad in [
            "",
            "-u",
            "--upload-pack=touch x",
            "ext::sh -c touch",
            "foo::bar",
            "http://forge.example/a",
            "git://forge.example/a",
            "file://host/a",
            "file:relative://x",
            "file:///",
            "ssh://-oProxyCommand=x/a",
            "ssh://-F@host/a",
            "-x@host:a",
            "user@-oProxyCommand=x:a",
            "https://user:hunter2@forge.example/a",
            "https://forge.example/a?token=hunter2",
            "https://forge.example",
            "https:///a",
            "a\nb",
        ] {
            let error = Location::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("user:hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_are_taken_out_of_any_text() {
        assert_eq!(
            redact("fatal: 'https://u:p@h.example/a' and https://tok@h/b, ssh://git@h/c"),
            "fatal: 'https://h.example/a' and https://h/b, ssh://git@h/c"
        );
        assert_eq!(redact("https://u:p@ss@h/x"), "https://h/x");
    }
}
