#!/bin/bash
# A zvol's clone goes through LIO to open-iscsi on another host; the first host loses its power, and exports it again when it is back.
# Ends with 0 when all went as it should.
#
#   two-hosts.sh A B DISK ADDRESS CUT [FOLDER]
#
# A, B      commands that run a shell line as root on the exporting and on the other host, like 'ssh root@a'
# DISK      a disk of A that may be erased: it becomes the zpool `hflab2`
# ADDRESS   of A, as B reaches it (port 3260 is used)
# CUT       a command here that takes A's power away, boots it again and returns when it is reached
# FOLDER    of this repository on A, with its node_modules (default /root/hf)
set -u
A=$1 B=$2 DISK=$3 ADDRESS=$4 CUT=$5 FOLDER=${6:-/root/hf}
WWN=iqn.2026-01.test.lab:two-hosts POOL=hflab2 STATE=/var/lib/hflab2 failures=0
check() { local what=$1; shift; if "$@"; then echo "ok    $what"; else echo "WRONG $what"; failures=$((failures + 1)); fi; }
refused() { ! "$@"; }
a() { $A "$1" </dev/null; }
b() { $B "$1" </dev/null; }
exporter() { a "cd $FOLDER && PATH=$FOLDER/node_modules/.bin:\$PATH node test/lab/exporter.ts $1 $POOL $STATE $ADDRESS:3260 ${*:2}"; }
node="-m node -T $WWN -p $ADDRESS:3260"
disk=/dev/disk/by-path/ip-$ADDRESS:3260-iscsi-$WWN-lun-0
initiator=$(b "sed -n 's/^InitiatorName=//p' /etc/iscsi/initiatorname.iscsi")

# What the agent keeps lies on the pool too: this is about exports, not about the file system of A's root.
a "zpool create -f -O mountpoint=none $POOL $DISK && zfs create -o mountpoint=$STATE $POOL/state && sync" || exit 1
check 'a clone is made and exported' exporter make $WWN "$initiator"
b "systemctl start iscsid; iscsiadm -m discovery -t st -p $ADDRESS:3260"
check 'the other host logs in' b "iscsiadm $node --login && udevadm wait --timeout=60 $disk"
check 'it sees what was in the snapshot' b "dd if=$disk bs=4k count=1 iflag=direct status=none | tr -d '\0' | grep -qx golden"
check 'it writes' b "printf 'mine!!' | dd of=$disk bs=4k conv=nocreat,sync,fsync oflag=direct status=none"
check 'a is told of its session' bash -c "$(declare -f a exporter); A='$A' FOLDER=$FOLDER POOL=$POOL STATE=$STATE ADDRESS=$ADDRESS; exporter restore | grep -q '\"initiator\":\"$initiator\"'"
check 'the golden volume has what it had' a "dd if=/dev/zvol/$POOL/golden bs=4k count=1 iflag=direct status=none | tr -d '\0' | grep -qx golden"
$CUT || exit 1
check 'after the cut nothing is exported' refused a "ls -d /sys/kernel/config/target/iscsi/$WWN 2>/dev/null"
check 'the pool is back' a "zpool list $POOL >/dev/null 2>&1 || zpool import -f -d /dev/disk/by-id $POOL"
check 'it is exported again' exporter restore
check 'the session comes back by itself, and reads what was written' \
  b "for i in \$(seq 60); do timeout 20 dd if=$disk bs=4k count=1 iflag=direct status=none 2>/dev/null | tr -d '\0ZZ ' | grep -q 'mine!!' && exit 0; sleep 2; done; exit 1"
b "iscsiadm $node --logout" >/dev/null
check 'another initiator is refused' \
  refused b "iscsi-inq -i iqn.2026-01.test.lab:stranger iscsi://$ADDRESS:3260/$WWN/0 >/dev/null 2>&1"
check 'the right one is not' b "iscsi-inq -i $initiator iscsi://$ADDRESS:3260/$WWN/0 >/dev/null"
b "iscsiadm $node -o delete"
echo "$failures wrong"
[ $failures = 0 ]
