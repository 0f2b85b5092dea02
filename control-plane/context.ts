import { z } from 'zod'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { natsTls } from '../shared/wire/nats-credentials.ts'
import { openAudit } from './audit/open-audit.ts'
import type { ControlPlaneConfig } from './config.ts'
import { SYSTEM_CALLER } from './core/caller.ts'
import { forgeryOf } from './core/change-audit.ts'
import type { Core } from './core/core.ts'
import { createDatasets } from './core/datasets.ts'
import { createGroups } from './core/groups.ts'
import { createInstances } from './core/instance-orders.ts'
import { createJobs } from './core/jobs.ts'
import { createRoots } from './core/roots.ts'
import { createSnapshots } from './core/snapshots.ts'
import { createTokens } from './core/tokens.ts'
import { createUsers } from './core/users.ts'
import { createDataSource, migrate, requireRestored } from './db/data-source.ts'
import { listen } from './db/listen.ts'
import { createSql, statement } from './db/sql.ts'
import { createAccessTokenStore } from './db/stores/access-token-store.ts'
import { createChangeStore } from './db/stores/change-store.ts'
import { EVENT_CHANNEL } from './db/stores/change-write.ts'
import { createFleetClock } from './db/stores/clock-store.ts'
import { createCredentialKeys } from './db/stores/credential-keys-store.ts'
import { ACCESS_CHANNEL } from './db/stores/credential-store.ts'
import { createDatasetStore } from './db/stores/dataset-store.ts'
import { createDispatchStore } from './db/stores/dispatch-store.ts'
import { createEventStore } from './db/stores/event-store.ts'
import { createExportCounts } from './db/stores/export-counts.ts'
import { createExportSecrets } from './db/stores/export-store.ts'
import { createGroupStore } from './db/stores/group-store.ts'
import { createHostStore, HOST_CHANNEL } from './db/stores/host-store.ts'
import { createIdempotencyStore } from './db/stores/idempotency-store.ts'
import { createInstanceFoldStore } from './db/stores/instance-fold-store.ts'
import { createInstanceStore } from './db/stores/instance-store.ts'
import { createJobPruneStore } from './db/stores/job-prune-store.ts'
import { createJobStore } from './db/stores/job-store.ts'
import { createKnownPoints } from './db/stores/known-points.ts'
import { createOrderStore } from './db/stores/order-store.ts'
import { createSecretStore, secretRows } from './db/stores/secret-store.ts'
import { createUserStore } from './db/stores/user-store.ts'
import { createDialects } from './dialects.ts'
import { createJobFeed } from './feed/job-feed.ts'
import { createHostReads } from './hosts/host-reads.ts'
import { createInstanceWatch } from './hosts/instance-watch.ts'
import { openAuthority } from './hosts/open-authority.ts'
import { openHosts } from './hosts/open-hosts.ts'
import { openReception } from './hosts/reception.ts'
import { createHostRegistry } from './hosts/registry.ts'
import { createHttp } from './http/server.ts'
import { openIdentity } from './identity/open-identity.ts'
import { createAfterCommit } from './jobs/committed.ts'
import { createDispatch } from './jobs/dispatch.ts'
import { createEndWatcher } from './jobs/end-watcher.ts'
import { createEnds } from './jobs/ends.ts'
import { startIngest } from './jobs/ingest.ts'
import { createOldJobs } from './jobs/old-jobs.ts'
import { createOrderBook } from './jobs/order-book.ts'
import { createOrderSecrets } from './jobs/order-secrets.ts'
import { createSweep } from './jobs/sweep.ts'
import { listenerOptions } from './listener-options.ts'
import { createMetrics } from './metrics.ts'
import { closedByServer, connectNats, ensureStreams, purgeOrders } from './nats.ts'
import { oddRows } from './odd-rows.ts'
import { openBlock } from './open-block.ts'
import { openCaptures } from './open-captures.ts'
import { openLending } from './open-lending.ts'
import { type OpenMigrations, openMigrations } from './open-migrations.ts'
import { openPoints } from './open-points.ts'
import { type OpenSchedules, openSchedules, openWebhook, scheduleSettings } from './open-schedules.ts'
import { openStation } from './open-station.ts'
import { openUpstream } from './open-upstream.ts'
import { openVolumeBackups } from './open-volume-backups.ts'
import { openVolumes } from './open-volumes.ts'
import { ownListeners } from './own-listeners.ts'
import { readCredentials } from './read-credentials.ts'
import { startSchedule } from './schedule/bree.ts'
import { checkKeys } from './secrets/check-keys.ts'
import { createHostSeal } from './secrets/host-seal.ts'
import { readKeys } from './secrets/read-keys.ts'
import { createSecrets } from './secrets/secrets.ts'
import { createVault } from './secrets/vault.ts'

/** How often each sweep runs, and how much of the feed is kept. */
const QUICK_MS = 500
const SLOW_MS = 2_000
const PRUNE_MS = 60_000
const HOUR_MS = 3_600_000
const EVENT_MAX_AGE_MS = 7 * 24 * 3_600_000
const EVENT_MAX_COUNT = 5_000_000
const READY_TIMEOUT_MS = 2_000

export interface ControlPlane extends AsyncDisposable {
  readonly port: number
  /** Resolves when it cannot go on: NATS lets us in no more. */
  readonly failed: Promise<Error>
}

/** One replica, wired by hand: everything it is made of, in the order in which it comes up. */
export async function startControlPlane(config: ControlPlaneConfig): Promise<ControlPlane> {
  const logger = createLogger('control-plane', config.HOLDFAST_LOG_LEVEL)
  const listeners = listenerOptions(config)
  const keyring = readKeys(config)
  await using starting = new AsyncDisposableStack()

  const db = createDataSource({ url: config.DATABASE_URL, poolSize: config.HOLDFAST_DB_CONNECTIONS })
  await db.initialize()
  starting.defer(() => db.destroy())
  await requireRestored(db)
  await migrate(db)
  const sql = createSql(db, oddRows(logger), ANSWER_WITHIN_MS)
  const clock = createFleetClock(sql)
  await clock.read()
  const { now } = clock
  const credentialKeys = createCredentialKeys(sql)
  const file = config.NATS_AUTHORITY_FILE
  const authority = file ? await openAuthority({ file, config, keys: credentialKeys, logger }) : undefined
  if (authority) starting.use(authority)
  const nats = await connectNats({
    url: config.NATS_URL,
    tls: natsTls(config),
    authenticator: authority?.authenticator,
    seedFile: config.NATS_SEED_FILE,
  })
  starting.defer(() => nats.close())
  await ensureStreams(nats)

  const vault = createVault(keyring)
  await checkKeys({ rows: createSecretStore(sql), vault, keys: keyring })
  const audit = openAudit({ sql, keys: vault, logger })
  starting.defer(() => audit.stop())
  const replicaId = newId()
  const changes = createChangeStore(sql, replicaId)
  const jobReader = createJobStore(sql)
  const dispatchStore = createDispatchStore(sql)
  const hostStore = createHostStore(sql)
  const keys = createIdempotencyStore(sql)
  const eventStore = createEventStore(sql)
  const identity = openIdentity(sql, audit)
  const { credentials, sessions } = identity
  if (config.HOLDFAST_CREDENTIALS_FILE !== undefined) {
    await identity.ensure(readCredentials(config.HOLDFAST_CREDENTIALS_FILE))
  }

  const registry = createHostRegistry()
  const ends = createEnds()
  const watchEnds = createEndWatcher({ ends, jobs: jobReader, logger })
  let scheduling: OpenSchedules | undefined
  let migrating: OpenMigrations | undefined
  const feed = await createJobFeed({
    store: eventStore,
    logger,
    onEvents(events) {
      watchEnds(events)
      scheduling?.onEvents(events)
      migrating?.onEvents(events)
    },
  })
  const seal = createHostSeal(hostStore.sealKey)
  const secrets = createSecrets({ rows: secretRows(sql), vault })
  const orderSecrets = createOrderSecrets({
    secrets,
    seal,
    exports: createExportSecrets(sql, secrets),
    changes,
    afterCommit: (committed) => afterCommit(committed),
  })
  const dispatch = createDispatch({ store: dispatchStore, nats, secrets: orderSecrets, logger })
  const afterCommit = createAfterCommit({ ends, feed, dispatch, logger })
  const orders = createOrderBook({ store: createOrderStore(sql), changes, dispatch, now })
  const reader = createDatasetStore(sql)
  const roots = createRoots({ orders, reader, fleet: registry })
  const datasets = createDatasets({ orders, reader, fleet: registry, roots })
  const snapshots = createSnapshots({ orders, fleet: registry, roots })
  const instanceReader = createInstanceStore(sql)
  const instances = createInstances({ orders, reader: instanceReader, fleet: registry })
  const { points, targets } = openPoints({ sql, vault, nats, seal, orders, fleet: registry, instances: instanceReader })
  const { volumes, exports, watch } = openVolumes({
    ...{ sql, vault, nats, seal, changes, dispatch, fleet: registry, now, logger },
  })
  const { volumeBackups, tick: backupTick } = openVolumeBackups({ sql, points, targets, volumes, logger })
  const upstream = openUpstream({ config, credentials, groupNamed: instanceReader.group, logger })
  starting.defer(() => upstream.close())
  const { lending } = upstream
  const lent =
    lending &&
    openLending({
      ...{ sql, vault, lending, points, targets, fleet: registry, groupNamed: instanceReader.group, logger },
    })
  const captures = openCaptures({
    ...{ sql, nats, seal, changes, dispatch, points, targets, volumeBackups, instances: instanceReader },
    ...{ fleet: registry, now, logger },
  })
  const jobs = createJobs({
    ...{ reader: jobReader, ends, datasets, snapshots, points, instances, volumes, exports },
    instanceSnapshots: captures.instanceSnapshots,
    knowsHost: async (name) => (await hostStore.find(name)) !== undefined,
    change: async (id, decide) => afterCommit(await changes.change([id], decide)),
  })
  const schedules = openSchedules({
    ...{
      sql,
      origin: replicaId,
      points,
      targets,
      instances: instanceReader,
      datasets,
      jobs,
      fleet: registry,
      settings: scheduleSettings(config),
      afterCommit,
      logger,
    },
    webhook: openWebhook(config, () => ownListeners(config, listening)),
  })
  scheduling = schedules
  starting.defer(() => schedules.stop())
  const migrations = openMigrations({
    ...{ sql, points, targets, reader: instanceReader, instances, datasets, jobs, fleet: registry, logger },
  })
  migrating = migrations
  starting.defer(() => migrations.stop())
  const station = await openStation({
    ...{ sql, origin: replicaId, config, afterCommit, logger },
    purgeOrders: () => purgeOrders(nats),
  })
  starting.defer(() => station.stop())
  const directory = {
    users: createUsers({ store: createUserStore(sql), passwords: identity.passwords }),
    groups: createGroups({
      store: createGroupStore(sql, { externalIdentity: config.HOLDFAST_EXTERNAL_IDENTITY === 'true' }),
      discard: (name) => quietly(datasets.delete(SYSTEM_CALLER, { name })),
    }),
    tokens: createTokens({ store: createAccessTokenStore(sql) }),
  }
  const fleet = openHosts({
    sql,
    nats,
    store: hostStore,
    keys: credentialKeys,
    changes,
    authority,
    onChanged: (host) => quietly(reception.reload(host)),
    reload: (host) => reception.reload(host),
    afterCommit,
    logger,
  })
  starting.defer(() => fleet.stop())
  const { hosts, enrolments } = fleet
  const block = openBlock({
    ...{ sql, secrets, volumes, exports, backups: volumeBackups, jobs, fleet: registry },
    servers: {
      async find(id) {
        const instance = await instanceReader.find(null, id)
        return instance && { groupId: instance.groupId, isStopped: instance.state === 'STOPPED' }
      },
    },
  })
  const core: Core = {
    datasets,
    snapshots,
    points,
    targets,
    instances,
    schedules: schedules.schedules,
    restoreTasks: schedules.restoreTasks,
    migrations: migrations.migrations,
    instanceSnapshots: captures.instanceSnapshots,
    instanceBackups: captures.instanceBackups,
    volumes,
    volumeBackups,
    lentVolumes: lent?.lentVolumes,
    exports,
    ...block,
    jobs,
    hosts,
    enrolments,
    feed,
    station: station.station,
    sessions,
    audit,
    ...directory,
  }

  /** Ports of our listeners: those configured, until they are open. */
  let listening: readonly number[] = [
    config.HOLDFAST_PORT,
    config.HOLDFAST_TLS_PORT ?? 0,
    config.HOLDFAST_BACKUP_PORT ?? 0,
  ].filter((port) => port !== 0)
  const reception = await openReception({
    nats,
    registry,
    hosts: hostStore,
    changes,
    dispatch: dispatchStore,
    knownPoints: createKnownPoints(sql),
    roots,
    isOpen: authority === undefined,
    ownListeners: () => ownListeners(config, listening),
    onInstances: createInstanceWatch({
      reads: createHostReads({ nats, seal }),
      store: createInstanceFoldStore(sql),
      logger,
    }).heard,
    onExports: watch.heard,
    afterCommit,
    now,
    logger,
  })
  starting.defer(() => reception.stop())
  // Who was not heard for long is offline from the first request on, whatever Postgres remembers.
  await reception.tick()
  const ingest = startIngest({
    nats,
    prepare: () => ensureStreams(nats),
    store: changes,
    onHeard: registry.heard,
    admits: reception.admits,
    onForged: (forged) => audit.record(forgeryOf(forged)),
    onUnknown: dispatch.hintCancel,
    afterCommit,
    logger,
  })
  starting.defer(() => ingest.stop())
  const listener = await listen({
    url: config.DATABASE_URL,
    channels: {
      [EVENT_CHANNEL]: (payload) => {
        const [seq, origin] = payload.split(' ')
        // What this replica wrote it already has, or is about to.
        if (origin !== replicaId && Number(seq) > feed.head()) quietly(feed.catchUp())
      },
      [HOST_CHANNEL]: (name) => quietly(reception.reload(name)),
      [ACCESS_CHANNEL]: () => credentials.drop(),
    },
    onConnect: () => {
      credentials.drop()
      quietly(feed.catchUp())
      quietly(reception.reloadAll())
    },
    logger,
  })
  starting.defer(() => listener.close())

  const sweep = createSweep({
    ...{ changes, dispatch, hosts: registry, ends, store: dispatchStore, ingest, nats, afterCommit },
    awayMs: config.HOLDFAST_AWAY_HOURS * HOUR_MS,
  })
  const oldJobs = createOldJobs({
    ...{ store: createJobPruneStore(sql), logger },
    olderThanMs: config.HOLDFAST_JOB_RETENTION_DAYS * 24 * HOUR_MS,
  })
  const schedule = await startSchedule(
    {
      quick: { everyMs: QUICK_MS, run: sweep.quick },
      audit: { everyMs: QUICK_MS, run: audit.link },
      slow: {
        everyMs: SLOW_MS,
        run: async () => {
          await clock.read()
          await reception.tick()
          await sweep.slow()
          await feed.catchUp()
        },
      },
      hosts: { everyMs: SLOW_MS, run: fleet.tick },
      uses: { everyMs: SLOW_MS, run: credentials.flush },
      streams: { everyMs: SLOW_MS, run: () => ensureStreams(nats) },
      ...schedules.ticks,
      migrations: migrations.tick,
      station: station.tick,
      volumeBackups: backupTick,
      ...(lent ? { loans: lent.tick } : {}),
      instanceBackups: captures.tick,
      oldEvents: {
        everyMs: PRUNE_MS,
        run: async () => {
          await eventStore.prune({ maxAgeMs: EVENT_MAX_AGE_MS, maxEvents: EVENT_MAX_COUNT })
        },
      },
      oldJobs: { everyMs: PRUNE_MS, run: oldJobs },
      oldKeys: { everyMs: PRUNE_MS, run: keys.prune },
      oldSessions: { everyMs: PRUNE_MS, run: identity.prune },
      oldCredentials: { everyMs: PRUNE_MS, run: credentialKeys.prune },
    },
    logger,
  )
  starting.defer(() => schedule.stop())

  const metrics = createMetrics({ registry, feed, audit, schedules, station, exportCounts: createExportCounts(sql) })
  const http = await createHttp({
    core,
    keys,
    fingerprints: vault.fingerprints,
    credentials,
    dialects: createDialects({
      timezone: config.HOLDFAST_TIMEZONE,
      metrics,
      readiness: async () => ({
        postgres: await answersInTime(sql.rows(ONE, [])),
        nats: !nats.isClosed() && (await answersInTime(nats.flush())),
        ingest: ingest.running(),
      }),
    }),
    ...listeners,
    forwarder: upstream.forwarder,
    foreignTokens: upstream.foreignTokens,
    metrics,
    logger,
  })
  starting.defer(() => http.close(CLOSE_GRACE_MS))
  const { port } = await http.listen({ port: config.HOLDFAST_PORT, bind: config.HOLDFAST_BIND })
  listening = [port]
  if (config.HOLDFAST_TLS_PORT !== undefined) {
    const bind = config.HOLDFAST_TLS_BIND ?? config.HOLDFAST_BIND
    const secure = await http.listenTls({ port: config.HOLDFAST_TLS_PORT, bind })
    listening = [...listening, secure.port]
  }
  if (config.HOLDFAST_BACKUP_PORT !== undefined) {
    const bind = config.HOLDFAST_BACKUP_BIND ?? config.HOLDFAST_BIND
    const also = await http.listenAlso({ port: config.HOLDFAST_BACKUP_PORT, bind })
    listening = [...listening, also.port]
  }
  logger.info({ event: 'control-plane.started', port })

  const running = starting.move()
  return {
    port,
    failed: closedByServer(nats),
    async [Symbol.asyncDispose]() {
      await running.disposeAsync()
      logger.info({ event: 'control-plane.stopped' })
    },
  }

  /** For what the next sweep does again anyway, or what an operator sees standing there. */
  function quietly(work: Promise<unknown>): void {
    work.catch((error: unknown) => logger.warn({ event: 'notification.unheard', error: String(error) }))
  }
}

const CLOSE_GRACE_MS = 5_000
/** Of Postgres, to one statement: far longer than any takes, whoever it waits for. */
const ANSWER_WITHIN_MS = 60_000
const ONE = statement('ready', z.unknown(), 'select 1')

async function answersInTime(question: Promise<unknown>): Promise<boolean> {
  const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), READY_TIMEOUT_MS).unref())
  return Promise.race([
    question.then(
      () => true,
      () => false,
    ),
    late,
  ])
}
