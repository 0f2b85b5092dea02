import { resolve } from 'node:path'
import Bree from 'bree'
import { z } from 'zod'
import type { Logger } from '../../shared/logger.ts'

/** What runs on a beat: how often, and what. A tick that is still running when it comes round again is skipped. */
export interface Tick {
  readonly everyMs: number
  run(): Promise<void>
}

export interface Schedule {
  stop(): Promise<void>
}

const TickMessage = z.object({ name: z.string(), message: z.object({ tick: z.string() }) })
/** Bounded so that a stuck tick cannot hold up a shutdown. */
const STOP_MS = 3_000

/** Starts the one long-lived clock worker; the ticks themselves run here, where the connections are. */
export async function startSchedule(ticks: Readonly<Record<string, Tick>>, logger: Logger): Promise<Schedule> {
  const running = new Map<string, Promise<void>>()

  async function run(name: string, tick: Tick): Promise<void> {
    try {
      await tick.run()
    } catch (error) {
      logger.warn({ event: 'tick.failed', tick: name, error: String(error) })
    } finally {
      running.delete(name)
    }
  }

  const bree = new Bree({
    root: false,
    logger: false,
    silenceRootCheckError: true,
    jobs: [
      {
        name: 'clock',
        path: resolve(import.meta.dirname, 'ticks/clock.ts'),
        worker: { workerData: Object.fromEntries(Object.entries(ticks).map(([name, tick]) => [name, tick.everyMs])) },
      },
    ],
    acceptedExtensions: ['.ts'],
    workerMessageHandler(envelope: unknown) {
      const message = TickMessage.safeParse(envelope)
      if (!message.success) return
      const name = message.data.message.tick
      const tick = ticks[name]
      if (tick && !running.has(name)) running.set(name, run(name, tick))
    },
  })
  await bree.start()

  return {
    async stop() {
      const ended = Promise.all([bree.stop(), ...running.values()])
      await Promise.race([ended, new Promise((done) => setTimeout(done, STOP_MS).unref())])
    },
  }
}
