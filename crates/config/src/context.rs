//! What reading a jail goes by beside its text: what to do about missing logs, and who can try its filter.

/// What jails need to know of the run.
pub(crate) struct Context<'a> {
    pub(crate) missing_logs: MissingLogs,
    pub(crate) journal: bool,
    pub(crate) checker: Option<&'a dyn FilterCheck>,
}

/// What a jail does whose log files are all missing (and which neither may use
/// the journal nor be left out by its own options).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingLogs {
    /// It waits for them.
    #[default]
    Wait,
    /// It fails, and so the whole configuration, as in the original.
    Refuse,
}

/// The regexes and dates of one jail, to be tried before they are used.
#[derive(Clone, Debug, Default)]
pub struct FilterTexts<'a> {
    /// What becomes of host names; decides what `<HOST>` means.
    pub usedns: Option<&'a str>,
    /// Must match first.
    pub prefregex: Option<&'a str>,
    /// Failures.
    pub failregex: Vec<&'a str>,
    /// Exceptions.
    pub ignoreregex: Vec<&'a str>,
    /// Lines that are looked at together.
    pub maxlines: Option<u32>,
    /// How dates are written; several lines are several patterns.
    pub datepattern: Option<&'a str>,
    /// Zone of dates that name none.
    pub logtimezone: Option<&'a str>,
}

/// What is wrong with one of the [`FilterTexts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFault {
    /// `prefregex`, `failregex`, `ignoreregex`, `datepattern`, `maxlines` or `logtimezone`.
    pub option: &'static str,
    /// 0-based number of the regex within its option.
    pub index: usize,
    /// What is wrong.
    pub message: String,
    /// 0-based character of the regex, if known.
    pub position: Option<usize>,
    /// It works, but is suspicious.
    pub warning: bool,
}

/// Whoever can tell whether regexes are right. This crate has no matcher.
pub trait FilterCheck {
    /// Everything that is wrong with the filter.
    fn check(&self, texts: &FilterTexts<'_>) -> Vec<FilterFault>;
}
