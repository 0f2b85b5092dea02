import { parentPort, workerData } from 'node:worker_threads'
import { z } from 'zod'

/**
 * The clock worker: tells the main thread each tick that is due, on a thread of its own so that a busy event loop makes a
 * tick late but never lost. It ends with exit code 0 when asked, which is what Bree expects.
 */
const { job } = z
  .object({ job: z.object({ worker: z.object({ workerData: z.record(z.string(), z.number()) }) }) })
  .parse(workerData)

const timers = Object.entries(job.worker.workerData).map(([name, everyMs]) =>
  setInterval(() => parentPort?.postMessage({ tick: name }), everyMs),
)

parentPort?.on('message', (message: unknown) => {
  if (message !== 'cancel') return
  for (const timer of timers) clearInterval(timer)
  parentPort?.postMessage('cancelled')
  process.exit(0)
})
