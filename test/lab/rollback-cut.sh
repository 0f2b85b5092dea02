#!/bin/bash
# A host loses its power while a zvol is rolled back; afterwards the volume is the old or the new one, and its snapshots are whole. Once
# between the two renames that a rollback is, then at random moments. Ends with 0 when all went as it should.
#
#   rollback-cut.sh A DISK CUT [TIMES] [FOLDER]
#
# A         a command that runs a shell line as root on the host, like 'ssh root@a'
# DISK      a disk of A that may be erased: it becomes the zpool `hflab3`
# CUT       a command here that takes A's power away, boots it again and returns when it is reached
# TIMES     how often at random moments (default 5)
# FOLDER    of this repository on A, with its node_modules (default /root/hf)
set -u
A=$1 DISK=$2 CUT=$3 TIMES=${4:-5} FOLDER=${5:-/root/hf} POOL=hflab3 failures=0
a() { $A "$1" </dev/null; }
roller() { a "cd $FOLDER && PATH=$FOLDER/node_modules/.bin:\$PATH node test/lab/roller.ts $*"; }
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# @param $1 what the roller says when it is time, $2 seconds behind that
cut_while_rolling() {
  : >"$said"
  roller roll $POOL ${3:-} >"$said" 2>&1 &
  local rolling=$!
  for _ in $(seq 600); do grep -q "$1" "$said" && break; sleep 0.2; done
  grep -q "$1" "$said" || { echo "WRONG nothing is rolled back"; cat "$said"; failures=$((failures + 1)); }
  sleep "$2"
  $CUT || exit 1
  wait $rolling
  a "zpool list $POOL >/dev/null 2>&1 || zpool import -f -d /dev/disk/by-id $POOL" || exit 1
  if roller check $POOL >"$said" 2>&1; then echo "ok    $(tail -n 1 "$said")"; else echo "WRONG"; cat "$said"; failures=$((failures + 1)); fi
}

a "zpool destroy $POOL 2>/dev/null; zpool create -f -O mountpoint=none $POOL $DISK" || exit 1
roller make $POOL || exit 1
cut_while_rolling between 0.2 stop
grep -q '"wasThere":false' "$said" || { echo 'WRONG the cut was not between the renames'; failures=$((failures + 1)); }
for _ in $(seq "$TIMES"); do cut_while_rolling rolledBackTo "$((RANDOM % 5)).$((RANDOM % 10))"; done
a "zpool destroy $POOL"
echo "$failures wrong"
[ $failures = 0 ]
