import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
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

/**
 * Containers are frozen by their control groups. A bare machine may have mounted none: then version 2, which every kernel has, with
 * or without controllers, is mounted for as long as a room is open.
 * @returns what undoes it
 */
export function needControlGroups(): () => void {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const given = mounts.some((line) => / - cgroup2? /.test(line) && !line.includes(` ${OUR_GROUPS} `))
  if (given || !existsSync(GROUPS)) return () => undefined
  const user = join(USERS, `${process.pid}.${randomUUID()}`)
  alone(() => {
    mkdirSync(USERS, { recursive: true })
    writeFileSync(user, '')
    // Refused when another room has mounted it.
    spawnSync('/bin/mount', ['-t', 'cgroup2', OUR_GROUPS, GROUPS])
  })
  return () =>
    alone(() => {
      rmSync(user, { force: true })
      const others = readdirSync(USERS).filter((name) => existsSync(`/proc/${name.split('.')[0]}`))
      if (others.length > 0) return
      spawnSync('/bin/umount', ['--lazy', GROUPS])
      rmSync(USERS, { recursive: true })
    })
}

/** Only one of all processes that open and close rooms does that at a time. @throws when another one has it for very long */
function alone(act: () => void): void {
  const deadlineMs = Date.now() + LOCK_MS
  for (;;) {
    try {
      symlinkSync(String(process.pid), LOCK)
      break
    } catch (error) {
      if (Date.now() > deadlineMs) throw error
    }
    // Of one that was killed.
    if (!existsSync(`/proc/${readLock()}`)) rmSync(LOCK, { force: true })
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
  }
  try {
    act()
  } finally {
    rmSync(LOCK)
  }
}

function readLock(): string {
  try {
    return readlinkSync(LOCK)
  } catch {
    return 'self'
  }
}
const LOCK_MS = 30_000
const LOCK = '/var/tmp/holdfast-test-cgroup.lock'
const USERS = '/var/tmp/holdfast-test-cgroup'
const OUR_GROUPS = 'holdfast-test-cgroup'
const GROUPS = '/sys/fs/cgroup'

/** Removes an empty control group that a tool leaves behind, from every hierarchy; one that somebody uses cannot be removed. */
export function removeControlGroup(name: string): void {
  if (!existsSync(GROUPS)) return
  const groups = ['', ...readdirSync(GROUPS)].map((hierarchy) => join(GROUPS, hierarchy, name))
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
