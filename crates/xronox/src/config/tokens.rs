//! `ENV.NAME` in the place of a string.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    problem::{Problem, Trail},
    shape::Found,
};

/// What is in front of the name of a variable.
const TOKEN: &str = "ENV.";

/// Finds the value of a variable.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Puts the values of variables in the places of their tokens, which it
/// returns, with what is wrong with others.
pub(super) fn resolve(value: &mut Value, lookup: &Lookup<'_>) -> (BTreeMap<Trail, String>, Found) {
    let mut resolver = Resolver {
        lookup,
        tokens: BTreeMap::new(),
        problems: Vec::new(),
    };
    resolver.walk(value, &Trail::default());
    (resolver.tokens, resolver.problems)
}

struct Resolver<'a> {
    lookup: &'a Lookup<'a>,
    tokens: BTreeMap<Trail, String>,
    problems: Found,
}

impl Resolver<'_> {
    fn walk(&mut self, value: &mut Value, at: &Trail) {
        match value {
            Value::String(text) if text.starts_with(TOKEN) => {
                match self.variable(&text[TOKEN.len()..], at) {
                    Ok(found) => {
                        self.tokens
                            .insert(at.clone(), std::mem::replace(text, found));
                    }
                    Err(problem) => self.problems.push((at.clone(), problem)),
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.walk(item, &at.index(i));
                }
            }
            Value::Object(object) => {
                for (key, value) in object {
                    self.walk(value, &at.key(key));
                }
            }
            _ => {}
        }
    }

    fn variable(&self, name: &str, at: &Trail) -> Result<String, Problem> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(plain)
        {
            let expected = "ENV. and the name of a variable: letters, digits and `_`";
            return Err(Problem::new(at, expected));
        }
        match (self.lookup)(name) {
            Some(value) if !value.is_empty() => Ok(value),
            Some(_) => Err(Problem::new(at, format!("the variable {name} is empty"))),
            None => Err(Problem::new(at, format!("there is no variable {name}"))),
        }
    }
}
