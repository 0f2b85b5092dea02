import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { abortable } from '../../shared/abortable.ts'
import type { Listener } from '../../shared/addresses.ts'
import { ConfigError } from '../../shared/config.ts'
import { FleetError } from '../../shared/errors.ts'
import type { Driver } from '../drivers/driver.ts'
import { asFleetError } from '../native/system-error.ts'
import { createDialer } from '../transfer/dial.ts'
import { Slots } from '../transfer/slots.ts'
import type { Volumes } from '../volumes/volumes.ts'
import { guardBackupRoot } from './backup-root.ts'
import { openOwnDatasets } from './own-datasets.ts'
import { destroyOwn, isStanding } from './own-places.ts'
import type { PointTools } from './point-tools.ts'
import { createTargets, type Targets, type Unseal } from './targets.ts'

/** Archives written or read whole at one time: each takes some 60 to 100 MiB. */
const AT_WORK = 2
const PRIVATE_MODE = 0o700

export interface Points extends AsyncDisposable {
  readonly tools: PointTools
  /** The real path; points without a target lie below it. */
  readonly backupRoot: string
  readonly targets: Targets
  /** What no target may be; those told here take the place of those told before. */
  setListeners(listeners: readonly Listener[]): void
  /** Resolves when nothing is left of what was to be done later. */
  idle(): Promise<void>
  /**
   * Destroys what the agent made for itself and no job or base needs any more. Only before any job runs.
   * @returns why the rest of that stays: it is tried again by the next start
   */
  sweep(
    drivers: ReadonlyMap<string, Driver>,
    isUnfinished: (jobId: string) => boolean,
    volumes?: ReadonlyMap<string, Volumes>,
  ): Promise<readonly FleetError[]>
}

export interface PointsConfig {
  /** The agent's state directory. */
  readonly state: string
  readonly backupRoot: string
  readonly sourcePaths: readonly string[]
  readonly poolPaths: readonly string[]
  readonly allowLoopback: boolean
}

/** Makes the directories that work on points needs. @throws ConfigError for a backup root in a pool */
export function openPoints(config: PointsConfig, unseal: Unseal | undefined): Points {
  const { state, allowLoopback, sourcePaths } = config
  const backupRoot = openBackupRoot(config)
  const [scratch, indexes, stamps] = [join(state, 'scratch'), join(state, 'indexes'), join(state, 'stamps')]
  const listings = join(state, 'listings')
  rmSync(scratch, { recursive: true, force: true })
  for (const folder of [scratch, indexes, stamps, listings]) mkdirSync(folder, { recursive: true, mode: PRIVATE_MODE })
  // A job that begins again makes its own.
  for (const name of readdirSync(listings)) if (name.includes('.partial')) rmSync(join(listings, name))
  // One array for as long as the agent runs: targets that are open look into it.
  const listeners: Listener[] = []
  const addresses = { allowLoopback, listeners }
  const dialer = createDialer(addresses)
  const targets = createTargets({
    context: { backupRoot, guardBackupRoot: guardBackupRoot({ root: backupRoot, state }), addresses, dialer },
    unseal,
  })
  const own = openOwnDatasets(join(state, 'own-datasets'))
  const turns = new Slots(AT_WORK)
  const pending = new Map<string | symbol, Promise<void>>()
  const idle = async () => {
    while (pending.size > 0) await Promise.all(pending.values())
  }
  return {
    tools: {
      sourcePaths,
      scratch,
      indexes,
      stamps,
      listings,
      own,
      dialer,
      lease: (request) => targets.lease(request),
      turn: (signal) => turns.take(signal),
      freeTurn: () => turns.takeFree(),
      later(work, pointId) {
        const of = pointId ?? Symbol('of no point')
        const working = (pending.get(of)?.then(work) ?? work())
          .catch(() => undefined)
          .finally(() => pending.get(of) === working && pending.delete(of))
        pending.set(of, working)
      },
      ended: (pointId, signal) => abortable(pending.get(pointId) ?? Promise.resolve(), signal),
    },
    backupRoot,
    targets,
    setListeners: (told) => void listeners.splice(0, listeners.length, ...told),

    idle,

    async sweep(drivers, isUnfinished, volumes = new Map()) {
      const superseded = new Set(own.superseded())
      const left: FleetError[] = []
      for (const owned of own.all()) {
        const { pool, dataset, use } = owned
        const isServed = owned.volume === undefined ? drivers.has(pool) : volumes.has(pool)
        if (!isServed || (use.kind === 'job' && isUnfinished(use.jobId))) continue
        const places = { driver: () => there(drivers.get(pool)), volumes: () => there(volumes.get(pool)) }
        const isBase = use.kind === 'base' && !superseded.has(owned)
        try {
          if (isBase && (await isStanding(owned, places))) continue
          await destroyOwn(owned, places)
          own.forget(dataset)
        } catch (thrown) {
          const failure = asFleetError(thrown, `'${dataset}' of pool ${pool}`)
          if (!(failure instanceof FleetError)) throw failure
          left.push(failure)
        }
      }
      const claimed = new Set(own.all().map(({ dataset }) => dataset))
      for (const name of readdirSync(stamps)) if (!claimed.has(name)) rmSync(join(stamps, name), { force: true })
      return left
    },

    async [Symbol.asyncDispose]() {
      await idle()
      await targets[Symbol.asyncDispose]()
    },
  }
}

function there<Found>(found: Found | undefined): Found {
  assert(found)
  return found
}

function openBackupRoot({ backupRoot, poolPaths }: PointsConfig): string {
  mkdirSync(backupRoot, { recursive: true, mode: PRIVATE_MODE })
  const real = realpathSync(backupRoot)
  const within = poolPaths.find((pool) => `${real}/`.startsWith(`${realPathOf(pool)}/`))
  if (within === undefined) return real
  throw new ConfigError(
    `configuration is not usable:\n  HOLDFAST_AGENT_BACKUP_ROOT: must not be below the pool ${within}: a pool that is lost would take its backups with it`,
  )
}

function realPathOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path // a simulated pool has none
  }
}
