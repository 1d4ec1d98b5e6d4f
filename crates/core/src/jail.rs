//! Names of jails.

use std::fmt;
use std::sync::Arc;

/// The name of a jail, as its section in `jail.conf` spells it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JailName(Arc<str>);

impl JailName {
    /// Takes any text; what a name may look like is the configuration's affair.
    pub fn new(name: &str) -> Self {
        JailName(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JailName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for JailName {
    fn borrow(&self) -> &str {
        &self.0
    }
}
