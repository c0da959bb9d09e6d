//! Regexes that mean the same on MongoDB and here.
//!
//! MongoDB runs PCRE2 in UTF mode, which backtracks; here a linear-time engine
//! runs. Only what both read alike is accepted, and it is not handed to the
//! engine as written: each accepted part is written anew with every class and
//! every assertion spelled out, so nothing depends on a default of the engine.
//!
//! Accepted: characters and their escapes, `.`, classes of characters and
//! ranges, `\d \w \s \b` and their negations (ASCII, as in PCRE), `^ $ \A \z`,
//! groups, alternation, greedy and lazy repetition, the options `i m s x`, also
//! as `(?i)` at the start.
//!
//! Where the engines would differ:
//!
//! - `$` also matches before a last line break in PCRE. That can be said without
//!   looking ahead only if nothing follows, so elsewhere it is refused.
//! - `^` with `m` does not match after a last line break in PCRE; it is refused
//!   where what follows could match nothing at all there.
//! - With `i`, letters outside ASCII are accepted where their case forms are one
//!   pair and old (Latin, Greek with its final sigma, Cyrillic, Armenian), so
//!   that no Unicode version disagrees; others, and ranges of them, are refused.
//!   As in PCRE, `k` then also matches the Kelvin sign and `s` the long s.
//! - `a++` is possessive in PCRE and a repeated repetition in other dialects.
//! - With `x`, only PCRE keeps blanks inside classes.

use std::fmt::Write;

use regex_syntax::{
    ast::{
        self, AssertionKind, Ast, ClassPerlKind, ClassSet, ClassSetItem, GroupKind, HexLiteralKind,
        Literal, LiteralKind, RepetitionKind, RepetitionRange, SpecialLiteralKind,
    },
    hir::{ClassUnicode, ClassUnicodeRange},
};

const MAX_PATTERN_BYTES: usize = 1000;
const MAX_COUNT: u32 = 1000;
const MAX_NESTING: u32 = 50;
const MAX_COMPILED_BYTES: usize = 2 << 20;

/// A regex of the common subset.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    regex: regex::Regex,
    prefix: Option<String>,
}

impl Pattern {
    /// Reads a pattern with MongoDB's options; the error says what is wrong.
    pub(super) fn parse(pattern: &str, options: &str) -> Result<Self, String> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes"));
        }
        if pattern.contains('\0') {
            return Err("a pattern cannot hold a NUL character".into());
        }
        let mut flags = Flags::default();
        for option in options.chars() {
            if !flags.set(option) {
                return Err("its `$options` are of `i`, `m`, `s`, `x`, each at most once".into());
            }
        }
        let source = flags.take_leading(pattern);
        if flags.ignore_blanks
            && source
                .chars()
                .any(|c| c.is_whitespace() && !" \t\n\r\u{c}".contains(c))
        {
            return Err(refused("a blank outside ASCII with the option `x`"));
        }
        let ast = ast::parse::ParserBuilder::new()
            .nest_limit(MAX_NESTING)
            .ignore_whitespace(flags.ignore_blanks)
            .build()
            .parse(source)
            .map_err(|e| format!("not a supported regex: {}", e.kind()))?;
        let mut rewriting = Rewriting {
            flags,
            source,
            out: String::new(),
        };
        rewriting.node(
            &ast,
            After {
                nothing: true,
                something: false,
            },
        )?;
        let regex = regex::RegexBuilder::new(&rewriting.out)
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|_| "the pattern grows too large when compiled".to_owned())?;
        let prefix = if flags.any_case || flags.lines {
            None
        } else {
            anchored_prefix(&ast)
        };
        Ok(Self { regex, prefix })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// What every match begins with, if the pattern says so plainly.
    pub(crate) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }
}

fn refused(what: &str) -> String {
    format!("{what} is not supported: MongoDB and this engine could differ")
}

fn anchored_prefix(ast: &Ast) -> Option<String> {
    let Ast::Concat(concat) = ast else {
        return None;
    };
    let [Ast::Assertion(start), rest @ ..] = concat.asts.as_slice() else {
        return None;
    };
    if !matches!(
        start.kind,
        AssertionKind::StartLine | AssertionKind::StartText
    ) {
        return None;
    }
    let prefix: String = rest
        .iter()
        .map_while(|node| match node {
            Ast::Literal(literal) => Some(literal.c),
            _ => None,
        })
        .collect();
    (!prefix.is_empty()).then_some(prefix)
}

#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent options")]
struct Flags {
    any_case: bool,
    lines: bool,
    dot_is_any: bool,
    ignore_blanks: bool,
}

impl Flags {
    /// False for an unknown option and for one given twice.
    fn set(&mut self, option: char) -> bool {
        let flag = match option {
            'i' => &mut self.any_case,
            'm' => &mut self.lines,
            's' => &mut self.dot_is_any,
            'x' => &mut self.ignore_blanks,
            _ => return false,
        };
        !std::mem::replace(flag, true)
    }

    /// Takes groups like `(?im)` from the start of the pattern.
    fn take_leading<'p>(&mut self, mut pattern: &'p str) -> &'p str {
        while let Some((options, rest)) = pattern
            .strip_prefix("(?")
            .and_then(|rest| rest.split_once(')'))
            && !options.is_empty()
            && options.chars().all(|c| "imsx".contains(c))
        {
            for option in options.chars() {
                self.set(option);
            }
            pattern = rest;
        }
        pattern
    }
}

/// What stands behind a part of the pattern.
#[derive(Debug, Clone, Copy)]
struct After {
    /// Nothing at all, wherever the part is repeated too.
    nothing: bool,
    /// Always at least one character.
    something: bool,
}

struct Rewriting<'p> {
    flags: Flags,
    source: &'p str,
    out: String,
}

impl Rewriting<'_> {
    fn node(&mut self, node: &Ast, after: After) -> Result<(), String> {
        match node {
            Ast::Empty(_) => Ok(()),
            Ast::Flags(_) => Err(refused("an option inside the pattern")),
            Ast::Literal(literal) => self.literal(literal),
            Ast::Dot(_) => {
                self.out.push_str(if self.flags.dot_is_any {
                    "(?s:.)"
                } else {
                    r"[^\n]"
                });
                Ok(())
            }
            Ast::Assertion(assertion) => self.assertion(&assertion.kind, after),
            Ast::ClassUnicode(_) => Err(refused("a Unicode class")),
            Ast::ClassPerl(class) => {
                write_class(&perl(&class.kind, class.negated), &mut self.out);
                Ok(())
            }
            Ast::ClassBracketed(class) => self.bracketed(class),
            Ast::Repetition(repetition) => self.repetition(repetition, after),
            Ast::Group(group) => {
                match &group.kind {
                    GroupKind::CaptureIndex(_) => {}
                    GroupKind::CaptureName { .. } => return Err(refused("a named group")),
                    GroupKind::NonCapturing(flags) if flags.items.is_empty() => {}
                    GroupKind::NonCapturing(_) => {
                        return Err(refused("an option inside the pattern"));
                    }
                }
                self.grouped(&group.ast, after)
            }
            Ast::Alternation(alternation) => {
                self.out.push_str("(?:");
                for (i, branch) in alternation.asts.iter().enumerate() {
                    if i > 0 {
                        self.out.push('|');
                    }
                    self.node(branch, after)?;
                }
                self.out.push(')');
                Ok(())
            }
            Ast::Concat(concat) => {
                for (i, part) in concat.asts.iter().enumerate() {
                    let rest = &concat.asts[i + 1..];
                    let after = After {
                        nothing: after.nothing && rest.is_empty(),
                        something: after.something || rest.iter().any(consumes),
                    };
                    self.node(part, after)?;
                }
                Ok(())
            }
        }
    }

    fn grouped(&mut self, node: &Ast, after: After) -> Result<(), String> {
        self.out.push_str("(?:");
        self.node(node, after)?;
        self.out.push(')');
        Ok(())
    }

    fn written(&self, span: &ast::Span) -> &str {
        self.source
            .get(span.start.offset..span.end.offset)
            .unwrap_or_default()
    }

    fn literal(&mut self, literal: &Literal) -> Result<(), String> {
        let c = self.plain_character(literal)?;
        if self.flags.any_case {
            write_class(&in_any_case(c)?, &mut self.out);
        } else {
            self.out
                .push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
        }
        Ok(())
    }

    /// The character that both engines read here.
    fn plain_character(&self, literal: &Literal) -> Result<char, String> {
        match literal.kind {
            LiteralKind::Verbatim
            | LiteralKind::Meta
            | LiteralKind::Superfluous
            | LiteralKind::Special(
                SpecialLiteralKind::Bell
                | SpecialLiteralKind::FormFeed
                | SpecialLiteralKind::Tab
                | SpecialLiteralKind::LineFeed
                | SpecialLiteralKind::CarriageReturn
                | SpecialLiteralKind::Space,
            ) => Ok(literal.c),
            LiteralKind::HexFixed(HexLiteralKind::X) | LiteralKind::HexBrace(HexLiteralKind::X)
                if !has_blank(self.written(&literal.span)) =>
            {
                Ok(literal.c)
            }
            LiteralKind::Special(SpecialLiteralKind::VerticalTab) => Err(refused(r"`\v`")),
            _ => Err(refused("this escape")),
        }
    }

    fn assertion(&mut self, kind: &AssertionKind, after: After) -> Result<(), String> {
        self.out.push_str(match kind {
            AssertionKind::StartLine if self.flags.lines => {
                if !after.something {
                    return Err(refused("`^` with the option `m` before what may be empty"));
                }
                "(?m:^)"
            }
            AssertionKind::StartLine | AssertionKind::StartText => r"\A",
            AssertionKind::EndLine if self.flags.lines => "(?m:$)",
            AssertionKind::EndLine if after.nothing => r"(?:\n?\z)",
            AssertionKind::EndLine => return Err(refused("`$` before the end of the pattern")),
            AssertionKind::EndText => r"\z",
            AssertionKind::WordBoundary => r"(?-u:\b)",
            AssertionKind::NotWordBoundary => r"(?-u:\B)",
            _ => return Err(refused("this word boundary")),
        });
        Ok(())
    }

    fn repetition(&mut self, repetition: &ast::Repetition, after: After) -> Result<(), String> {
        match *repetition.ast {
            Ast::Repetition(_) => {
                return Err(refused(
                    "a repetition of a repetition, or a possessive one,",
                ));
            }
            Ast::Assertion(_) | Ast::Empty(_) => return Err(refused("a repetition of nothing")),
            _ => {}
        }
        if has_blank(self.written(&repetition.op.span)) {
            return Err(refused("a blank inside a repetition"));
        }
        let (least, most) = counts(&repetition.op.kind);
        if least > MAX_COUNT || most.is_some_and(|most| most > MAX_COUNT) {
            return Err(format!("a repetition counts to {MAX_COUNT} at most"));
        }
        let inner = After {
            nothing: after.nothing && most == Some(1),
            something: after.something,
        };
        self.grouped(&repetition.ast, inner)?;
        let most = most.map_or(String::new(), |most| most.to_string());
        let lazy = if repetition.greedy { "" } else { "?" };
        // Writing into a string cannot fail.
        let _ = write!(self.out, "{{{least},{most}}}{lazy}");
        Ok(())
    }

    fn bracketed(&mut self, class: &ast::ClassBracketed) -> Result<(), String> {
        let written = self.written(&class.span);
        if self.flags.ignore_blanks && (has_blank(written) || written.contains('#')) {
            return Err(refused("a blank or `#` inside a class with the option `x`"));
        }
        if ["[:", "[.", "[="]
            .iter()
            .any(|start| written.starts_with(start))
        {
            return Err(refused("a POSIX class"));
        }
        let ClassSet::Item(item) = &class.kind else {
            return Err(refused("an operation on classes"));
        };
        let items = match item {
            ClassSetItem::Union(union) => union.items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut set = ClassUnicode::empty();
        for (i, item) in items.iter().enumerate() {
            let at_edge = i == 0 || i + 1 == items.len();
            match item {
                ClassSetItem::Literal(literal) => {
                    let c = self.plain_character(literal)?;
                    if c == '-' && literal.kind == LiteralKind::Verbatim && !at_edge {
                        return Err(refused("an unescaped `-` in the middle of a class"));
                    }
                    set.union(&if self.flags.any_case {
                        in_any_case(c)?
                    } else {
                        only(c, c)
                    });
                }
                ClassSetItem::Range(range) => {
                    let (from, to) = (
                        self.plain_character(&range.start)?,
                        self.plain_character(&range.end)?,
                    );
                    if [&range.start, &range.end]
                        .iter()
                        .any(|end| end.c == '-' && end.kind == LiteralKind::Verbatim)
                    {
                        return Err(refused("a range from or to an unescaped `-`"));
                    }
                    let mut range = only(from, to);
                    if self.flags.any_case {
                        if !to.is_ascii() {
                            return Err(refused("a range outside ASCII with the option `i`"));
                        }
                        range.try_case_fold_simple().map_err(|e| e.to_string())?;
                    }
                    set.union(&range);
                }
                ClassSetItem::Perl(class) => set.union(&perl(&class.kind, class.negated)),
                ClassSetItem::Empty(_) => {}
                ClassSetItem::Ascii(_) => return Err(refused("a POSIX class")),
                ClassSetItem::Unicode(_) => return Err(refused("a Unicode class")),
                ClassSetItem::Bracketed(_) | ClassSetItem::Union(_) => {
                    return Err(refused("a class inside a class"));
                }
            }
        }
        if class.negated {
            set.negate();
        }
        write_class(&set, &mut self.out);
        Ok(())
    }
}

fn has_blank(text: &str) -> bool {
    text.chars().any(char::is_whitespace)
}

fn counts(kind: &RepetitionKind) -> (u32, Option<u32>) {
    match *kind {
        RepetitionKind::ZeroOrOne => (0, Some(1)),
        RepetitionKind::ZeroOrMore => (0, None),
        RepetitionKind::OneOrMore => (1, None),
        RepetitionKind::Range(RepetitionRange::Exactly(count)) => (count, Some(count)),
        RepetitionKind::Range(RepetitionRange::AtLeast(least)) => (least, None),
        RepetitionKind::Range(RepetitionRange::Bounded(least, most)) => (least, Some(most)),
    }
}

/// Whether every match of the part has at least one character.
fn consumes(node: &Ast) -> bool {
    match node {
        Ast::Empty(_) | Ast::Flags(_) | Ast::Assertion(_) => false,
        Ast::Literal(_)
        | Ast::Dot(_)
        | Ast::ClassUnicode(_)
        | Ast::ClassPerl(_)
        | Ast::ClassBracketed(_) => true,
        Ast::Repetition(repetition) => {
            counts(&repetition.op.kind).0 > 0 && consumes(&repetition.ast)
        }
        Ast::Group(group) => consumes(&group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter().all(consumes),
        Ast::Concat(concat) => concat.asts.iter().any(consumes),
    }
}

fn only(from: char, to: char) -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new(from, to)])
}

fn perl(kind: &ClassPerlKind, negated: bool) -> ClassUnicode {
    let ranges: &[(char, char)] = match kind {
        ClassPerlKind::Digit => &[('0', '9')],
        ClassPerlKind::Space => &[('\t', '\r'), (' ', ' ')],
        ClassPerlKind::Word => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
    };
    let mut class = ClassUnicode::new(
        ranges
            .iter()
            .map(|(from, to)| ClassUnicodeRange::new(*from, *to)),
    );
    if negated {
        class.negate();
    }
    class
}

/// The character in each case, where every Unicode version agrees on that.
fn in_any_case(c: char) -> Result<ClassUnicode, String> {
    let mut forms = only(c, c);
    forms.try_case_fold_simple().map_err(|e| e.to_string())?;
    let has_case = !c.to_lowercase().eq([c]) || !c.to_uppercase().eq([c]);
    if c.is_ascii() || (forms == only(c, c) && !has_case) {
        return Ok(forms);
    }
    let all = |wanted: &dyn Fn(char) -> bool| {
        let mut chars = forms
            .ranges()
            .iter()
            .flat_map(|range| range.start()..=range.end());
        chars.all(wanted)
    };
    // New letters, and capitals for old ones, stand elsewhere.
    let settled = all(&|form| matches!(form, '\u{80}'..='\u{58f}' | '\u{1e00}'..='\u{1fff}'));
    // Each form must know the others by its plain upper and lower case; that
    // leaves out `ß`, which has no capital of its own but is that of `ẞ`.
    let is_pair = forms != only(c, c) && all(&|form| by_plain_mapping(form) == forms);
    let mut sigmas = only('σ', 'σ');
    sigmas.try_case_fold_simple().map_err(|e| e.to_string())?;
    if settled && (is_pair || forms == sigmas) {
        Ok(forms)
    } else {
        Err(refused("this letter with the option `i`"))
    }
}

fn by_plain_mapping(c: char) -> ClassUnicode {
    let mut forms = only(c, c);
    for other in [single(c.to_lowercase()), single(c.to_uppercase())]
        .into_iter()
        .flatten()
    {
        forms.push(ClassUnicodeRange::new(other, other));
    }
    forms
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    mapped.next().filter(|_| mapped.next().is_none())
}

fn write_class(class: &ClassUnicode, out: &mut String) {
    if class.ranges().is_empty() {
        // Matches nothing.
        out.push_str(r"[^\x{0}-\x{10FFFF}]");
        return;
    }
    out.push('[');
    for range in class.ranges() {
        // Writing into a string cannot fail.
        let _ = write!(
            out,
            r"\x{{{:X}}}-\x{{{:X}}}",
            u32::from(range.start()),
            u32::from(range.end())
        );
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, options: &str, text: &str) -> bool {
        Pattern::parse(pattern, options)
            .unwrap_or_else(|e| panic!("{pattern:?}: {e}"))
            .is_match(text)
    }

    #[test]
    fn patterns_mean_what_pcre_says() {
        for (pattern, options, yes, no) in [
            ("b", "", vec!["abc"], vec!["", "B"]),
            ("^a", "", vec!["ab"], vec!["ba", "b\na"]),
            ("a$", "", vec!["ba", "ba\n"], vec!["ab", "a\n\n", "a\nb"]),
            ("^$", "", vec!["", "\n"], vec!["a", "\n\n"]),
            ("(a|b$)", "", vec!["a", "b", "b\n"], vec!["bc"]),
            (r"a\z", "", vec!["ba"], vec!["a\n"]),
            ("^a", "m", vec!["b\na"], vec!["ba"]),
            ("a$", "m", vec!["a\nb", "a", "a\n"], vec!["ab"]),
            (
                "a.b",
                "",
                vec!["axb", "a\rb", "aéb", "a\u{2028}b"],
                vec!["a\nb", "ab"],
            ),
            ("a.b", "s", vec!["a\nb"], vec![]),
            ("K", "i", vec!["k", "\u{212a}"], vec!["x"]),
            ("[k]", "i", vec!["K", "\u{212a}"], vec!["x"]),
            ("[a-z]", "i", vec!["K", "\u{17f}"], vec!["1"]),
            ("[^k]", "i", vec!["x"], vec!["k", "K", "\u{212a}"]),
            (
                r"^\w$",
                "i",
                vec!["k", "K", "_", "7"],
                vec!["\u{212a}", "\u{17f}", "é"],
            ),
            (r"^[\w]$", "i", vec!["k"], vec!["\u{212a}"]),
            ("müller", "i", vec!["MÜLLER"], vec!["MULLER"]),
            ("λόγος", "i", vec!["ΛΌΓΟΣ", "λόγοσ"], vec![]),
            ("日本", "i", vec!["日本"], vec![]),
            (r"^\d$", "", vec!["7"], vec!["٣"]),
            (r"^\D$", "", vec!["٣", "a"], vec!["7"]),
            (
                r"^\s$",
                "",
                vec![" ", "\u{b}", "\u{c}"],
                vec!["\u{a0}", "\u{85}"],
            ),
            (r"\bb", "", vec!["a b", "éb"], vec!["ab"]),
            (r"\Bb", "", vec!["ab"], vec!["a b", "éb"]),
            (r"^[^\s\d]$", "", vec!["a"], vec!["1", " "]),
            (r"[^\s\S]", "", vec![], vec!["", "a", " "]),
            ("^[]a]$", "", vec!["]", "a"], vec!["b"]),
            ("^[-a]$", "", vec!["-", "a"], vec!["b"]),
            (r"^[\]\-\\.]$", "", vec!["]", "-", "\\", "."], vec!["a"]),
            (
                "^(?:ab){2,3}?$",
                "",
                vec!["abab", "ababab"],
                vec!["ab", "abababab"],
            ),
            ("^a{3}$", "", vec!["aaa"], vec!["aa"]),
            ("(a+)+$", "", vec!["aaa"], vec!["aab"]),
            ("a|", "", vec!["", "b"], vec![]),
            (r"\x41\x{1F600}", "", vec!["A😀"], vec!["a😀"]),
            (
                r"\t\n\r\f\a\.\/\%\-",
                "",
                vec!["\t\n\r\u{c}\u{7}./%-"],
                vec![],
            ),
            ("a b # c", "x", vec!["ab"], vec!["a b"]),
            (r"a\ b", "x", vec!["a b"], vec!["ab"]),
            ("(?i)a|b", "", vec!["A", "B"], vec!["c"]),
            ("(?is)(?x)a . b", "", vec!["A\nB"], vec![]),
            ("}]", "", vec!["}]"], vec![]),
        ] {
            for text in yes {
                assert!(
                    matches(pattern, options, text),
                    "/{pattern}/{options} on {text:?}"
                );
            }
            for text in no {
                assert!(
                    !matches(pattern, options, text),
                    "/{pattern}/{options} on {text:?}"
                );
            }
        }
    }

    #[test]
    fn what_could_differ_is_refused() {
        for (pattern, options) in [
            (r"(a)\1", ""),
            ("(?=a)", ""),
            ("(?<!a)b", ""),
            ("(?>a)", ""),
            ("a++", ""),
            ("a*+", ""),
            ("a{2}{3}", ""),
            ("a+ +", "x"),
            ("a{ 2}", ""),
            ("a{,3}", ""),
            ("{", ""),
            ("^*a", ""),
            ("a(?i)b", ""),
            ("(?i:a)", ""),
            ("(?U)a", ""),
            ("(?-i)a", ""),
            ("(?P<x>a)", ""),
            ("(?<x>a)", ""),
            (r"\p{L}", ""),
            (r"\pL", ""),
            ("[[:alpha:]]", ""),
            ("[:alpha:]", ""),
            ("[a&&b]", ""),
            ("[a--b]", ""),
            ("[a~~b]", ""),
            ("[a[b]]", ""),
            ("[a-c-e]", ""),
            (r"[\d-z]", ""),
            (r"[\p{L}]", ""),
            ("[z-a]", ""),
            (r"\v", ""),
            (r"[\v]", ""),
            (r"\u0041", ""),
            (r"\x{ 41}", ""),
            (r"\b{start}a", ""),
            (r"\<a", ""),
            (r"a\Z", ""),
            (r"\Ga", ""),
            (r"a\K", ""),
            (r"\R", ""),
            (r"\h", ""),
            (r"\Qa\E", ""),
            (r"\0", ""),
            ("a$b", ""),
            ("a$\n", ""),
            ("(a$)*", ""),
            ("^$", "m"),
            ("a|^b?", "m"),
            ("[a b]", "x"),
            ("[#]", "x"),
            ("ẞ", "i"),
            ("ß", "i"),
            ("İ", "i"),
            ("ı", "i"),
            ("ŉ", "i"),
            ("ƛ", "i"),
            ("ſ", "i"),
            ("µ", "i"),
            ("Ꭰ", "i"),
            ("[à-ö]", "i"),
            ("a", "u"),
            ("a", "ii"),
            ("a\0", ""),
            ("(", ""),
            (")", ""),
            ("[", ""),
            ("*", ""),
            ("a{1001}", ""),
            ("((a{1000}){1000}){1000}", ""),
        ] {
            assert!(
                Pattern::parse(pattern, options).is_err(),
                "/{pattern}/{options}"
            );
        }
        assert!(Pattern::parse(&"a".repeat(MAX_PATTERN_BYTES), "").is_ok());
        assert!(Pattern::parse(&"a".repeat(MAX_PATTERN_BYTES + 1), "").is_err());
        assert!(Pattern::parse(&"(".repeat(500), "").is_err());
        assert!(Pattern::parse(&("(".repeat(400) + &")".repeat(400)), "").is_err());
    }

    #[test]
    fn a_plain_prefix_is_found() {
        for (pattern, options, prefix) in [
            ("^abc", "", Some("abc")),
            (r"\Aab.*", "", Some("ab")),
            (r"^a\.b(c|d)", "", Some("a.b")),
            ("^abc*", "", Some("ab")),
            ("^a?b", "", None),
            ("^a|b", "", None),
            ("^abc", "i", None),
            ("^abc", "m", None),
            ("(?i)^abc", "", None),
            ("abc", "", None),
            ("^", "", None),
            ("^a b", "x", Some("ab")),
        ] {
            assert_eq!(
                Pattern::parse(pattern, options).unwrap().prefix(),
                prefix,
                "/{pattern}/{options}"
            );
        }
    }

    #[test]
    fn a_refusal_does_not_quote_the_pattern() {
        for pattern in ["secret(", "secret(?=a)", r"secret\1", "secret{"] {
            assert!(!Pattern::parse(pattern, "").unwrap_err().contains("secret"));
        }
    }
}
