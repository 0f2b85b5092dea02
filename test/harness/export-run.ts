import { openJournal } from '../../agent/work/journal.ts'
import { createLanes } from '../../agent/work/lanes.ts'
import { createRunner } from '../../agent/work/runner.ts'
import { createSlots } from '../../agent/work/slots.ts'
import type { JobEvent } from '../../shared/job-event.ts'
import { createLogger } from '../../shared/logger.ts'
import type { WorkOrder } from '../../shared/wire/messages.ts'
import { type ExportHost, openExportHost, type PoolKind } from './export-host.ts'
import { until } from './until.ts'

/** A host whose tgtd goes on when the process ends that works for it. */
export interface LastingHost {
  readonly state: string
  readonly portal: string
  readonly driver: PoolKind
  readonly path: string
}

export function openLasting({ state, portal, driver, path }: LastingHost): Promise<ExportHost> {
  return openExportHost({ state, portal, pools: { a: { driver, path } }, outlives: true })
}

/** Works as an agent does that is started: what its journal holds is taken up; an order that it does not hold is taken. @returns its end */
export async function runAsAgent(
  host: LastingHost,
  { order, cancels = false }: { readonly order: WorkOrder; readonly cancels?: boolean },
): Promise<JobEvent> {
  await using opened = await openLasting(host)
  const journal = openJournal(host.state)
  using closing = new DisposableStack()
  closing.defer(() => journal.close())
  const ends: JobEvent[] = []
  const runner = createRunner({
    ...{ journal, lanes: createLanes(), slots: createSlots(1), archiveSlots: createSlots(1), tools: opened.tools },
    tell: () => undefined,
    store: async ({ events }) => void ends.push(...events.slice(-1)),
    stillWanted: async () => true,
    clock: Date.now,
    logger: createLogger('agent', 'silent'),
  })
  if (journal.unfinished().length > 0) runner.resume()
  else void runner.take(order)
  if (cancels) runner.cancel(order.jobId, order.attempt)
  await until('it has ended', () => ends.length > 0, 60_000)
  await runner.stop()
  const [end] = ends
  if (end === undefined) throw new Error('it ended without an end')
  return end
}

const [given] = process.argv.slice(2)
if (import.meta.main && given !== undefined) {
  // as: a test of ours wrote it
  const { host, order } = JSON.parse(given) as { host: LastingHost; order: WorkOrder }
  await runAsAgent(host, { order })
}
