//! Splitting a scenario line into words; quotes keep blanks, `key=value` pairs.

/// The words of a line; `"a b"` is one word, and so is `key="a b"`.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Plain words in order, and `key=value` options.
#[derive(Debug, Default)]
pub(crate) struct Args {
    plain: std::collections::VecDeque<String>,
    options: Vec<(String, String)>,
}

impl Args {
    pub(crate) fn new(words: Vec<String>) -> Self {
        let mut args = Args::default();
        for word in words {
            match word.split_once('=') {
                Some((key, value))
                    if !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') =>
                {
                    args.options.push((key.to_owned(), value.to_owned()));
                }
                _ => args.plain.push_back(word),
            }
        }
        args
    }

    /// The next plain word.
    pub(crate) fn word(&mut self, what: &str) -> Result<String, String> {
        self.plain.pop_front().ok_or_else(|| format!("{what} is missing"))
    }

    /// Is the next plain word this one? Then it is taken.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let found = self.plain.front().is_some_and(|w| w == word);
        if found {
            self.plain.pop_front();
        }
        found
    }

    /// All plain words that are left.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.plain.drain(..).collect()
    }

    /// Takes an option.
    pub(crate) fn option(&mut self, key: &str) -> Option<String> {
        let at = self.options.iter().position(|(k, _)| k == key)?;
        Some(self.options.remove(at).1)
    }

    /// Takes the first option that is left.
    pub(crate) fn next_option(&mut self) -> Option<(String, String)> {
        (!self.options.is_empty()).then(|| self.options.remove(0))
    }

    /// Everything must have been used.
    pub(crate) fn done(self) -> Result<(), String> {
        match (self.plain.front(), self.options.first()) {
            (Some(word), _) => Err(format!("unknown word `{word}`")),
            (_, Some((key, _))) => Err(format!("unknown option `{key}`")),
            _ => Ok(()),
        }
    }
}
