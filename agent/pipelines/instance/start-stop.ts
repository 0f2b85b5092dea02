import { setTimeout as pause } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import type { InstancePlace } from '../../../shared/instance-spec.ts'
import type { Pipeline, PipelineTools } from '../pipeline.ts'
import { named } from '../point/steps.ts'

/** How long an instance that is on its way from one state to another, perhaps since an agent died, is waited for. */
const SETTLE_MS = 30_000
const LOOK_AGAIN_MS = 200

/** One that runs already is left as it is. Cancelled, it may run or not: whoever cancels is not answered before its tool ended. */
export const startInstance: Pipeline<'instance.start'> = ({ place }, _jobId, tools) => ({
  steps: [
    {
      ...named('start', ({ signal }) => start(place, tools, signal), 'start'),
      commits: true,
    },
  ],
  result: () => ({}),
})

/** The same of one that is stopped. Cancelled while it is given its time, it may stop all the same: it has been asked to. */
export const stopInstance: Pipeline<'instance.stop'> = ({ place, graceMs }, _jobId, tools) => ({
  steps: [
    {
      ...named(
        'stop',
        async ({ signal }) => {
          await settled(place, tools, signal)
          await tools.instances(place.type).stop(place.instance, { graceMs, signal })
        },
        'stop',
      ),
      commits: true,
    },
  ],
  result: () => ({}),
})

/** @throws what Instances tell, and conflict for one that comes to no rest */
export async function start(place: InstancePlace, tools: PipelineTools, signal: AbortSignal): Promise<void> {
  await settled(place, tools, signal)
  await tools.instances(place.type).start(place.instance, signal)
}

/** Waits while it is neither running, stopped nor frozen. What it is then is judged by whoever acts on it. */
async function settled({ type, instance }: InstancePlace, tools: PipelineTools, signal: AbortSignal): Promise<void> {
  const instances = tools.instances(type)
  const until = performance.now() + SETTLE_MS
  while ((await instances.find(instance, signal))?.state === 'OTHER' && performance.now() < until) {
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    await pause(LOOK_AGAIN_MS)
  }
}
