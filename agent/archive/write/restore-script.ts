import { FleetError } from '../../../shared/errors.ts'

const POINT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/

/**
 * Restores a point where there is no Holdfast: a POSIX shell, GNU tar, zstd and sha256sum are enough. The points of its
 * chain lie beside it.
 */
export function restoreScript(bases: readonly string[]): string {
  for (const name of bases) {
    if (!POINT_NAME.test(name)) throw new FleetError('invalid', 'the name of a point in the chain is not one')
  }
  const chain = [...bases.map((name) => `../${name}`), '.'].join(' ')
  return `#!/bin/sh
# sh restore.sh <directory>: puts this point into an existing, empty directory.
set -eu
[ $# = 1 ] && [ -d "$1" ] || { echo "usage: sh restore.sh <empty directory>" >&2; exit 2; }
into=$(CDPATH= cd -- "$1" && pwd)
case $0 in */*) here=\${0%/*} ;; *) here=. ;; esac
cd -- "$here"
unpack() { tar -x -p -C "$into" --numeric-owner --same-owner --acls --xattrs '--xattrs-include=*' "$@" -f -; }
fail() { echo "restore.sh: $1" >&2; exit 1; }
for point in ${chain}; do
  [ -d "$point" ] || fail "$point is missing, and this point needs it"
  (cd "$point" && sha256sum --quiet -c sums) || fail "$point is damaged"
done
for point in ${chain}; do
  echo "$point"
  if [ -f "$point/gone.tar.zst" ]; then zstd -dcq "$point/gone.tar.zst" | unpack --incremental; fi
  if [ -f "$point/data.tar.zst" ]; then zstd -dcq "$point/data.tar.zst" | unpack; else unpack < "$point/data.tar"; fi
done
`
}
