import { createHash } from 'node:crypto'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { InstanceType, ReportedInstance } from '../../shared/instance-spec.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import type { Logger } from '../../shared/logger.ts'
import type { ListedType, ReadAnswerOf, ReadRequestOf } from '../../shared/wire/reads.ts'
import type { Instance, Instances } from '../instances/instances.ts'
import { fitting, PAGE_BYTES } from './fitting.ts'

const EVERY_MS = 10_000
/** Listing takes at most this part of the time. */
const SHARE = 0.05
const LIST_TIMEOUT_MS = 30_000
/** Of one host; of more the first by type and name are told. */
export const MAX_INSTANCES = 5_000
const MAX_MOUNTS = 100
const MAX_PROBLEM = 300

/** What the instances of this host were a moment ago. Whoever asks is answered from memory. */
export interface InstanceList {
  /** For beats: undefined where this host serves none, and never has; `hash` null until they were listed. */
  told(): { readonly hash: string | null } | undefined
  /** @throws conflict when the list has changed since the page before; unavailable before they were listed */
  page(request: ReadRequestOf<'instances'>): ReadAnswerOf<'instances'>
  /** An order has ended: what it changed is looked at now, and the hash is another one even if nothing is seen. */
  refresh(): void
  stop(): void
}

interface Listed {
  readonly hash: string
  readonly sinceMs: number
  readonly types: readonly ListedType[]
  readonly items: readonly ReportedInstance[]
}

interface Known {
  readonly items: readonly ReportedInstance[] | undefined
  readonly problem: string | null
}

/**
 * Lists them now and then, one listing at a time. A type that cannot be listed keeps what was seen of it last, also while its
 * engine is away.
 */
export function createInstanceList(deps: {
  /** Of the types that are there now. */
  readonly types: () => readonly Pick<Instances, 'type' | 'list'>[]
  readonly onChange: () => void
  readonly logger: Logger
  readonly everyMs?: number
}): InstanceList {
  const { logger, onChange, everyMs = EVERY_MS } = deps
  const known = new Map<InstanceType, Known>()
  const stopping = new AbortController()
  // With the time of this start: what another process of this agent told under a hash may have changed meanwhile.
  const epoch = Date.now()
  let orders = 0
  let current: Listed | undefined
  let listing: Promise<void> | undefined
  let again = false
  let timer: NodeJS.Timeout | undefined

  async function look(): Promise<void> {
    const there = new Map(deps.types().map((instances) => [instances.type, instances]))
    if (there.size === 0 && known.size === 0) return
    const sinceMs = performance.now()
    const orderCount = orders
    for (const type of new Set([...known.keys(), ...there.keys()])) {
      const before = known.get(type)
      const now = await listOne(there.get(type), stopping.signal)
      if (stopping.signal.aborted) return
      if (now.problem !== null && now.problem !== before?.problem) {
        logger.warn({ event: 'instances.unlisted', type, problem: now.problem })
      }
      known.set(type, { items: now.items ?? before?.items, problem: now.problem })
    }
    const next = put(known, { sinceMs, salt: [epoch, orderCount] })
    const isNews = next.hash !== current?.hash
    current = next
    if (isNews) onChange()
  }

  /** Never throws. */
  async function run(): Promise<void> {
    clearTimeout(timer)
    const startedMs = performance.now()
    do {
      again = false
      await look().catch((error: unknown) =>
        logger.warn({ event: 'instances.unlisted', err: error instanceof Error ? error : new Error(String(error)) }),
      )
    } while (again && !stopping.signal.aborted)
    if (stopping.signal.aborted) return
    timer = setTimeout(begin, Math.max(everyMs, (performance.now() - startedMs) / SHARE))
    timer.unref()
  }

  function begin(): void {
    again = listing !== undefined
    listing ??= run().finally(() => {
      listing = undefined
    })
  }
  begin()

  return {
    told() {
      if (current) return { hash: current.hash }
      return deps.types().length > 0 ? { hash: null } : undefined
    },

    page({ cursor, limit }) {
      if (current === undefined) throw new FleetError('unavailable', 'the instances were not listed yet')
      const { hash, sinceMs, types, items } = current
      const from = cursor === undefined ? 0 : placeIn(hash, cursor)
      const some = fitting(items.slice(from, from + limit))
      const end = from + some.length
      return {
        hash,
        ageMs: performance.now() - sinceMs,
        types: [...types],
        items: [...some],
        next: end < items.length ? `${hash}.${end}` : null,
      }
    },

    refresh() {
      orders += 1
      begin()
    },

    stop() {
      stopping.abort()
      clearTimeout(timer)
    },
  }
}

/** Whether the end of such an order may leave an instance in another state, or another one there. */
export function isAboutInstances(spec: JobSpec): boolean {
  switch (spec.kind) {
    case 'instance.clone':
    case 'instance.start':
    case 'instance.stop':
    case 'instance.snapshot':
      return true
    case 'point.create':
      return spec.source.kind === 'instance'
    case 'point.restore':
      return spec.destination.kind === 'instance'
    default:
      return false
  }
}

function placeIn(hash: string, cursor: string): number {
  const [of, at] = cursor.split('.')
  if (of !== hash) throw new FleetError('conflict', 'the instances have changed meanwhile')
  return Number(at)
}

async function listOne(
  instances: Pick<Instances, 'list'> | undefined,
  stopping: AbortSignal,
): Promise<{ readonly items?: readonly ReportedInstance[]; readonly problem: string | null }> {
  if (instances === undefined) return { problem: 'what served them is not there any more' }
  try {
    const found = await instances.list(AbortSignal.any([stopping, AbortSignal.timeout(LIST_TIMEOUT_MS)]))
    return { items: found.map(reported), problem: null }
  } catch (thrown) {
    const { code, message } = toFleetError(thrown)
    return { problem: `${code}: ${message}`.slice(0, MAX_PROBLEM).toWellFormed() }
  }
}

function put(known: ReadonlyMap<InstanceType, Known>, of: { sinceMs: number; salt: readonly number[] }): Listed {
  const all = [...known.values()].flatMap(({ items }) => items ?? [])
  const items = all.toSorted(
    (a, b) => compare(a.type, b.type) || compare(a.name, b.name) || compare(a.instance, b.instance),
  )
  const isTooMany = items.length > MAX_INSTANCES ? `of ${items.length} instances only ${MAX_INSTANCES} are told` : null
  const types = [...known].map(([type, { items: seen, problem }]) => ({
    type,
    listed: seen !== undefined,
    problem: problem ?? isTooMany,
  }))
  const told = items.slice(0, MAX_INSTANCES)
  const hash = createHash('sha256')
    .update(JSON.stringify([of.salt, types, told]))
    .digest('hex')
    .slice(0, 32)
  return { hash, sinceMs: of.sinceMs, types, items: told }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Within the bounds of what may be told; a mount beyond them is left out. */
function reported({ type, id, name, state, config, mounts }: Instance): ReportedInstance {
  const told = mounts.map(({ volume, ...mount }) => ({ ...mount, volume: volume ?? null }))
  const fits = ({ destination, source, volume }: (typeof told)[number]) =>
    destination.length <= 4096 && source.length <= 4096 && (volume?.length ?? 0) <= 1100
  const shown = told.filter(fits).slice(0, MAX_MOUNTS)
  const item = { type, instance: id, name: name.slice(0, 256), state, configHash: config?.hash ?? null }
  return { ...item, mounts: Buffer.byteLength(JSON.stringify(shown)) > PAGE_BYTES / 2 ? [] : shown }
}
