import { type InstanceType, IS_MADE_HERE } from '../../shared/instance-spec.ts'
import type { InstanceMaking, Instances, MadeInstances } from './instances.ts'
import { madeHere } from './made-here.ts'

/** A driver that is loaded by its first call; after a load that failed, by the next. */
export function lazily(type: InstanceType, load: () => Promise<Instances>): Instances {
  let loading: Promise<Instances> | undefined
  const driver = () => {
    loading ??= load().catch((thrown: unknown) => {
      loading = undefined
      throw thrown
    })
    return loading
  }
  return {
    type,
    list: async (signal) => (await driver()).list(signal),
    find: async (id, signal) => (await driver()).find(id, signal),
    freeze: async (request) => (await driver()).freeze(request),
    thaw: async (id, signal) => (await driver()).thaw(id, signal),
    start: async (id, signal) => (await driver()).start(id, signal),
    stop: async (id, options) => (await driver()).stop(id, options),
    readConfig: async (id, signal) => (await driver()).readConfig(id, signal),
    ...(IS_MADE_HERE[type] ? making(async () => madeHere(await driver())) : {}),
    ...(type === 'docker' ? ofEngine(driver) : {}),
  }
}

/** What those have that are made here. */
function making(driver: () => Promise<MadeInstances>): InstanceMaking {
  return {
    create: async (request, signal) => (await driver()).create(request, signal),
    rename: async (id, name, signal) => (await driver()).rename(id, name, signal),
    destroy: async (id, signal) => (await driver()).destroy(id, signal),
    unmake: async (name, signal) => (await driver()).unmake(name, signal),
  }
}

/** What only engines have. */
function ofEngine(driver: () => Promise<Instances>) {
  return {
    async *exportImage(id, signal) {
      yield* (await driver()).exportImage?.(id, signal) ?? []
    },
    async importImage(image, signal) {
      await (await driver()).importImage?.(image, signal)
    },
    async *exportRootfs(id, signal) {
      yield* (await driver()).exportRootfs?.(id, signal) ?? []
    },
    async ensureVolume(name, signal) {
      const { ensureVolume } = await driver()
      return ensureVolume?.(name, signal) ?? ''
    },
  } satisfies Partial<Instances>
}
