//! Short cases of everything in the dialect, with answers worked out by hand.

use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

fn spans(pattern: &str, flags: Flags, text: &str) -> Option<Vec<Option<(usize, usize)>>> {
    let regex = Regex::new(pattern, flags).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let mut slots = Slots::new();
    match regex.search(&mut Scratch::new(), text, 0..text.len(), &mut slots) {
        Outcome::Match => {
            Some((0..=regex.group_count()).map(|group| slots.get(group).map(|span| (span.start, span.end))).collect())
        }
        Outcome::NoMatch => None,
        Outcome::Exhausted => panic!("{pattern} exhausted on {text}"),
    }
}

#[track_caller]
fn hit(pattern: &str, text: &str, groups: &[Option<(usize, usize)>]) {
    assert_eq!(spans(pattern, Flags::default(), text).as_deref(), Some(groups), "{pattern} on {text:?}");
}

#[track_caller]
fn miss(pattern: &str, text: &str) {
    assert_eq!(spans(pattern, Flags::default(), text), None, "{pattern} on {text:?}");
}

#[track_caller]
fn refused(pattern: &str, message: &str) {
    match Regex::new(pattern, Flags::default()) {
        Ok(_) => panic!("{pattern} was accepted"),
        Err(error) => assert_eq!(error.to_string(), message, "{pattern}"),
    }
}

#[test]
fn first_alternative_wins() {
    hit("a|ab", "xab", &[Some((1, 2))]);
    hit("(?:a|ab)$", "xab", &[Some((1, 3))]);
    hit("(a)|b", "b", &[Some((0, 1)), None]);
}

#[test]
fn dollar_is_the_end_or_before_one_newline() {
    hit("a$", "ba\n", &[Some((1, 2))]);
    miss("a$", "a\nb\n");
    miss(r"a\Z", "a\n");
    hit("(?m)a$", "a\nb\n", &[Some((0, 1))]);
    hit("(?m)^b", "a\nb\n", &[Some((2, 3))]);
}

#[test]
fn a_start_behind_something_never_is() {
    miss("^<W>^a", "<W>a");
    miss("^()<W>^(a)", "<W>a");
    hit("^^(a)b", "ab", &[Some((0, 2)), Some((0, 1))]);
    hit("^()<W>(a)", "<W>a", &[Some((0, 4)), Some((0, 0)), Some((3, 4))]);
}

#[test]
fn runs_up_to_a_literal_give_back_to_its_last_place() {
    hit("^(.+) from (.+)$", "a from b from c", &[Some((0, 15)), Some((0, 8)), Some((14, 15))]);
    hit("^([^:]+) from x", "a from x from b", &[Some((0, 8)), Some((0, 1))]);
    hit("^(.*)from", "from", &[Some((0, 4)), Some((0, 0))]);
    miss("^(.+)from", "from");
    hit(r"^(\d{1,3})(\d{2,3}?)x", "12345x", &[Some((0, 6)), Some((0, 3)), Some((3, 5))]);
    hit("^(a{2,3})a*b", "aab\n", &[Some((0, 3)), Some((0, 2))]);
    miss("^(a{2,3})b", "ab");
}

#[test]
fn braces_and_brackets_stand_for_themselves_as_in_python() {
    hit("a{,2}", "aaa", &[Some((0, 2))]);
    hit("a{x", "a{x", &[Some((0, 3))]);
    hit("a{}", "a{}", &[Some((0, 3))]);
    hit("[^[]*", "ab[", &[Some((0, 2))]);
    hit(r"\<a\>", "<a>", &[Some((0, 3))]);
    hit("[]a]+", "a]b", &[Some((0, 2))]);
}

#[test]
fn conditionals_follow_their_group() {
    hit(r"(<)?a(?(1)>|!)", "<a>", &[Some((0, 3)), Some((0, 1))]);
    hit(r"(<)?a(?(1)>|!)", "<a!", &[Some((1, 3)), None]);
    hit(r"(?P<q>')?a(?(q)')", "'a", &[Some((1, 2)), None]);
}

#[test]
fn loops_may_match_nothing() {
    hit("(a*)*b", "aab", &[Some((0, 3)), Some((2, 2))]);
    hit("(?:a|())*c", "aac", &[Some((0, 3)), Some((2, 2))]);
    hit("(a|b)*?c", "abc", &[Some((0, 3)), Some((1, 2))]);
}

#[test]
fn atomic_and_possessive_give_nothing_back() {
    miss("(?>a+)ab", "aaab");
    miss("a++ab", "aaab");
    miss("(?:a|ab){2}+", "aba");
    hit("(?>a+)b", "aaab", &[Some((0, 4))]);
}

#[test]
fn looks_see_both_sides() {
    hit("(?<=a)b(?=c)", "bbabc", &[Some((3, 4))]);
    hit("(?<!a)b", "abb", &[Some((2, 3))]);
    hit("(?!(a))b", "b", &[Some((0, 1)), None]);
    hit("(?=(a))a", "a", &[Some((0, 1)), Some((0, 1))]);
}

#[test]
fn case_is_folded_as_python_does() {
    hit("(?i)K", "\u{212a}", &[Some((0, 3))]);
    hit("(?i)[^k]", "\u{212a}k!", &[Some((4, 5))]);
    miss("(?ai)k", "\u{212a}");
    hit("(?i)ß", "ẞ", &[Some((0, 3))]);
    hit("(?i)ẞ", "ß", &[Some((0, 2))]);
    hit("(?i)ſ", "S", &[Some((0, 1))]);
    hit(r"(?i)(a)\1", "aA", &[Some((0, 2)), Some((0, 1))]);
}

#[test]
fn classes_are_unicode() {
    hit(r"\d+", "x٣4", &[Some((1, 4))]);
    hit(r"\s", "\u{1c}", &[Some((0, 1))]);
    hit(r"\w+", "²é_", &[Some((0, 5))]);
    miss(r"\w", "\u{301}");
    miss(r"(?a)\d", "٣");
}

#[test]
fn window_is_pos_and_endpos() {
    let regex = Regex::new(r"(?<=a)b$", Flags::default()).unwrap();
    let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
    assert_eq!(regex.search(&mut scratch, "abab", 1..2, &mut slots), Outcome::Match);
    assert_eq!(slots.get(0), Some(1..2));
    let regex = Regex::new("^b", Flags::default()).unwrap();
    assert_eq!(regex.search(&mut scratch, "ab", 1..2, &mut slots), Outcome::NoMatch);
    assert_eq!(slots.get(0), None);
}

#[test]
fn errors_are_pythons() {
    refused("a)", "unbalanced parenthesis at position 1");
    refused("(a", "missing ), unterminated subpattern at position 0");
    refused("a**", "multiple repeat at position 2");
    refused("^*", "nothing to repeat at position 1");
    refused(r"\y", r"bad escape \y at position 0");
    refused("[z-a]", "bad character range z-a at position 1");
    refused("(?P<a>.)(?P<a>.)", "redefinition of group name 'a' as group 2; was group 1 at position 12");
    refused("(?<=a+)", "look-behind requires fixed-width pattern");
    refused("a\n(", "missing ), unterminated subpattern at position 2 (line 2, column 1)");
    refused("a(?i)b", "global flags not at the start of the expression at position 1");
    refused("a\\", "bad escape (end of pattern) at position 1");
    refused("a{2,1}", "min repeat greater than max repeat at position 2");
    refused(r"(\1)", "cannot refer to an open group at position 1");
    refused("(?(2)a)", "invalid group reference 2 at position 3");
}

#[test]
fn nesting_is_bounded() {
    let deep = |n: usize| "(?:".repeat(n) + "a" + &")".repeat(n);
    assert!(Regex::new(&deep(150), Flags::default()).is_ok());
    assert!(Regex::new(&deep(100_000), Flags::default()).is_err());
    assert!(Regex::new(&"(?(1)".repeat(100_000), Flags::default()).is_err());
}

#[test]
fn an_overrun_is_never_a_miss() {
    let regex = Regex::new("(?:a+)+b", Flags::default()).unwrap();
    let text = "a".repeat(60) + "c";
    let mut slots = Slots::new();
    let outcome = regex.search(&mut Scratch::with_limit(50), &text, 0..text.len(), &mut slots);
    assert_eq!(outcome, Outcome::Exhausted);
}

#[test]
fn any_pattern_compiles_or_is_refused_in_good_time() {
    let patterns = [
        "(?:a|bc)?x*".repeat(5000),
        "a?".repeat(390),
        "[a-c]?[b-d]*(?:e|fg)?".repeat(130),
        "(?:.?){400}".to_owned(),
        "((((((a|b)c?){9}){9}){9}){9})".to_owned(),
        "(?:".repeat(190) + "a.|b." + &"|c.)".repeat(190),
        "(?:(a)|b)".repeat(60) + &"(?(1)x|y)".repeat(60),
        (1..=40).map(|n| format!("(a)?(?({n})b|c)")).collect(),
        "a".repeat(200_000),
        "x{0,60000}(?:ab){0,60000}".to_owned(),
    ];
    for pattern in patterns {
        let regex = Regex::new(&pattern, Flags::default()).unwrap_or_else(|error| panic!("{error}"));
        let mut slots = Slots::new();
        for text in ["aaaaaaaaaaaaaaaaaaaa", "abcdefg é"] {
            regex.search(&mut Scratch::new(), text, 0..text.len(), &mut slots);
        }
        assert!(regex.required(stockade_pattern::Hole::None).len() < 100);
    }
}

#[test]
fn deep_nesting_fits_a_small_stack() {
    let patterns =
        ["(?>", "(?=", "(?!", "(?:x|", "(", "(?:x?", "(?i:"].map(|open| open.repeat(190) + "a" + &")".repeat(190));
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let worker = small.spawn(move || {
        for pattern in patterns {
            let regex = Regex::new(&pattern, Flags::default()).unwrap_or_else(|error| panic!("{error}"));
            let mut slots = Slots::new();
            for text in ["aaa", "éa"] {
                assert_ne!(regex.search(&mut Scratch::new(), text, 0..text.len(), &mut slots), Outcome::Exhausted);
            }
        }
    });
    worker.unwrap().join().unwrap();
}

#[test]
fn a_pattern_is_shared_between_threads() {
    fn shared<T: Clone + Send + Sync>() {}
    shared::<Regex>();
}
