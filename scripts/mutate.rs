//! Writes a copy of a room in which every mutant is there, asleep: `MUTANT=7` in the environment wakes the seventh. So all of
//! them are built once. Run by `scripts/mutants`: `mutate FROM TO` copies and prints one mutant a line.

use std::path::Path;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, ReturnType, Signature, Type, UnOp};

/// A piece of text that is put in at a place, after taking away so many bytes.
struct Edit {
    at: usize,
    /// What ends comes before what begins; the inner ends first, and the outer begins first.
    order: (u8, isize),
    takes: usize,
    text: String,
}

struct Mutator<'a> {
    file: String,
    source: &'a str,
    edits: Vec<Edit>,
    count: &'a mut usize,
}

impl Mutator<'_> {
    /// The number of a new mutant.
    fn mutant(&mut self, span: proc_macro2::Span, what: &str) -> usize {
        *self.count += 1;
        let line = span.start().line;
        let text = self.source.lines().nth(line - 1).unwrap_or_default().trim();
        println!("{}\t{}:{line}: {what}\t{text}", self.count, self.file);
        *self.count
    }

    fn wrap(&mut self, span: proc_macro2::Span, before: String, after: &str) {
        let range = span.byte_range();
        let long = isize::try_from(range.len()).unwrap();
        self.edits.push(Edit {
            at: range.start,
            order: (2, -long),
            takes: 0,
            text: before,
        });
        self.edits.push(Edit {
            at: range.end,
            order: (0, long),
            takes: 0,
            text: after.to_owned(),
        });
    }

    fn instead(&mut self, span: proc_macro2::Span, text: &str) {
        let range = span.byte_range();
        self.edits.push(Edit {
            at: range.start,
            order: (1, 0),
            takes: range.len(),
            text: text.to_owned(),
        });
    }

    /// `f(1, &(left), &(right))` for `left op right`.
    fn call(&mut self, of: &syn::ExprBinary, name: &str, n: usize, between: &str) {
        let (open, next, close) = match between {
            "&" => ("&(", "),&(", "))"),
            "||" => ("(", "),||(", "))"),
            _ => ("(", "),(", "))"),
        };
        self.wrap(of.span(), format!("crate::mutant::{name}({n},{open}"), close);
        self.instead(of.op.span(), next);
    }

    fn body(&mut self, sig: &Signature, block: &Block) {
        let values: &[&str] = match &sig.output {
            ReturnType::Default => &[""],
            ReturnType::Type(_, kind) => match last(kind).as_str() {
                "bool" => &["true", "false"],
                "Option" => &["None"],
                "u64" | "usize" | "u32" => &["0", "1"],
                "String" | "Vec" | "BTreeMap" | "BTreeSet" | "Judged" | "Parts" | "Open" => {
                    &["Default::default()"]
                }
                _ => &[],
            },
        };
        let mut text = String::new();
        for value in values {
            let n = self.mutant(
                sig.ident.span(),
                &format!("{} returns {value} at once", sig.ident),
            );
            text += &format!("if crate::mutant::on({n}) {{ return {value}; }}");
        }
        let at = block.brace_token.span.open().byte_range().end;
        self.edits.push(Edit {
            at,
            order: (2, isize::MIN),
            takes: 0,
            text,
        });
    }
}

/// The last word of a type's name.
fn last(kind: &Type) -> String {
    match kind {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map(|s| s.ident.to_string())
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// What cannot be moved into a closure, or is no value.
fn is_bound(expr: &Expr) -> bool {
    struct Look(bool);
    impl Visit<'_> for Look {
        fn visit_expr(&mut self, e: &Expr) {
            self.0 |= matches!(
                e,
                Expr::Try(_) | Expr::Return(_) | Expr::Let(_) | Expr::Await(_) | Expr::Continue(_)
            );
            visit::visit_expr(self, e);
        }
    }
    let mut look = Look(false);
    look.visit_expr(expr);
    look.0
}

fn is_text(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(lit) => matches!(lit.lit, syn::Lit::Str(_)),
        Expr::Reference(of) => is_text(&of.expr),
        Expr::Macro(_) => true,
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Mutator<'_> {
    fn visit_expr_binary(&mut self, of: &'ast syn::ExprBinary) {
        let mut both = |name: &str, kinds: &[&str], between: &str| {
            let mut first = 0;
            for kind in kinds {
                let n = self.mutant(of.op.span(), kind);
                first = if first == 0 { n } else { first };
            }
            self.call(of, name, first, between);
        };
        match of.op {
            BinOp::Eq(_) => both("eq", &["== becomes !="], "&"),
            BinOp::Ne(_) => both("ne", &["!= becomes =="], "&"),
            BinOp::Lt(_) => both("lt", &["< becomes <=", "< becomes >"], "&"),
            BinOp::Le(_) => both("le", &["<= becomes <", "<= becomes >"], "&"),
            BinOp::Gt(_) => both("gt", &["> becomes >=", "> becomes <"], "&"),
            BinOp::Ge(_) => both("ge", &[">= becomes >", ">= becomes <"], "&"),
            BinOp::And(_) if !is_bound(&of.left) && !is_bound(&of.right) => {
                both("and", &["&& becomes ||"], "||")
            }
            BinOp::Or(_) if !is_bound(&of.left) && !is_bound(&of.right) => {
                both("or", &["|| becomes &&"], "||")
            }
            BinOp::Add(_) if !is_text(&of.right) => both("add", &["+ becomes -"], ","),
            BinOp::Sub(_) => both("sub", &["- becomes +"], ","),
            BinOp::Mul(_) => both("mul", &["* becomes /"], ","),
            BinOp::Div(_) => both("div", &["/ becomes *"], ","),
            _ => {}
        }
        visit::visit_expr_binary(self, of);
    }

    fn visit_expr_unary(&mut self, of: &'ast syn::ExprUnary) {
        if matches!(of.op, UnOp::Not(_)) {
            let n = self.mutant(of.span(), "! is left out");
            self.wrap(of.span(), format!("(crate::mutant::on({n})^"), ")");
        }
        visit::visit_expr_unary(self, of);
    }

    fn visit_arm(&mut self, of: &'ast syn::Arm) {
        if let Some((_, guard)) = of.guard.as_ref().filter(|(_, guard)| !is_bound(guard)) {
            let n = self.mutant(guard.span(), "the guard is true");
            self.mutant(guard.span(), "the guard is false");
            self.wrap(guard.span(), format!("crate::mutant::guard({n},||("), "))");
        }
        visit::visit_arm(self, of);
    }

    fn visit_item_fn(&mut self, of: &'ast syn::ItemFn) {
        if of.sig.constness.is_none() {
            self.body(&of.sig, &of.block);
        }
        visit::visit_item_fn(self, of);
    }

    fn visit_impl_item_fn(&mut self, of: &'ast syn::ImplItemFn) {
        self.body(&of.sig, &of.block);
        visit::visit_impl_item_fn(self, of);
    }

    // Nothing is called in a constant.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}

    fn visit_item_mod(&mut self, of: &'ast syn::ItemMod) {
        if !of.attrs.iter().any(|a| a.path().is_ident("cfg")) {
            visit::visit_item_mod(self, of);
        }
    }
}

fn mutated(file: &str, source: &str, count: &mut usize) -> String {
    let parsed = syn::parse_file(source).unwrap();
    let mut mutator = Mutator {
        file: file.to_owned(),
        source,
        edits: Vec::new(),
        count,
    };
    mutator.visit_file(&parsed);
    let mut edits = mutator.edits;
    edits.sort_by_key(|e| (e.at, e.order));
    let (mut out, mut done) = (String::new(), 0);
    for edit in edits {
        out += &source[done..edit.at];
        out += &edit.text;
        done = edit.at + edit.takes;
    }
    out + &source[done..]
}

fn walk(from: &Path, to: &Path, top: &Path, count: &mut usize) {
    std::fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = std::fs::read_dir(from)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            walk(&path, &target, top, count);
            continue;
        }
        let mut source = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("tests") {
            source = mutated(&name, &source, count);
        }
        std::fs::write(target, source).unwrap();
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (from, to) = (args.next().unwrap(), args.next().unwrap());
    walk(from.as_ref(), to.as_ref(), from.as_ref(), &mut 0);
}
