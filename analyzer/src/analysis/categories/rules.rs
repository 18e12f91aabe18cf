//! Categories of the user's own: a name, and a pattern that sites, their stacks and modules are held against.

use regex::Regex;
use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::load::{Process, SiteStacks};

/// Rules that there can be.
const MAX_RULES: usize = 200;

/// What a rule wrote as `NAME=REGEX` says.
#[derive(Debug, Clone)]
struct Rule {
    name: String,
    pattern: Regex,
}

/// Rules, in the order in which they are tried.
#[derive(Debug, Clone, Default)]
pub struct CategoryRules {
    rules: Vec<Rule>,
}

impl CategoryRules {
    /// Reads rules written as `NAME=REGEX`. A pattern matches anywhere in the name of a site (the module's path, where
    /// modules are recorded) or in a line of its stack. The first rule that matches has the word.
    ///
    /// # Errors
    /// If one has no name, its pattern is none, or there are too many.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self> {
        let refuse = |rule: &str, reason: String| Error::Rule { rule: rule.to_owned(), reason };
        if texts.len() > MAX_RULES {
            return Err(refuse(texts[MAX_RULES].as_ref(), format!("there can be {MAX_RULES} rules")));
        }
        let rule = |text: &T| {
            let text = text.as_ref();
            let Some((name, pattern)) = text.split_once('=').filter(|(name, _)| !name.trim().is_empty())
            else {
                return Err(refuse(text, "expected NAME=REGEX, as in 'attention=.*attn.*'".to_owned()));
            };
            let pattern = Regex::new(pattern.trim()).map_err(|error| refuse(text, error.to_string()))?;
            Ok(Rule { name: name.trim().to_owned(), pattern })
        };
        Ok(Self { rules: texts.iter().map(rule).collect::<Result<_>>()? })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The name of a rule.
    #[must_use]
    pub fn name(&self, number: u8) -> Option<&str> {
        self.rules.get(usize::from(number)).map(|rule| rule.name.as_str())
    }

    /// Which rule each site of a process is under; sites under none are left out.
    ///
    /// # Errors
    /// If the sites cannot be read.
    pub(super) fn of_sites(&self, process: &Process) -> Result<FxHashMap<u32, u8>> {
        if self.is_empty() {
            return Ok(FxHashMap::default());
        }
        let stacks = SiteStacks::read(process)?;
        let of_site = |site: u32| {
            let is_it = |rule: &Rule| {
                let is_name = stacks.name(site).is_some_and(|name| rule.pattern.is_match(name));
                is_name || stacks.lines(site).any(|line| rule.pattern.is_match(line))
            };
            Some((site, self.rules.iter().position(is_it)? as u8))
        };
        Ok(stacks.sites().filter_map(of_site).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_or_refused() {
        let rules = CategoryRules::parse(&["attention=.*attn.*", "mlp = fc[12]=?"]).unwrap();
        assert_eq!((rules.name(0), rules.name(1), rules.name(2)), (Some("attention"), Some("mlp"), None));
        for (text, reason) in
            [("attention", "expected NAME=REGEX"), ("=x", "NAME=REGEX"), ("a=(", "unclosed group")]
        {
            let error = CategoryRules::parse(&[text]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
        assert!(CategoryRules::parse(&vec!["a=b"; 201]).is_err());
    }
}
