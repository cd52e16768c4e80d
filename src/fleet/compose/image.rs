//! Names of images.

use std::collections::BTreeMap;

use super::super::read::Reader;
use super::super::yaml::Node;
use super::{Vars, settled};
use crate::diagnostic::Spanned;
use crate::text::Safe;

/// Whether a text is `[registry[:port]/]repository[:tag][@algorithm:hex]`, as the engine's reference grammar says.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("an empty name");
    }
    if text.len() > 512 {
        return Err("the name is too long");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        let good = digest.split_once(':').is_some_and(|(algorithm, hex)| {
            let length = match algorithm {
                "sha256" => 64,
                "sha512" => 128,
                _ => 0,
            };
            hex.len() == length && length > 0 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if !good {
            return Err("the digest is not `sha256:` and 64 hexadecimal digits");
        }
    }
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        let good = tag.len() <= 128
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && tag
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if !good {
            return Err("the tag is not valid");
        }
    }
    repository(name)
}

fn repository(name: &str) -> Result<(), &'static str> {
    let mut parts = name.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    let is_registry = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if is_registry {
        parts.next();
        let (host, port) = first.split_once(':').map_or((first, None), |(h, p)| (h, Some(p)));
        let good_port = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
        let good_host = !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        if !good_host || !good_port {
            return Err("the registry is no host name");
        }
    }
    for part in parts {
        if part.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("the repository has capital letters");
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = part.starts_with(plain)
            && part.ends_with(plain)
            && part.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
            && !part.contains("..")
            && !part.contains("___");
        if !good {
            return Err("the repository is not valid");
        }
    }
    Ok(())
}

/// The image of a service: `.env` and defaults only. With it come the variables that a tenant may not give.
pub fn declared(
    reader: &Reader,
    node: &Node,
    dotenv: &BTreeMap<String, String>,
) -> Option<(Spanned<String>, Vec<String>)> {
    let refused = |name: &str| depends_on_tenant(reader, node, name);
    let (value, names) = settled::expand(reader, node, "an image", dotenv, refused)?;
    match check(&value) {
        Ok(()) => Some((Spanned::new(value, node.at.clone()), names)),
        Err(why) => {
            let shown: String = value.chars().take(80).collect();
            reader.error(
                "image",
                &node.at,
                format!("`{}` is no name of an image: {why}", Safe::new(&shown)),
                "write it like `nginx:1.27` or `registry.example.org/team/app:2.1`",
            );
            None
        }
    }
}

/// Refuses variables of an image that this tenant gives.
pub fn check_tenant(reader: &Reader, node: &Node, names: &[String], vars: &Vars, service: &str) {
    if let Some(name) = names.iter().find(|n| vars.gives(service, n)) {
        depends_on_tenant(reader, node, name);
    }
}

fn depends_on_tenant(reader: &Reader, node: &Node, name: &str) {
    reader.error(
        "tenant-image",
        &node.at,
        format!("the image depends on `{name}`, which a tenant gives: all tenants of a ring run the same images"),
        "write the image out, or make two services and choose with the tenant's `services:`; versions differ by ring",
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_engines_grammar() {
        let digest = "a".repeat(64);
        for good in [
            "nginx",
            "nginx:1.27-alpine",
            "library/nginx",
            "ghcr.io/team/app:v1",
            "localhost/app",
            "localhost:5000/app:2",
            "registry.example:5000/a/b/c:latest",
            "my_app/x__y-z:A_1",
            &format!("nginx@sha256:{digest}"),
            &format!("nginx:1@sha256:{digest}"),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ":1",
            "Nginx",
            "a b",
            "nginx:",
            "nginx:-x",
            "a//b",
            "/a",
            "a/",
            "nginx@sha256:12",
            "nginx@md5:1",
            "host:0/a",
            "host:99999/a",
            "-a",
            "a..b",
            "http://a/b",
            "a:1:2",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_checked_without_a_panic(text in "\\PC{0,60}", dense in "[a-cA-C0-9:/@._-]{0,40}") {
            let _ = check(&text);
            let _ = check(&dense);
        }
    }
}
