import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { run } from '../../exec/run.ts'
import { digestConfig } from '../config-hash.ts'
import { FROZEN_BEFORE, holdFrozen } from '../hold-frozen.ts'
import { checkHostPath, checkInstanceName, isInstanceName } from '../instance-name.ts'
import type { CreateRequest, Instance, InstanceConfig, MadeInstances } from '../instances.ts'
import { readSmallFile } from '../small-file.ts'
import { thawOnce } from '../thaw-order.ts'
import type { Watchdogs } from '../watchdog.ts'
import { fstabPathOf, mountsOf, parseConfig, rootfsOf } from './lxc-config.ts'
import { createLxcTools, type LxcTools, type Standing } from './lxc-tools.ts'
import { moveFolder, removeDefinition, rewriteOwnPaths } from './own-folder.ts'
import { renameConfig } from './renamed-config.ts'

const MAX_CONFIG_BYTES = 2 ** 20
/** So much of a freeze's bound may pass until the container stands still. */
const FREEZE_SHARE = 0.5

export interface LxcOptions {
  /** Where the containers are, what LXC's tools call `-P`: /var/lib/lxc unless lxc.conf says otherwise. */
  readonly folder: string
  readonly watchdogs: Watchdogs
}

/** Containers of LXC 4 and later: those in `folder` that have a name we know and a `config`. */
export function createLxcDriver({ folder, watchdogs }: LxcOptions): MadeInstances {
  checkHostPath(folder)
  const tools = createLxcTools(folder, run)

  const find = async (id: string, signal: AbortSignal) => {
    checkInstanceName(id)
    if (!existsSync(join(folder, id, 'config'))) return undefined
    return describe(folder, id, await standingOf(tools, id, signal))
  }
  const get = async (id: string, signal: AbortSignal) => {
    const instance = await find(id, signal)
    if (instance === undefined) throw new FleetError('not_found', 'no container of this name')
    return instance
  }
  const thawNow = async (name: string) => {
    if (!(await thawOnce({ kind: 'lxc', folder, name })))
      throw new FleetError('internal', 'the container cannot be thawed')
  }

  return {
    type: 'lxc',
    find,
    async list(signal) {
      if (!existsSync(folder)) return []
      const standings = await tools.standings(signal)
      const names = readdirSync(folder).filter(
        (name) => isInstanceName(name) && existsSync(join(folder, name, 'config')),
      )
      return names.map((name) => describe(folder, name, standings.get(name) ?? UNREADABLE))
    },
    async freeze({ id, maxMs, signal }) {
      const { name } = await get(id, signal)
      const { changing, state: seen } = await standingOf(tools, name, signal)
      if (changing) await thawNow(name)
      const state = changing ? 'RUNNING' : seen
      if (state === 'FROZEN') return FROZEN_BEFORE
      forbidUnless(state === 'RUNNING', state)
      const order = { kind: 'lxc', folder, name } as const
      const freeze = () => tools.freeze(name, Math.ceil(maxMs * FREEZE_SHARE))
      // LXC does not tell whether it was frozen still; our own watchdog does.
      return holdFrozen({ order, maxMs, signal, freeze, thaw: () => thawNow(name).then(() => true) }, watchdogs)
    },
    async thaw(id, signal) {
      const { name } = await get(id, signal)
      const { state, changing } = await standingOf(tools, name, signal)
      if (state === 'FROZEN' || changing) await thawNow(name)
    },
    async start(id, signal) {
      const { name, state } = await get(id, signal)
      if (state === 'RUNNING') return
      forbidUnless(state === 'STOPPED', state)
      await tools.start(name, signal)
    },
    async stop(id, { graceMs, signal }) {
      const { name, state } = await get(id, signal)
      if (state === 'STOPPED') return
      forbidUnless(state === 'RUNNING', state)
      await tools.stop(name, graceMs, signal)
    },
    async readConfig(id) {
      checkInstanceName(id)
      if (!existsSync(join(folder, id, 'config'))) throw new FleetError('not_found', 'no container of this name')
      return readConfig(folder, id)
    },
    async create(request, signal) {
      const dropped = define(folder, request)
      const instance = await get(request.under ?? request.name, signal)
      if (instance.state === 'STOPPED') return { instance, dropped }
      removeDefinition(folder, instance.name)
      throw new FleetError('refused', 'LXC cannot read this configuration')
    },
    async rename(id, name, signal) {
      checkInstanceName(name)
      const instance = await find(id, signal)
      if (instance !== undefined && id !== name) {
        forbidUnless(instance.state === 'STOPPED', instance.state)
        moveFolder(folder, id, name)
      }
      // A kill may have come between the two.
      rewriteOwnPaths(folder, id, name)
      return get(name, signal)
    },
    async destroy(id, signal) {
      const instance = await find(id, signal)
      if (instance === undefined) return
      forbidUnless(instance.state === 'STOPPED', instance.state)
      await tools.destroy(instance.name, signal)
    },
    async unmake(name, signal) {
      const instance = await find(name, signal)
      if (instance !== undefined) {
        // One that LXC cannot read does not run.
        forbidUnless(instance.pid === undefined, instance.state)
        if (instance.rootfs?.startsWith(`${join(folder, name)}/`))
          throw new FleetError('conflict', 'the root of the container lies in its own folder')
      }
      removeDefinition(folder, name)
    },
  }
}

const UNREADABLE: Standing = { state: 'OTHER', changing: false, pid: undefined }

/** What LXC itself cannot read is there all the same. */
async function standingOf(tools: LxcTools, name: string, signal: AbortSignal): Promise<Standing> {
  try {
    return await tools.standing(name, signal)
  } catch (thrown) {
    if (thrown instanceof FleetError && thrown.code === 'internal' && !signal.aborted) return UNREADABLE
    throw thrown
  }
}

function forbidUnless(allowed: boolean, state: string): void {
  if (!allowed) throw new FleetError('conflict', `the container is ${state.toLowerCase()}`)
}

function describe(folder: string, name: string, { state, pid }: Standing): Instance {
  const config = readableConfig(folder, name)
  const lines = parseConfig(textOf(config, 'config'))
  const rootfs = rootfsOf(lines, join(folder, name))
  return {
    type: 'lxc',
    id: name,
    name,
    state,
    pid,
    rootfs,
    mounts: mountsOf(lines, textOf(config, 'fstab'), rootfs),
    config: config === undefined ? undefined : digestConfig(config),
  }
}

function readableConfig(folder: string, name: string): InstanceConfig | undefined {
  try {
    return readConfig(folder, name)
  } catch {
    return undefined // gone, or no file: it is listed without
  }
}

function readConfig(folder: string, name: string): InstanceConfig {
  const config = readSmallFile(join(folder, name, 'config'), MAX_CONFIG_BYTES)
  const fstabPath = fstabPathOf(parseConfig(config.toString()))
  const fstab =
    fstabPath !== undefined && existsSync(fstabPath) ? readSmallFile(fstabPath, MAX_CONFIG_BYTES) : undefined
  return { type: 'lxc', name, files: { config, ...(fstab === undefined ? {} : { fstab }) }, image: undefined }
}

function textOf(config: InstanceConfig | undefined, file: string): string {
  return config?.files[file]?.toString() ?? ''
}

/** Writes the configuration, which is what makes a container. @returns what it leaves out */
function define(folder: string, request: CreateRequest): readonly string[] {
  checkInstanceName(request.name)
  checkHostPath(request.rootfs)
  if (request.config.type !== 'lxc') throw new FleetError('refused', 'not the configuration of an LXC container')
  if (request.mounts.some(({ source }) => 'volume' in source)) throw new FleetError('refused', 'LXC has no volumes')
  if (!existsSync(request.rootfs)) throw new FleetError('not_found', 'the root of the container is not there')
  const own = join(folder, request.under ?? request.name)
  checkInstanceName(basename(own))
  if (existsSync(join(own, 'config'))) throw new FleetError('exists', 'a container of this name is there already')
  const sources = request.mounts.map(({ source }) => ('path' in source ? source.path : ''))
  const { config, dropped } = renameConfig({
    ...request,
    config: textOf(request.config, 'config'),
    fstab: textOf(request.config, 'fstab'),
    files: new Set(sources.filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())),
    newMac,
  })
  mkdirSync(own, { recursive: true, mode: 0o770 })
  writeFileSync(join(own, 'config.partial'), config, { mode: 0o640, flush: true })
  renameSync(join(own, 'config.partial'), join(own, 'config'))
  return dropped
}

/** In the range that LXC itself draws from (Xensource's OUI, as in lxc's confile.c). */
function newMac(): string {
  const [a = 0, b = 0, c = 0] = randomBytes(3)
  return ['00:16:3e', ...[a, b, c].map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}
