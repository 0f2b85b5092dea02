import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'
import { BUSYBOX, COUNTER, makeRootfs, needControlGroups, removeControlGroup } from './instance-room.ts'

/** A folder of LXC containers for one test file; `close` ends and removes whatever is in it. */
export interface LxcRoom {
  readonly folder: string
  /** Defines a container that runs COUNTER. @param lines of its configuration beside the usual ones @returns its rootfs */
  define(name: string, lines?: readonly string[]): string
  close(): void
}

export function openLxcRoom(): LxcRoom {
  const base = mkdtempSync('/var/tmp/holdfast-lxc-')
  const folder = join(base, 'containers')
  mkdirSync(folder)
  const leaveControlGroups = needControlGroups()
  return {
    folder,
    define(name, lines = []) {
      const own = join(folder, name)
      const rootfs = makeRootfs(join(own, 'rootfs'))
      const config = [
        `lxc.rootfs.path = dir:${rootfs}`,
        `lxc.uts.name = ${name}`,
        'lxc.net.0.type = empty',
        'lxc.apparmor.profile = unconfined',
        `lxc.init.cmd = ${COUNTER}`,
        ...lines,
      ]
      writeFileSync(join(own, 'config'), `${config.join('\n')}\n`)
      return rootfs
    },
    close() {
      for (const name of readdirSync(folder)) quietly('/usr/bin/lxc-stop', ['-P', folder, '-n', name, '-k'])
      rmSync(base, { recursive: true, force: true })
      removeControlGroup('lxc.pivot')
      leaveControlGroups()
    },
  }
}

/** Why no container can be run and frozen here (one needs control groups), found by trying; undefined when it can. */
export function lacksLxc(): string | undefined {
  if (process.geteuid?.() !== 0) return 'LXC needs root'
  const missing = ['lxc-start', 'lxc-freeze', 'lxc-ls'].filter((name) => findTool(name) === undefined)
  if (missing.length > 0) return `${missing.join(', ')} not installed`
  if (!existsSync(BUSYBOX)) return 'busybox-static not installed'
  const room = openLxcRoom()
  try {
    room.define('probe')
    const call = (tool: string, ...args: readonly string[]) =>
      execFileSync(`/usr/bin/lxc-${tool}`, ['-P', room.folder, '-n', 'probe', ...args], {
        stdio: 'pipe',
        timeout: 20_000,
      })
    call('start', '-d')
    call('freeze')
    call('unfreeze')
    return undefined
  } catch {
    return 'this machine runs and freezes no LXC container'
  } finally {
    room.close()
  }
}

function quietly(file: string, args: readonly string[]): void {
  try {
    execFileSync(file, args, { stdio: 'ignore', timeout: 20_000 })
  } catch {
    // it did not run
  }
}
