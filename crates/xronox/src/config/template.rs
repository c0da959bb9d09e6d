//! Names made from a tenant's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use xronox_model::Invalid;

/// The name of a database or bucket with placeholders, such as
/// `app_{tier}_{tenantId}`.
///
/// `{tenantId}`, `{domain}`, `{tier}` (the tenant's plan), `{env}` (the variable
/// `XRONOX_ENV`, `production` without it) and `{meta.<key>}`, what the context
/// says of the tenant. `{meta.tenantId}` is refused: nothing but the context's
/// own tenant stands for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<TemplatePart>);

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TemplatePart {
    /// Text that stands for itself.
    Literal(String),
    /// What a name takes the place of.
    Placeholder(Placeholder),
}

/// What the context fills in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// `{tenantId}`
    TenantId,
    /// `{domain}`
    Domain,
    /// `{tier}`: the tenant's plan.
    Tier,
    /// `{env}`: the variable `XRONOX_ENV`, `production` without it.
    Env,
    /// `{meta.<key>}`
    Meta(String),
}

impl Template {
    /// What it is made of, in order.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }

    /// Whether it names this placeholder.
    pub fn contains(&self, placeholder: &Placeholder) -> bool {
        let named =
            |part: &TemplatePart| matches!(part, TemplatePart::Placeholder(p) if p == placeholder);
        self.0.iter().any(named)
    }

    /// The name with every placeholder filled in; `None` if one has no value.
    pub fn fill(&self, value: impl Fn(&Placeholder) -> Option<String>) -> Option<String> {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                TemplatePart::Literal(text) => name.push_str(text),
                TemplatePart::Placeholder(placeholder) => name.push_str(&value(placeholder)?),
            }
        }
        Some(name)
    }
}

impl FromStr for Template {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Err(Invalid::at("", why));
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let open = rest.find(['{', '}']).unwrap_or(rest.len());
            if open > 0 {
                parts.push(TemplatePart::Literal(rest[..open].to_owned()));
            }
            rest = &rest[open..];
            if rest.starts_with('}') {
                return wrong("has a `}` without a `{`");
            }
            if let Some(inner) = rest.strip_prefix('{') {
                let Some((name, after)) = inner.split_once('}') else {
                    return wrong("has a `{` without a `}`");
                };
                parts.push(TemplatePart::Placeholder(name.parse()?));
                rest = after;
            }
        }
        if parts.is_empty() {
            return wrong("is empty");
        }
        Ok(Self(parts))
    }
}

impl FromStr for Placeholder {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let plain = |key: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            !key.is_empty() && key.chars().all(fits)
        };
        match name {
            "tenantId" => Ok(Self::TenantId),
            "domain" => Ok(Self::Domain),
            "tier" => Ok(Self::Tier),
            "env" => Ok(Self::Env),
            _ => match name.strip_prefix("meta.") {
                Some(key) if key.eq_ignore_ascii_case("tenantId") => Err(Invalid::at(
                    "",
                    "takes the tenant from the metadata; only {tenantId} stands for it",
                )),
                Some(key) if plain(key) => Ok(Self::Meta(key.to_owned())),
                _ => Err(Invalid::at(
                    "",
                    "has an unknown placeholder; there are {tenantId}, {domain}, {tier}, {env} \
                     and {meta.<key>}",
                )),
            },
        }
    }
}

impl TryFrom<String> for Template {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                TemplatePart::Literal(text) => f.write_str(text)?,
                TemplatePart::Placeholder(placeholder) => write!(f, "{{{placeholder}}}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantId => f.write_str("tenantId"),
            Self::Domain => f.write_str("domain"),
            Self::Tier => f.write_str("tier"),
            Self::Env => f.write_str("env"),
            Self::Meta(key) => write!(f, "meta.{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in() {
        let template: Template = "app_{env}_{meta.region}_{tenantId}".parse().unwrap();
        let name = template.fill(|placeholder| match placeholder {
            Placeholder::TenantId => Some("acme".to_owned()),
            Placeholder::Env => Some("test".to_owned()),
            Placeholder::Meta(key) => Some(format!("<{key}>")),
            _ => None,
        });
        assert_eq!(name.as_deref(), Some("app_test_<region>_acme"));
        assert!(template.contains(&Placeholder::TenantId));
        assert_eq!(template.to_string(), "app_{env}_{meta.region}_{tenantId}");
        assert_eq!(template.fill(|_| None), None);
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "a{tenantId",
            "a}b",
            "{tenant}",
            "{}",
            "{meta.}",
            "{meta.a b}",
        ] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
        let error = "{meta.tenantID}".parse::<Template>().unwrap_err();
        assert!(error.message().contains("only {tenantId}"), "{error}");
    }
}
