import type { NatsConnection } from 'nats'
import { subjects } from '../../shared/wire/subjects.ts'
import type { FleetView } from '../core/fleet-view.ts'
import { cancelJob, expireJob, giveUpCancelled } from '../core/job-change.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { DispatchStore } from '../db/stores/dispatch-store.ts'
import type { Dispatch } from './dispatch.ts'
import { type Ends, WITHDRAWN } from './ends.ts'
import type { Ingest } from './ingest.ts'

/** A running job reports at least every 5 s; after this long its lease is lost. */
const LEASE_MS = 30_000
const SWEEP_LIMIT = 500
/** Who made a job wants to see it in the feed, also when nothing happens to it. */
const ANNOUNCE_AFTER_MS = 100
const PING_TIMEOUT_MS = 1_200

/** What every replica does about once a second or two, whatever else woke it. All of it is claimed: many may run it. */
export interface Sweep {
  /** Every second: interactive orders that nobody began, and jobs the feed has not heard of. */
  quick(): Promise<void>
  /** Every two seconds: lost leases, unsent and unstarted orders, unconfirmed cancellations, and those that nobody is there to confirm. */
  slow(): Promise<void>
}

export function createSweep(deps: {
  readonly changes: ChangeStore
  readonly dispatch: Dispatch
  readonly hosts: Pick<FleetView, 'isOnline'> & { deaf(host: string): void; hearsAnybody(): boolean }
  readonly ends: Pick<Ends, 'isAwaited'>
  readonly store: DispatchStore
  readonly ingest: Pick<Ingest, 'heardForMs'>
  readonly nats: NatsConnection
  readonly afterCommit: (committed: Committed) => void
  /** What was cancelled on a host is over when nobody has heard of that for so long. */
  readonly awayMs: number
}): Sweep {
  const { changes, dispatch, nats, afterCommit } = deps

  /** Whether the agent answers at all: one that is alive but busy keeps its orders. */
  async function answers(host: string): Promise<boolean> {
    if (!deps.hosts.isOnline(host)) return false
    try {
      await nats.request(subjects.read(host, 'ping'), '', { timeout: PING_TIMEOUT_MS })
      return true
    } catch {
      // No responder, or none in time: both are silence.
      return false
    }
  }

  async function withdraw(): Promise<void> {
    const overdue = await deps.store.overdueHosts(SWEEP_LIMIT)
    if (overdue.length === 0) return
    const asked = await Promise.all(overdue.map(async (host) => ({ host, alive: await answers(host) })))
    const silent = asked.filter(({ alive }) => !alive).map(({ host }) => host)
    if (silent.length === 0) return
    for (const host of silent) deps.hosts.deaf(host)
    // Who hears nobody may be cut off alone: whoever waits here is refused, and what waits at other replicas is left to them.
    const isCutOff = !deps.hosts.hearsAnybody()
    const committed = await changes.changeOverdue({ hosts: silent, limit: SWEEP_LIMIT }, (job) =>
      isCutOff && !deps.ends.isAwaited(job.id) ? undefined : cancelJob(job, WITHDRAWN, true),
    )
    afterCommit(committed)
  }

  return {
    async quick() {
      await withdraw()
      afterCommit(await changes.announce({ olderThanMs: ANNOUNCE_AFTER_MS, limit: SWEEP_LIMIT }))
    },
    async slow() {
      // Reports that wait in JetStream since an outage of ours come first: a job is silent only when we have listened.
      if (deps.ingest.heardForMs() >= LEASE_MS) {
        afterCommit(await changes.changeSilent({ silentMs: LEASE_MS, limit: SWEEP_LIMIT }, expireJob))
        afterCommit(await changes.changeGone({ awayMs: deps.awayMs, limit: SWEEP_LIMIT }, giveUpCancelled))
      }
      await dispatch.sweep()
    },
  }
}
