import type { Msg, NatsConnection } from 'nats'
import { FleetError } from '../../shared/errors.ts'
import { HostName } from '../../shared/ids.ts'
import type { Logger } from '../../shared/logger.ts'
import {
  Beat,
  Hello,
  HostQuestion,
  type Inventory,
  type PointsAnswer,
  type StartAnswer,
  type Welcome,
  WIRE_VERSION,
} from '../../shared/wire/messages.ts'
import { hostOfSubject, subjects } from '../../shared/wire/subjects.ts'
import { DEFAULT_GROUP_ID } from '../core/caller.ts'
import type { Roots } from '../core/roots.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { DispatchStore } from '../db/stores/dispatch-store.ts'
import type { HostStore, KeptHost } from '../db/stores/host-store.ts'
import { ensureStreams, ensureWorkConsumer } from '../nats.ts'
import { answerAgent } from './answer-agent.ts'
import type { HostRegistry } from './registry.ts'

/** Replicas share hellos and questions; every one of them hears every beat. */
const QUEUE = 'control-plane'
const READ_TIMEOUT_MS = 5_000
/** Inventories asked for at one time, so that a fleet that appears at once does not flood us. */
const MAX_INQUIRIES = 32
const RELOAD_PAGE = 1_000

export interface Reception {
  /** Marks silent hosts offline, tells Postgres who was seen, makes sure there is a root dataset. */
  tick(): Promise<void>
  /** Another replica changed this host. */
  reload(name: string): Promise<void>
  /** Other replicas may have changed any. */
  reloadAll(): Promise<void>
  /** Whether words that come under this name are to be believed. */
  admits(name: string): boolean
  stop(): void
}

export async function openReception(deps: {
  readonly nats: NatsConnection
  readonly registry: HostRegistry
  readonly hosts: HostStore
  readonly changes: ChangeStore
  readonly dispatch: DispatchStore
  /** Those among these ids that points have. */
  readonly knownPoints: (ids: readonly string[]) => Promise<readonly string[]>
  readonly roots: Pick<Roots, 'ensure' | 'forget'>
  /** Who NATS lets in is a host; otherwise only who was enrolled and still has credentials. */
  readonly isOpen: boolean
  /** `host:port` of what no target may be, as agents are told of it. */
  readonly ownListeners: () => readonly string[]
  /** What every beat of a known host tells of its instances; see InstanceWatch. */
  readonly onInstances: (host: string, hash: string | null | undefined) => void
  /** The same of its exports; see ExportWatch. */
  readonly onExports: (host: string, hash: string | undefined) => void
  readonly afterCommit: (committed: Committed) => void
  /** What agents are told the time is: the one that orders say until when they may begin by. */
  readonly now?: () => number
  readonly logger: Logger
}): Promise<Reception> {
  const { nats, registry, hosts, isOpen, logger, now = Date.now } = deps
  const inquiries = new Set<string>()
  const reloads = new Map<string, Promise<void>>()
  let rooted = false

  const complain = (event: string, host: string) => (error: unknown) =>
    logger.warn({ event, host, error: String(error), detail: error instanceof FleetError ? error.detail : undefined })

  const admits = (name: string) => isOpen || registry.isEnrolled(name)

  /** One after another for each host: an older answer of Postgres never takes the place of a newer one. */
  function reload(name: string): Promise<void> {
    const read = async () => {
      const host = await hosts.find(name)
      if (host) keep(host)
      else drop(name)
    }
    const mine = (reloads.get(name) ?? Promise.resolve()).then(read, read).finally(() => {
      if (reloads.get(name) === mine) reloads.delete(name)
    })
    reloads.set(name, mine)
    return mine
  }

  function keep(host: KeptHost): void {
    registry.keep(host)
    if (!admits(host.name)) registry.deaf(host.name)
  }

  function drop(name: string): void {
    registry.drop(name)
    // Its datasets may have gone with it.
    deps.roots.forget()
    rooted = false
  }

  /** Writes a change of state; the replica whose write changed the row tells the feed. */
  async function turn(names: readonly string[], state: 'online' | 'offline'): Promise<void> {
    const turned = await hosts.setState(names, state)
    for (const name of names) registry.told(name, state)
    if (turned.length === 0) return
    const events = turned.map((host) => ({ type: `host.${state}`, jobId: null, groupId: null, body: { host, state } }))
    deps.afterCommit(await deps.changes.tell(events))
    for (const host of turned) logger.info({ event: `host.${state}`, host })
  }

  /** What we hear is there, whatever a replica wrote that is cut off from NATS: to hosts that are offline nothing that waits is sent. */
  async function wake(names: readonly string[]): Promise<void> {
    const there = names.filter((name) => registry.isOnline(name))
    if (there.length > 0) await turn(there, 'online')
  }

  async function take(name: string, hash: string, inventory: Inventory): Promise<string> {
    const hostId = await hosts.welcome({ name, hash, inventory, isOpen })
    await reload(name)
    registry.beat(name, { v: WIRE_VERSION, hash, free: inventory.pools.map((pool) => pool.freeBytes), running: 0 })
    await turn([name], 'online')
    return hostId
  }

  async function onHello(message: Msg): Promise<void> {
    const name = HostName.parse(hostOfSubject(message.subject))
    const { hash, inventory } = Hello.parse(message.json())
    // It may have been enrolled a moment ago, by another replica.
    if (!admits(name)) await reload(name)
    if (!admits(name)) return unknown(name)
    const hostId = await take(name, hash, inventory)
    await ensureStreams(nats)
    await ensureWorkConsumer(nats, name, inventory.slots)
    const ownListeners = [...deps.ownListeners()]
    const welcome: Welcome = { v: WIRE_VERSION, hostId, slots: inventory.slots, now: now(), ownListeners }
    answerAgent(message, name, welcome)
    logger.info({ event: 'host.welcomed', host: name, version: inventory.version, pools: inventory.pools.length })
    if (!rooted) await ensureRoot()
  }

  /** No answer, as to anybody who should not be able to speak at all. */
  function unknown(host: string): void {
    logger.warn({ event: 'host.not_enrolled', host })
  }

  async function ensureRoot(): Promise<void> {
    try {
      rooted = await deps.roots.ensure(DEFAULT_GROUP_ID)
    } catch (error) {
      // While no pool is online the next tick asks again.
      if (!(error instanceof FleetError && error.code === 'unavailable')) throw error
    }
  }

  async function onBeat(message: Msg): Promise<void> {
    const name = hostOfSubject(message.subject)
    if (!admits(name)) return
    const beat = Beat.parse(message.json())
    const news = registry.beat(name, beat)
    if (news !== 'unknown') {
      deps.onInstances(name, beat.instances === undefined ? undefined : beat.instances.hash)
      deps.onExports(name, beat.exports?.hash)
    }
    if (news === 'known') return
    if (news === 'back') return turn([name], 'online')
    if (inquiries.has(name) || inquiries.size >= MAX_INQUIRIES) return
    inquiries.add(name)
    try {
      const reply = await nats.request(subjects.read(name, 'inventory'), '', { timeout: READ_TIMEOUT_MS })
      const { hash, inventory } = Hello.parse(reply.json())
      await take(HostName.parse(name), hash, inventory)
    } finally {
      inquiries.delete(name)
    }
  }

  async function onAsk(message: Msg): Promise<void> {
    const host = hostOfSubject(message.subject)
    if (!admits(host)) return unknown(host)
    const asked = HostQuestion.parse(message.json())
    registry.heard(host)
    if ('points' in asked) {
      const answer: PointsAnswer = { v: WIRE_VERSION, known: [...(await deps.knownPoints(asked.points))] }
      return answerAgent(message, host, answer)
    }
    const { jobId, attempt } = asked
    const answer: StartAnswer = { v: WIRE_VERSION, start: await deps.dispatch.startable({ jobId, attempt, host }) }
    answerAgent(message, host, answer)
  }

  async function reloadAll(): Promise<void> {
    const gone = new Set(registry.names())
    for (let cursor: string | undefined; ; ) {
      const page = await hosts.page({ limit: RELOAD_PAGE, cursor })
      for (const host of page.items) {
        keep(host)
        gone.delete(host.name)
      }
      if (page.nextCursor === null) break
      cursor = page.nextCursor
    }
    for (const name of gone) drop(name)
  }
  await reloadAll()

  const listen = (subject: string, event: string, handle: (message: Msg) => Promise<void>, queue?: string) =>
    nats.subscribe(subject, {
      ...(queue ? { queue } : {}),
      callback(error, message) {
        const host = hostOfSubject(message.subject)
        if (error) complain(event, host)(error)
        else handle(message).catch(complain(event, host))
      },
    })
  const subscriptions = [
    listen(subjects.allBeats, 'host.beat_failed', onBeat),
    listen(subjects.allHellos, 'host.hello_failed', onHello, QUEUE),
    listen(subjects.allAsks, 'host.ask_failed', onAsk, QUEUE),
  ]

  return {
    reload,
    reloadAll,
    admits,
    async tick() {
      const silent = registry.silent()
      if (silent.length > 0) await turn(silent, 'offline')
      const sightings = registry.takeSightings()
      if (sightings.hosts.length > 0) await wake(await hosts.seen(sightings))
      if (!rooted) await ensureRoot()
    },
    stop() {
      for (const subscription of subscriptions) subscription.unsubscribe()
    },
  }
}
