//! What nginx answers to clients beyond its limits.

use std::path::{Path, PathBuf};

use super::{Findings, Patient, files_of, read_small};

/// Where distributions keep nginx's configuration.
const ROOT: &str = "/etc/nginx";
/// Folders of it whose files are read, too.
const FOLDERS: [&str; 3] = ["conf.d", "http.d", "sites-enabled"];

pub(super) fn check(patient: &Patient, findings: &mut Findings) {
    let jails = patient.stage.iter().flat_map(|stage| &stage.jails);
    let limits = jails.filter(|jail| jail.spec.name.as_str().starts_with("nginx-limit-req"));
    for jail in limits.filter(|jail| !jail.filter.failregex().any(|regex| regex.contains("503"))) {
        for directive in unanswered(&configuration(Path::new(ROOT))) {
            let name = &jail.spec.name;
            let what = format!(
                "jail '{name}' counts answers with status 429, but nginx answers 503 beyond {directive}: \
                 {directive}_status is not set to 429 below {ROOT}"
            );
            let fix = format!("put '{directive}_status 429;' into the http block of nginx.conf, and reload nginx");
            findings.warning("nginx-limit-status", what, fix);
        }
    }
}

/// The text of all files of a configuration that are in their usual places.
fn configuration(root: &Path) -> String {
    let more = FOLDERS.iter().flat_map(|folder| files_of(&root.join(folder)));
    let files: Vec<PathBuf> = std::iter::once(root.join("nginx.conf")).chain(more).collect();
    files.iter().map(|path| read_small(path) + "\n").collect()
}

/// The limits that are in use without a status of 429.
fn unanswered(text: &str) -> Vec<&'static str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let directives: Vec<Vec<&str>> =
        lines.flat_map(|line| line.split([';', '{', '}'])).map(|part| part.split_whitespace().collect()).collect();
    let used = |name: &str| directives.iter().any(|words| words.first() == Some(&name));
    let answered = |name: &str| directives.iter().any(|words| *words == [format!("{name}_status").as_str(), "429"]);
    ["limit_req", "limit_conn"].into_iter().filter(|name| used(name) && !answered(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_without_their_status_are_found() {
        let zone = "http {\n  limit_req_zone $binary_remote_addr zone=a:10m rate=1r/s;\n";
        assert!(unanswered(zone).is_empty());
        let used = format!("{zone}  server {{ location /login {{ limit_req zone=a burst=5; limit_conn b 10; }} }}\n");
        assert_eq!(unanswered(&used), ["limit_req", "limit_conn"]);
        assert_eq!(unanswered(&format!("{used} # limit_req_status 429;\n limit_conn_status 429;")), ["limit_req"]);
        assert!(unanswered(&format!("{used} limit_req_status 429;\n limit_conn_status  429 ;\n")).is_empty());
        assert_eq!(unanswered(&format!("{used} limit_req_status 444; limit_conn_status 429;")), ["limit_req"]);
    }
}
