//! Compose's interpolation: `$VAR`, `${VAR}`, `${VAR:-default}` and its relatives, nested, with `$$` for a dollar.

use std::collections::BTreeSet;

/// The longest text that one scalar may become.
const MAX_TEXT: usize = 1 << 20;
/// How deep defaults may hold further variables.
const MAX_DEPTH: usize = 16;

/// Looks a variable up.
pub type Get<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// A text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable {
        name: String,
        /// The operator and what follows it.
        rule: Option<(Rule, Template)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    /// `:-`, `:?`, `:+`: an empty value counts as none.
    empty_is_unset: bool,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Default,
    Error,
    Alternative,
}

/// Why a text could not be interpolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It breaks the syntax.
    Syntax(&'static str),
    /// A variable has no value and no default; for `${VAR:?text}` with the text.
    Missing(String, Option<String>),
    /// The result is too long.
    TooLong,
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut rest = text;
        let template = parts(&mut rest, 0, false)?;
        Ok(template)
    }

    /// Every variable that is named, also inside defaults.
    pub fn names(&self) -> BTreeSet<&str> {
        let mut out = BTreeSet::new();
        self.collect(&mut out);
        out
    }

    fn collect<'a>(&'a self, out: &mut BTreeSet<&'a str>) {
        for part in &self.0 {
            if let Part::Variable { name, rule } = part {
                out.insert(name);
                if let Some((_, inner)) = rule {
                    inner.collect(out);
                }
            }
        }
    }

    /// Puts the values in. Values are taken as they are, never interpolated again.
    ///
    /// # Errors
    /// All variables without a value, or that the result is too long.
    pub fn expand(&self, get: Get<'_>) -> Result<String, Vec<Problem>> {
        let (out, problems) = self.fill(get);
        if problems.is_empty() {
            Ok(out)
        } else {
            Err(problems)
        }
    }

    /// The same with the empty text for each variable without a value, beside all that is wrong.
    pub fn fill(&self, get: Get<'_>) -> (String, Vec<Problem>) {
        let mut out = String::new();
        let mut problems = Vec::new();
        self.expand_into(get, &mut out, &mut problems);
        (out, problems)
    }

    fn expand_into(&self, get: Get<'_>, out: &mut String, problems: &mut Vec<Problem>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable { name, rule } => {
                    variable(name, rule.as_ref(), get, out, problems);
                }
            }
            if out.len() > MAX_TEXT {
                problems.push(Problem::TooLong);
                return;
            }
        }
    }
}

fn variable(
    name: &str,
    rule: Option<&(Rule, Template)>,
    get: Get<'_>,
    out: &mut String,
    problems: &mut Vec<Problem>,
) {
    let value = get(name);
    let Some((rule, operand)) = rule else {
        match value {
            Some(value) => out.push_str(value),
            None => problems.push(Problem::Missing(name.to_owned(), None)),
        }
        return;
    };
    let value = value.filter(|v| !(rule.empty_is_unset && v.is_empty()));
    match (rule.what, value) {
        (What::Default | What::Error, Some(value)) => out.push_str(value),
        (What::Default, None) | (What::Alternative, Some(_)) => operand.expand_into(get, out, problems),
        (What::Error, None) => {
            let mut text = String::new();
            operand.expand_into(get, &mut text, &mut Vec::new());
            problems.push(Problem::Missing(name.to_owned(), Some(text)));
        }
        (What::Alternative, None) => {}
    }
}

/// Reads until the end, or until the `}` that closes the variable this stands in.
fn parts(rest: &mut &str, depth: usize, inside: bool) -> Result<Template, Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::Syntax("variables are nested too deeply"));
    }
    let mut out = Vec::new();
    let mut text = String::new();
    loop {
        let stop = rest
            .find(|c| c == '$' || (inside && c == '}'))
            .unwrap_or(rest.len());
        let (plain, after) = rest.split_at(stop);
        text.push_str(plain);
        *rest = after;
        if inside && rest.starts_with('}') {
            break;
        }
        let Some(after) = rest.strip_prefix('$') else {
            if inside {
                return Err(Problem::Syntax("a `${` without its `}`"));
            }
            break;
        };
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            *rest = after;
            continue;
        }
        *rest = after;
        // One that starts no variable is a dollar sign, as for Compose: `^(a|b)$`, `$1`.
        match one(rest, depth)? {
            Some(variable) => {
                if !text.is_empty() {
                    out.push(Part::Text(std::mem::take(&mut text)));
                }
                out.push(variable);
            }
            None => text.push('$'),
        }
    }
    if !text.is_empty() {
        out.push(Part::Text(text));
    }
    Ok(Template(out))
}

/// The variable after a dollar, if there is one.
fn one(rest: &mut &str, depth: usize) -> Result<Option<Part>, Problem> {
    let Some(after) = rest.strip_prefix('{') else {
        return Ok(take_name(rest).map(|name| Part::Variable { name, rule: None }));
    };
    *rest = after;
    let name = take_name(rest).ok_or(Problem::Syntax("a `${` without a variable's name"))?;
    if let Some(after) = rest.strip_prefix('}') {
        *rest = after;
        return Ok(Some(Part::Variable { name, rule: None }));
    }
    let empty_is_unset = rest.starts_with(':');
    let operator = rest.strip_prefix(':').unwrap_or(rest);
    let what = match operator.chars().next() {
        Some('-') => What::Default,
        Some('?') => What::Error,
        Some('+') => What::Alternative,
        None => return Err(Problem::Syntax("a `${` without its `}`")),
        Some(_) => return Err(Problem::Syntax("an unknown operator after a variable's name")),
    };
    *rest = operator.get(1..).unwrap_or_default();
    let operand = parts(rest, depth + 1, true)?;
    *rest = rest.strip_prefix('}').unwrap_or(rest);
    Ok(Some(Part::Variable {
        name,
        rule: Some((Rule { empty_is_unset, what }, operand)),
    }))
}

fn take_name(rest: &mut &str) -> Option<String> {
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    *rest = after;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            "DOLLAR" => Some("$A"),
            _ => None,
        }
    }

    fn expand(text: &str) -> Result<String, Vec<Problem>> {
        Template::parse(text).map_err(|p| vec![p])?.expand(&get)
    }

    #[test]
    fn every_form_of_the_specification_is_carried_out() {
        for (text, want) in [
            ("plain", "plain"),
            ("$A", "1"),
            ("x${A}y", "x1y"),
            ("$A-$A", "1-1"),
            ("$$A", "$A"),
            ("$${A}", "${A}"),
            ("${NO:-d}", "d"),
            ("${NO-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:-d}", "1"),
            ("${NO:-}", ""),
            ("${A:+alt}", "alt"),
            ("${EMPTY:+alt}", ""),
            ("${EMPTY+alt}", "alt"),
            ("${NO+alt}", ""),
            ("${A:?said}", "1"),
            ("${EMPTY?said}", ""),
            ("${NO:-${A}}", "1"),
            ("${NO:-${ALSO:-x${A}}}y", "x1y"),
            ("${NO:-http://h:80/$A}", "http://h:80/1"),
            ("${NO:-a$$b}", "a$b"),
            ("$DOLLAR", "$A"),
            ("ä${A}ö", "ä1ö"),
            ("}", "}"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("^(a|b)?$", "^(a|b)?$"),
            ("$1$A$(sh)", "$11$(sh)"),
            ("${NO:-a$}b", "a$b"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_variable_without_a_value_is_named() {
        assert_eq!(
            expand("${NO}"),
            Err(vec![Problem::Missing("NO".to_owned(), None)])
        );
        assert_eq!(
            expand("$NO/$NOR").unwrap_err().len(),
            2,
            "all of them are told at once"
        );
        assert_eq!(
            expand("${EMPTY:?set it to $A}"),
            Err(vec![Problem::Missing(
                "EMPTY".to_owned(),
                Some("set it to 1".to_owned())
            )])
        );
    }

    #[test]
    fn broken_syntax_is_refused() {
        for text in [
            "${",
            "${A",
            "${}",
            "${1}",
            "${A!x}",
            "${A:x}",
            "${A:-",
            "${A:-${B}",
        ] {
            assert!(matches!(Template::parse(text), Err(Problem::Syntax(_))), "{text}");
        }
        let deep = "${A:-".repeat(1000);
        assert!(Template::parse(&deep).is_err());
    }

    #[test]
    fn a_text_cannot_grow_without_end() {
        let long = "x".repeat(100_000);
        let big = |_: &str| Some(long.as_str());
        let template = Template::parse(&"$A".repeat(1000)).unwrap();
        assert_eq!(template.expand(&big), Err(vec![Problem::TooLong]));
    }

    #[test]
    fn names_are_found_inside_defaults() {
        let template = Template::parse("${A:-${B}}$C").unwrap();
        assert_eq!(template.names().into_iter().collect::<Vec<_>>(), ["A", "B", "C"]);
    }

    proptest! {
        #[test]
        fn any_text_is_interpolated_or_refused_but_never_panics(text in "\\PC{0,60}", dense in "[${}:?+A-C-]{0,40}") {
            let _ = expand(&text);
            let _ = expand(&dense);
        }

        #[test]
        fn a_text_without_dollars_stays_as_it_is(text in "[^$]{0,60}") {
            prop_assert_eq!(expand(&text), Ok(text));
        }
    }
}
