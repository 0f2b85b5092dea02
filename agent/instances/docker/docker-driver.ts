import { existsSync } from 'node:fs'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { digestConfig } from '../config-hash.ts'
import { FROZEN_BEFORE, holdFrozen } from '../hold-frozen.ts'
import { checkHostPath, checkInstanceName } from '../instance-name.ts'
import type { Instance, MadeInstances } from '../instances.ts'
import type { Watchdogs } from '../watchdog.ts'
import { type ContainerSpec, containerSpec } from './container-spec.ts'
import { createEngineClient, type EngineClient } from './engine-client.ts'
import { configOf, describe, Inspect, mergedDirectoryOf, nameOf, stateOf } from './inspect.ts'
import {
  cleanUpSignal,
  importRootfs,
  LOAD_TIMEOUT_MS,
  removeImage,
  removeOwnImage,
  rootImageOf,
  withoutAlgorithm,
} from './root-image.ts'

const THAW_TIMEOUT_MS = 10_000
const STOP_MARGIN_MS = 30_000
/** The layers of a container, or of its image, are removed file by file. */
const DESTROY_TIMEOUT_MS = 600_000
const FREEZE_SHARE = 0.5
const INSPECTED_AT_ONCE = 8
/** Says which image was made for a container, and goes with it. */
const IMAGE_LABEL = 'holdfast.image'

const Listed = z.array(z.looseObject({ Id: z.string() }))
const Created = z.looseObject({ Id: z.string() })
const Volume = z.looseObject({ Mountpoint: z.string().startsWith('/') })

export interface DockerOptions {
  /** Absolute: /var/run/docker.sock, /run/podman/podman.sock, or where else the engine listens. */
  readonly socketPath: string
  readonly watchdogs: Watchdogs
}

/** Containers of Docker, or of Podman behind its compatible API. */
export function createDockerDriver({ socketPath, watchdogs }: DockerOptions): MadeInstances {
  checkHostPath(socketPath)
  const engine = createEngineClient(socketPath)

  const seek = async (id: string, signal: AbortSignal) => {
    checkInstanceName(id)
    try {
      const found = await engine.json({ method: 'GET', path: `/containers/${id}/json`, signal }, Inspect)
      // Engines take the beginning of an id for it; here that is nobody's name.
      return found.Id === id || nameOf(found) === id ? found : undefined
    } catch (thrown) {
      if (thrown instanceof FleetError && thrown.code === 'not_found') return undefined
      throw thrown
    }
  }
  const get = async (id: string, signal: AbortSignal) => {
    const found = await seek(id, signal)
    if (found === undefined) throw new FleetError('not_found', 'no container of this name')
    return found
  }
  const act = (
    id: string,
    action: string,
    options: { signal: AbortSignal; timeoutMs?: number; query?: Record<string, string> },
  ) => engine.act({ method: 'POST', path: `/containers/${id}/${action}`, ...options })
  /** @returns false when it was not paused any more: engines refuse that, each with another status */
  const unpause = async (id: string) => {
    const signal = AbortSignal.timeout(THAW_TIMEOUT_MS)
    try {
      await act(id, 'unpause', { signal })
      return true
    } catch (thrown) {
      if (stateOf(await get(id, signal)) !== 'FROZEN') return false
      throw thrown
    }
  }

  const remove = async (found: Inspect, signal: AbortSignal) => {
    const state = stateOf(found)
    forbidUnless(state === 'STOPPED', state)
    const path = `/containers/${found.Id}`
    await engine.act({ method: 'DELETE', path, query: { v: 'true' }, signal, timeoutMs: DESTROY_TIMEOUT_MS })
    const labels = z.record(z.string(), z.string()).safeParse(found.Config.Labels).data ?? {}
    const image = labels[IMAGE_LABEL]
    if (image !== undefined && withoutAlgorithm(image) === withoutAlgorithm(found.Image))
      await removeOwnImage(engine, image)
  }

  return {
    type: 'docker',
    async list(signal) {
      const query = { all: 'true' }
      const listed = await engine.json({ method: 'GET', path: '/containers/json', query, signal }, Listed)
      const found: (Instance | undefined)[] = []
      for (let at = 0; at < listed.length; at += INSPECTED_AT_ONCE) {
        const some = listed.slice(at, at + INSPECTED_AT_ONCE)
        found.push(...(await Promise.all(some.map(({ Id }) => seek(Id, signal).then(toInstance)))))
      }
      return found.filter((instance) => instance !== undefined)
    },
    find: (id, signal) => seek(id, signal).then(toInstance),
    async freeze({ id, maxMs, signal }) {
      const found = await get(id, signal)
      const state = stateOf(found)
      if (state === 'FROZEN') return FROZEN_BEFORE
      forbidUnless(state === 'RUNNING', state)
      const order = { kind: 'engine', socketPath, container: found.Id } as const
      const freeze = () => act(found.Id, 'pause', { signal, timeoutMs: Math.ceil(maxMs * FREEZE_SHARE) })
      return holdFrozen({ order, maxMs, signal, freeze, thaw: () => unpause(found.Id) }, watchdogs)
    },
    async thaw(id, signal) {
      const found = await get(id, signal)
      if (stateOf(found) === 'FROZEN') await unpause(found.Id)
    },
    async start(id, signal) {
      const found = await get(id, signal)
      const state = stateOf(found)
      if (state === 'RUNNING') return
      forbidUnless(state === 'STOPPED', state)
      await act(found.Id, 'start', { signal })
    },
    async stop(id, { graceMs, signal }) {
      const found = await get(id, signal)
      const state = stateOf(found)
      if (state === 'STOPPED') return
      forbidUnless(state === 'RUNNING', state)
      const query = { t: String(Math.ceil(graceMs / 1_000)) }
      await act(found.Id, 'stop', { signal, query, timeoutMs: graceMs + STOP_MARGIN_MS })
    },
    async readConfig(id, signal) {
      return configOf(await get(id, signal))
    },
    async *exportImage(id, signal) {
      const { Image, Config } = await get(id, signal)
      // By its name the archive keeps the name; an image that lost it goes by its id.
      const named = await engine
        .json({ method: 'GET', path: `/images/${encodeURIComponent(Config.Image)}/json`, signal }, Created)
        .then(({ Id }) => withoutAlgorithm(Id) === withoutAlgorithm(Image))
        .catch(() => false)
      const name = encodeURIComponent(named ? Config.Image : Image)
      yield* engine.stream({ method: 'GET', path: `/images/${name}/get`, signal })
    },
    async importImage(image, signal) {
      await engine.act({ method: 'POST', path: '/images/load', body: image, signal, timeoutMs: LOAD_TIMEOUT_MS })
    },
    async *exportRootfs(id, signal) {
      const { Id } = await get(id, signal)
      yield* engine.stream({ method: 'GET', path: `/containers/${Id}/export`, signal })
    },
    async ensureVolume(name, signal) {
      checkInstanceName(name)
      const made = await engine.json({ method: 'POST', path: '/volumes/create', body: { Name: name }, signal }, Volume)
      return made.Mountpoint
    },
    async create(request, signal) {
      checkInstanceName(request.name)
      checkHostPath(request.rootfs)
      if (request.config.type !== 'docker')
        throw new FleetError('refused', 'not the configuration of an engine’s container')
      const called = request.under ?? request.name
      if ((await seek(called, signal)) !== undefined)
        throw new FleetError('exists', 'a container of this name is there already')
      if (!existsSync(request.rootfs)) throw new FleetError('not_found', 'the root of the container is not there')
      containerSpec(request, '', {}) // refuses before anything is read in
      const repo = rootImageOf(called)
      await removeImage(engine, repo) // of an agent that was killed before it had made the container
      const image = await importRootfs(engine, { repo, rootfs: request.rootfs }, signal)
      try {
        const spec = containerSpec(request, image, { [IMAGE_LABEL]: image })
        const id = await createContainer(engine, called, spec, signal)
        return { instance: toInstance(await get(id, signal)), dropped: spec.dropped }
      } catch (thrown) {
        await removeImage(engine, image)
        throw thrown
      }
    },
    async rename(id, name, signal) {
      checkInstanceName(name)
      const [found, standing] = [await seek(id, signal), await seek(name, signal)]
      if (standing !== undefined && (found === undefined || standing.Id === found.Id)) return toInstance(standing)
      if (found === undefined) throw new FleetError('not_found', 'no container of this name')
      if (standing !== undefined) throw new FleetError('exists', 'a container of this name is there already')
      const state = stateOf(found)
      forbidUnless(state === 'STOPPED', state)
      await act(found.Id, 'rename', { signal, query: { name } })
      return toInstance(await get(found.Id, signal))
    },
    async destroy(id, signal) {
      const found = await seek(id, signal)
      if (found !== undefined) await remove(found, signal)
    },
    async unmake(name, signal) {
      const found = await seek(name, signal)
      if (found !== undefined) await remove(found, signal)
      else await removeImage(engine, rootImageOf(name))
    },
  }
}

function toInstance(inspect: Inspect): Instance
function toInstance(inspect: Inspect | undefined): Instance | undefined
function toInstance(inspect: Inspect | undefined): Instance | undefined {
  if (inspect === undefined) return undefined
  const merged = mergedDirectoryOf(inspect)
  const running = stateOf(inspect) === 'RUNNING' || stateOf(inspect) === 'FROZEN'
  const rootfs = running && merged !== undefined && existsSync(merged) ? merged : undefined
  return describe(inspect, { rootfs, config: digestConfig(configOf(inspect)) })
}

function forbidUnless(allowed: boolean, state: string): void {
  if (!allowed) throw new FleetError('conflict', `the container is ${state.toLowerCase()}`)
}

async function createContainer(
  engine: EngineClient,
  name: string,
  spec: ContainerSpec,
  signal: AbortSignal,
): Promise<string> {
  const { body, networks } = spec
  const made = await engine.json({ method: 'POST', path: '/containers/create', query: { name }, body, signal }, Created)
  try {
    for (const network of networks) {
      const path = `/networks/${encodeURIComponent(network)}/connect`
      await engine.act({ method: 'POST', path, body: { Container: made.Id }, signal })
    }
    return made.Id
  } catch (thrown) {
    await engine.act({
      method: 'DELETE',
      path: `/containers/${made.Id}`,
      query: { v: 'true' },
      signal: cleanUpSignal(),
    })
    throw thrown
  }
}
