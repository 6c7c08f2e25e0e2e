//! Just enough reading of Rust to see which names a file uses: words and punctuation without
//! comments, literals and the modules that only tests compile.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A word or one character of punctuation (`::` counts as one), and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// All `.rs` files under `directory`, in a stable order; none if there is no such directory.
pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The tokens of `file` that are compiled outside of tests: none if it is a module of tests itself.
pub(crate) fn production_tokens(file: &Path) -> Vec<Token> {
    if file.file_stem().is_some_and(|stem| stem == "tests") && is_declared_for_tests(file) {
        return Vec::new();
    }
    without_test_modules(tokens(&fs::read_to_string(file).unwrap()))
}

/// Whether the module above `file` has it only in tests.
fn is_declared_for_tests(file: &Path) -> bool {
    let directory = file.parent().expect("a file is in a directory");
    let parents = [directory.join("mod.rs"), directory.with_extension("rs")];
    parents
        .iter()
        .filter_map(|parent| fs::read_to_string(parent).ok())
        .any(|text| text.contains("#[cfg(test)]\nmod tests;"))
}

/// Splits source text into tokens, leaving out comments, strings, characters and lifetimes.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let text: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while let Some(&character) = text.get(at) {
        let next = text.get(at + 1).copied();
        let end = match (character, next) {
            ('/', Some('/')) => line_end(&text, at),
            ('/', Some('*')) => block_comment_end(&text, at),
            ('"', _) => string_end(&text, at),
            ('\'', _) => quote_end(&text, at),
            ('r' | 'b' | 'c', Some('"' | '#' | '\'' | 'r')) if literal_prefix(&text, at) => {
                prefixed_literal_end(&text, at)
            }
            _ if is_word(character) => {
                let end = word_end(&text, at);
                tokens.push(token(&text[at..end], line));
                end
            }
            (':', Some(':')) => {
                tokens.push(token(&text[at..at + 2], line));
                at + 2
            }
            _ => {
                if !character.is_whitespace() {
                    tokens.push(token(&text[at..=at], line));
                }
                at + 1
            }
        };
        let end = end.min(text.len());
        line += text[at..end].iter().filter(|&&c| c == '\n').count();
        at = end;
    }
    tokens
}

/// Removes every `#[cfg(test)] mod name { … }`.
fn without_test_modules(tokens: Vec<Token>) -> Vec<Token> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let starts_here = |at: usize, words: &[&str]| {
        tokens[at..]
            .iter()
            .map(|token| token.text.as_str())
            .take(words.len())
            .eq(words.iter().copied())
    };
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let module = at + ATTRIBUTE.len();
        if starts_here(at, &ATTRIBUTE) && starts_here(module.min(tokens.len()), &["mod"]) {
            let body = module + 2;
            if tokens.get(body).is_some_and(|token| token.text == "{") {
                at = closing_brace(&tokens, body) + 1;
                continue;
            }
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

/// Where the brace that opens at `open` is closed.
fn closing_brace(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

fn token(text: &[char], line: usize) -> Token {
    Token {
        text: text.iter().collect(),
        line,
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn word_end(text: &[char], at: usize) -> usize {
    let length = text[at..].iter().take_while(|&&c| is_word(c)).count();
    at + length
}

fn line_end(text: &[char], at: usize) -> usize {
    at + text[at..].iter().take_while(|&&c| c != '\n').count()
}

/// Block comments nest.
fn block_comment_end(text: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => {
                depth += 1;
                at += 2;
            }
            ('*', '/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

fn string_end(text: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(&character) = text.get(at) {
        match character {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// A character literal ends at its second quote; a lifetime is passed over as one quote.
fn quote_end(text: &[char], quote: usize) -> usize {
    match (text.get(quote + 1), text.get(quote + 2)) {
        (Some('\\'), _) => {
            let escaped = quote + 3;
            let rest = text.get(escaped..).unwrap_or_default();
            escaped + rest.iter().take_while(|&&c| c != '\'').count() + 1
        }
        (Some(_), Some('\'')) => quote + 3,
        _ => quote + 1,
    }
}

/// Whether a string or character literal such as `b"…"`, `r#"…"#` or `br"…"` starts here.
fn literal_prefix(text: &[char], at: usize) -> bool {
    let glued = at > 0 && is_word(text[at - 1]);
    let letters = text[at..].iter().take_while(|c| c.is_alphabetic()).count();
    let hashes = text[at + letters..]
        .iter()
        .take_while(|&&c| c == '#')
        .count();
    let quote = text.get(at + letters + hashes);
    !glued && letters <= 2 && (quote == Some(&'"') || (hashes == 0 && quote == Some(&'\'')))
}

fn prefixed_literal_end(text: &[char], at: usize) -> usize {
    let letters = text[at..].iter().take_while(|c| c.is_alphabetic()).count();
    let raw = text[at..at + letters].contains(&'r');
    let hashes = text[at + letters..]
        .iter()
        .take_while(|&&c| c == '#')
        .count();
    let quote = at + letters + hashes;
    if text[quote] == '\'' {
        return quote_end(text, quote);
    }
    if !raw {
        return string_end(text, quote);
    }
    let mut end = quote + 1;
    while end < text.len() {
        let closing = text[end + 1..].iter().take(hashes);
        if text[end] == '"' && closing.filter(|&&c| c == '#').count() == hashes {
            return end + 1 + hashes;
        }
        end += 1;
    }
    text.len()
}

#[test]
fn comments_literals_and_test_modules_are_not_read() {
    let text = r###"
        //! tokio in a comment
        /* and /* nested */ tokio */
        use a::b; // tokio
        const S: &str = "tokio \" tokio"; const R: &str = r#"tokio " tokio"#;
        const B: &[u8] = b"tokio"; const C: char = '"'; const D: char = '\''; const E: u8 = b'"';
        fn f<'a>(x: &'a str) {}
        #[cfg(test)]
        mod tests { fn g() { if true { tokio() } } }
        fn last() {}
    "###;
    let words: Vec<_> = without_test_modules(tokens(text));
    let found: Vec<_> = words.iter().map(|token| token.text.as_str()).collect();
    assert!(!found.contains(&"tokio"), "{found:?}");
    assert!(
        found.starts_with(&["use", "a", "::", "b", ";"]),
        "{found:?}"
    );
    let last = words.iter().find(|token| token.text == "last").unwrap();
    assert_eq!(last.line, 10);
}
