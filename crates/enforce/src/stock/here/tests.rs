//! Findings from what tools show, as text; real tables: `tests/stock/findings.rs`.

use stockade_core::JailName;

use super::*;
use crate::stock::plan::{Plan, Table};

fn nft_way(ipv4: bool) -> Way {
    let set = if ipv4 { "addr-set-web" } else { "addr6-set-web" };
    Way::Nft(NftWay {
        table: Table { family: "inet".to_owned(), name: "f2b-table".to_owned() },
        chain: "f2b-chain".to_owned(),
        chain_spec: ChainSpec { kind: "filter".to_owned(), hook: "input".to_owned(), priority: "-1".to_owned() },
        set: set.to_owned(),
        ipv4,
        interval: false,
        rules: vec![format!("tcp dport {{ http,https }} ip saddr @{set} reject")],
    })
}

fn chain_way(ipv4: bool) -> Way {
    let program = if ipv4 { "iptables" } else { "ip6tables" };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    Way::Chain(ChainWay {
        tool: Tool { program: program.to_owned(), wait: Vec::new() },
        chain: "f2b-web".to_owned(),
        last: words("RETURN"),
        jumps: vec![Jump { from: "INPUT".to_owned(), rule: words("-p tcp -m multiport --dports 80,443 -j f2b-web") }],
        block: words("REJECT"),
    })
}

const STANDS: &str = "-A INPUT -p tcp -m multiport --dports 80,443 -j f2b-web";

/// What is found with bans of IPv4: words, and whether nothing is blocked.
fn found(way: fn(bool) -> Way, here: &Here) -> Vec<(String, bool)> {
    let plan = Plan { inet4: way(true), inet6: way(false), on_demand: true };
    let action = StockAction { jail: JailName::new("web"), name: "a".into(), plan };
    let found = here.findings(&action, Families { inet4: true, inet6: false });
    found.into_iter().map(|finding| (finding.what, finding.blocks_nothing)).collect()
}

#[track_caller]
fn check(way: fn(bool) -> Way, here: &Here, expected: &[(&str, bool)]) {
    let found = found(way, here);
    let same = |((what, nothing), (words, wanted)): (&(String, bool), &(&str, bool))| {
        what.contains(words) && nothing == wanted
    };
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(same), "{found:#?}");
}

fn input(lines: &[&str]) -> Here {
    let text = format!("*filter\n:INPUT ACCEPT [0:0]\n{}\nCOMMIT\n", lines.join("\n"));
    Here::shown(None, &[("iptables-save", "filter", &text)])
}

fn nat(lines: &[&str]) -> Here {
    let text = format!("*nat\n{}\nCOMMIT\n", lines.join("\n"));
    let filter = format!("*filter\n{STANDS}\nCOMMIT\n");
    Here::shown(None, &[("iptables-save", "nat", &text), ("iptables-save", "filter", &filter)])
}

#[test]
fn tables_that_can_not_be_read_are_not_missing() {
    check(nft_way, &Here::shown(None, &[]), &[]);
    check(chain_way, &Here::shown(None, &[]), &[]);
    check(nft_way, &Here::shown(Some(""), &[]), &[("table inet f2b-table or its chain f2b-chain is missing", true)]);
    check(chain_way, &input(&[]), &[("no rule of chain INPUT of iptables leads to the bans", true)]);
}

#[test]
fn the_chain_is_found_among_others() {
    let ruleset = |rule: &str| {
        let chain = |name: &str, rule: &str| format!("\tchain {name} {{\n\t\ttype filter;\n\t\t{rule}\n\t}}\n");
        let ours = "tcp dport { 80, 443 } ip saddr @addr-set-web reject with icmp port-unreachable";
        let inside = format!("\tset addr-set-web {{\n\t\ttype ipv4_addr\n\t}}\n\n{}", chain("other", "accept"));
        format!(
            "table ip f2b-table {{\n{}}}\ntable inet f2b-table {{ # progname nft\n{inside}{}{}}}\n",
            chain("f2b-chain", "accept"),
            chain("f2b-chain", &format!("{rule}\n\t\t{ours}")),
            chain("f2b-chain2", "accept"),
        )
    };
    let here = |rule: &str| Here::shown(Some(&ruleset(rule)), &[]);
    check(nft_way, &here("tcp dport 22 accept"), &[]);
    check(nft_way, &here("tcp dport 80 accept"), &[("'tcp dport 80 accept' in chain f2b-chain accepts", false)]);
    check(nft_way, &here("tcp dport { 79-443 } accept"), &[("accepts packets before set addr-set-web", true)]);
    check(nft_way, &here("meta l4proto icmp accept"), &[]);
    check(nft_way, &here("meta l4proto { tcp, udp } accept comment \"mine\""), &[("accepts packets before", true)]);
    for states in ["established,related", "related", "established"] {
        let rule = here(&format!("ct state {states} accept"));
        check(nft_way, &rule, &[("open connections of a banned address", false)]);
    }
    check(nft_way, &here("ct state new,related accept"), &[("accepts packets before", true)]);
}

#[test]
fn nothing_is_blocked_only_if_all_ports_are_accepted_before() {
    let before = "accepts packets before";
    check(chain_way, &input(&["-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", STANDS]), &[(before, false)]);
    check(chain_way, &input(&[STANDS, "-A INPUT -j ACCEPT"]), &[]);
    check(chain_way, &input(&["-A INPUT -p icmp -j ACCEPT", "-A INPUT -p gre -j ACCEPT", STANDS]), &[]);
    check(chain_way, &input(&["-A INPUT -d 192.0.2.1/32 -j ACCEPT", STANDS]), &[(before, false)]);
    check(chain_way, &input(&["-A INPUT -p tcp -m multiport ! --dports 80 -j ACCEPT", STANDS]), &[(before, false)]);
    let both = ["-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT", STANDS];
    check(chain_way, &input(&both), &[(before, true), (before, true)]);
}

#[test]
fn nothing_is_blocked_only_if_all_ports_are_sent_on() {
    let to = |port: &str, target: &str| {
        format!("-A DOCKER ! -i docker0 -p tcp -m tcp --dport {port} -j DNAT --to-destination {target}")
    };
    let (web, tls) = (to("80", "172.17.0.2:80"), to("443", "172.17.0.2:80"));
    check(chain_way, &nat(&[&web]), &[("port 80 is sent on to 172.17.0.2:80", false)]);
    check(chain_way, &nat(&[&to("8080", "172.17.0.2:80")]), &[]);
    // Both go to the same place.
    let all = [("port 80 is sent on to 172.17.0.2:80", true), ("port 443 is sent on to 172.17.0.2:80", true)];
    check(chain_way, &nat(&[&web, &tls]), &all);
    let by_nft = "table ip mynat {\n\tchain pre {\n\t\ttcp dport 80 dnat to 172.17.0.2:80\n\t\t\
                  tcp dport 443 counter packets 0 bytes 0 dnat to 172.17.0.2:80\n\t}\n}\n";
    let stands = format!("*filter\n{STANDS}\nCOMMIT\n");
    check(chain_way, &Here::shown(Some(by_nft), &[("iptables-save", "filter", &stands)]), &all);
    // For this machine itself, and for one sender.
    check(
        chain_way,
        &nat(&["-A DOCKER -d 127.0.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80"]),
        &[],
    );
    let one = "-A PREROUTING -s 192.0.2.1/32 -p tcp -m multiport --dports 80,443 -j DNAT --to-destination 10.0.0.1";
    check(chain_way, &nat(&[one]), &[("port 80 is sent on to 10.0.0.1", false)]);
}
