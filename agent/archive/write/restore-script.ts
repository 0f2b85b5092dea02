import { FleetError } from '../../../shared/errors.ts'

const POINT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/

/**
 * Restores a point where there is no Holdfast: a POSIX shell, GNU tar, zstd and sha256sum are enough, and age or rage where the
 * point or one below it is encrypted. The points of its chain lie beside it. Nothing is written before every point was found
 * whole and opens with the identity.
 */
export function restoreScript(bases: readonly string[], isImage = false): string {
  for (const name of bases) {
    if (!POINT_NAME.test(name)) throw new FleetError('invalid', 'the name of a point in the chain is not one')
  }
  const chain = [...bases.map((name) => `../${name}`), '.'].join(' ')
  const { about, tools, end } = isImage ? IMAGE : TREE
  return [...Object.entries({ CHAIN: chain, ABOUT: about, TOOLS: tools, END: end })].reduce(
    (script, [name, text]) => script.replace(`@${name}@`, () => text),
    SCRIPT,
  )
}

const TREE = {
  about: `sh restore.sh <directory>: puts this point into an existing, empty directory. Needs GNU tar, zstd and sha256sum, and GNU's chmod,
# cp, dd, rm, stat and touch where a point holds only what changed in a file.
# Between two points of a chain a directory, or such a file, may lose extended attributes: those are there again, as neither tar nor cp removes them.`,
  tools: 'zstd sha256sum',
  end: `case $chain in *' '*) echo 'Extended attributes that directories, and files of which only a part is stored, lost between these points are there again.' ;; esac`,
}

/**
 * Each run of chunks, of at most 256, is written by one `dd` and then removed: so there is never much twice. An empty chunk is zeros, as
 * `gone` leaves it. The unit of `seek` divides every size of chunks.
 */
const IMAGE = {
  about: `sh restore.sh <directory>: puts the volume of this point into an existing, empty directory, as the file 'image'.
# Needs GNU tar, zstd, sha256sum, cat, dd and rm.`,
  tools: 'zstd sha256sum cat dd rm',
  end: `$whole || fail "not all of the volume is there"
cd -- "$into"
read -r shape < volume.json
size=\${shape#*'"size_bytes":'} size=\${size%%[!0-9]*}
bytes=\${shape#*'"chunk_bytes":'} bytes=\${bytes%%[!0-9]*}
[ -n "$size" ] && [ -n "$bytes" ] || fail "volume.json is damaged"
umask 077
dd if=/dev/null of=image bs=1 seek="$size" count=0 status=none || fail "no image of $size bytes can be made here"
first=0 next=0
flush() {
  [ $# = 0 ] && return
  bad=$({ stage cat "$@" | stage dd of=image bs=262144 seek=$((first * (bytes / 262144))) conv=notrunc,sparse status=none; } 3>&1)
  [ -z "$bad" ] || fail "image could not be written"
  rm -f "$@"
}
set --
for chunk in chunks/*; do
  [ -s "$chunk" ] || continue
  number=$((0x\${chunk#chunks/}))
  if [ "$number" != "$next" ] || [ $# = 256 ]; then flush "$@"; set --; fi
  [ $# = 0 ] && first=$number
  set -- "$@" "$chunk"
  next=$((number + 1))
done
flush "$@"
rm -rf chunks volume.json`,
}

/**
 * `sums` is written last and names `restore.sh` last, so a torn one shows. A shell tells of the last command of a pipe alone:
 * the others say on descriptor 3 that they failed. What tar alone could not make (a device without being root) ends in an exit
 * status, once the rest is there. `-O /` asks for root without another tool.
 */
const SCRIPT = `#!/bin/sh
# @ABOUT@
# For files that end in .age: AGE_IDENTITY=<file with the private key> sh restore.sh <directory>, and age or rage.
set -eu
chain='@CHAIN@'
fail() { echo "restore.sh: $1" >&2; exit 1; }
[ $# = 1 ] && [ -d "$1" ] || { echo "usage: [AGE_IDENTITY=<file>] sh restore.sh <empty directory>" >&2; exit 2; }
into=$(CDPATH= cd -- "$1" && pwd -P)
for entry in "$into"/* "$into"/.[!.]* "$into"/..?*; do
  if [ -e "$entry" ] || [ -L "$entry" ]; then fail "$1 is not empty"; fi
done
identity=\${AGE_IDENTITY:-}
case $identity in ''|/*) ;; *) identity=$PWD/$identity ;; esac
case $0 in */*) here=\${0%/*} ;; *) here=. ;; esac
CDPATH= cd -- "$here"
case $(tar --version 2>/dev/null) in *GNU*) ;; *) fail "this needs GNU tar" ;; esac
need() { for tool in "$@"; do command -v "$tool" >/dev/null || fail "this needs $tool"; done; }
need @TOOLS@

# What a point holds, by its sums: data, gone where entries were deleted, links where other names of a file are as they were,
# patches where only what changed of a file is in data.
look() {
  data= gone= links= patches= last=
  while read -r _ name; do
    last=$name
    case $name in data.tar*) data=$name ;; gone.tar*) gone=$name ;; links.tar*) links=$name ;; patches.tar*) patches=$name ;; esac
  done < "$1/sums" || fail "$1 is damaged"
  [ "$last" = restore.sh ] && [ -n "$data" ] || fail "$1 is damaged"
}
age=
find_age() {
  [ -n "$identity" ] || fail "$1 is encrypted: AGE_IDENTITY must name the file with its private key"
  [ -f "$identity" ] && [ -r "$identity" ] || fail "AGE_IDENTITY is no file that can be read"
  if command -v age >/dev/null; then age=age; elif command -v rage >/dev/null; then age=rage
  else fail "$1 is encrypted: this needs age or rage"; fi
}
decrypt() { "$age" -d -i "$identity" "$1"; }
for point in $chain; do
  [ -d "$point" ] || fail "$point is missing, and this point needs it"
  look "$point"
  [ -z "$patches" ] || need chmod cp dd rm stat touch
  case $data in *.age)
    find_age "$point"
    decrypt "$point/frames.ndjson.zst.age" >/dev/null || fail "$point does not open with this identity" ;;
  esac
done
for point in $chain; do
  (cd -- "$point" && sha256sum --strict --quiet -c sums) || fail "$point is damaged"
done

if [ -O / ]; then
  unpack() { tar -x -p -C "$into" --numeric-owner --same-owner --acls --xattrs '--xattrs-include=*' "$@" -f -; }
else
  unpack() { tar -x -p -C "$into" --no-same-owner --acls --xattrs '--xattrs-include=user.*' "$@" -f -; }
fi
stage() { "$@" || echo "$1" >&3; }
extract() {
  file=$1; shift
  case $file in
    *.zst.age) bad=$({ stage decrypt "$file" | stage zstd -dcq | stage unpack "$@" >&2; } 3>&1) ;;
    *.age) bad=$({ stage decrypt "$file" | stage unpack "$@" >&2; } 3>&1) ;;
    *.zst) bad=$({ stage zstd -dcq "$file" | stage unpack "$@" >&2; } 3>&1) ;;
    *) bad=$(stage unpack "$@" 3>&1 >&2 < "$file") ;;
  esac
  case $bad in
    '') ;;
    unpack) echo "restore.sh: not all of $file could be restored" >&2; whole=false ;;
    *) fail "$file is damaged" ;;
  esac
}
# Files that are in data only where they changed: these bytes go over what the points before left.
apply() {
  seen=$(stat -c %y "$into")
  for list in "$into"/.holdfast-patches/*.ranges; do
    new=\${list%.ranges}
    to=$new.file
    { [ -f "$new" ] && [ -f "$to" ]; } || fail "a patched file is not there"
    # Whoever is not root may not write to a file of its own that is read-only.
    mode=$(stat -c %a "$new")
    chmod u+rw "$new" "$to"
    dd if=/dev/null of="$to" bs=1 seek="$(stat -c %s "$new")" count=0 conv=nocreat status=none ||
      fail "a patched file could not be written"
    while read -r first count; do
      dd if="$new" of="$to" bs=4096 skip="$first" seek="$first" count="$count" conv=notrunc,nocreat status=none ||
        fail "a patched file could not be written"
    done < "$list"
    cp --attributes-only --preserve=all "$new" "$to" && chmod "$mode" "$to" || { echo "restore.sh: not all of a patched file could be restored" >&2; whole=false; }
  done
  rm -rf "$into/.holdfast-patches"
  touch -d "$seen" "$into" || whole=false
}
whole=true
for point in $chain; do
  echo "$point"
  look "$point"
  if [ -n "$gone" ]; then extract "$point/$gone" --incremental; fi
  extract "$point/$data"
  if [ -n "$links" ]; then extract "$point/$links"; fi
  if [ -n "$patches" ]; then extract "$point/$patches"; apply; fi
done
@END@
$whole
`
