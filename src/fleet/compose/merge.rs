//! How one Compose text is laid over another: what `extends` and a list of files in `include` come to.

use super::super::yaml::{Key, Kind, Node, Over};

/// Lists whose items are `NAME=value` or names, where maps say the same.
const AS_MAPS: &[&str] = &[
    "environment",
    "labels",
    "sysctls",
    "annotations",
    "depends_on",
    "networks",
];
/// Keys that are a word or a list of words.
const AS_LISTS: &[&str] = &["env_file", "label_file", "dns", "dns_search", "tmpfs"];
/// Keys whose later value takes the place of the earlier one whole.
const WHOLE: &[&str] = &["command", "entrypoint", "test", "image", "profiles"];

/// A text as it is when nothing is laid over it any more: what was reset is gone.
pub fn without_resets(node: Node) -> Node {
    let kind = match node.kind {
        Kind::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .filter(|(key, _)| key.over != Over::Reset)
                .map(|(key, value)| (key, without_resets(value)))
                .collect(),
        ),
        Kind::Seq(items) => Kind::Seq(items.into_iter().map(without_resets).collect()),
        scalar @ Kind::Scalar { .. } => scalar,
    };
    Node { kind, at: node.at }
}

/// A service laid over another: what `over` says stands, and lists of both are joined. As in Compose, a key without a value
/// takes nothing back.
pub fn merge_services(base: Node, over: Node) -> Node {
    by_key(base, over, |key, earlier, later| {
        if later.is_null() {
            earlier
        } else {
            merge_key(key, earlier, later)
        }
    })
}

/// A file laid over another, each with its services complete: services by name, the rest as in a service.
pub fn merge_files(base: Node, over: Node) -> Node {
    by_key(base, over, |section, earlier, later| match section {
        "services" => by_key(earlier, later, |_, earlier, later| merge_services(earlier, later)),
        _ => merge_key(section, earlier, later),
    })
}

fn merge_key(key: &str, base: Node, over: Node) -> Node {
    if WHOLE.contains(&key) || base.is_null() {
        return over;
    }
    if AS_MAPS.contains(&key) {
        return merge_maps(as_map(base), as_map(over));
    }
    if AS_LISTS.contains(&key) {
        return append(key, as_list(base), as_list(over));
    }
    match (&base.kind, &over.kind) {
        (Kind::Map(_), Kind::Map(_)) => {
            let driver = |n: &Node| n.get("driver").and_then(Node::scalar).map(str::to_owned);
            if key == "logging" && driver(&over).is_some_and(|d| driver(&base) != Some(d)) {
                return over;
            }
            merge_maps(base, over)
        }
        (Kind::Seq(_), Kind::Seq(_)) => append(key, base, over),
        _ => over,
    }
}

fn merge_maps(base: Node, over: Node) -> Node {
    by_key(base, over, merge_key)
}

/// Two maps as one; what both have is what `merge` makes of it. What is no map gives way to what is laid over it.
fn by_key(base: Node, over: Node, merge: impl Fn(&str, Node, Node) -> Node) -> Node {
    let (Kind::Map(mut entries), Kind::Map(more)) = (base.kind, over.kind.clone()) else {
        return over;
    };
    for (key, value) in more {
        match entries.iter_mut().find(|(k, _)| k.text == key.text) {
            None => entries.push((key, value)),
            // What is reset stays as such, since more may be laid below or above it; `without_resets` takes it away.
            Some(old) if key.over != Over::Merge || old.0.over == Over::Reset => *old = (key, value),
            Some((k, old)) => {
                let earlier = std::mem::replace(old, value.clone());
                *old = merge(&key.text, earlier, value);
                *k = key;
            }
        }
    }
    Node {
        kind: Kind::Map(entries),
        at: over.at,
    }
}

/// `[A=1, b]` as `{A: 1, b: }`.
fn as_map(node: Node) -> Node {
    let Kind::Seq(items) = node.kind else {
        return node;
    };
    let mut entries: Vec<(Key, Node)> = Vec::new();
    for item in items {
        let Kind::Scalar { text, .. } = &item.kind else {
            continue;
        };
        let (name, value) = text
            .split_once('=')
            .map_or((text.as_str(), None), |(n, v)| (n, Some(v)));
        let kind = Kind::Scalar {
            text: value.unwrap_or_default().to_owned(),
            quoted: value.is_some(),
        };
        let key = Key {
            text: name.to_owned(),
            at: item.at.clone(),
            over: Over::Merge,
        };
        entries.retain(|(k, _)| k.text != key.text);
        entries.push((key, Node { kind, at: item.at }));
    }
    Node {
        kind: Kind::Map(entries),
        at: node.at,
    }
}

fn as_list(node: Node) -> Node {
    match node.kind {
        Kind::Seq(_) => node,
        _ => Node {
            at: node.at.clone(),
            kind: Kind::Seq(vec![node]),
        },
    }
}

/// Two lists, one after the other; of two items for the same place the later stays.
fn append(key: &str, base: Node, over: Node) -> Node {
    let (Kind::Seq(earlier), Kind::Seq(later)) = (base.kind, over.kind) else {
        return Node {
            kind: Kind::Seq(Vec::new()),
            at: over.at,
        };
    };
    let mut items: Vec<Node> = earlier
        .into_iter()
        .filter(|item| !later.iter().any(|l| place_of(key, l) == place_of(key, item)))
        .collect();
    items.extend(later);
    Node {
        kind: Kind::Seq(items),
        at: over.at,
    }
}

/// What two items of a list have in common when they are about the same thing.
fn place_of(key: &str, item: &Node) -> String {
    if let Kind::Map(_) = item.kind {
        let of = |name| item.get(name).and_then(Node::scalar).unwrap_or_default();
        return match key {
            "volumes" => of("target").trim_end_matches('/').to_owned(),
            "secrets" | "configs" => of("source").to_owned(),
            "ports" => format!(
                "{}:{}:{}/{}",
                of("host_ip"),
                of("published"),
                of("target"),
                of("protocol")
            ),
            _ => of("path").to_owned(),
        };
    }
    let text = item.scalar().unwrap_or_default();
    match key {
        "volumes" => text
            .split(':')
            .nth(1)
            .unwrap_or(text)
            .trim_end_matches('/')
            .to_owned(),
        _ => text.to_owned(),
    }
}
