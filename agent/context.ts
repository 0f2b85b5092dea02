import { join } from 'node:path'
import { jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from 'nats'
import { FleetError } from '../shared/errors.ts'
import { createLogger, type Logger } from '../shared/logger.ts'
import { VERSION } from '../shared/version.ts'
import {
  PointsAnswer,
  type PointsQuestion,
  StartAnswer,
  type StartQuestion,
  WIRE_VERSION,
  type WorkOrder,
} from '../shared/wire/messages.ts'
import { subjects } from '../shared/wire/subjects.ts'
import { startChores } from './chores.ts'
import type { AgentConfig, PoolConfig } from './config.ts'
import { findDatasetAt } from './drivers/dataset-at.ts'
import type { Driver } from './drivers/driver.ts'
import { allowsDevices } from './drivers/pool-mount.ts'
import { detectDriver, openDriver } from './drivers/registry.ts'
import { openExports } from './export/open-exports.ts'
import { createInstanceList, isAboutInstances } from './host/instance-list.ts'
import { startPresence } from './host/presence.ts'
import { createReads } from './host/reads.ts'
import { openIdentity } from './identity/identity.ts'
import { startRenewal } from './identity/renewal.ts'
import { openInstances } from './instances/open-instances.ts'
import { initiatorOf } from './iscsi/initiator.ts'
import { asFleetError } from './native/system-error.ts'
import { connectNats } from './nats.ts'
import { createHoldTurns } from './pipelines/instance/hold-turns.ts'
import { openStoppedNotes, type StoppedNotes } from './pipelines/instance/stopped-notes.ts'
import type { PipelineTools } from './pipelines/pipeline.ts'
import { openPoints } from './points/open-points.ts'
import { openPoolMarks } from './pool-marks.ts'
import { listenerOf } from './transfer/listeners.ts'
import { openVolumes } from './volumes/open-volumes.ts'
import { findVolumeAt } from './volumes/volume-at.ts'
import type { Volumes } from './volumes/volumes.ts'
import { startConsuming } from './work/consume.ts'
import { openJournal } from './work/journal.ts'
import { createLanes } from './work/lanes.ts'
import { openLeftWork } from './work/left-work.ts'
import { createOutbox } from './work/outbox.ts'
import { createRunner } from './work/runner.ts'
import { createSlots, halfOf } from './work/slots.ts'

const STORE_TIMEOUT_MS = 5_000
const ASK_TIMEOUT_MS = 5_000

export interface Agent extends AsyncDisposable {
  /** Resolves when it cannot go on: NATS lets this host in no more. */
  readonly failed: Promise<Error>
}

/** Everything one agent is made of, wired by hand. Resolves when it listens; it is welcomed when the control plane is there. */
export async function startAgent(config: AgentConfig): Promise<Agent> {
  const host = config.HOLDFAST_AGENT_NAME
  const logger = createLogger('agent', config.HOLDFAST_LOG_LEVEL)
  const { pools, volumesOf } = await openPools(config, logger)
  warnOfDevices(config, pools, logger)
  function volumes(pool: string): Volumes {
    const found = volumesOf.get(pool)
    if (found === undefined) throw new FleetError('not_found', `host '${host}' has no pool '${pool}'`)
    return found
  }
  const stopping = new AbortController()
  const exports = await openExports(exportSettings(config), {
    findVolume: async ({ pool, volume }) => volumes(pool).find(volume),
    logger,
  })
  // Initiators wait for their disks: neither NATS nor the control plane is waited for.
  void exports.restore(stopping.signal)
  const instances = openInstances({
    lxcPath: config.HOLDFAST_AGENT_LXC_PATH,
    dockerSocket: config.HOLDFAST_AGENT_DOCKER_SOCKET,
    libvirtUri: config.HOLDFAST_LIBVIRT_URI,
    volumeAt: (path) => findVolumeAt(path, volumesOf),
    state: config.HOLDFAST_AGENT_STATE,
  })
  const stopped = openStoppedNotes(join(config.HOLDFAST_AGENT_STATE, 'stopped'), instances.get, stopping.signal)
  void startLeft(stopped, logger)
  const stillFrozen = await instances.thawLeft()
  if (stillFrozen !== 0) logger.error({ event: 'instances.left_frozen', host, count: stillFrozen })
  const journal = openJournal(config.HOLDFAST_AGENT_STATE)
  const { urls, tls, authenticator, key, unseal } = await openIdentity(config, logger)
  const points = openPoints(pointsConfig(config, pools), unseal)
  const lanes = createLanes()
  const left = openLeftWork(join(config.HOLDFAST_AGENT_STATE, 'left'), lanes, logger)
  const isOpen = (jobId: string) => left.has(jobId) || journal.unfinished().some((entry) => entry.jobId === jobId)
  for (const err of await points.sweep(pools, isOpen, volumesOf)) logger.warn({ event: 'points.unswept', err })
  const ownNats = [urls].flat().flatMap(listenerOf)
  points.setListeners(ownNats)
  const nats = await connectNats({ url: urls, host, tls, authenticator })
  const js = jetstream(nats, { timeout: STORE_TIMEOUT_MS })
  let clockAheadMs = 0

  const outbox = createOutbox({ nats, jetstream: js, host, signal: stopping.signal, logger })
  const slots = createSlots(config.HOLDFAST_AGENT_SLOTS)
  const tools: PipelineTools = {
    driver(name) {
      const driver = pools.get(name)
      if (driver === undefined) throw new FleetError('not_found', `host '${host}' has no pool '${name}'`)
      return driver
    },
    restorePaths: config.HOLDFAST_AGENT_RESTORE_PATHS,
    forbiddenPaths: [
      config.HOLDFAST_AGENT_STATE,
      points.backupRoot,
      ...config.HOLDFAST_AGENT_POOLS.map((pool) => directoryOf(pool, pools)),
    ],
    points: points.tools,
    instances: instances.get,
    freezeMs: 1_000 * config.HOLDFAST_AGENT_FREEZE_SECONDS,
    stopped,
    turns: createHoldTurns(),
    datasetAt: (path) => findDatasetAt(path, pools),
    volumes,
    exports,
    unseal,
    logger,
  }
  const runner = createRunner({
    journal,
    lanes,
    left,
    slots,
    archiveSlots: halfOf(slots, config.HOLDFAST_AGENT_SLOTS),
    tell: outbox.tell,
    async store(report) {
      await outbox.store(report)
      const spec = journal.get(report.jobId)?.order?.spec
      if (spec !== undefined && isAboutInstances(spec)) instanceList.refresh()
    },
    tools,
    clock: () => Date.now() + clockAheadMs,
    logger,

    async stillWanted(order: WorkOrder) {
      const question: StartQuestion = { v: WIRE_VERSION, jobId: order.jobId, attempt: order.attempt }
      const reply = await nats.request(subjects.ask(host), JSON.stringify(question), { timeout: ASK_TIMEOUT_MS })
      return StartAnswer.parse(reply.json()).start
    },
  })

  const facts = {
    version: VERSION,
    slots: config.HOLDFAST_AGENT_SLOTS,
    restorePaths: config.HOLDFAST_AGENT_RESTORE_PATHS,
    sourcePaths: config.HOLDFAST_AGENT_SOURCE_PATHS,
    backupRoot: points.backupRoot,
    pools,
    initiator: initiatorOf(host),
  }
  const instanceList = createInstanceList({ types: instances.all, onChange: () => presence.beat(), logger })
  const reads = createReads({
    ...{ points, instances: instanceList, volumes, exports, logger },
    places: { instances: instances.get, datasetAt: (path) => findDatasetAt(path, pools) },
  })
  const presence = startPresence({
    nats,
    host,
    facts,
    runner,
    journal,
    reads,
    instances: instanceList,
    exports,
    logger,
  })
  runner.resume()
  const chores = startChores({ left, tools }, async (points) => {
    const question: PointsQuestion = { v: WIRE_VERSION, points: [...points] }
    const reply = await nats.request(subjects.ask(host), JSON.stringify(question), { timeout: ASK_TIMEOUT_MS })
    return PointsAnswer.parse(reply.json()).known
  })
  const consumption = startConsuming({
    nats,
    host,
    slots: config.HOLDFAST_AGENT_SLOTS,
    runner,
    logger,
    welcome: async (signal) => {
      const welcome = await presence.hello(signal)
      clockAheadMs = welcome.clockAheadMs
      points.setListeners([...ownNats, ...welcome.ownListeners.flatMap(listenerOf)])
    },
  })
  const renewal = key && startRenewal({ nats, host, key, logger })
  logger.info({ event: 'agent.started', host, pools: [...pools.keys()] })

  return {
    failed: closedByServer(nats),
    async [Symbol.asyncDispose]() {
      stopping.abort()
      chores.stop()
      renewal?.stop()
      presence.stop()
      instanceList.stop()
      await Promise.all([consumption.stop(), runner.stop()])
      await reads[Symbol.asyncDispose]()
      await points[Symbol.asyncDispose]()
      await exports[Symbol.asyncDispose]()
      await nats.close()
      journal.close()
      logger.info({ event: 'agent.stopped', host })
    },
  }
}

/** What earlier runs left half made in them is gone, as far as it can be removed now. */
async function openPools(config: AgentConfig, logger: Logger) {
  const pools = new Map<string, Driver>()
  const volumesOf = new Map<string, Volumes>()
  const marks = openPoolMarks(config.HOLDFAST_AGENT_STATE)
  for (const configured of config.HOLDFAST_AGENT_POOLS) {
    const isDirectory = configured.driver !== 'zfs' && configured.driver !== 'sim'
    if (isDirectory) marks.require(configured)
    const pool = { ...configured, driver: configured.driver ?? (await detectDriver(configured.path)) }
    const driver = await openDriver(pool)
    if (isDirectory) marks.mark(configured.path)
    await swept(driver, pool, logger)
    pools.set(pool.name, driver)
    const volumes = await openVolumes(pool)
    await swept(volumes, pool, logger)
    volumesOf.set(pool.name, volumes)
  }
  return { pools, volumesOf }
}

/** What somebody holds open, or a disk does not let go, stays until the next start: it keeps nobody from all else. */
async function swept(of: { sweep(): Promise<void> }, { name }: { readonly name: string }, logger: Logger) {
  try {
    await of.sweep()
  } catch (thrown) {
    const err = asFleetError(thrown, `pool ${name}`)
    if (!(err instanceof FleetError)) throw err
    logger.warn({ event: 'pool.unswept', pool: name, err })
  }
}

/** Of pools that are not mounted with `nodev`. */
function warnOfDevices(config: AgentConfig, pools: ReadonlyMap<string, Driver>, logger: Logger): void {
  if (process.geteuid?.() !== 0) return // it can make none
  for (const pool of config.HOLDFAST_AGENT_POOLS) {
    const isReal = pools.get(pool.name)?.name !== 'sim'
    if (isReal && allowsDevices(directoryOf(pool, pools)))
      logger.warn({ event: 'pool.allows_devices', pool: pool.name })
  }
}

/** Services that are down: neither NATS nor the control plane is waited for. */
async function startLeft(stopped: StoppedNotes, logger: Logger): Promise<void> {
  const count = await stopped.startLeft()
  if (count > 0) logger.error({ event: 'instances.left_stopped', count })
}

function exportSettings(config: AgentConfig) {
  return {
    technology: config.HOLDFAST_AGENT_EXPORTS,
    portals: config.HOLDFAST_AGENT_PORTALS,
    outlives: config.HOLDFAST_AGENT_EXPORTS_OUTLIVE,
    state: config.HOLDFAST_AGENT_STATE,
  }
}

function pointsConfig(config: AgentConfig, pools: ReadonlyMap<string, Driver>) {
  return {
    state: config.HOLDFAST_AGENT_STATE,
    backupRoot: config.HOLDFAST_AGENT_BACKUP_ROOT ?? join(config.HOLDFAST_AGENT_STATE, 'backups'),
    sourcePaths: config.HOLDFAST_AGENT_SOURCE_PATHS,
    poolPaths: config.HOLDFAST_AGENT_POOLS.filter(({ name }) => pools.get(name)?.name !== 'sim').map((pool) =>
      directoryOf(pool, pools),
    ),
    allowLoopback: config.HOLDFAST_AGENT_TARGET_LOOPBACK,
  }
}

function directoryOf({ name, path }: PoolConfig, pools: ReadonlyMap<string, Driver>): string {
  return pools.get(name)?.directory ?? path
}

/** The client gives up when it is turned away twice in a row; by our own closing it never fails. */
async function closedByServer(nats: NatsConnection): Promise<Error> {
  const reason = await nats.closed()
  if (reason instanceof Error) return new Error(`NATS turns this host away: ${reason.message}`, { cause: reason })
  return new Promise(() => undefined)
}
