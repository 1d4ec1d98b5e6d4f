//! The calls that are compared.

/// One call a line; quotes as in a shell. `~` marks those that differ, and why stands above them.
pub(crate) const CASES: &str = r"
# Forms of REGEX
-c . a.log web
-c . a.log web.conf
-c . a.log filter.d/web.conf
-c . a.log 'web[mode=1]'
-c . a.log 'web.conf[mode=1,logtype=file]'
-c . a.log 'denied <HOST>$'
-c . a.log 'denied <HOST>$' 2001
-c . a.log web hello
-c . a.log ./lone.conf
-c . a.log lone.conf
-c . a.log absent
-c . a.log broken
-c . a.log bad
-c . a.log nobody
-c . a.log 'web['
-c . a.log 'web[x]'
-c . a.log 'x( <HOST>'
-c . a.log 'x'
-c . a.log ''
-c . a.log 'a b <HOST>' 'x('
-c . a.log 'a b <HOST>' ''
# The original loses its way in a folder that is filter.d itself and named without a slash.
~ -c filter.d a.log web
-c nowhere a.log web
# Forms of LOG
-c . '2026-11-22 14:44:11 denied 192.0.2.10' web
-c . '2026-11-22 14:44:11 denied 192.0.2.10\n2026-11-22 14:44:12 denied 192.0.2.11' web
-c . '2026-11-22 14:44:11 denied 192.0.2.10 and then a text that is longer than the head of the report' 'denied <HOST>'
-c . 'a\nb\nc\nd\ne\nf\ng denied 192.0.2.1' 'denied <HOST>'
-c . '#2026-11-22 14:44:11 denied 192.0.2.10' web
-c . '' web
-c . absent.log web
-c . many.log web
-c . latin.log web
-c . odd.log web
-c . -e latin-1 latin.log web
-c . -e ascii latin.log web
# Options of matching
-c . -d '%Y-%m-%d %H:%M:%S' a.log web
-c . -d '{^LN-BEG}' a.log web
-c . -d '{NONE}' -r a.log 'denied <HOST>$'
-c . -d EPOCH '1763822651 denied 192.0.2.10' 'denied <HOST>$'
-c . -d '%b %d %H:%M:%S' a.log 'denied <HOST>$'
-c . --timezone UTC+0130 -v a.log web
-c . --TZ=-0300 -v a.log web
-c . --TZ nowhere a.log web
-c . -r names.log 'denied <HOST>$'
-c . --usedns no names.log 'denied <HOST>$'
-c . --usedns=raw -v names.log 'denied <HOST>$'
-c . --usedns no --no-check-all a.log web
-c . -L 2 a.log web
-c . --maxlines=30 many.log web
-c . -L -1 a.log web
# Several lines, sessions
-c . lines.log lines
-c . lines.log two.conf
-c . lines.log 'two.conf[mode=b]'
-c . --print-all-matched lines.log lines
-c . -L 2 lines.log lines
-c . -L 5 -v lines.log '^ a<SKIPLINES>^ b <HOST>$'
-c . 'x a b\nx b 192.0.2.9' lines
-c . talk.log talk
-c . -v talk.log talk
-c . --print-all-matched --print-all-ignored talk.log talk
-c . --no-check-all -v talk.log talk
-c . -o id talk.log talk
-c . -o msg talk.log talk
-c . -o '<ip> <F-USER> <msg>' talk.log talk
# The report
-c . -v a.log web
-c . -vv a.log web
-c . -vv a.log 'web.conf[mode=1]'
-c . --verbosity 1 a.log web
-c . -v --VD 'Nov 22 14:44:13 denied 192.0.2.1' 'denied <HOST>$'
-c . -v --verbose-date a.log web
-c . --print-no-missed a.log web
-c . --print-no-ignored a.log web
-c . --print-all-matched a.log web
-c . --print-all-missed many.log web
-c . --print-all-ignored a.log web
-c . -D a.log web
-c . -D --print-all-matched --usedns no '2026-11-22 denied 192.0.2.10' '^ denied <HOST>$'
# Of its messages we print those about lines, not those about reading files.
~ -c . -l INFO --print-no-missed '2026-11-22 14:44:11 denied 192.0.2.10' web
-c . -t --full-traceback a.log web
# Results only
-c . -o id a.log web
-c . -o fid a.log web
-c . -o ip a.log web
-c . -o msg a.log web
-c . -o row a.log web
-c . -o user a.log web
-c . -o host a.log web
-c . -o ip4 a.log web
-c . -o ip6 a.log web
-c . -o matches a.log web
-c . -o '<ip> <F-USER> <time> <msg>' '2026-11-22 14:44:10 bad login of bob from 192.0.2.9' web
-c . -o '<fid>|<family>|<failures>|<foo>|<F-NOPE>|<matches>' a.log web
-c . --usedns raw -o id names.log 'denied <HOST>$'
# The stock tree
-c ROOT 'Aug  1 10:00:00 h sshd[1]: Failed password for root from 192.0.2.4 port 22 ssh2' sshd
-c ROOT 'Aug  1 10:00:00 h sshd[1]: Failed password for root from 192.0.2.4 port 22 ssh2' 'sshd[mode=aggressive]'
-c ROOT -v 'Aug  1 10:00:00 h sshd[1]: Failed password for root from 192.0.2.4 port 22 ssh2' 'sshd.conf[mode=ddos]'
-c ROOT -o row 'Aug  1 10:00:00 h sshd[1]: Failed password for root from 192.0.2.4 port 22 ssh2' sshd
# What is wrong with the words
-V
--version
-h
--help
x
a b c d
--foo a b
--print a b
--verb a b
-d
-L x a b
--raw=1 a b
--print-no-missed --print-all-missed a b
--print-no-ignored --print-all-ignored a b
-l nonsense a 'b <HOST>'
";
