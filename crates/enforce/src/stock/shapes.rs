//! The shapes of stock actions: which steps with which parameters.
//!
//! Each shape names its parameters where they appear first and demands them
//! everywhere else, in every command of the action. What fits has the effects
//! that [`super::plan`] describes; nothing else is taken for it.

use super::plan::{ChainSpec, ChainWay, Jump, NftWay, SetWay, Table, Timeout, Tool, Way};
use super::shell::Quiet;
use super::steps::{Step, bantime_up_to};

/// The commands of an action for one family.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub(super) start: Vec<Step>,
    pub(super) ban: Vec<Step>,
    pub(super) unban: Vec<Step>,
    pub(super) check: Vec<Step>,
    pub(super) flush: Vec<Step>,
    pub(super) stop: Vec<Step>,
}

/// Why a shape does not fit: the property, and what is different there.
pub(super) type Unfit = (&'static str, String);

/// Finds the shape that fits.
pub(super) fn way(texts: &Texts, ipv4: bool) -> Result<Way, Unfit> {
    match texts.start.first() {
        Some(Step::Run(argv, _)) if argv.first().is_some_and(|p| names(p, &["nft"])) => nft(texts, ipv4).map(Way::Nft),
        Some(Step::Run(argv, _)) if argv.first().is_some_and(|p| p == "ipset") => set(texts, ipv4).map(Way::Set),
        Some(Step::Either(check, _)) if run_of(check, BOTH).is_some() => chain(texts, ipv4).map(Way::Chain),
        Some(_) => Err(("actionstart", "it begins like no stock action for nftables, iptables or ipset".to_owned())),
        None => Err(("actionstart", "it is empty".to_owned())),
    }
}

const LOUD: Quiet = Quiet { out: false, err: false };
const NO_ERRORS: Quiet = Quiet { out: false, err: true };
const BOTH: Quiet = Quiet { out: true, err: true };

/// The arguments of a step that is one program, with its output going there.
fn run_of(step: &Step, quiet: Quiet) -> Option<Vec<&str>> {
    match step {
        Step::Run(argv, q) if *q == quiet => Some(argv.iter().map(String::as_str).collect()),
        _ => None,
    }
}

/// Is it one of these programs, by its name or with a path?
fn names(program: &str, known: &[&str]) -> bool {
    let name = program.rsplit('/').next().unwrap_or("");
    known.contains(&name) && (program == name || program.starts_with('/')) && is_word(program)
}

/// Characters that mean nothing to a shell, to `nft -f` or to `iptables-restore`.
fn is_word(word: &str) -> bool {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ',' | ':' | '/' | '+' | '@' | '%' | '=');
    !word.is_empty() && word.chars().all(plain)
}

/// A name that `nft` takes for a table, chain or set.
fn is_identifier(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && word.len() <= 128
}

fn demand(holds: bool, property: &'static str, why: &str) -> Result<(), Unfit> {
    if holds { Ok(()) } else { Err((property, why.to_owned())) }
}

/// Takes the step at the front if there is one.
fn take<'s>(steps: &mut &'s [Step], property: &'static str) -> Result<&'s Step, Unfit> {
    let (first, rest) = steps.split_first().ok_or((property, "a command of the stock action is missing".to_owned()))?;
    *steps = rest;
    Ok(first)
}

fn nft(texts: &Texts, ipv4: bool) -> Result<NftWay, Unfit> {
    let start = "actionstart";
    let unlike = |property: &'static str, what: &str| (property, format!("{what} is not as the stock action has it"));
    let mut rest = texts.start.as_slice();
    let argv = run_of(take(&mut rest, start)?, LOUD).ok_or_else(|| unlike(start, "the first command"))?;
    let [program, "add", "table", family, table] = argv.as_slice() else {
        return Err(unlike(start, "the first command"));
    };
    demand(["inet", "ip", "ip6"].contains(family), start, "the table's family is not inet, ip or ip6")?;
    let (program, table) = (*program, Table { family: (*family).to_owned(), name: (*table).to_owned() });

    let argv = run_of(take(&mut rest, start)?, LOUD).ok_or_else(|| unlike(start, "'add chain'"))?;
    let [first, "--", "add", "chain", in_family, in_table, chain, spec @ ..] = argv.as_slice() else {
        return Err(unlike(start, "'add chain'"));
    };
    demand(
        (*first, *in_family, *in_table) == (program, &*table.family, &*table.name),
        start,
        "the chain is elsewhere",
    )?;
    let chain_spec = chain_spec(spec).ok_or_else(|| unlike(start, "the chain's place"))?;
    let (chain, added) = ((*chain).to_owned(), rest);

    let argv = run_of(take(&mut rest, start)?, LOUD).ok_or_else(|| unlike(start, "'add set'"))?;
    let [_, "add", "set", _, _, set, spec @ ..] = argv.as_slice() else { return Err(unlike(start, "'add set'")) };
    let set = (*set).to_owned();
    for name in [&table.name, &chain, &set] {
        demand(is_identifier(name), start, &format!("'{name}' is no name for nft"))?;
    }
    let key = if ipv4 { "ipv4_addr" } else { "ipv6_addr" };
    let spec = spec.join(" ").replace(';', " ; ");
    let spec: Vec<&str> = spec.split_whitespace().collect();
    let interval = spec == ["{", "type", key, ";", "flags", "interval", ";", "}"];
    demand(interval || spec == ["{", "type", key, ";", "}"], start, "the set is not of the stock action's kind")?;

    let mut rules = Vec::new();
    for step in rest {
        let argv = run_of(step, LOUD).ok_or_else(|| unlike(start, "'add rule'"))?;
        let [_, "add", "rule", _, _, _, rule @ ..] = argv.as_slice() else { return Err(unlike(start, "'add rule'")) };
        let source = [if ipv4 { "ip" } else { "ip6" }, "saddr", &format!("@{set}")];
        demand(rule_looks_into(rule, &source), start, "a rule does not look into the set once")?;
        rules.push(rule.join(" "));
    }
    demand(!rules.is_empty(), start, "no rule looks into the set")?;

    let way = NftWay { table, chain, chain_spec, set, ipv4, interval, rules };
    let stock = NftStock { program, way: &way };
    for (given, step) in stock.added().iter().zip(added) {
        demand(given.iter().map(String::as_str).eq(run_of(step, LOUD).unwrap_or_default()), start, "names differ")?;
    }
    demand(texts.ban == [stock.run(&["add", "element"], &["{", "<ip>", "}"])], "actionban", NOT_STOCK)?;
    demand(texts.unban == [stock.run(&["delete", "element"], &["{", "<ip>", "}"])], "actionunban", NOT_STOCK)?;
    demand(texts.check == [stock.check()], "actioncheck", NOT_STOCK)?;
    demand(Dialect::ALL.iter().any(|d| texts.stop == stock.stop(*d)), "actionstop", NOT_STOCK)?;
    demand(Dialect::ALL.iter().any(|d| texts.flush == [stock.flush(*d)]), "actionflush", NOT_STOCK)?;
    Ok(way)
}

const NOT_STOCK: &str = "it is not what the stock action has there";

/// `{ type T hook H priority P ; }`
fn chain_spec(words: &[&str]) -> Option<ChainSpec> {
    let text = words.join(" ").replace(';', " ; ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["{", "type", kind, "hook", hook, "priority", priority @ .., ";", "}"] = words.as_slice() else { return None };
    let simple = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+'));
    let fits = [kind, hook].into_iter().chain(priority).all(simple) && (1..=3).contains(&priority.len());
    fits.then(|| ChainSpec { kind: (*kind).to_owned(), hook: (*hook).to_owned(), priority: priority.join(" ") })
}

/// One rule, nothing that begins another statement, and the set looked into exactly once.
fn rule_looks_into(rule: &[&str], source: &[&str; 3]) -> bool {
    let plain = |word: &&str| {
        word.is_empty()
            || word.chars().all(|c| {
                c.is_ascii_alphanumeric()
                    || matches!(
                        c,
                        '_' | '-'
                            | '.'
                            | ','
                            | ':'
                            | '/'
                            | '+'
                            | '@'
                            | '='
                            | '!'
                            | '{'
                            | '}'
                            | '"'
                            | '&'
                            | '|'
                            | '^'
                            | ' '
                    )
            })
    };
    let open: usize = rule.iter().map(|w| w.matches('{').count()).sum();
    let closed: usize = rule.iter().map(|w| w.matches('}').count()).sum();
    let quotes: usize = rule.iter().map(|w| w.matches('"').count()).sum();
    let looks = rule.windows(3).filter(|words| *words == source).count();
    let others = rule.iter().filter(|word| word.contains('@')).count();
    rule.iter().all(plain) && open == closed && quotes.is_multiple_of(2) && looks == 1 && others == 1
}

/// With which tools the stock action reads what `nft` lists; it changed over the versions.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    /// `grep -P`
    Perl,
    /// `sed -E` and `grep -E`
    Extended,
}

impl Dialect {
    const ALL: [Dialect; 2] = [Dialect::Perl, Dialect::Extended];
}

/// The other commands of a stock action for nftables, made from its parameters.
struct NftStock<'w> {
    program: &'w str,
    way: &'w NftWay,
}

impl NftStock<'_> {
    fn words(&self, verb: &[&str], object: &str, more: &[&str]) -> Vec<String> {
        let table = &self.way.table;
        let all = [self.program].into_iter().chain(verb.iter().copied());
        all.chain([&*table.family, &*table.name, object]).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// A command on the set.
    fn run(&self, verb: &[&str], more: &[&str]) -> Step {
        Step::Run(self.words(verb, &self.way.set, more), LOUD)
    }

    /// The set's own definition is compared already; its name and place and the rules' are compared by this.
    fn added(&self) -> Vec<Vec<String>> {
        let key = if self.way.ipv4 { "ipv4_addr;" } else { "ipv6_addr;" };
        let options: &[&str] = if self.way.interval { &["flags", "interval;"] } else { &[] };
        let spec: Vec<&str> = ["{", "type", key].iter().chain(options).chain(&["}"]).copied().collect();
        let rule = |rule: &String| -> Vec<String> {
            let mut words = self.words(&["add", "rule"], &self.way.chain, &[]);
            words.extend(rule.split(' ').map(str::to_owned));
            words
        };
        let set = self.words(&["add", "set"], &self.way.set, &spec);
        [set].into_iter().chain(self.way.rules.iter().map(rule)).collect()
    }

    fn check(&self) -> Step {
        let list = Step::Run(self.words(&["list", "chain"], &self.way.chain, &[]), LOUD);
        Step::Pipe(vec![list, run(&["grep", "-q", &format!("@{}[ \\t]", self.way.set)])])
    }

    fn removed(&self, dialect: Dialect) -> Vec<Step> {
        let set = &self.way.set;
        let list = Step::Run(self.words(&["-a", "list", "chain"], &self.way.chain, &[]), LOUD);
        let handles = match dialect {
            Dialect::Perl => run(&["grep", "-oP", &format!("@{set}\\s+.*\\s+\\Khandle\\s+(\\d+)$")]),
            Dialect::Extended => run(&["sed", "-nE", &format!("s/.*@{set}\\s+.*\\s+\\#\\s*(handle\\s+[0-9]+)$/\\1/p")]),
        };
        let delete = Step::Run(self.words(&["delete", "rule"], &self.way.chain, &["$hdl"]), LOUD);
        let each = Step::EachLine("hdl".to_owned(), vec![delete]);
        vec![Step::Pipe(vec![Step::Pipe(vec![list, handles]), each]), self.run(&["delete", "set"], &[])]
    }

    fn stop(&self, dialect: Dialect) -> Vec<Step> {
        let Table { family, name } = &self.way.table;
        let list = run(&[self.program, "list", "table", family, name]);
        let option = match dialect {
            Dialect::Perl => "-qP",
            Dialect::Extended => "-qE",
        };
        let any_set = Step::Pipe(vec![list, run(&["grep", option, "^\\s+set\\s+"])]);
        let delete = run(&[self.program, "delete", "table", family, name]);
        let mut steps = self.removed(dialect);
        steps.push(Step::Either(Box::new(any_set), Box::new(delete)));
        steps
    }

    fn flush(&self, dialect: Dialect) -> Step {
        let flush = Step::Run(self.words(&["flush", "set"], &self.way.set, &[]), NO_ERRORS);
        let mut again = self.removed(dialect);
        again.extend(self.added().into_iter().map(|argv| Step::Run(argv, LOUD)));
        Step::Either(Box::new(flush), Box::new(Step::Group(again)))
    }
}

fn run(argv: &[&str]) -> Step {
    Step::Run(argv.iter().map(|word| (*word).to_owned()).collect(), LOUD)
}

/// The programs of each family.
fn is_tool(program: &str, ipv4: bool) -> bool {
    let known: &[&str] = if ipv4 {
        &["iptables", "iptables-legacy", "iptables-nft"]
    } else {
        &["ip6tables", "ip6tables-legacy", "ip6tables-nft"]
    };
    names(program, known)
}

/// The program and how it waits, in front of the first word that says what to do.
fn tool<'a>(argv: &'a [&'a str], ipv4: bool, property: &'static str) -> Result<(Tool, &'a [&'a str]), Unfit> {
    let not = || (property, "it does not run iptables the way the stock action does".to_owned());
    let (program, rest) = argv.split_first().ok_or_else(not)?;
    let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let waits = match rest {
        ["-w" | "--wait", secs, ..] if number(secs) => 2,
        ["-w" | "--wait", ..] => 1,
        _ => 0,
    };
    demand(is_tool(program, ipv4), property, "it does not run iptables for that family")?;
    let (wait, rest) = rest.split_at_checked(waits).ok_or_else(not)?;
    Ok((Tool { program: (*program).to_owned(), wait: wait.iter().map(|w| (*w).to_owned()).collect() }, rest))
}

/// A command of the tool.
fn by(tool: &Tool, words: &[&str]) -> Vec<String> {
    let head = [tool.program.as_str()].into_iter().chain(tool.wait.iter().map(String::as_str));
    head.chain(words.iter().copied()).map(str::to_owned).collect()
}

fn with_rule(tool: &Tool, verb: &str, chain: &str, rule: &[String]) -> Vec<String> {
    let mut argv = by(tool, &[verb, chain]);
    argv.extend(rule.iter().cloned());
    argv
}

/// Rules made only where they are missing: `-C .. || -I ..`.
fn jumps(steps: &[Step], tool: &Tool, target: &[String], property: &'static str) -> Result<Vec<Jump>, Unfit> {
    let unlike = || (property, "a rule is not added as the stock action does".to_owned());
    let mut all = Vec::new();
    for step in steps {
        let Step::Either(check, _) = step else { return Err(unlike()) };
        let argv = run_of(check, BOTH).ok_or_else(unlike)?;
        let head = tool.wait.len().saturating_add(1);
        let Some(["-C", from, rule @ ..]) = argv.get(head..) else { return Err(unlike()) };
        let rule: Vec<String> = rule.iter().map(|w| (*w).to_owned()).collect();
        demand(is_word(from) && !from.starts_with('-'), property, "the chain's name is not plain")?;
        let starts = rule.first().is_some_and(|w| w.starts_with('-') || w == "!");
        demand(starts && rule.iter().all(|w| is_word(w) || w == "!"), property, "a rule is not plain")?;
        demand(rule.len() > target.len() && rule.ends_with(target), property, "a rule leads elsewhere")?;
        let jump = Jump { from: (*from).to_owned(), rule };
        let wanted = Step::Either(
            Box::new(Step::Run(with_rule(tool, "-C", &jump.from, &jump.rule), BOTH)),
            Box::new(Step::Run(with_rule(tool, "-I", &jump.from, &jump.rule), LOUD)),
        );
        demand(*step == wanted, property, "a rule is not added as the stock action does")?;
        all.push(jump);
    }
    demand(!all.is_empty(), property, "no rule leads to the bans")?;
    Ok(all)
}

/// One command of that verb for each rule.
fn each_jump<'j>(tool: &'j Tool, verb: &'j str, jumps: &'j [Jump]) -> impl Iterator<Item = Step> + 'j {
    jumps.iter().map(move |jump| Step::Run(with_rule(tool, verb, &jump.from, &jump.rule), LOUD))
}

fn chain(texts: &Texts, ipv4: bool) -> Result<ChainWay, Unfit> {
    let start = "actionstart";
    let mut rest = texts.start.as_slice();
    let first = take(&mut rest, start)?;
    let not = || (start, "the chain is not made as the stock action does".to_owned());
    let Step::Either(check, _) = first else { return Err(not()) };
    let argv = run_of(check, BOTH).ok_or_else(not)?;
    let (tool, words) = tool(&argv, ipv4, start)?;
    let ["-C", name, "-j", last @ ..] = words else { return Err(not()) };
    demand(is_word(name) && !name.starts_with('-') && !last.is_empty(), start, "the chain's name is not plain")?;
    demand(last.iter().all(|w| is_word(w)), start, "the chain's last rule is not plain")?;
    let own = |words: &[&str]| Step::Run(by(&tool, words), LOUD);
    let tail = |verb: &str| -> Vec<String> {
        by(&tool, &[verb, name, "-j"]).into_iter().chain(last.iter().map(|w| (*w).to_owned())).collect()
    };
    let make = Step::Either(Box::new(own(&["-N", name])), Box::new(run(&["true"])));
    let wanted = Step::Either(
        Box::new(Step::Run(tail("-C"), BOTH)),
        Box::new(Step::Group(vec![make, Step::Run(tail("-A"), LOUD)])),
    );
    demand(*first == wanted, start, "the chain is not made as the stock action does")?;
    let jumps = jumps(rest, &tool, &["-j".to_owned(), (*name).to_owned()], start)?;
    demand(texts.flush == [own(&["-F", name])], "actionflush", NOT_STOCK)?;
    let stop: Vec<Step> = each_jump(&tool, "-D", &jumps).chain([own(&["-F", name]), own(&["-X", name])]).collect();
    demand(texts.stop == stop, "actionstop", NOT_STOCK)?;
    demand(texts.check == each_jump(&tool, "-C", &jumps).collect::<Vec<_>>(), "actioncheck", NOT_STOCK)?;
    let head = by(&tool, &["-I", name, "1", "-s", "<ip>", "-j"]);
    let ban = match texts.ban.as_slice() {
        [Step::Run(argv, LOUD)] => argv.strip_prefix(head.as_slice()),
        _ => None,
    };
    let block = ban.filter(|block| !block.is_empty()).ok_or_else(|| ("actionban", NOT_STOCK.to_owned()))?.to_vec();
    demand(block.iter().all(|w| is_word(w)), "actionban", "the target is not plain")?;
    let unban: Vec<String> = by(&tool, &["-D", name, "-s", "<ip>", "-j"]).into_iter().chain(block.clone()).collect();
    demand(texts.unban == [Step::Run(unban, LOUD)], "actionunban", NOT_STOCK)?;
    let (chain, last) = ((*name).to_owned(), last.iter().map(|w| (*w).to_owned()).collect());
    Ok(ChainWay { tool, chain, last, jumps, block })
}

fn set(texts: &Texts, ipv4: bool) -> Result<SetWay, Unfit> {
    let start = "actionstart";
    let mut rest = texts.start.as_slice();
    let not = || (start, "the set is not made as the stock action does".to_owned());
    let argv = run_of(take(&mut rest, start)?, LOUD).ok_or_else(not)?;
    let ["ipset", "-exist", "create", name, create @ ..] = argv.as_slice() else { return Err(not()) };
    demand(is_word(name) && !name.starts_with('-'), start, "the set's name is not plain")?;
    demand(is_set_kind(create, ipv4), start, "the set is not of the stock action's kind")?;
    let Some(Step::Either(check, _)) = rest.first() else { return Err(not()) };
    let argv = run_of(check, BOTH).ok_or_else(not)?;
    let (tool, words) = tool(&argv, ipv4, start)?;
    let into = ["-m", "set", "--match-set", name, "src", "-j"];
    let at = words.windows(into.len()).position(|w| w == into).ok_or_else(not)?;
    let target: Vec<String> = words.get(at..).unwrap_or_default().iter().map(|w| (*w).to_owned()).collect();
    demand(target.len() > into.len(), start, "the rule has no target")?;
    let jumps = jumps(rest, &tool, &target, start)?;
    demand(texts.flush == [run(&["ipset", "flush", name])], "actionflush", NOT_STOCK)?;
    let mut stop: Vec<Step> = each_jump(&tool, "-D", &jumps).collect();
    stop.push(run(&["ipset", "flush", name]));
    let destroy = run(&["ipset", "destroy", name]);
    let patient = Step::Either(
        Box::new(Step::Run(["ipset", "destroy", name].map(str::to_owned).to_vec(), NO_ERRORS)),
        Box::new(Step::Group(vec![run(&["sleep", "1"]), destroy.clone()])),
    );
    let ends = |last: Step| texts.stop.iter().eq(stop.iter().chain([&last]));
    demand(ends(destroy) || ends(patient), "actionstop", NOT_STOCK)?;
    demand(texts.check == each_jump(&tool, "-C", &jumps).collect::<Vec<_>>(), "actioncheck", NOT_STOCK)?;
    demand(texts.unban == [run(&["ipset", "-exist", "del", name, "<ip>"])], "actionunban", NOT_STOCK)?;
    let ban = match texts.ban.as_slice() {
        [step] => run_of(step, LOUD),
        _ => None,
    };
    let timeout = match ban.as_deref() {
        Some(["ipset", "-exist", "add", set, "<ip>", "timeout", time]) if set == name => timeout(time),
        _ => None,
    };
    let timeout = timeout.ok_or_else(|| ("actionban", NOT_STOCK.to_owned()))?;
    let create = create.iter().map(|w| (*w).to_owned()).collect();
    Ok(SetWay { tool, set: (*name).to_owned(), create, timeout, jumps })
}

/// `hash:ip timeout N [maxelem N] [family inet6]`
fn is_set_kind(words: &[&str], ipv4: bool) -> bool {
    let number = |text: &&str| !text.is_empty() && text.len() < 10 && text.chars().all(|c| c.is_ascii_digit());
    let ["hash:ip" | "hash:net", "timeout", time, rest @ ..] = words else { return false };
    let rest = match rest {
        ["maxelem", most, rest @ ..] if number(most) => rest,
        rest => rest,
    };
    number(time) && if ipv4 { rest.is_empty() } else { rest == ["family", "inet6"] }
}

fn timeout(word: &str) -> Option<Timeout> {
    match (word, bantime_up_to(word)) {
        ("<bantime>", _) => Some(Timeout::Bantime),
        (_, Some(bound)) => Some(Timeout::BantimeUpTo(bound)),
        _ if word.len() < 10 && word.chars().all(|c| c.is_ascii_digit()) => word.parse().ok().map(Timeout::Fixed),
        _ => None,
    }
}
