//! Rules that can't match are found, with real tables around them; a sound machine gives none.

use std::fmt::Write;
use std::time::{Duration, Instant};

use stockade_enforce::stock::{Families, Here, StockAction};
use stockade_original::{Installed, newest};

use crate::common::{in_namespace, run};
use crate::original::{action_of, spec_of};
use crate::{apply, ban, stock_with};

/// An action, what others did to the machine, and what has to be found: words, and whether nothing is blocked.
struct Case {
    call: &'static str,
    around: &'static [&'static str],
    found: &'static [(&'static str, bool)],
}

const fn case(call: &'static str, around: &'static [&'static str], found: &'static [(&'static str, bool)]) -> Case {
    Case { call, around, found }
}

const DOCKER: &str = "iptables -t nat -A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80";
const DOCKER_6: &str =
    "ip6tables -t nat -A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80";
const BY_NFT: &str = "nft add table ip mynat; nft add chain ip mynat pre { type nat hook prerouting priority -100 \\; }; \
                      nft add rule ip mynat pre tcp dport 8080 dnat to 172.17.0.2:80";

const CASES: &[Case] = &[
    // Nothing is wrong.
    case("nftables-multiport[name=web, port=\"http,https\"]", &[DOCKER], &[]),
    case("iptables-multiport[name=web, port=\"http,https\"]", &[DOCKER], &[]),
    case("iptables-ipset-proto6[name=web, port=\"80,443\"]", &[DOCKER], &[]),
    case("iptables-multiport[name=web, port=80]", &["iptables -I INPUT -p tcp --dport 22 -j ACCEPT"], &[]),
    case("iptables-multiport[name=web, port=80]", &["iptables -I INPUT -p udp --dport 80 -j ACCEPT"], &[]),
    case("iptables-multiport[name=web, port=80]", &["iptables -I INPUT -i lo -j ACCEPT"], &[]),
    case("iptables-multiport[name=web, port=80, chain=FORWARD]", &[DOCKER], &[]),
    case("iptables-multiport[name=web, port=80]", &["iptables -I INPUT -p icmp -j ACCEPT"], &[]),
    // Accepted before.
    case(
        "iptables-multiport[name=web, port=\"http,https\"]",
        &["iptables -I INPUT -p tcp -m multiport --dports 79:81 -j ACCEPT"],
        &[("--dports 79:81 -j ACCEPT' accepts packets before the bans are looked at", false)],
    ),
    case(
        "iptables-ipset-proto6[name=web, port=\"80,443\"]",
        &["iptables -I INPUT -j ACCEPT", "ip6tables -I INPUT -p tcp --dport 443 -j ACCEPT"],
        &[("'-A INPUT -j ACCEPT' accepts", true), ("--dport 443 -j ACCEPT' accepts", false)],
    ),
    case(
        "iptables[name=ssh, port=ssh]",
        &["iptables -I INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"],
        &[("open connections of a banned address go on", false)],
    ),
    case(
        "nftables-multiport[name=web, port=\"http,https\"]",
        &["nft insert rule inet f2b-table f2b-chain tcp dport 80 accept"],
        &[
            ("'tcp dport 80 accept' in chain f2b-chain accepts packets before set addr-set-web", false),
            ("accepts packets before set addr6-set-web", false),
        ],
    ),
    // Wrong hook, wrong family.
    case(
        "iptables[name=ssh, port=22, chain=OUTPUT]",
        &[],
        &[("iptables: chain OUTPUT sees only what this host sends", true), ("ip6tables: chain OUTPUT", true)],
    ),
    case("nftables[name=ssh, port=22, chain_hook=output]", &[], &[("hangs at hook output", true)]),
    case("nftables[name=ssh, port=22, table_family=ip]", &[], &[("table ip f2b-table never sees IPv6", false)]),
    // Ports that are sent on.
    case("iptables-multiport[name=web, port=8080]", &[DOCKER], &[("port 8080 is sent on to 172.17.0.2:80", true)]),
    case(
        "nftables-multiport[name=web, port=8080]",
        &[DOCKER_6],
        &[("port 8080 is sent on to [fd00::2]:80: its packets never come to chain f2b-chain", true)],
    ),
    case("nftables-allports[name=web]", &[BY_NFT], &[("port 8080 is sent on to 172.17.0.2:80", false)]),
    case(
        "iptables-multiport[name=web, port=8080, chain=FORWARD]",
        &[DOCKER],
        &[("port 8080 comes to chain FORWARD as port 80, on its way to 172.17.0.2:80", true)],
    ),
    case(
        "nftables-multiport[name=web, port=8080, chain_hook=forward]",
        &[BY_NFT],
        &[("port 8080 comes to chain f2b-chain as port 80", true)],
    ),
    case(
        "nftables-multiport[name=web, port=\"25,8080\", chain_hook=forward]",
        &[BY_NFT],
        &[("port 8080 comes to chain f2b-chain as port 80", false)],
    ),
    case("nftables-multiport[name=web, port=8080, chain_hook=prerouting, chain_priority=-300]", &[DOCKER], &[]),
    // Missing.
    case(
        "nftables-multiport[name=web, port=80]",
        &["nft delete table inet f2b-table"],
        &[("table inet f2b-table or its chain f2b-chain is missing", true)],
    ),
    case(
        "iptables-multiport[name=web, port=80]",
        &["iptables -F INPUT"],
        &[("no rule of chain INPUT of iptables leads to the bans", true)],
    ),
    case(
        "iptables-ipset-proto6[name=web, port=80]",
        &["ip6tables -F INPUT"],
        &[("no rule of chain INPUT of ip6tables leads to the bans", true)],
    ),
];

#[test]
fn rules_that_cannot_match_are_found() {
    let Some(Installed { root, .. }) = newest("rules_that_cannot_match_are_found") else { return };
    in_namespace("findings::rules_that_cannot_match_are_found", || {
        for Case { call, around, found } in CASES {
            run("nft", &["flush", "ruleset"]);
            run("ipset", &["flush"]);
            run("ipset", &["destroy"]);
            let action: StockAction = action_of(&spec_of(&root, call));
            let mut stock = stock_with(&action);
            // Before the first ban nothing has to stand.
            let calm: Vec<_> = Here::new().findings(&action, Families::default()).into_iter().map(|f| f.what).collect();
            assert!(calm.iter().all(|what| !what.contains("missing") && !what.contains("no rule")), "{call}: {calm:?}");
            let six = !call.contains("table_family=ip");
            apply(&mut stock, &[ban("192.0.2.1")]);
            if six {
                apply(&mut stock, &[ban("2001:db8::1")]);
            }
            for line in *around {
                run("sh", &["-c", line]);
            }
            let seen = Here::new().findings(&action, Families { inet4: true, inet6: six });
            assert_eq!(seen.len(), found.len(), "{call} {around:?}: {seen:#?}");
            for (finding, (words, nothing)) in seen.iter().zip(*found) {
                assert!(finding.what.contains(words), "{call}: {finding:?}, not {words}");
                assert_eq!(finding.blocks_nothing, *nothing, "{call}: {finding:?}");
                assert!(!finding.help.is_empty() && finding.jail == "j", "{finding:?}");
            }
        }
    });
}

#[test]
fn elements_are_not_read_for_it() {
    let Some(Installed { root, .. }) = newest("elements_are_not_read_for_it") else { return };
    in_namespace("findings::elements_are_not_read_for_it", || {
        let action = action_of(&spec_of(&root, "nftables-multiport[name=web, port=80]"));
        let mut stock = stock_with(&action);
        apply(&mut stock, &[ban("192.0.2.1")]);
        let mut text = "add set inet f2b-table other { type ipv4_addr; elements = { ".to_owned();
        (0..150_000_u32).for_each(|n| write!(text, "10.{}.{}.{}, ", n >> 16, n >> 8 & 255, n & 255).unwrap());
        let path = std::env::temp_dir().join(format!("stockade-elements-{}", std::process::id()));
        std::fs::write(&path, text + "} }\n").unwrap();
        run("nft", &["-f", path.to_str().unwrap()]);
        std::fs::remove_file(&path).unwrap();
        let begin = Instant::now();
        let found = Here::new().findings(&action, Families { inet4: true, inet6: false });
        let took = begin.elapsed();
        assert_eq!(found, []);
        // nft 1.0.6 takes 0.8 s to list one chain beside such a set; one that is quick tells nothing.
        let begin = Instant::now();
        run("nft", &["list", "chain", "inet", "f2b-table", "f2b-chain"]);
        let listed = begin.elapsed();
        println!("looked at after {took:?}; nft lists the chain in {listed:?}");
        assert!(listed < Duration::from_millis(500) || took * 2 < listed, "{took:?}, and nft itself {listed:?}");
    });
}
