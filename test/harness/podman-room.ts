import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'
import { BUSYBOX, COUNTER, makeRootfs, needControlGroups, removeControlGroup } from './instance-room.ts'
import { TestProcess } from './process.ts'
import { lacksTool } from './system-packages.ts'
import { until } from './until.ts'

const IMAGE = 'localhost/counter:1'
const TOOL_TIMEOUT_MS = 60_000

/** Podman with a storage of its own (overlay on tmpfs, so that it works wherever the test runs), answering Docker's API. */
export interface PodmanRoom {
  readonly socketPath: string
  /** An empty directory for whatever a test needs. */
  readonly folder: string
  podman(...args: readonly string[]): string
  /** Makes a container that runs COUNTER. @param args of `podman create` beside the usual ones @returns its id */
  define(name: string, args?: readonly string[]): string
  /** A file of a running container's root. */
  read(id: string, path: string): string
  readonly service: TestProcess
  serve(): Promise<void>
  close(): Promise<void>
}

/** @param storage where its containers and images are; its own tmpfs unless told */
export function openPodmanRoom(storage?: string): PodmanRoom {
  const base = mkdtempSync('/var/tmp/holdfast-podman-')
  execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=512m,mode=700', 'holdfast-podman', base])
  const folder = join(base, 'folder')
  mkdirSync(folder)
  const leaveControlGroups = needControlGroups()
  // Control groups without controllers can freeze, and count nothing.
  const configuration = join(base, 'containers.conf')
  writeFileSync(configuration, '[containers]\npids_limit = 0\n')
  const socketPath = join(base, 'engine.sock')
  const settings = [
    ...['--root', storage ?? join(base, 'root'), '--runroot', join(base, 'run'), '--storage-driver', 'overlay'],
    ...[
      '--runtime',
      findTool('runc') ?? findTool('crun') ?? 'runc',
      '--cgroup-manager',
      'cgroupfs',
      '--events-backend',
      'file',
    ],
  ]
  const tool = findTool('podman') ?? '/usr/bin/podman'
  const environment = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: base,
    TMPDIR: base,
    CONTAINERS_CONF: configuration,
  }
  const podman = (...args: readonly string[]) =>
    execFileSync(tool, [...settings, ...args], { env: environment, stdio: 'pipe', timeout: TOOL_TIMEOUT_MS }).toString()
  const service = new TestProcess({
    name: 'podman',
    command: tool,
    args: [...settings, 'system', 'service', '--time', '0', `unix://${socketPath}`],
    environment,
    workingDirectory: base,
    logPath: join(base, 'service.log'),
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 5_000,
  })
  const roots = new Map<string, string>()
  const rootOf = (id: string) => {
    const root = roots.get(id) ?? podman('inspect', '--format', '{{.GraphDriver.Data.MergedDir}}', id).trim()
    roots.set(id, root)
    return root
  }
  return {
    socketPath,
    folder,
    podman,
    service,
    define(name, args = []) {
      if (!podman('images', '-q', IMAGE).trim()) importImage(podman, base)
      const limits = ['--network', 'none', '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=4096:4096']
      return podman('create', '--name', name, ...limits, ...args, IMAGE, COUNTER).trim()
    },
    read(id, path) {
      const file = join(rootOf(id), path)
      return existsSync(file) ? readFileSync(file, 'utf8') : ''
    },
    async serve() {
      service.start()
      await until('podman answers', () => answers(socketPath))
    },
    async close() {
      await service.stop()
      try {
        podman('rm', '--all', '--force', '--time', '0')
        // What watches a container cleans up behind it, and would make its folders again in our place.
        await until('its processes ended', () => !isNamedByAProcess(base))
      } finally {
        execFileSync('/bin/umount', ['--lazy', base])
        rmSync(base, { recursive: true, force: true })
        removeControlGroup('libpod_parent')
        leaveControlGroups()
      }
    },
  }
}

function importImage(podman: PodmanRoom['podman'], base: string): void {
  const tar = join(base, 'image.tar')
  execFileSync('/bin/tar', ['-C', makeRootfs(join(base, 'image')), '-cf', tar, '.'])
  podman('import', '--quiet', tar, IMAGE)
}

/** Whether a command line has `path` in it. */
function isNamedByAProcess(path: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(path)
    } catch {
      return false // it has ended
    }
  })
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath, () => settle(true)).once('error', () => settle(false))
    const settle = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
  })
}

/** Why no container can be run and frozen here under Podman, found by trying; undefined when it can. */
export async function lacksPodman(): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'Podman with overlays needs root'
  const missing = lacksTool('podman', 'conmon')
  if (missing !== undefined) return missing
  if (findTool('runc') === undefined && findTool('crun') === undefined) return 'runc not installed'
  if (!existsSync(BUSYBOX)) return 'busybox-static not installed'
  let room: PodmanRoom | undefined
  try {
    room = openPodmanRoom()
    room.podman('start', room.define('probe'))
    room.podman('pause', 'probe')
    room.podman('unpause', 'probe')
    return undefined
  } catch {
    return 'this machine runs and freezes no Podman container'
  } finally {
    await room?.close()
  }
}
