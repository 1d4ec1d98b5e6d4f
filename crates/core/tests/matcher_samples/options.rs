//! The options of filters, from a fail2ban's own reader.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use stockade_core::matcher::{DatePattern, FilterSpec, UseDns};

/// Named options of a filter call.
pub(crate) type Options = BTreeMap<String, Value>;

/// A running reader.
pub(crate) struct Reader {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    pub(crate) fn start(root: &Path) -> Reader {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matcher_samples/options.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(root)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Reader { child, answers }
    }

    /// What a filter with these options is made of.
    pub(crate) fn spec(&mut self, name: &str, options: &Options) -> FilterSpec {
        let question = json!({"name": name, "options": options}).to_string();
        writeln!(self.child.stdin.as_mut().unwrap(), "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let got: Value = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{name}: {e}: {answer}"));
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

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}
