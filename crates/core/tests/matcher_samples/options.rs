//! The options of filters, from a fail2ban's own reader.

use std::path::Path;

use serde_json::json;
use stockade_core::matcher::{DatePattern, FilterSpec, UseDns};
use stockade_original::samples::Options;
use stockade_original::{Driver, Installed};

/// A running reader.
pub(crate) struct Reader {
    driver: Driver,
}

impl Reader {
    pub(crate) fn start(installed: &Installed) -> Reader {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matcher_samples/options.py");
        Reader { driver: Driver::start(installed.python(script)) }
    }

    /// What a filter with these options is made of.
    pub(crate) fn spec(&mut self, name: &str, options: &Options) -> FilterSpec {
        let got = self.driver.ask(&json!({"name": name, "options": options}));
        let texts = |key: &str| -> Vec<String> {
            got[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
        };
        let text = |key: &str| got[key].as_str().map(str::to_owned);
        FilterSpec {
            prefregex: text("prefregex"),
            failregex: texts("failregex"),
            ignoreregex: texts("ignoreregex"),
            datepattern: text("datepattern").map_or(DatePattern::Default, DatePattern::Text),
            maxlines: u32::try_from(got["maxlines"].as_u64().unwrap()).unwrap(),
            usedns: UseDns::Raw,
            ..FilterSpec::default()
        }
    }
}
