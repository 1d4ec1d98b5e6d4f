//! Tags that tell of more than the present ban: `<ipmatches>` and its like.

use crate::{Guard, eventually, skipped};

#[test]
fn commands_are_told_of_earlier_bans() {
    if skipped("commands_are_told_of_earlier_bans") {
        return;
    }
    let jail = |name: &str| format!("maxretry = 1\nmaxmatches = 5\naction = tell[name={name}]\n");
    let folder = std::env::temp_dir().join(format!("stockade-tell-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    let told = folder.join("told");
    let action = format!(
        "[Definition]\nactionban = echo \"<name> <failures> <ipfailures> <ipjailfailures>\" >> {0}\n            \
         echo \"<ipmatches>\" >> {0}\n            echo \"-\" >> {0}\n            echo \"<ipjailmatches>\" >> {0}\n",
        told.display()
    );
    std::fs::write(folder.join("tell.conf"), action).unwrap();
    let more = format!("{}[api]\nenabled = true\nfilter =\nbantime = 1h\n{}", jail("web"), jail("api"));
    let guard = Guard::start_with_actions(&more, Some(&folder));
    let text = || std::fs::read_to_string(&told).unwrap_or_default();
    guard.says_as("fail2ban-client", "set api attempt 192.0.2.1 first second");
    eventually("the first is told", || text().ends_with("-\nfirst\nsecond\n"));
    guard.says_as("fail2ban-client", "set web attempt 192.0.2.1 third;$(touch__x)");
    // Which of two bans of one second is the older one is chance.
    eventually("both are told", || {
        let told = text();
        let Some((_, second)) = told.split_once("web ") else { return false };
        let Some((all, own)) = second.split_once("\n-\n") else { return false };
        let mut all: Vec<&str> = all.lines().collect();
        all.sort_unstable();
        all == ["1 2 1", "first", "second", "third;$(touch__x)"] && own == "third;$(touch__x)\n"
    });
    // Of somebody else nothing is told.
    guard.says_as("fail2ban-client", "set web attempt 192.0.2.2 alone");
    eventually("the other alone", || text().ends_with("web 1 1 1\nalone\n-\nalone\n"));
    drop(guard);
    std::fs::remove_dir_all(folder).unwrap();
}
