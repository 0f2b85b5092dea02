import { setTimeout as delay } from 'node:timers/promises'
import type { Msg, NatsConnection } from 'nats'
import type { Logger } from '../../shared/logger.ts'
import {
  BEAT_INTERVAL_MS,
  type Beat,
  CancelHint,
  Confirmation,
  type Hello,
  Welcome,
  WIRE_VERSION,
} from '../../shared/wire/messages.ts'
import { readOperationOf, subjects } from '../../shared/wire/subjects.ts'
import type { ExportKeeper } from '../export/export-keeper.ts'
import type { Journal } from '../work/journal.ts'
import type { Runner } from '../work/runner.ts'
import type { InstanceList } from './instance-list.ts'
import { createInventory, type HostFacts, inventoryHash } from './inventory.ts'
import type { Reads } from './reads.ts'

const HELLO_TIMEOUT_MS = 5_000
const HELLO_RETRY_MS = 500

export interface Welcomed {
  /** How far the control plane's clock is ahead of ours. */
  readonly clockAheadMs: number
  /** `host:port` of what no target may be. */
  readonly ownListeners: readonly string[]
}

/** How this host makes itself known: hello once, beats for ever, and answers to what it is asked. */
export interface Presence {
  /** Says hello until it is welcomed. */
  hello(signal: AbortSignal): Promise<Welcomed>
  /** A beat before its time: it has news. */
  beat(): void
  stop(): void
}

export function startPresence(deps: {
  readonly nats: NatsConnection
  readonly host: string
  readonly facts: HostFacts
  readonly runner: Runner
  readonly journal: Journal
  readonly reads: Reads
  readonly instances: Pick<InstanceList, 'told'>
  readonly exports: Pick<ExportKeeper, 'technology' | 'hash'>
  readonly logger: Logger
}): Presence {
  const { nats, host, runner, journal, reads, logger } = deps
  const takeInventory = createInventory(deps.facts, logger)

  async function greeting(): Promise<Hello> {
    const inventory = await takeInventory()
    return { v: WIRE_VERSION, hash: inventoryHash(inventory), inventory }
  }

  async function beat(): Promise<void> {
    const { hash, inventory } = await greeting()
    const free = inventory.pools.map((pool) => pool.freeBytes)
    const instances = deps.instances.told()
    const exports = deps.exports.technology === 'none' ? undefined : { hash: deps.exports.hash() }
    const message: Beat = {
      v: WIRE_VERSION,
      hash,
      free,
      running: runner.running(),
      ...(instances && { instances }),
      ...(exports && { exports }),
    }
    nats.publish(subjects.beat(host), JSON.stringify(message))
  }

  /** Side-effect free only. */
  async function answer(message: Msg): Promise<void> {
    const operation = readOperationOf(message.subject)
    if (operation === 'ping') message.respond('')
    if (operation === 'inventory') message.respond(JSON.stringify(await greeting()))
    const found = await reads.answer(operation, message.data)
    if (found !== undefined) message.respond(JSON.stringify(found))
  }

  const complain = (event: string) => (error: unknown) => logger.warn({ event, error: String(error) })
  const listen = (subject: string, event: string, handle: (message: Msg) => Promise<void>) =>
    nats.subscribe(subject, {
      callback: (error, message) => (error ? complain(event)(error) : void handle(message).catch(complain(event))),
    })

  const subscriptions = [
    listen(subjects.hostReads(host), 'host.read_failed', answer),
    listen(subjects.cancel(host), 'job.cancel_failed', async (message) => {
      const { jobId, attempt } = CancelHint.parse(message.json())
      runner.cancel(jobId, attempt)
    }),
    listen(subjects.confirm(host), 'job.confirm_failed', async (message) => {
      for (const jobId of Confirmation.parse(message.json()).jobs) journal.confirm(jobId)
    }),
  ]
  const tell = () => void beat().catch(complain('host.beat_failed'))
  const beats = setInterval(tell, BEAT_INTERVAL_MS)
  const reminders = setInterval(() => runner.remind(), BEAT_INTERVAL_MS)

  return {
    async hello(signal) {
      for (;;) {
        try {
          const askedAtMs = Date.now()
          const reply = await nats.request(subjects.hello(host), JSON.stringify(await greeting()), {
            timeout: HELLO_TIMEOUT_MS,
          })
          const welcome = Welcome.parse(reply.json())
          await beat()
          logger.info({ event: 'host.welcomed', host })
          const clockAheadMs = welcome.now - (askedAtMs + Date.now()) / 2
          return { clockAheadMs, ownListeners: welcome.ownListeners }
        } catch (error) {
          logger.debug({ event: 'host.hello_unanswered', error: String(error) })
          await delay(HELLO_RETRY_MS, undefined, { signal })
        }
      }
    },

    beat: tell,

    stop() {
      clearInterval(beats)
      clearInterval(reminders)
      for (const subscription of subscriptions) subscription.unsubscribe()
    },
  }
}
