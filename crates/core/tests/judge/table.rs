//! The table in `scenarios/README.md` of which rule is in which scenario: each scenario that it names is there.

use std::collections::HashMap;
use std::path::Path;

/// Scenarios by the file that they stand in.
type Titles = HashMap<String, Vec<String>>;

fn titles(folder: &Path) -> Titles {
    let mut titles = Titles::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("its entries too").path();
        if path.extension().is_some_and(|ext| ext == "txt") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = super::include_text(&path);
            titles.insert(name, super::scenario::split(&text).iter().map(|s| s.title.to_lowercase()).collect());
        }
    }
    titles
}

/// The rows of the table: rule and scenarios.
fn rows(readme: &str) -> Vec<(&str, &str)> {
    let table = readme.split("## Which row of the original's rules").nth(1).unwrap_or("");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    cells.filter(|(rule, _)| *rule != "rule").collect()
}

/// What is wrong with a row's scenarios, `file: "title", "title"; file: all`.
fn wrong(scenarios: &str, titles: &Titles) -> Vec<String> {
    let mut wrong = Vec::new();
    for part in scenarios.split("; ") {
        let Some((file, named)) = part.split_once(": ") else {
            wrong.push(format!("'{part}' names no file"));
            continue;
        };
        let Some(known) = titles.get(file).filter(|known| !known.is_empty()) else {
            wrong.push(format!("there are no scenarios in {file}.txt"));
            continue;
        };
        let quoted: Vec<&str> = named.split('"').skip(1).step_by(2).collect();
        if quoted.is_empty() && named != "all" {
            wrong.push(format!("'{part}' names no scenario"));
        }
        let missing = quoted.iter().filter(|title| !known.iter().any(|t| t.contains(&title.to_lowercase())));
        wrong.extend(missing.map(|title| format!("no scenario in {file}.txt is called \"{title}\"")));
    }
    wrong
}

#[test]
fn each_rule_has_the_scenarios_that_the_table_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let readme = super::include_text(&folder.join("README.md"));
    let (rows, titles) = (rows(&readme), titles(&folder));
    assert!(rows.len() >= 25, "only {} rows were found", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .flat_map(|(rule, scenarios)| wrong(scenarios, &titles).into_iter().map(move |what| format!("{rule}: {what}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} rules", rows.len());
}

#[test]
fn a_row_without_its_scenario_is_found() {
    let titles = Titles::from([("bans".to_owned(), vec!["a permanent ban never ends".to_owned()])]);
    assert!(wrong("bans: \"a Permanent ban\"; bans: all", &titles).is_empty());
    for bad in ["bans: \"a short ban\"", "gone: all", "bans", "bans: some"] {
        assert_eq!(wrong(bad, &titles).len(), 1, "{bad}");
    }
}
