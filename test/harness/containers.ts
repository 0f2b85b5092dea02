import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LxcRoom } from './lxc-room.ts'
import type { PodmanRoom } from './podman-room.ts'

const TOOL_TIMEOUT_MS = 60_000

/** What a user of a host does with its containers, by their own tools. */
export interface Containers {
  readonly type: 'lxc' | 'docker'
  /** Defines one that counts in /root/ticks, and starts it. */
  run(name: string): void
  start(name: string): void
  stop(name: string): void
  /** With all that it holds. */
  destroy(name: string): void
  isThere(name: string): boolean
  isRunning(name: string): boolean
  /** A file of its root; '' where there is none. */
  read(name: string, path: string): string
  write(name: string, path: string, text: string): void
}

export function lxcContainers(room: LxcRoom): Containers {
  const lxc = (tool: string, name: string, ...args: readonly string[]) =>
    execFileSync(`/usr/bin/lxc-${tool}`, ['-P', room.folder, '-n', name, ...args], {
      stdio: 'pipe',
      timeout: TOOL_TIMEOUT_MS,
    }).toString()
  const rootOf = (name: string) => {
    const config = readFileSync(join(room.folder, name, 'config'), 'utf8')
    const root = /^lxc\.rootfs\.path\s*=\s*(?:dir:)?(.+)$/m.exec(config)?.[1]
    if (root === undefined) throw new Error(`'${name}' has no root`)
    return root.trim()
  }
  return {
    type: 'lxc',
    run(name) {
      room.define(name)
      lxc('start', name, '-d')
    },
    start: (name) => void lxc('start', name, '-d'),
    stop: (name) => void lxc('stop', name, '-k'),
    destroy(name) {
      lxc('stop', name, '-k')
      rmSync(join(room.folder, name), { recursive: true })
    },
    isThere: (name) => succeeds(() => lxc('info', name, '-s')),
    isRunning: (name) => /RUNNING/.test(lxc('info', name, '-s')),
    read: (name, path) => orNothing(() => readFileSync(join(rootOf(name), path), 'utf8')),
    write: (name, path, text) => writeFileSync(join(rootOf(name), path), text),
  }
}

export function podmanContainers({ podman, define, folder }: PodmanRoom): Containers {
  const scratch = mkdtempSync(join(folder, 'copies-'))
  const rootOf = (name: string) => podman('inspect', '--format', '{{.GraphDriver.Data.MergedDir}}', name).trim()
  const isRunning = (name: string) => podman('inspect', '--format', '{{.State.Running}}', name).trim() === 'true'
  return {
    type: 'docker',
    run(name) {
      define(name)
      podman('start', name)
    },
    start: (name) => void podman('start', name),
    stop: (name) => void podman('stop', '--time', '0', name),
    destroy: (name) => void podman('rm', '--force', '--time', '0', name),
    isThere: (name) => succeeds(() => podman('inspect', name)),
    isRunning,
    // Of one that runs, where the engine itself is in a chroot, neither `cp` nor `exec` finds a thing.
    read: (name, path) =>
      orNothing(() => {
        if (isRunning(name)) return readFileSync(join(rootOf(name), path), 'utf8')
        podman('cp', `${name}:${path}`, join(scratch, 'read'))
        return readFileSync(join(scratch, 'read'), 'utf8')
      }),
    write(name, path, text) {
      if (isRunning(name)) return writeFileSync(join(rootOf(name), path), text)
      writeFileSync(join(scratch, 'written'), text)
      podman('cp', join(scratch, 'written'), `${name}:${path}`)
    },
  }
}

function succeeds(act: () => unknown): boolean {
  try {
    act()
    return true
  } catch {
    return false
  }
}

function orNothing(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}
