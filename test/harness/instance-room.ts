import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Debian's busybox-static; a busybox that is linked to libraries would not run in a root of its own. */
export const BUSYBOX = '/bin/busybox'

/** What an instance runs: counts up in /root/ticks, every 10 ms or so, and notes its host name there. */
export const COUNTER = '/bin/counter'
const SCRIPT = `#!/bin/sh
trap 'exit 0' TERM PWR
busybox hostname >/root/hostname
i=$(busybox cat /root/ticks 2>/dev/null || echo 0)
while :; do
  i=$((i+1))
  echo $i >/root/ticks.new
  busybox mv /root/ticks.new /root/ticks
  busybox usleep 10000
done
`

/** The smallest root that runs COUNTER. */
export function makeRootfs(folder: string): string {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp'])
    mkdirSync(join(folder, name), { recursive: true })
  cpSync(BUSYBOX, join(folder, 'bin/busybox'))
  symlinkSync('busybox', join(folder, 'bin/sh'))
  writeFileSync(join(folder, COUNTER), SCRIPT)
  chmodSync(join(folder, COUNTER), 0o755)
  return folder
}

/** Removes an empty control group that a tool leaves behind, from every hierarchy; one that somebody uses cannot be removed. */
export function removeControlGroup(name: string): void {
  const root = '/sys/fs/cgroup'
  if (!existsSync(root)) return
  const groups = ['', ...readdirSync(root)].map((hierarchy) => join(root, hierarchy, name))
  for (const group of groups.filter((path) => existsSync(path))) {
    const below = readdirSync(group, { withFileTypes: true }).filter((entry) => entry.isDirectory())
    for (const folder of [...below.map((entry) => join(group, entry.name)), group]) {
      try {
        rmdirSync(folder)
      } catch {
        // in use
      }
    }
  }
}
