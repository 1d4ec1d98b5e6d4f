#!/bin/dash
# Stands in for a tool: writes down its words and what it is told, and fails if /fail says so.
name=${0##*/}
line="tool <$name>"
for word in "$@"; do line="$line <$word>"; done
case $name in
    mail | sendmail | ssh | nsupdate | mailx) line="$line <$(/bin/cat)>" ;;
esac
# One write, so that the parts of a pipe don't mix.
printf '%s\n' "$line" >> /record
IFS= read -r pattern < /fail
[ -n "$pattern" ] || exit 0
case "$name $* " in
    *"$pattern"*) echo "stub: refused" >&2; exit 3 ;;
esac
exit 0
