//! Filters of our own that reach what stock filters hardly do, and words to
//! make lines of.

use serde_json::{Value, json};

use crate::generate::Random;

/// A filter's options as a reader would give them, and the pieces of its lines.
pub(crate) struct Homemade {
    pub(crate) options: Value,
    /// One of each list, in order, makes a line.
    pieces: &'static [&'static [&'static str]],
}

impl Homemade {
    pub(crate) fn line(&self, random: &mut Random) -> String {
        self.pieces.iter().map(|choice| *random.pick(choice)).collect()
    }
}

const DATES: &[&str] = &["2025-12-31 23:59:59", "Dec 31 23:59:59", "", "2025-02-30 10:00:00", "1767225500"];
const HOSTS: &[&str] = &[
    "1.2.3.4",
    "5.6.7.8",
    "2001:db8::1",
    "::ffff:9.8.7.6",
    "[2001:DB8::2]",
    "host.example.com",
    "1.2.3.4:22",
    "10.0.0.0/8",
    "10.1.2.3/255.255.0.0",
    "999.1.1.1",
    "01.2.3.4",
    "fe80::1%eth0",
    "a_b-c",
    "",
    "12:34:56",
    "1.2.3",
    "::1",
    ":1:2:3",
];

// No mask of the other family: an id of `1.2.3.4/1:2:3` bans 0.0.0.0 in the original.
const TAILS: &[&str] = &["", "", " 1.2.3.4", " [::1]", " name"];
const SESSION: &[&str] = &[
    "^<F-NOFAIL>connection</F-NOFAIL>(?: from <HOST>)?$",
    "^fail <F-USER>\\w*</F-USER>(?: from <HOST>)?$",
    "^<F-MLFGAINED>ok</F-MLFGAINED>(?: <F-ALT_USER>\\w+</F-ALT_USER>)?$",
    "^<F-NOFAIL><F-MLFFORGET>bye</F-MLFFORGET></F-NOFAIL>$",
    "^<F-MLFFORGET>too</F-MLFFORGET> many(?: <F-NOFAIL>\\w*</F-NOFAIL>)?$",
    "^id <F-ID>\\S+</F-ID>(?: from <HOST>)?$",
    "^dns <DNS>$",
];
const VERBS: &[&str] = &[
    "connection",
    "connection from 1.2.3.4",
    "connection from 2001:db8::1",
    "fail bob",
    "fail eve",
    "fail ",
    "fail bob from 5.6.7.8",
    "ok",
    "ok bob",
    "ok eve",
    "bye",
    "too many",
    "too many x",
    "too many ",
    "id x",
    "id 1.2.3.4",
    "id y from 1.2.3.4",
    "dns h.example",
    "dns 4.3.2.1",
    "else",
];

/// All of them.
pub(crate) fn all() -> Vec<Homemade> {
    let filter = |pre: Option<&str>, fail: &[&str], ignore: &[&str], maxlines: u32| json!({"prefregex": pre, "failregex": fail, "ignoreregex": ignore, "datepattern": null, "maxlines": maxlines});
    vec![
        Homemade {
            options: filter(Some("^ <F-MLFID>c\\d</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"), SESSION, &[], 1),
            pieces: &[DATES, &[" c1 ", " c1 ", " c2 ", " c3 ", " "], VERBS],
        },
        Homemade {
            options: filter(
                None,
                &[
                    "^ (?:<F-MLFID>c\\d</F-MLFID> )?<F-USER>\\w+</F-USER> (?:<F-NOFAIL>nofail</F-NOFAIL> )?(?:<F-MLFGAINED>in</F-MLFGAINED> )?(?:<ADDR>|<F-ID>-\\w+</F-ID>)?$",
                ],
                &["^ c3"],
                1,
            ),
            pieces: &[
                DATES,
                &[" c1", " c2", " c3", ""],
                &[" bob", " eve"],
                &[" nofail", "", ""],
                &[" in", "", ""],
                &[" 1.2.3.4", " ::1", " -x", " "],
            ],
        },
        Homemade {
            options: filter(
                None,
                &["^ h <HOST>(?: |$)", "^ s <SUBNET>$", "^ a <ADDR>(?:/<CIDR>)?", "h <F-ID/> <DNS>"],
                &["ignore"],
                1,
            ),
            pieces: &[DATES, &[" h ", " s ", " a ", " x "], HOSTS, &["", " ", "/24", "/x", " ignore"], TAILS],
        },
        Homemade {
            options: filter(None, &["^ i <F-ID>\\S+</F-ID>(?: on <HOST>)?", "^ <F-ID/>$"], &[], 1),
            pieces: &[DATES, &[" i ", " "], HOSTS, &[" on 1.2.3.4", " on ::1", " on h.example", ""]],
        },
        Homemade {
            options: filter(
                Some("^(?P<lead> \\w+)?:(?:<F-USER>u\\d</F-USER>)? <F-CONTENT>.*</F-CONTENT>"),
                &[
                    "^(?:a=<F-ALT_USER>\\w*</F-ALT_USER> )?(?:b=<F-ALT_USER_1>\\w*</F-ALT_USER_1> )?(?:u=<F-USER>\\w*</F-USER> )?<HOST>",
                    "^t <F-ID>\\w</F-ID>(?: <F-TUPLE_ID>\\w</F-TUPLE_ID>)? <F-TUPLE_ID_1>\\w</F-TUPLE_ID_1>",
                    "^t <F-PORT/> <F-TUPLE_ID>\\w+</F-TUPLE_ID>",
                ],
                &[],
                1,
            ),
            pieces: &[
                DATES,
                &[" x:", ":", " y:u1", ":u2"],
                &[" ", " a=b ", " a= b=c ", " u=d ", " a=e u= "],
                &["1.2.3.4", "t a b c", "t a b", "t 22 zz", "name.example", ""],
            ],
        },
        Homemade {
            options: filter(
                None,
                &["^ a<SKIPLINES>^ b <HOST>$", "^ c(?P<n>\\d)<SKIPLINES>^ d(?P=n) <HOST>", "^ one <HOST>$"],
                &["1\\.2\\.3\\.4", "^ z"],
                4,
            ),
            pieces: &[
                DATES,
                &[
                    " a",
                    " b 1.2.3.4",
                    " b 5.6.7.8",
                    " z",
                    " c1",
                    " c2",
                    " d1 5.6.7.8",
                    " d2 1.2.3.4",
                    " one ::1",
                    " one 1.2.3.4",
                    "",
                ],
            ],
        },
        Homemade {
            options: filter(
                Some("^(?:.*\\n)*? p(?P<mlfid>\\d) <F-CONTENT>.+</F-CONTENT>$"),
                &["^a <HOST>$", "^<F-NOFAIL>b</F-NOFAIL>$"],
                &[],
                3,
            ),
            pieces: &[DATES, &[" p1 ", " p2 ", " q "], &["a 1.2.3.4", "a ::1", "b", "c"]],
        },
        Homemade {
            options: filter(
                None,
                &["^ (?:a|<F-ID>b</F-ID>)$", "^ <F-ID>c</F-ID>?d", "<HOST> e"],
                &["x1", "x2", "x3"],
                1,
            ),
            pieces: &[DATES, &[" a", " b", " cd", " d", " 1.2.3.4 e"], &["", " x1", "x2"]],
        },
    ]
}
