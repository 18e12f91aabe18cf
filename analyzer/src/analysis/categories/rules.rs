//! Categories of the user's own: a name, and a pattern that sites, their stacks and modules are held against.

use regex::Regex;
use rustc_hash::FxHashMap;
use tidegauge_schemas::Category;

use crate::error::{Error, Result};
use crate::load::{Process, SiteStacks};

/// Rules that there can be.
const MAX_RULES: usize = 200;

/// A pattern and which name it is of.
#[derive(Debug, Clone)]
struct Rule {
    name: u8,
    pattern: Regex,
}

/// Rules, in the order in which they are tried.
#[derive(Debug, Clone, Default)]
pub struct CategoryRules {
    /// Each once, in the order in which they are first given.
    names: Vec<String>,
    rules: Vec<Rule>,
}

impl CategoryRules {
    /// Reads rules written as `NAME=REGEX`. A pattern matches anywhere in the name of a site (the module's path, where
    /// modules are recorded) or in a line of its stack. The first rule that matches has the word. Several of one name make
    /// one category.
    ///
    /// # Errors
    /// If one has no name or that of a category that there is already, its pattern is none, or there are too many.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self> {
        let refuse = |rule: &str, reason: String| Error::Rule { rule: rule.to_owned(), reason };
        if texts.len() > MAX_RULES {
            return Err(refuse(texts[MAX_RULES].as_ref(), format!("there can be {MAX_RULES} rules")));
        }
        let mut all = Self::default();
        for text in texts {
            let text = text.as_ref();
            let Some((name, pattern)) = text.split_once('=').filter(|(name, _)| !name.trim().is_empty())
            else {
                return Err(refuse(text, "expected NAME=REGEX, as in 'attention=.*attn.*'".to_owned()));
            };
            let name = name.trim();
            if Category::ALL.iter().any(|category| category.as_str() == name) {
                return Err(refuse(text, format!("{name} is a category of its own: choose another name")));
            }
            let pattern = Regex::new(pattern.trim()).map_err(|error| refuse(text, error.to_string()))?;
            let number = all.names.iter().position(|known| known == name).unwrap_or(all.names.len());
            if number == all.names.len() {
                all.names.push(name.to_owned());
            }
            // There are no more than `MAX_RULES`.
            all.rules.push(Rule { name: number as u8, pattern });
        }
        Ok(all)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The name of a category of the user's.
    #[must_use]
    pub fn name(&self, number: u8) -> Option<&str> {
        self.names.get(usize::from(number)).map(String::as_str)
    }

    /// Which category of the user's each site of a process is of; sites of none are left out.
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
            Some((site, self.rules.iter().find(|rule| is_it(rule))?.name))
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
        for (text, reason) in [
            ("attention", "expected NAME=REGEX"),
            ("=x", "NAME=REGEX"),
            ("a=(", "unclosed group"),
            ("activation=Adam", "choose another name"),
        ] {
            let error = CategoryRules::parse(&[text]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
        assert!(CategoryRules::parse(&vec!["a=b"; 201]).is_err());
    }

    #[test]
    fn rules_of_one_name_are_one_category() {
        let rules = CategoryRules::parse(&["mlp=fc1", "attention=attn", "mlp=fc2"]).unwrap();
        assert_eq!((rules.name(0), rules.name(1), rules.name(2)), (Some("mlp"), Some("attention"), None));
        assert_eq!(rules.rules.iter().map(|rule| rule.name).collect::<Vec<_>>(), [0, 1, 0]);
    }
}
