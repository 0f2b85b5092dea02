/**
 * Runs a command that sees `source` at `place`, and nobody else does. Its mounts are a copy of ours: pools of a whole fleet that
 * another test just runs are dropped from it, as their devices would stay for as long as this command does.
 */
export function seeing(source: string, place: string, command: readonly string[]) {
  const script = `sed -n 's,^[^ ]* \\([^ ]*/holdfast-start-[^ ]*\\) .*,\\1,p' /proc/mounts | xargs --no-run-if-empty umount --lazy
    source=$0 place=$1; shift; mount --bind "$source" "$place" && exec "$@"`
  return { command: '/usr/bin/unshare', args: ['--mount', '/bin/sh', '-c', script, source, place, ...command] }
}
