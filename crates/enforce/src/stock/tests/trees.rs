//! Actions of an unpacked original, as our own reader compiles them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use stockade_config::{LoadOptions, TreeSource, load};
use stockade_wire::value::Value;

/// One action: jail, name, and its properties in order.
pub(crate) type Parts = (String, String, Vec<(String, String)>);

/// The actions of jails with these `action` lines, in a tree with the root's action files.
pub(crate) fn actions(root: &Path, jails: &[(&str, &str)]) -> Vec<Parts> {
    let folder = folder(root, jails);
    let options = LoadOptions { journal: true, ..LoadOptions::default() };
    let loaded = load(&TreeSource::Disk(folder.clone()), &options);
    std::fs::remove_dir_all(&folder).unwrap();
    let mut all: Vec<Parts> = Vec::new();
    for command in &loaded.stream {
        match command.as_slice() {
            [Value::Str(set), Value::Str(jail), Value::Str(add), Value::Str(name), ..]
                if (set.as_str(), add.as_str()) == ("set", "addaction") =>
            {
                all.push((jail.clone(), name.clone(), Vec::new()));
            }
            [Value::Str(set), Value::Str(jail), Value::Str(action), Value::Str(name), values]
                if (set.as_str(), action.as_str()) == ("multi-set", "action") =>
            {
                let (_, _, properties) = all.iter_mut().find(|(j, n, _)| j == jail && n == name).unwrap();
                let Value::List(pairs) = values else { panic!("{values:?}") };
                for pair in pairs {
                    let (Value::List(pair) | Value::Tuple(pair)) = pair else { panic!("{pair:?}") };
                    let [name, value] = pair.as_slice() else { panic!("{pair:?}") };
                    properties.push((text(name), text(value)));
                }
            }
            _ => {}
        }
    }
    assert!(!all.is_empty(), "{jails:?}: {:?}", loaded.diagnostics);
    all
}

fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Bool(flag) => if *flag { "True" } else { "False" }.to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A folder that is a complete tree: the root's files and our jails.
pub(crate) fn folder(root: &Path, jails: &[(&str, &str)]) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("stockade-stock-{}-{number}", std::process::id()));
    std::fs::create_dir_all(folder.join("filter.d")).unwrap();
    std::os::unix::fs::symlink(root.join("etc/fail2ban/action.d"), folder.join("action.d")).unwrap();
    std::fs::copy(root.join("etc/fail2ban/fail2ban.conf"), folder.join("fail2ban.conf")).unwrap();
    std::fs::write(folder.join("filter.d/none.conf"), "[Definition]\nfailregex = ^x <HOST>$\n").unwrap();
    let mut text = String::new();
    for (jail, action) in jails {
        text += &format!("[{jail}]\nenabled = true\nfilter = none\nbackend = polling\nlogpath = /dev/null\n");
        text += &format!("action = {action}\n");
    }
    std::fs::write(folder.join("jail.conf"), text).unwrap();
    folder
}
