import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import type { JobEvent, JobReport } from '../../shared/job-event.ts'
import { fitting } from './outbox.ts'
import { createReporter } from './report.ts'

function reporterOf() {
  const told: JobReport[] = []
  const place = { jobId: '01900000-0000-7000-8000-000000000000', attempt: 1, delivery: 1 }
  const reporter = createReporter({ ...place, publish: (report) => told.push(report) })
  return { reporter, types: () => told.flatMap(({ events }) => events.map(({ type }) => type)) }
}

test('a release is told at once, behind what came before it, and only once', (t) => {
  const { reporter, types } = reporterOf()
  reporter.start()
  reporter.release()
  t.deepEqual(types(), ['start', 'release'])
  reporter.release()
  reporter.close()
  t.deepEqual(types(), ['start', 'release'])
})

test('progress that is overtaken is dropped, a release never', async (t) => {
  const { reporter, types } = reporterOf()
  reporter.start()
  for (let files = 0; files < 50; files += 1) reporter.progress({ phase: 'archive', files })
  reporter.release()
  for (let files = 50; files < 100; files += 1) reporter.progress({ phase: 'archive', files })
  await delay(200)
  const end = reporter.end({ type: 'stop', phases: [] })
  t.deepEqual([...types(), ...end.events.map(({ type }) => type)], ['start', 'release', 'progress', 'progress', 'stop'])
})

test('reports that are large travel alone, small ones together, all in order', (t) => {
  const reportOf = (attempt: number, bytes: number): JobReport => {
    const event: JobEvent = { type: 'succeed', seq: 1, at: 0, result: 'x'.repeat(bytes), phases: [] }
    return { jobId: '01900000-0000-7000-8000-000000000000', attempt, delivery: 1, events: [event] }
  }
  const sizes = [10, 10, 600_000, 600_000, 10]
  const messages = fitting(sizes.map((bytes, at) => reportOf(at + 1, bytes)))
  t.deepEqual(
    messages.map((reports) => reports.map(({ attempt }) => attempt)),
    [
      [1, 2, 3],
      [4, 5],
    ],
  )
  t.deepEqual(fitting([]), [])
})
